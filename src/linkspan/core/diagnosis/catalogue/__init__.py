"""The declarations of causes, by layer."""
