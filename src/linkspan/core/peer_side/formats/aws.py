"""AWS Site-to-Site VPN, in Terraform. AWS chooses the addresses of its two tunnels, and identifies itself by them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.peer_side.device import Alphabet, Device, within
from linkspan.core.peer_side.formats import terraform
from linkspan.core.peer_side.formats.format import ConfigFile, PeerFormat, key_of, number, suites, version_of, word
from linkspan.core.peer_side.formats.terraform import Argument, Expression
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "AWS Site-to-Site VPN, Terraform"
BY_HAND: Final = {"VPN_GATEWAY_ID": "the virtual private gateway of the VPC, such as vgw-0123"}
_CIPHERS: Final = {
    "aes-128": "AES128",
    "aes-256": "AES256",
    "aes-128-gcm-16": "AES128-GCM-16",
    "aes-256-gcm-16": "AES256-GCM-16",
}
_HASHES: Final = {"sha1": "SHA1", "sha256": "SHA2-256", "sha384": "SHA2-384", "sha512": "SHA2-512"}
_IKE_GROUPS: Final = {f"group{value}": str(value) for value in (2, *range(14, 25))}
_GROUPS: Final = {f"group{value}": str(value) for value in (2, 5, *range(14, 25))}
_ACTIONS: Final = {"clear": "clear", "restart": "restart", "disabled": "none"}
DEVICE: Final = Device(
    aggressive=False,
    ike_encryption=_CIPHERS,
    ike_integrity=_HASHES,
    ike_groups=_IKE_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    pairs="one",
    ipv6=False,
    identities=frozenset({"ipv4"}),
    addresses_are_identities=True,
    psk=Alphabet("[A-Za-z1-9._][A-Za-z0-9._]{7,63}", "8 to 64 letters, digits, '.' and '_', not beginning with 0,"),
    ike_lifetime=(900, 28_800),
    child_lifetime=(900, 3600),
    kilobytes=None,
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The file. Only the first of AWS' two tunnels is for the connection; the other one has the same options."""
    return terraform.file(TITLE, BY_HAND, _resources(config))


def _resources(config: SiteConfig) -> Iterator[str]:
    name = terraform.label(config)
    gateway = f"aws_customer_gateway.{name}.id"
    connection = f"aws_vpn_connection.{name}"
    yield from terraform.resource(
        "aws_customer_gateway",
        name,
        {"bgp_asn": 65_000, "ip_address": config.remote_address, "type": "ipsec.1"},
    )
    (left, right) = config.pairs[0]
    arguments: dict[str, Argument] = {
        "customer_gateway_id": Expression(gateway),
        "vpn_gateway_id": "VPN_GATEWAY_ID",
        "type": "ipsec.1",
        "static_routes_only": True,
        "local_ipv4_network_cidr": right,
        "remote_ipv4_network_cidr": left,
    }
    tags = terraform.block("tags =", {"Name": word(config)})
    yield from terraform.resource("aws_vpn_connection", name, arguments | _tunnel(config), tags)
    yield from terraform.resource(
        "aws_vpn_connection_route",
        name,
        {"destination_cidr_block": right, "vpn_connection_id": Expression(f"{connection}.id")},
    )
    yield "# Then peer_address and peer_id of the connection are this address:"
    yield from terraform.block(f'output "{name}_peer_address"', {"value": Expression(f"{connection}.tunnel1_address")})


def _tunnel(config: SiteConfig) -> dict[str, Argument]:
    ike, child = suites(config)
    options: dict[str, Argument] = {
        "ike_versions": (f"ikev{version_of(config)}",),
        "phase1_encryption_algorithms": (_CIPHERS[ike.encryption],),
        "phase1_integrity_algorithms": (_HASHES[ike.integrity],),
        "phase1_dh_group_numbers": Expression(f"[{number(ike.group)}]"),
        "phase1_lifetime_seconds": within(config.ike_lifetime or 28_800, DEVICE.ike_lifetime),
        "phase2_encryption_algorithms": (_CIPHERS[child.encryption],),
        # With an AEAD cipher none is negotiated, and AWS wants one.
        "phase2_integrity_algorithms": (_HASHES[child.integrity or ike.integrity],),
        "phase2_dh_group_numbers": Expression(f"[{number(child.group)}]"),
        "phase2_lifetime_seconds": within(config.child_lifetime or 3600, DEVICE.child_lifetime),
        "dpd_timeout_action": _ACTIONS.get(config.dpd_action or "", "restart"),
        "dpd_timeout_seconds": max(30, config.dpd_timeout or 30),
        "startup_action": "start" if config.initiates else "add",
        "preshared_key": key_of(config),
    }
    return {f"tunnel1_{option}": given for option, given in options.items()}


FORMAT: Final = PeerFormat(
    name="aws",
    title=TITLE,
    mark="syntax-checked",
    evidence="a parser of HCL 2 reads it; the arguments are those of the manual",
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
