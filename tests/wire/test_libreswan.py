"""libreswan as the peer: it takes one pair of selectors in each child SA, and all pairs are carried.

It needs ESP in the kernel and the unpacked packages: tests/kernel/test_libreswan_kernel.py runs these tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from linkspan.core.tunnel.listing import DUPLICATE
from tests.harness.libreswan import VARIABLE, Libreswan
from tests.harness.ours import HOST4, LOCAL4, Link, Ours
from tests.harness.world import World, until
from tests.wire.conftest import ANNEX4, Annex
from tests.wire.test_narrowed_selectors import ThreeNetworks
from tests.wire.test_selectors import assert_passes

pytestmark = [
    pytest.mark.wire,
    pytest.mark.root,
    pytest.mark.skipif(VARIABLE not in os.environ, reason="tests/kernel/test_libreswan_kernel.py runs it"),
]


@pytest.fixture
def libreswan(service: World, ours: Ours) -> Iterator[Libreswan]:
    peer = Libreswan(service)
    try:
        yield peer
    finally:
        ours.clear()
        peer.close()


def carried(link: Link) -> list[tuple[list[str], list[str]]]:
    """Return the selectors of each child SA, those of the peer first."""
    return sorted((child["remote-ts"], child["local-ts"]) for child in link.listed())


def assert_answered(peer: Libreswan, source: str, destination: str) -> None:
    """Assert that pings from one of the peer's addresses pass, only as ESP."""
    with peer.recorder() as seen:
        output = peer.run("ping", "-q", "-c", "3", "-i", "0.05", "-W", "2", "-I", source, destination)
    assert " 3 received" in output
    assert (seen.esp >= 6, seen.plaintext) == (True, 0)


@pytest.mark.parametrize("initiator", ["ours", "theirs"])
def test_libreswan_carries_all_pairs(ours: Ours, libreswan: Libreswan, annex: Annex, initiator: str) -> None:
    three = ThreeNetworks(ours, libreswan, annex)
    libreswan.load_pairs(ours.v4, ours.psk, three.networks, [LOCAL4, ANNEX4])
    link = three.connect(initiator="bi-directional" if initiator == "ours" else "response-only")
    if initiator == "theirs":
        link.wait_reason("waits for the peer to initiate")
        libreswan.initiate_all()
    expected = sorted(([remote], [local]) for remote, local in three.pairs)
    until(
        lambda: carried(link) == expected and (link.status, link.reason) == ("ACTIVE", ""),
        30.0,
        lambda: f"{carried(link)}\n{link.shown}\n{libreswan.log[-3000:]}",
    )
    if initiator == "theirs":
        # Children of one name would be ended as duplicates by now, if they had equal selectors.
        until(lambda: min(int(child["install-time"]) for child in link.listed()) > DUPLICATE + 2, 20.0)
        assert carried(link) == expected
    assert_passes(libreswan, *three.ways)
    for network in three.networks:
        for host in (HOST4, HOST4.replace("10.1.", "10.11.")):
            assert_answered(libreswan, network.replace(".0/24", ".1"), host)
