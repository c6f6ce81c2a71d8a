"""The OpenAPI 3.1 document of the API for users. Every route describes itself; this package puts it together."""
