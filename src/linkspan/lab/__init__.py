"""A laboratory for demonstration and tests: two sites with gateways and hosts in namespaces of one machine."""
