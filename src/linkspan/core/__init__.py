"""The decisions: pure functions over frozen data; no clock, socket, file, log or random number."""
