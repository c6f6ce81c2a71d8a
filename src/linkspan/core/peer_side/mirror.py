"""The other end of a connection: what its peer has to be configured with, seen from the peer.

Local and remote are swapped. What a peer is free to choose has a recommended value: it initiates only where nobody else
would, and its dead peer detection does what ours does.
"""

from __future__ import annotations

from typing import Final, Literal

from linkspan.core.addresses import canonical_host
from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.peer_side.site_config import SiteConfig, Suite
from linkspan.core.state.desired import Connection, Dpd

_Action = Literal["hold", "clear", "restart", "disabled"]
_UNSPECIFIED: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 # compared, never bound


def mirror(connection: Connection) -> SiteConfig:
    """The configuration of the peer of a connection. `local_address` is empty if any address may be the peer's, and a
    DNS name where the connection has one."""
    ike, ipsec, v1 = connection.ike, connection.ipsec, connection.ike.ike_version == "v1"
    seconds = ipsec.lifetime_units == "seconds"
    initiates = connection.initiator == "response-only"
    return SiteConfig(
        # The beginning of an id is the time, which connections made at once share.
        name=connection.name or f"linkspan {connection.id[-12:]}",
        versions=(ike.ike_version,),
        mode=ike.phase1_negotiation_mode if v1 else None,
        local_address=_host(connection.peer_address),
        remote_address=connection.local_address,
        local_id=connection.peer_id,
        remote_id=connection.local_id or connection.local_address,
        auth_mode=connection.auth_mode,
        psk=connection.psk if connection.auth_mode == "psk" else None,
        ike=(Suite(ike.encryption_algorithm, ike.auth_algorithm, ike.pfs),),
        ike_lifetime=ike.lifetime,
        protocol=ipsec.transform_protocol,
        encapsulation=ipsec.encapsulation_mode,
        child=(_child_suite(connection),),
        child_lifetime=ipsec.lifetime if seconds else None,
        child_kilobytes=None if seconds else ipsec.lifetime,
        pairs=tuple(
            (theirs, ours)
            for theirs in connection.peer_cidrs
            for ours in connection.local_cidrs
            if (":" in theirs) == (":" in ours)
        ),
        dpd_action=_dpd_action(connection.dpd, initiates),
        dpd_interval=None if connection.dpd.action == "disabled" else connection.dpd.interval,
        dpd_timeout=None if connection.dpd.action == "disabled" else connection.dpd.timeout,
        initiates=initiates,
        mtu=connection.mtu,
    )


def _host(address: str) -> str:
    return "" if address in _UNSPECIFIED else canonical_host(address)


def _child_suite(connection: Connection) -> Suite:
    ipsec = connection.ipsec
    if ipsec.transform_protocol == "ah":
        return Suite("", ipsec.auth_algorithm, ipsec.pfs)
    integrity = "" if is_aead(ipsec.encryption_algorithm) else ipsec.auth_algorithm
    return Suite(ipsec.encryption_algorithm, integrity, ipsec.pfs)


def _dpd_action(dpd: Dpd, initiates: bool) -> _Action:
    """The action of the peer. An end that alone initiates has to do so again."""
    if dpd.action == "disabled":
        return "disabled"
    if initiates or dpd.action == "restart-by-peer":
        return "restart"
    return dpd.action
