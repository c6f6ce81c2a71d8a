"""The embedded identity: users, projects, tokens, application credentials."""
