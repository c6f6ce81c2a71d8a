"""Rotation of a psk: the two ends change one after the other, in either order, and a tunnel is never far away."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import vici

from linkspan.drivers.ports import Unresponsive
from linkspan.lab.fabric import ping
from tests.harness.ours import Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NEW = "the key after it"
NOTE = "the previous psk is in use until the peer has the new one"
REQUEST = r"parsed (IKE_SA_INIT request 0|ID_PROT request 0 \[ SA)"
ATTEMPTS = 3
PINGS, INTERVAL = 5000, 0.005
LOST = {1: 10, 2: 3}
"""Pings that user-space ESP may lose when a child is replaced or rekeyed, by version of IKE."""
SETTLED = 3.0
"""Seconds after which an edit of both ends has had its effect."""
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
        assert (NOTE in rotation.link.reason) == (end != second), rotation.link.reason


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


class Ends:
    """The two sites of the laboratory, of which one initiates."""

    def __init__(self, world: World, version: str, initiator: str) -> None:
        self.world, self.initiator = world, initiator
        self.ids = {side: site["connection_id"] for side, site in world.lab["sites"].items()}
        for side, id in self.ids.items():
            policy = world.connection(id)["ikepolicy_id"]
            self._put("ikepolicies", "ikepolicy", policy, ike_version=f"v{version}")
            self.set(side, initiator="bi-directional" if side == initiator else "response-only")
        until(self.is_settled, 60.0, lambda: f"{self.reasons()}\n{self.world.last_words()}")

    def _put(self, path: str, singular: str, id: str, **values: Any) -> None:
        self.world.user.request("PUT", f"/v2.0/vpn/{path}/{id}", {singular: values})

    def set(self, side: str, **values: Any) -> None:
        self._put("ipsec-site-connections", "ipsec_site_connection", self.ids[side], **values)

    def is_settled(self) -> bool:
        """True if nothing changes for some seconds. One end may list two children: charon takes simultaneous IKE SAs of
        IKEv1 for a reauthentication."""
        self.wait_active()
        before = self.world.spis("left"), self.world.spis("right")
        time.sleep(SETTLED)
        return self.world.have_common_tunnel() and before == (self.world.spis("left"), self.world.spis("right"))

    def wait_active(self) -> None:
        until(self.world.have_common_tunnel, 40.0, lambda: f"{self.reasons()}\n{self.world.last_words()}")
        for id in self.ids.values():
            self.world.wait_status(id, "ACTIVE")

    def reasons(self) -> list[str]:
        return [self.world.connection(id)["status_reason"] or "" for id in self.ids.values()]

    def attempts(self) -> int:
        router = self.world.lab["sites"][self.initiator]["router_id"]
        (log,) = self.world.state.glob(f"**/gateways/{router}/charon.log")
        return len(re.findall(r"> initiating (?:Main Mode )?IKE_SA ", log.read_text()))

    def authenticate_again(self) -> tuple[int, float]:
        """End every IKE SA. Returns the attempts and seconds until there is a tunnel again."""
        began = time.monotonic()
        with self.world.charon(self.initiator) as charon:
            for sa in charon.sas():
                charon.terminate_sa(sa.unique_id)
        # What begins before is about an end that still has another IKE SA.
        before = self.attempts()
        until(self.world.have_common_tunnel, 60.0, lambda: f"{self.reasons()}\n{self.world.last_words()}")
        return self.attempts() - before, time.monotonic() - began

    def has_tunnel_again(self) -> bool:
        """The same while a charon is started."""
        with suppress(Unresponsive):
            return self.world.have_common_tunnel()
        return False


@pytest.mark.parametrize("initiator", ["left", "right"])
@pytest.mark.parametrize("version", IKE_VERSIONS)
@pytest.mark.parametrize("first", ["left", "right"])
def test_two_ends_change_one_after_the_other(world: World, first: str, version: int, initiator: str) -> None:
    ends = Ends(world, str(version), initiator)
    key = secrets.token_urlsafe(24)
    for side in (first, {"left": "right", "right": "left"}[first]):
        ends.set(side, psk=key)
        ends.wait_active()
        attempts, gap = ends.authenticate_again()
        print(f"IKEv{version}, {initiator} initiates, {side} has changed: {attempts} attempts, {gap:.2f} s")
        assert attempts <= ATTEMPTS
        if side == first:
            until(lambda: any(NOTE in reason for reason in ends.reasons()), 10.0, lambda: str(ends.reasons()))
        ends.wait_active()
    with ThreadPoolExecutor(1) as pool, world.wire() as wire:
        # Both have the new key now, and come to use it without another loss.
        pinging = pool.submit(ping, world.host("left"), "10.2.0.10", PINGS, INTERVAL)
        until(lambda: ends.reasons() == ["", ""], 60.0, lambda: f"{ends.reasons()}\n{world.last_words()}")
        answer = pinging.result()
    print(f"{answer.sent - answer.received} of {answer.sent} pings lost, {wire.tally.protected} ESP packets")
    assert wire.tally.plaintext == 0
    assert answer.sent - answer.received <= LOST[int(version)]
    assert wire.tally.protected >= 2 * answer.received, "the pings were not carried by ESP"


def test_a_restart_in_the_middle_keeps_it(world: World) -> None:
    """Of the agent, which finds the key in use by charon's names, and of charon, which has to be given one of two."""
    ends = Ends(world, "2", "left")
    ends.set("left", psk=secrets.token_urlsafe(24))
    ends.wait_active()
    ends.authenticate_again()
    until(lambda: NOTE in ends.reasons()[0], 10.0, lambda: str(ends.reasons()))
    before, agent = world.spis("left"), world.agent_pid
    os.kill(agent, signal.SIGKILL)
    until(lambda: world.agent_pid not in (0, agent), 20.0)
    until(lambda: NOTE in ends.reasons()[0] and not any("lost" in text for text in ends.reasons()), 40.0)
    assert set(before) <= set(world.spis("left")), "the tunnel goes on"
    os.kill(world.charon_pid("left"), signal.SIGKILL)
    until(ends.has_tunnel_again, 60.0, lambda: f"{ends.reasons()}")
    ends.wait_active()
    ends.set("right", psk=world.connection(ends.ids["left"])["psk"])
    until(lambda: ends.reasons() == ["", ""], 60.0, lambda: f"{ends.reasons()}\n{world.last_words()}")
