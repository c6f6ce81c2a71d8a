"""The registry of resources: attributes and their types, operations, list queries, errors, examples."""
