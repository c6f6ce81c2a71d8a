"""The agent, one per node: takes desired state from the API, applies it to the gateways, and reports their state."""
