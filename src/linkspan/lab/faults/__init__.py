"""The fault laboratory: faults of tunnels as data, set up for real between the gateways of the laboratory."""
