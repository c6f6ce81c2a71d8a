"""Site-to-site IPsec VPN as a service."""

__version__ = "0.1.0"
