"""HTTP: dispatching, requests and responses, bodies, the server, and what keeps slow clients harmless."""
