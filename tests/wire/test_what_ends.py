"""What ends, ends: also inside an IKE SA that several connections to one peer share.

Two connections that differ on the level of IKE have an IKE connection each, but a peer that initiates both puts both
children into one IKE SA.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable

import pytest
import vici

from linkspan.cli.client import ApiError
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours, raw_charon
from tests.harness.peer import Peer, decoded
from tests.harness.world import frozen, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NETS = {"one": "10.201.0.0/24", "two": "10.202.0.0/24", "three": "10.203.0.0/24"}
PROPOSALS = ["aes128-sha256-modp2048", "aes256-sha256-modp2048"]
HISTORIES, SHARE, ACTS = 30, 6, 4


def load(ours: Ours, peer: Peer) -> None:
    """The peer knows all three networks, and accepts both IKE policies."""
    esp = ["aes128-sha256-modp2048"]
    children = {
        name: {"local_ts": [net], "remote_ts": ["10.1.0.0/24"], "esp_proposals": esp} for name, net in NETS.items()
    }
    for net in NETS.values():
        peer.run("ip", "address", "add", f"{host(net)}/24", "dev", "lo")
    peer.load(ours.v4, ours.psk, children=children, proposals=PROPOSALS)


def host(net: str) -> str:
    return net.replace("0/24", "1")


def listed(ours: Ours) -> list[str]:
    """The names of all children that the gateway's charon lists, in whatever state."""
    with raw_charon(ours) as session:
        sas = [decoded(sa) for message in session.list_sas() for sa in message.values()]
    return [child["name"] for sa in sas for child in sa.get("child-sas", {}).values()]


def pair(ours: Ours, peer: Peer) -> tuple[Link, Link]:
    """Two connections that differ in `dpd.interval`; the peer has initiated both, inside one IKE SA."""
    load(ours, peer)
    first = ours.connect(peer, peer_cidrs=[NETS["one"]], initiator="response-only", dpd={"interval": 30})
    second = ours.connect(peer, peer_cidrs=[NETS["two"]], initiator="response-only", dpd={"interval": 20})
    for name, link in (("one", first), ("two", second)):
        until(lambda name=name: initiated(peer, name), 10.0)  # type: ignore[misc]
        link.wait("ACTIVE")
    return first, second


def is_listed(ours: Ours, link: Link) -> bool:
    return any(name.startswith(link.id) for name in listed(ours))


def gone(ours: Ours, link: Link) -> None:
    """Nothing of it is listed and nothing passes."""
    until(lambda: not is_listed(ours, link), 10.0, lambda: str(listed(ours)))
    net = link.shown["peer_cidrs"][0] if exists(ours, link) else NETS["one"]
    assert ours.ping(host(net)).received == 0


def exists(ours: Ours, link: Link) -> bool:
    try:
        ours.user.request("GET", f"{VPN}/{CONNECTIONS}/{link.id}")
    except ApiError:
        return False
    return True


@pytest.mark.parametrize("gone_first", ["first", "second"])
def test_a_disabled_connection_is_refused_and_its_sibling_is_not_touched(
    ours: Ours, peer: Peer, gone_first: str
) -> None:
    """Whichever of the two the shared IKE SA was negotiated with."""
    links = pair(ours, peer)
    ending, staying = links if gone_first == "first" else reversed(links)
    child, other = ("one", "two") if gone_first == "first" else ("two", "one")
    before = staying.sas()
    ending.set(admin_state_up=False)
    until(lambda: not is_listed(ours, ending), 10.0, lambda: str(listed(ours)))
    until(lambda: not initiated(peer, child), 10.0)
    gone(ours, ending)
    assert staying.sas() == before, "the sibling's SA has changed"
    assert ours.ping(host(NETS[other])).received == 3
    ending.set(admin_state_up=True)
    until(lambda: bool(initiated(peer, child)) and is_listed(ours, ending), 10.0)
    assert ours.ping(host(NETS[other])).received == 3


def initiated(peer: Peer, child: str) -> bool:
    try:
        peer.initiate(child, seconds=2.0)
    except vici.exception.CommandException:
        return False
    return True


def test_a_deletion_ends_what_charon_has_not_loaded_any_more(ours: Ours, peer: Peer) -> None:
    first, second = pair(ours, peer)
    ours.delete(CONNECTIONS, first.id)
    gone(ours, first)
    assert second.ours.ping(host(NETS["two"])).received == 3
    ours.delete(CONNECTIONS, second.id)
    gone(ours, second)
    for child in ("one", "two"):
        assert not initiated(peer, child)
    until(lambda: not listed_with(ours, peer), 10.0)


def listed_with(ours: Ours, peer: Peer) -> list[str]:
    with ours.charon() as charon:
        return [sa.name for sa in charon.sas() if sa.remote_address == peer.v4]


