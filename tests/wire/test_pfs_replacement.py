"""A peer without pfs: the tunnel goes on when its key ends, in a new IKE SA, and the reason stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import msgspec
import pytest

from linkspan.lab.fabric import Ping, ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import Recorder
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NO_PFS = {"esp_proposals": ["aes128-sha256"]}
MINUTE = {"lifetime": {"units": "seconds", "value": 60}}
KILOBYTES = {"lifetime": {"units": "kilobytes", "value": 100}}
LOST = 2
"""Pings that two replacements may lose with user-space ESP, one on its way by the old SA each: without, 50 are lost."""
REASON = "the peer refuses pfs group14 at a rekey: before its key ends, a new IKE SA replaces it"


class Case(msgspec.Struct):
    """A peer without pfs; `theirs`: it initiates."""

    child: Mapping[str, Any] = msgspec.field(default_factory=lambda: NO_PFS)
    settings: Mapping[str, Any] = {}
    ipsec: Mapping[str, Any] = msgspec.field(default_factory=lambda: MINUTE)
    theirs: bool = False


CASES = {
    "no pfs": Case(),
    "another group": Case(child={"esp_proposals": ["aes128-sha256-ecp256"]}),
    "initiated by the peer": Case(theirs=True),
    "one IKE SA a peer": Case(settings={"unique": "replace"}),
    "aead": Case(child={"esp_proposals": ["aes256gcm16"]}, ipsec=MINUTE | {"encryption_algorithm": "aes-256-gcm-16"}),
    "a volume": Case(ipsec=KILOBYTES),
}


class Watched(msgspec.Struct):
    """A connection of a case while pings run; `reasons`: every reason that it showed."""

    link: Link
    peer: Peer
    wire: Recorder
    pings: Future[Ping]
    spis: set[str]
    reasons: set[tuple[str, str]]


def spis(link: Link) -> set[str]:
    return {sa["spi-in"] for sa in link.sas()}


@contextmanager
def watched(ours: Ours, new_peer: Callable[[], Peer], seconds: int) -> Iterator[dict[str, Watched]]:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(CASES)))
        cases = {}
        for name, case in CASES.items():
            peer = new_peer()
            peer.load(ours.v4, ours.psk, child=dict(case.child), **case.settings)
            if case.theirs:
                peer.cut()
            link = ours.connect(peer, ipsec=dict(case.ipsec))
            cases[name] = (link, peer)
        for name, (link, peer) in cases.items():
            if CASES[name].theirs:
                # Ours gives up its attempt at a silent peer, and the peer's comes first.
                until(lambda link=link: "initiating" not in link.reason, 30.0)  # type: ignore[misc]
                peer.heal()
                peer.initiate()
            link.wait("ACTIVE")
            link.wait_reason(REASON, 10.0)
        yield {
            name: Watched(
                link,
                peer,
                stack.enter_context(peer.recorder()),
                pool.submit(ping, ours.host, peer.in4, seconds * 50, 0.02, 1),
                spis(link),
                set(),
            )
            for name, (link, peer) in cases.items()
        }


def _has_recorded(wire: Recorder, least: int) -> bool:
    return wire.esp >= least


@pytest.mark.timeout(240)
def test_the_tunnel_goes_on_beyond_the_lifetime_of_its_key(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    """No second without it, and the reason does not change meanwhile."""
    with watched(ours, new_peer, 100) as cases:
        start = time.monotonic()
        while time.monotonic() < start + 98:
            for case in cases.values():
                shown = case.link.shown
                case.reasons.add((shown["status"], shown["status_reason"].partition(";")[0]))
            time.sleep(0.2)
        for name, case in cases.items():
            answer = case.pings.result()
            assert answer.sent - answer.received <= LOST, (name, answer)
            assert case.wire.plaintext == 0
            # The recorder reads what the kernel has kept for it.
            until(partial(_has_recorded, case.wire, 2 * answer.received), 10.0)
            assert not case.spis & spis(case.link), f"{name}: the first key is in use still"
            assert case.reasons == {("ACTIVE", REASON)}, name
            assert len(case.peer.sas()) == 1, name


@pytest.mark.timeout(180)
def test_children_of_other_connections_move_too(ours: Ours, peer: Peer) -> None:
    """The second one agrees on pfs: its child joins the IKE SA, and is made anew with a key exchange of its own."""
    second = "10.240.0.0/24"
    peer.run("ip", "address", "add", "10.240.0.1/24", "dev", "lo")
    first = {"local_ts": [peer.net4], "remote_ts": ["10.1.0.0/24"], "start_action": "none"} | NO_PFS
    other = first | {"local_ts": [second], "esp_proposals": ["aes128-sha256-modp2048"]}
    peer.load(ours.v4, ours.psk, children={"first": first, "other": other})
    refused = ours.connect(peer, ipsec=MINUTE)
    refused.wait_reason(REASON, 15.0)
    agreed = ours.connect(peer, peer_cidrs=[second])
    agreed.wait("ACTIVE")
    assert len(peer.sas()) == 1, "they share an IKE SA"
    before = spis(refused)
    with ThreadPoolExecutor(2) as pool:
        pings = [pool.submit(ping, ours.host, host, 70 * 50, 0.02, 1) for host in (peer.in4, "10.240.0.1")]
        answers = [future.result() for future in pings]
    for answer in answers:
        assert answer.sent - answer.received <= LOST, answers
    assert not before & spis(refused)
    assert [link.status for link in (refused, agreed)] == ["ACTIVE", "ACTIVE"]
    assert agreed.reason == ""


def test_an_end_that_only_waits_says_that_the_tunnel_will_end(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, child=NO_PFS)
    link = ours.connect(peer, ipsec=MINUTE, initiator="response-only")
    link.wait_reason("waits for the peer to initiate")
    peer.initiate()
    link.wait("ACTIVE")
    link.wait_reason("the peer refuses pfs group14 at a rekey: the tunnel will end with its key", 10.0)
