"""The state that API and agents exchange, and the status computed from it."""
