"""Rotation of a psk: ours and a plain peer's change one after the other, and a tunnel is never far away."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import vici

from linkspan.core.tunnel.key_rotation import PREVIOUS_IN_USE
from tests.harness.ours import Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NEW = "the key after it"
REQUEST = r"parsed (IKE_SA_INIT request 0|ID_PROT request 0 \[ SA)"
ATTEMPTS = 3
RETRY = 1.0
"""Seconds between two attempts of a peer."""


class PlainRotation:
    """A connection to a plain peer that changes its key by itself."""

    def __init__(self, ours: Ours, peer: Peer, version: int, ours_initiates: bool) -> None:
        self.ours, self.peer, self.version, self.ours_initiates = ours, peer, version, ours_initiates
        self.load(ours.psk)
        initiator = "bi-directional" if ours_initiates else "response-only"
        self.link = ours.connect(peer, ike={"ike_version": f"v{version}"}, initiator=initiator)
        if not ours_initiates:
            self.link.wait_reason("waits for the peer")
            peer.initiate()
        self.link.wait("ACTIVE")
        self.link.assert_pings()

    def load(self, key: str) -> None:
        self.peer.load(self.ours.v4, key, version=str(self.version))

    def change(self, end: str) -> None:
        if end == "ours":
            self.link.set(psk=NEW)
            until(lambda: self.link.status == "ACTIVE", 10.0, lambda: str(self.link.shown))
        else:
            self.load(NEW)

    def authenticate_again(self) -> tuple[int, float]:
        """Have the peer end every IKE SA. Returns attempts and seconds until there is a tunnel again."""
        before = self.requests()
        self.peer.terminate()
        began = time.monotonic()
        attempts = 0
        if self.ours_initiates:
            self.peer.wait_up(seconds=60.0)
            attempts = self.requests() - before
        else:
            attempts = self.initiate()
        gap = time.monotonic() - began
        self.link.wait("ACTIVE", 30.0)
        self.link.assert_pings()
        return attempts, gap

    def initiate(self) -> int:
        for attempt in range(1, 10):
            try:
                self.peer.initiate(seconds=3.0)
            except vici.exception.CommandException:
                self.give_up()
                time.sleep(RETRY)
            else:
                return attempt
        raise AssertionError(f"no tunnel: {self.link.shown}\n{self.peer.log[-5000:]}")

    def give_up(self) -> None:
        """In IKEv1 charon would go on with an attempt that is not answered."""
        with suppress(vici.exception.CommandException):
            self.peer.terminate()

    def requests(self) -> int:
        return len(re.findall(REQUEST, self.peer.log))


@pytest.fixture
def sites(world: World) -> Iterator[Ours]:
    """The gateway under test of a service that keeps changed keys."""
    ours = Ours(world)
    try:
        yield ours
    finally:
        ours.clear()


@pytest.fixture
def plain(sites: Ours) -> Iterator[Peer]:
    """A peer of this gateway. Its connections are removed first."""
    peer = Peer(sites.world)
    try:
        yield peer
    finally:
        sites.clear()
        peer.close()


@pytest.mark.parametrize("ours_initiates", [True, False], ids=["ours initiates", "peer initiates"])
@pytest.mark.parametrize("version", IKE_VERSIONS)
@pytest.mark.parametrize("first", ["ours", "peer"])
def test_a_plain_peer_may_have_either_key(
    sites: Ours, plain: Peer, first: str, version: int, ours_initiates: bool
) -> None:
    rotation = PlainRotation(sites, plain, int(version), ours_initiates)
    second = "peer" if first == "ours" else "ours"
    for end in (first, second):
        rotation.change(end)
        if (end, first) == ("peer", "peer"):
            # Nobody can know the peer's new key yet.
            continue
        attempts, gap = rotation.authenticate_again()
        who = "this end" if ours_initiates else "the peer"
        print(f"IKEv{version}, {who} initiates, {end} has changed: {attempts} attempts, {gap:.2f} s")
        assert attempts <= ATTEMPTS
        assert (PREVIOUS_IN_USE in rotation.link.reason) == (end != second), rotation.link.reason


@pytest.mark.parametrize("version", IKE_VERSIONS)
def test_without_the_previous_key_there_is_no_tunnel_until_both_have_changed(
    ours: Ours, peer: Peer, version: int
) -> None:
    """The control: a service with the setting 0."""
    rotation = PlainRotation(ours, peer, int(version), ours_initiates=False)
    rotation.link.set(psk=NEW)
    peer.wait_down()
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(vici.exception.CommandException):
            peer.initiate(seconds=3.0)
        rotation.give_up()
    assert rotation.link.status != "ACTIVE"
    rotation.load(NEW)
    assert rotation.initiate() == 1
    rotation.link.wait("ACTIVE")
