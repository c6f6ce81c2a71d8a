"""The network namespace of a gateway: interfaces, leak guard, MTU, name resolution."""
