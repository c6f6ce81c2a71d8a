"""Signs that a peer is not there: ICMP errors between two real namespaces, also more of them than anybody may cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from linkspan.drivers.gateway.peer_signs import PAUSE, IcmpPeerSigns
from tests.drivers.gateway.icmp_ends import NETWORKS, ends, send
from tests.drivers.machine import eventually

__all__ = ["ends"]

PEER4, PEER6 = (addresses[1] for addresses in NETWORKS.values())


@contextmanager
def watched(near: str) -> Iterator[tuple[IcmpPeerSigns, list[frozenset[str]]]]:
    """The signs in one namespace, and those that were delivered so far."""
    signs, delivered = IcmpPeerSigns(lambda _: near), list[frozenset[str]]()
    signs.watch("gateway", delivered.append)
    try:
        yield signs, delivered
    finally:
        signs.forget("gateway")


@pytest.mark.root
@pytest.mark.parametrize("peer", [PEER4, PEER6])
def test_a_closed_port_is_a_sign_and_explains_the_silence(ends: tuple[str, str], peer: str) -> None:
    near, _ = ends
    with watched(near) as (signs, delivered):
        send(near, peer, 9)
        send(near, peer, 4500)
        eventually(lambda: delivered == [frozenset({peer})])
        assert signs.about("gateway", peer) == ("PEER_PORT_CLOSED", peer)
        assert signs.about("other", peer) is None


@pytest.mark.root
def test_nothing_is_delivered_after_the_end_of_the_watch(ends: tuple[str, str]) -> None:
    near, _ = ends
    with watched(near) as (signs, delivered), watched(near) as (_, control):
        signs.forget("gateway")
        send(near, PEER4, 500)
        eventually(lambda: bool(control))
        assert delivered == []
        assert signs.about("gateway", PEER4) is None


@pytest.mark.root
def test_many_errors_are_read_a_few_times_a_second(ends: tuple[str, str]) -> None:
    """IPv4 and IPv6 each. The kernel of the far end sends a few errors a second only."""
    near, _ = ends
    start = time.monotonic()
    with watched(near) as (_, delivered):
        while len(delivered) < 4:
            send(near, PEER4, 500)
            send(near, PEER6, 500)
            time.sleep(0.001)
        assert len(delivered) <= 2 * (1 + (time.monotonic() - start) / PAUSE)
