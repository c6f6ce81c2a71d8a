"""The network of a gateway: namespace, leak guard, traffic block, MTU routing, MSS clamp and name resolution."""
