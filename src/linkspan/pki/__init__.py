"""Certificates of connections: keys, requests, chains, names, revocation lists. Pure functions over `cryptography`."""
