"""The HTTP API: VPNaaS v2.0, the embedded Keystone and inventory, and the agent protocol."""
