"""Limits of a device that concern a connection: said before anybody configures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from linkspan.core.ipsec import identities
from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.peer_side.device import Device, Range
from linkspan.core.peer_side.site_config import SiteConfig, Suite
from linkspan.core.state.desired import Connection

_NAMES: Final = {"email": "e-mail", "fqdn": "FQDN", "keyid": "key id", "dn": "distinguished name"}


class PeerFinding(msgspec.Struct, frozen=True):
    """Something that the administrator of the peer has to know."""

    severity: Annotated[
        Literal["error", "warning"],
        Meta(description="error: the device cannot do it, and nothing is written; warning: to be done or known"),
    ]
    attribute: Annotated[str, Meta(description="the attribute that it is about, as policy.attribute")]
    text: Annotated[str, Meta(description="what the device does, and what to change, in one sentence")]


def _error(attribute: str, text: str) -> PeerFinding:
    return PeerFinding("error", attribute, text)


def _warning(attribute: str, text: str) -> PeerFinding:
    return PeerFinding("warning", attribute, text)


def demands(connection: Connection) -> Iterator[PeerFinding]:
    """Findings for every peer of a connection, whatever device it is."""
    if connection.fault:
        yield _error("connection", f"the connection cannot be read in full: {connection.fault}")
    if not connection.enabled:
        yield _warning("connection.admin_state_up", "the connection or its service is switched off here")
    if connection.ppk:
        need = "needs" if connection.ppk.required else "can use"
        yield _warning(
            "connection.ppk",
            f"the connection {need} a post-quantum key (RFC 8784) with the id '{connection.ppk.id}', "
            "which no configuration contains: enter it by hand",
        )
    if connection.auth_mode == "certs":
        yield _warning(
            "connection.auth_mode",
            "the certificates are not part of it: the peer needs one with its identity from a CA of our trust anchor, "
            "and the CA of our certificate",
        )
    if connection.ipsec.transform_protocol == "ah-esp":
        yield _error("ipsec_policy.transform_protocol", "no gateway here can do ah-esp: set it to esp")


def lint(config: SiteConfig, device: Device) -> Iterator[PeerFinding]:
    """Findings about a device with its configuration. Without a `psk` nothing is said about the key."""
    yield from _negotiation(config, device)
    yield from _suite(config.ike[0], "ike_policy", device.ike_encryption, device.ike_integrity, device.ike_groups)
    groups = device.groups
    if config.versions == ("v1",) and device.groups_of_v1 is not None:
        groups = device.groups_of_v1
    yield from _suite(config.child[0], "ipsec_policy", device.encryption, device.integrity, groups)
    yield from _groups(config, device)
    yield from _lifetimes(config, device)
    yield from _ends(config, device)
    yield from _pairs(config, device)


def _negotiation(config: SiteConfig, device: Device) -> Iterator[PeerFinding]:
    for version in config.versions:
        if version not in device.versions:
            others = " or ".join(sorted(device.versions))
            yield _error("ike_policy.ike_version", f"this format is not for IKE{version}: set ike_version to {others}")
    if config.mode == "aggressive" and not device.aggressive:
        yield _error("ike_policy.phase1_negotiation_mode", "it has no aggressive mode: set it to main")
    if config.protocol and config.protocol not in device.protocols:
        yield _error("ipsec_policy.transform_protocol", f"it cannot do {config.protocol}: set it to esp")
    if config.encapsulation == "transport" and not device.transport:
        yield _error("ipsec_policy.encapsulation_mode", "it has no transport mode here: set it to tunnel")
    if config.auth_mode == "certs" and not device.certificates:
        yield _error("connection.auth_mode", "this format is for pre-shared keys only: use the values of format text")


def _suite(
    suite: Suite, policy: str, encryption: Mapping[str, str], integrity: Mapping[str, str], groups: Mapping[str, str]
) -> Iterator[PeerFinding]:
    # With an AEAD cipher the integrity algorithm of IKE is the PRF, which a device may choose by itself.
    checked = (
        ("encryption_algorithm", suite.encryption, encryption),
        ("auth_algorithm", suite.integrity, integrity),
        ("pfs", suite.group, groups),
    )
    for attribute, value, known in checked:
        if value and value not in known:
            choices = ", ".join(name for name in known if is_aead(name) == is_aead(value))
            yield _error(f"{policy}.{attribute}", f"it has no {value}: it has {choices or 'none of that kind'}")


def _groups(config: SiteConfig, device: Device) -> Iterator[PeerFinding]:
    ike, child = config.ike[0].group, config.child[0].group
    known = ike in device.ike_groups and child in device.groups
    if device.one_group and config.versions == ("v2",) and ike != child and known:
        text = f"it rekeys child SAs with the group of IKE: set it to {ike}, or pfs of the IKE policy to {child}"
        yield _error("ipsec_policy.pfs", text)


def _lifetimes(config: SiteConfig, device: Device) -> Iterator[PeerFinding]:
    if config.ike_lifetime:
        yield from _in_range("ike_policy.lifetime", config.ike_lifetime, device.ike_lifetime, "s")
    if config.child_lifetime:
        yield from _in_range("ipsec_policy.lifetime", config.child_lifetime, device.child_lifetime, "s")
    if config.child_kilobytes and device.kilobytes is None:
        yield _warning(
            "ipsec_policy.lifetime", "it has no lifetime in kilobytes: it rekeys by time, and this end by volume"
        )
    elif config.child_kilobytes and device.kilobytes:
        yield from _in_range("ipsec_policy.lifetime", config.child_kilobytes, device.kilobytes, "kilobytes")


def _in_range(attribute: str, value: int, limits: Range, unit: str) -> Iterator[PeerFinding]:
    low, high = limits
    if low == high != value:
        yield _warning(attribute, f"it is {low} {unit} there and cannot be changed; each end rekeys by its own")
    elif not low <= value <= high:
        yield _warning(
            attribute,
            f"it takes {low} to {high} {unit}, and not {value}: the nearest is written, as each end rekeys by its own",
        )


def _ends(config: SiteConfig, device: Device) -> Iterator[PeerFinding]:
    for attribute, text in (("connection.peer_id", config.local_id), ("connection.local_id", config.remote_id)):
        identity = identities.stored(text)
        known = device.identities
        if config.versions == ("v1",) and device.identities_of_v1 is not None:
            known = device.identities_of_v1
        if identity.kind not in known:
            kinds = ", ".join(sorted(_NAMES.get(kind, kind) for kind in known))
            yield _error(
                attribute,
                f"it takes identities of the types {kinds}, and not {_NAMES.get(identity.kind, identity.kind)}",
            )
        elif identity.kind == "dn" and config.auth_mode == "psk" and not device.names_with_keys:
            yield _error(attribute, "a distinguished name has no pre-shared key there: use certificates, or an FQDN")
        elif not (identity.kind == "keyid" and device.keyids_in_hex) and not device.id_text.takes(identity.text):
            yield _error(attribute, f"an identity is {device.id_text.words} there: change it at both ends")
    if config.psk is not None and not device.psk.takes(config.psk.reveal()):
        yield _error("connection.psk", f"a pre-shared key is {device.psk.words} there: change it at both ends")
    if not config.remote_address:
        yield _error("connection.local_address", "the gateway has no external address of the peer's IP version")
    if device.addresses_are_identities:
        yield from _addresses_as_identities(config)
    if not device.ipv6 and any(":" in text for text in (config.remote_address, *(left for left, _ in config.pairs))):
        yield _error("connection.peer_address", "this format is for IPv4 only, outside and in the tunnel")
    if not config.local_address:
        yield _warning("connection.peer_address", "any address may be the peer's: the device uses the one that it has")
    elif not _is_address(config.local_address):
        yield _warning(
            "connection.peer_address",
            f"this end looks for the peer by the name {config.local_address}: it has to lead to the device",
        )


def _addresses_as_identities(config: SiteConfig) -> Iterator[PeerFinding]:
    if config.remote_id != config.remote_address:
        yield _error(
            "connection.local_id", f"it knows the other end by its address alone: set it to {config.remote_address}"
        )
    if _is_address(config.local_address) and config.local_id != config.local_address:
        yield _error(
            "connection.peer_id", f"it is known by its address alone: set it to {config.local_address}, peer_address"
        )


def _is_address(text: str) -> bool:
    return identities.stored(text).kind in ("ipv4", "ipv6")


def _pairs(config: SiteConfig, device: Device) -> Iterator[PeerFinding]:
    if not config.pairs:
        yield _error("connection.peer_cidrs", "the connection has no pair of networks")
    if len(config.pairs) < 2:
        return
    if device.pairs == "one":
        yield _error("connection.peer_cidrs", "it takes one pair of networks a connection: make one for each")
    elif device.pairs == "one a child" and config.versions == ("v2",):
        yield _warning(
            "connection.peer_cidrs",
            f"it has a child SA for each of the {len(config.pairs)} pairs: this end follows, and needs nothing for it",
        )