def test_a_restarted_agent_ends_what_the_peer_initiates_inside_an_ike_sa_that_stays(ours: Ours, peer: Peer) -> None:
    """It does not know the configuration of an IKE SA that was negotiated for a connection deleted meanwhile."""
    first, second = pair(ours, peer)
    pid = ours.world.agent_pid
    with frozen(pid):
        ours.delete(CONNECTIONS, first.id)
        os.kill(pid, signal.SIGKILL)
    until(lambda: not is_listed(ours, first), 20.0, lambda: str(listed(ours)))
    for _ in range(4):
        initiated(peer, "one")
        until(lambda: not is_listed(ours, first), 10.0, lambda: str(listed(ours)))
    assert not initiated(peer, "one") or not is_listed(ours, first)
    until(lambda: initiated(peer, "two") or second.status == "ACTIVE", 20.0)
    second.wait("ACTIVE")


class WireHistory:
    """A generated history of two or three connections to one peer, which initiates whatever it knows at any time."""

    def __init__(self, seed: int, ours: Ours, peer: Peer) -> None:
        self.chance = random.Random(seed)
        self.ours, self.peer = ours, peer
        self.links: dict[str, Link] = {}
        self.enabled: set[str] = set()
        self.acts: list[str] = []

    def run(self) -> None:
        for name in list(NETS)[: self.chance.choice((2, 3))]:
            self.create(name)
        self.initiate()
        for _ in range(ACTS):
            acts: list[Callable[[], None]] = [self.delete, self.toggle, self.edit, self.edit_ike, self.initiate]
            act = self.chance.choices([*acts, self.kill_agent], [4, 4, 3, 2, 4, 1])[0]
            self.acts.append(act.__name__)
            act()
            if self.chance.random() < 0.7:
                self.initiate()
            self.check()
        for name in list(self.links):
            self.delete(name)
        self.initiate()
        self.check()
        assert self.ours.ping(host(self.chance.choice(list(NETS.values()))), 1).received == 0
        until(lambda: not listed_with(self.ours, self.peer), 15.0, lambda: str(listed(self.ours)))

    def check(self) -> None:
        """All that is listed belongs to one version of an enabled connection."""
        until(lambda: not self.strays(), 10.0, lambda: f"{self.acts} {self.strays()} of {listed(self.ours)}")

    def strays(self) -> list[str]:
        own = {self.links[name].id for name in self.enabled}
        versions: dict[str, set[str]] = {}
        for child in listed(self.ours):
            id, _, tag = child.partition(".")
            versions.setdefault(id, set()).add(tag.removeprefix("+"))
        versions.pop(self.ours.world.lab["sites"]["left"]["connection_id"], None)
        return [id for id, tags in versions.items() if id not in own or len(tags) > 1]

    # -- acts ----------------------------------------------------------------------------------------------------

    def create(self, name: str) -> None:
        dpd = {"interval": self.chance.choice((20, 25, 30))}
        initiator = self.chance.choice(("bi-directional", "response-only"))
        self.links[name] = self.ours.connect(self.peer, peer_cidrs=[NETS[name]], initiator=initiator, dpd=dpd)
        self.enabled.add(name)

    def initiate(self) -> None:
        for name in self.chance.sample(list(NETS), len(NETS)):
            with contextlib.suppress(vici.exception.CommandException):
                self.peer.initiate(name, seconds=0.5)

    def delete(self, name: str = "") -> None:
        name = name or self.any()
        if name:
            self.ours.delete(CONNECTIONS, self.links.pop(name).id)
            self.enabled.discard(name)

    def toggle(self) -> None:
        if name := self.any():
            self.enabled ^= {name}
            self.links[name].set(admin_state_up=name in self.enabled)

    def edit(self) -> None:
        if name := self.any():
            self.links[name].set(dpd={"interval": self.chance.choice((15, 20, 25, 30)), "timeout": 120})

    def edit_ike(self) -> None:
        if name := self.any():
            self.links[name].set_ike(encryption_algorithm=self.chance.choice(("aes-128", "aes-256")))

    def kill_agent(self) -> None:
        pid = self.ours.world.agent_pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.ours.world.agent_pid not in (0, pid), 10.0)

    def any(self) -> str:
        return self.chance.choice(list(self.links)) if self.links else ""


@pytest.mark.parametrize("first", range(0, HISTORIES, SHARE))
def test_whatever_the_peer_initiates_only_what_is_desired_is_listed(ours: Ours, peer: Peer, first: int) -> None:
    load(ours, peer)
    for seed in range(first, first + SHARE):
        WireHistory(seed, ours, peer).run()
        with contextlib.suppress(vici.exception.CommandException):
            peer.terminate()
