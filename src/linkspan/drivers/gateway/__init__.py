"""The network of a gateway: namespace, leak guard, MTU routing, MSS clamp and name resolution."""
