"""IPsec: algorithms, identities, traffic selectors, MTU, and charon's configuration of a connection."""
