"""Drivers of one machine, behind protocols: namespaces, nftables, policy routing, name resolution and charon."""
