"""The registry of resources: attributes, their types, list queries, errors and examples."""
