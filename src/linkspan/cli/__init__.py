"""The commands that use the HTTP API only: generated from the registry of resources, with a client and renderers."""
