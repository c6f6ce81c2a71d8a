"""The credentials that the charon of a gateway needs for its tunnels, beside pre-shared keys. Pure.

A version that was replaced needs its own until it ends. IKEv1 is the exception: there charon takes whatever key it has
for the local identity, whichever certificate the connection names. So of two versions exactly one key is loaded: the
new one, and after the peer has refused it the previous one, with which charon rekeys what is up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from linkspan.core.ipsec.config import CertificateConfig
from linkspan.core.secret import Secret
from linkspan.core.tunnel.tunnel import Tunnel, configs


class NeededCredentials(msgspec.Struct, frozen=True):
    """`keys`: ids of private keys. `roots`: certificates of CAs that no connection is restricted to, in PEM.
    `ppks`: post-quantum keys by PPK_ID."""

    keys: frozenset[str]
    roots: frozenset[str]
    ppks: dict[str, Secret]


def needed(tunnels: Iterable[Tunnel]) -> NeededCredentials:
    """Credentials that these tunnels of one gateway need."""
    every = [tunnel for tunnel in tunnels if tunnel.config or tunnel.previous]
    used = [certificates for tunnel in every for certificates in _certificates(tunnel)]
    return NeededCredentials(
        keys=frozenset(key for tunnel in every for key in _keys(tunnel)),
        roots=frozenset(root for certificates in used for root in certificates.roots),
        ppks={ppk.id: ppk.key for tunnel in every if tunnel.config and (ppk := tunnel.connection.ppk)},
    )


def private_keys(tunnels: Iterable[Tunnel]) -> dict[str, Secret]:
    """The private keys in the desired state of these tunnels, by their ids."""
    desired = (tunnel.connection.certificates for tunnel in tunnels)
    return {each.local.key_id: each.local.private_key for each in desired if each}


def _certificates(tunnel: Tunnel) -> Iterator[CertificateConfig]:
    return (config.certificates for config in configs(tunnel) if config.certificates)


def _keys(tunnel: Tunnel) -> frozenset[str]:
    own, before = tunnel.config, tunnel.previous and tunnel.previous.config
    both = frozenset(certificates.key_id for certificates in _certificates(tunnel))
    if len(both) < 2 or not own or not before or (own.version == before.version == 2):
        return both
    is_refused = tunnel.failures > 0 and tunnel.attempt_ends_at is None
    in_use = before if is_refused and tunnel.previous and tunnel.previous.up else own
    assert in_use.certificates
    return frozenset({in_use.certificates.key_id})
