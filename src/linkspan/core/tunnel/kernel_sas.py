"""Child SAs that charon lists and the kernel has lost, because another program flushed its states or policies. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.tunnel.actions import DeleteIkeSa, Rekey
from linkspan.core.tunnel.coverage import selector_pairs
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from linkspan.core.tunnel.tunnel import Tunnels


class KernelSas(msgspec.Struct, frozen=True):
    """What the kernel has: the SPIs of its states, and source and destination of its outbound policies."""

    spis: frozenset[int]
    outbound: frozenset[SelectorPair]


LostChildren = Sequence[tuple[IkeSa, ChildSa]]


def lost_children(sas: Iterable[IkeSa], kernel: KernelSas) -> LostChildren:
    """The installed children without a state or a policy in the kernel.

    A policy belongs to whichever child has these selectors, so that a spare has one too. Selectors with protocols,
    ports or ranges are not compared.
    """
    return [
        (sa, child) for sa in sas for child in sa.children if child.state == "INSTALLED" and _is_lost(child, kernel)
    ]


def still_installed(lost: LostChildren, sas: Iterable[IkeSa]) -> LostChildren:
    """The lost children that charon lists as installed after the kernel was read, too.

    charon may have rekeyed or deleted the others between its listing and the kernel's.
    """
    installed = {_identity(child) for sa in sas for child in sa.children if child.state == "INSTALLED"}
    return [(sa, child) for sa, child in lost if _identity(child) in installed]


def mend(lost: LostChildren, tunnels: Tunnels) -> list[Rekey | DeleteIkeSa]:
    """What brings the lost children back: a rekey, which installs everything anew.

    A response-only connection of IKEv1 must not initiate one. There the IKE SA is deleted, so that the peer initiates.
    """
    actions: list[Rekey | DeleteIkeSa] = []
    for sa, child in lost:
        tunnel = tunnels.get(ipsec_config.owner_of(child.name))
        waits = tunnel is not None and tunnel.connection.initiator == "response-only"
        is_v1 = tunnel is not None and tunnel.config is not None and tunnel.config.version == 1
        actions.append(DeleteIkeSa(sa.unique_id) if waits and is_v1 else Rekey(child.unique_id))
    return list(dict.fromkeys(actions))


def remote_networks(sas: Iterable[IkeSa]) -> frozenset[str]:
    """The remote networks of the installed children."""
    return frozenset(pair.remote for sa in sas for child in sa.children if child.carries for pair in _comparable(child))


def _identity(child: ChildSa) -> tuple[int, str, str]:
    return child.unique_id, child.spi_in, child.spi_out


def _is_lost(child: ChildSa, kernel: KernelSas) -> bool:
    spis = {int(spi, 16) for spi in (child.spi_in, child.spi_out) if spi}
    return not spis <= kernel.spis or any(pair not in kernel.outbound for pair in _comparable(child))


def _comparable(child: ChildSa) -> Iterator[SelectorPair]:
    return (pair for pair in selector_pairs(child) if _is_network(pair.local) and _is_network(pair.remote))


def _is_network(selector: str) -> bool:
    return "[" not in selector and ".." not in selector
