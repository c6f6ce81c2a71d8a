"""The HTTP API: VPNaaS v2.0, identity, the embedded inventory, and the agents' door."""
