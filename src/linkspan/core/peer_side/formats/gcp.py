"""Google Cloud, Classic VPN with a policy-based tunnel, in Terraform. It takes algorithms from a table of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.peer_side.device import Alphabet, Device
from linkspan.core.peer_side.formats import terraform
from linkspan.core.peer_side.formats.format import ConfigFile, PeerFormat, key_of, lists, version_of, word
from linkspan.core.peer_side.formats.terraform import Expression
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "Google Cloud VPN, Terraform"
BY_HAND: Final = {"NETWORK": "the VPC network", "REGION": "the region, such as europe-west3"}
_CIPHERS: Final = {
    **{f"aes-{bits}": f"AES-CBC-{bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-gcm-16": f"AES-GCM-16-{bits}" for bits in (128, 192, 256)},
}
_HASHES: Final = {name: name for name in ("sha1", "sha256", "sha384", "sha512")}
_GROUPS: Final = {f"group{value}": str(value) for value in (2, 5, 14, 15, 16, 17, 18, 19, 20, 21, 31)}
DEVICE: Final = Device(
    aggressive=False,
    ike_encryption=_CIPHERS,
    ike_integrity=_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    ipv6=False,
    identities=frozenset({"ipv4"}),
    addresses_are_identities=True,
    psk=Alphabet(r"[!-~]{1,128}", "1 to 128 printable ASCII characters without blanks"),
    # Google's lifetimes are fixed.
    ike_lifetime=(36_000, 36_000),
    child_lifetime=(10_800, 10_800),
    kilobytes=None,
)
_PORTS: Final = {"esp": ("ESP", ""), "udp500": ("UDP", "500"), "udp4500": ("UDP", "4500")}


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The file."""
    return terraform.file(TITLE, BY_HAND, _resources(config))


def _resources(config: SiteConfig) -> Iterator[str]:
    name = terraform.label(config)
    gateway = Expression(f"google_compute_vpn_gateway.{name}.id")
    yield from terraform.resource("google_compute_address", name, {"name": word(config), "region": "REGION"})
    yield from terraform.resource(
        "google_compute_vpn_gateway", name, {"name": word(config), "network": "NETWORK", "region": "REGION"}
    )
    for suffix, (protocol, port) in _PORTS.items():
        yield from terraform.resource(
            "google_compute_forwarding_rule",
            f"{name}_{suffix}",
            {
                "name": f"{word(config)}-{suffix}",
                "region": "REGION",
                "ip_protocol": protocol,
                **({"port_range": port} if port else {}),
                "ip_address": Expression(f"google_compute_address.{name}.address"),
                "target": gateway,
            },
        )
    yield from _tunnel(config, name, gateway)


def _tunnel(config: SiteConfig, name: str, gateway: Expression) -> Iterator[str]:
    local, remote = lists(config) or ((), ())
    rules = ", ".join(f"google_compute_forwarding_rule.{name}_{suffix}" for suffix in _PORTS)
    tunnel = Expression(f"google_compute_vpn_tunnel.{name}.id")
    yield from terraform.resource(
        "google_compute_vpn_tunnel",
        name,
        {
            "name": word(config),
            "region": "REGION",
            "peer_ip": config.remote_address,
            "shared_secret": key_of(config),
            "ike_version": int(version_of(config)),
            "local_traffic_selector": local,
            "remote_traffic_selector": remote,
            "target_vpn_gateway": gateway,
            "depends_on": Expression(f"[{rules}]"),
        },
    )
    for place, network in enumerate(remote, 1):
        yield from terraform.resource(
            "google_compute_route",
            f"{name}_{place}",
            {
                "name": f"{word(config)}-{place}",
                "network": "NETWORK",
                "dest_range": network,
                "next_hop_vpn_tunnel": tunnel,
            },
        )


FORMAT: Final = PeerFormat(
    name="gcp",
    title=TITLE,
    mark="syntax-checked",
    evidence="a parser of HCL 2 reads it; the arguments are those of the manual",
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
