"""IPsec terms: algorithms, identities, traffic selectors, MTU, and what charon is configured with."""
