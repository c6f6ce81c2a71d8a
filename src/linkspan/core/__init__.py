"""The decisions: pure functions over frozen data. No clock, socket, file, log or random number."""
