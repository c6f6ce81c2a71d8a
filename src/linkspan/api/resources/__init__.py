"""The behaviour of each resource around plain CRUD."""
