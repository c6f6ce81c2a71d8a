"""Checks beyond one attribute: across resources, weak algorithms, quotas, addresses."""
