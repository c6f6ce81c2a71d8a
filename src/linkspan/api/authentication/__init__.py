"""Authentication backends, and the limits on failed logins and requests."""
