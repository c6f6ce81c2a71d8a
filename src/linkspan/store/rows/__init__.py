"""Rows of resources: mapping, reading, writing, and what depends on what."""
