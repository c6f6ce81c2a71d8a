"""The embedded Keystone: a small Keystone v3 over the users of the database, at /identity/v3 and /v3."""
