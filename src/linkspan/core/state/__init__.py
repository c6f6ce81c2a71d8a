"""State that the API and agents exchange, and the status that follows from it."""
