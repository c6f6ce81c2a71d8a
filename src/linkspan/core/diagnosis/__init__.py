"""The diagnosis of a connection: the state of each layer between the request of its user and its packets."""
