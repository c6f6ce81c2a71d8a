"""The web console: its static files, and the sessions of its users."""
