"""Peers that narrow the traffic selectors: to one pair in each child SA, or to a part of what the connection wants.

A peer that takes one pair a child carries all pairs, whoever initiates. What a peer does not carry is in the reason,
and is asked for again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import pytest
from vici.exception import CommandException

from tests.harness.ours import LOCAL4, Link, Ours
from tests.harness.peer import Message, Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until
from tests.wire.conftest import ANNEX4, Annex
from tests.wire.test_selectors import assert_blocked, assert_passes

pytestmark = [pytest.mark.wire, pytest.mark.root]

ESP = {"esp_proposals": ["aes128-sha256-modp2048"]}

Pair = tuple[str, str]
"""A network behind the peer, and one behind the gateway."""


class ThreeNetworks:
    """A peer with three networks, and the gateway's two: six pairs. `ways`: a host and an address for each of them."""

    def __init__(self, ours: Ours, peer: Peer, annex: Annex) -> None:
        prefix = peer.net4.removesuffix(".0.0/24")
        self.networks = [peer.net4, f"{prefix}.1.0/24", f"{prefix}.2.0/24"]
        addresses = [network.replace(".0/24", ".1") for network in self.networks]
        for address in addresses[1:]:
            peer.run("ip", "address", "add", f"{address}/24", "dev", "lo")
        self.pairs = [(remote, local) for local in (LOCAL4, ANNEX4) for remote in self.networks]
        self.ways = [(host, address) for host in (ours.host, annex.host) for address in addresses]
        self.ours, self.peer = ours, peer
        self.groups = {
            "local_ep_group_id": ours.create(
                "endpoint-groups", type="subnet", endpoints=[ours.subnets[4], annex.subnets[4]]
            ),
            "peer_ep_group_id": ours.create("endpoint-groups", type="cidr", endpoints=self.networks),
        }

    def load(self, *proposals: str) -> None:
        """Load the peer with a child for each pair."""
        esp = {"esp_proposals": list(proposals)} if proposals else ESP
        children: dict[str, Message] = {
            f"net{number}": {"local_ts": [remote], "remote_ts": [local], **esp}
            for number, (remote, local) in enumerate(self.pairs)
        }
        self.peer.load(self.ours.v4, self.ours.psk, children=children)

    def connect(self, **values: Any) -> Link:
        return self.ours.connect(self.peer, local=[4], peers=self.networks, **self.groups | values)

    def carried(self) -> list[Pair]:
        """Return the pairs of the peer's child SAs, each as often as it has one for it."""
        return sorted((child["local-ts"][0], child["remote-ts"][0]) for child in self.peer.children())

    def wait_complete(self, link: Link, seconds: float = 20.0) -> None:
        """Wait until the peer has exactly one child SA for each pair, and the connection is ACTIVE without a reason."""
        until(
            lambda: self.carried() == sorted(self.pairs) and (link.status, link.reason) == ("ACTIVE", ""),
            seconds,
            lambda: f"{self.carried()}\n{link.shown}\n{self.peer.log[-3000:]}",
        )


@pytest.fixture
def three(ours: Ours, peer: Peer, annex: Annex) -> ThreeNetworks:
    return ThreeNetworks(ours, peer, annex)


def test_a_peer_that_takes_one_pair_a_child_carries_all_pairs(three: ThreeNetworks) -> None:
    """It comes up so again after the peer was restarted, and is not disturbed by a restart of the agent."""
    three.load()
    link = three.connect()
    three.wait_complete(link)
    assert_passes(three.peer, *three.ways)
    three.peer.restart()
    three.load()
    link.set(dpd={"action": "restart", "interval": 1, "timeout": 3})
    three.wait_complete(link, 40.0)
    assert_passes(three.peer, *three.ways)
    spis = {sa["spi-in"] for sa in link.sas()}
    world = three.ours.world
    before = world.agent_pid
    os.kill(before, signal.SIGKILL)
    until(lambda: world.agent_pid not in (0, before), 30.0)
    name = link.set(description="read by the new agent")["description"]
    assert name == "read by the new agent"
    three.wait_complete(link)
    assert_passes(three.peer, *three.ways)
    assert {sa["spi-in"] for sa in link.sas()} == spis


@pytest.mark.parametrize("initiator", ["response-only", "bi-directional"])
def test_a_peer_that_initiates_one_child_a_pair(three: ThreeNetworks, initiator: str) -> None:
    """A response-only connection says how many pairs are up until the peer has initiated all of them."""
    three.peer.cut()
    three.load()
    link = three.connect(initiator=initiator)
    until(lambda: link.reason != "", 20.0)
    three.peer.heal()
    if initiator == "response-only":
        three.peer.initiate("net0")
        link.wait_reason("1 of 6 pairs of networks are up", 10.0)
        assert_blocked(three.peer, three.ways[1])
    for number in range(6):
        # Both ends may ask for the same pair at once, and the peer's charon refuses one that is up.
        with contextlib.suppress(CommandException):
            three.peer.initiate(f"net{number}")
    three.wait_complete(link, 40.0)
    assert_passes(three.peer, *three.ways)


def key_sizes(peer: Peer) -> set[str]:
    return {child["encr-keysize"] for child in peer.children()}


def test_an_edit_replaces_all_children(three: ThreeNetworks) -> None:
    """Of the algorithms and of the networks; the children of one list are of one version."""
    stronger = "aes256-sha512-ecp256"
    less = three.ours.create("endpoint-groups", type="cidr", endpoints=three.networks[1:])
    three.load("aes128-sha256-modp2048", stronger)
    link = three.connect()
    three.wait_complete(link)
    link.set_ipsec(encryption_algorithm="aes-256", auth_algorithm="sha512", pfs="group19")
    until(lambda: key_sizes(three.peer) == {"256"}, 20.0, lambda: f"{three.peer.children()}\n{link.shown}")
    three.wait_complete(link)
    assert_passes(three.peer, *three.ways)
    spis = {sa["spi-in"] for sa in link.sas()}
    link.set(peer_ep_group_id=less)
    three.pairs = [(remote, local) for remote, local in three.pairs if remote != three.peer.net4]
    three.wait_complete(link)
    assert len({sa["spi-in"] for sa in link.sas()} & spis) >= 3, "a pair that stays was renegotiated"
    assert_blocked(three.peer, three.ways[0], three.ways[3])
    assert_passes(three.peer, three.ways[1], three.ways[5])
    link.set(admin_state_up=False)
    until(lambda: three.peer.children() == [], 10.0, lambda: str(three.peer.sas()))


PARTS = {
    "one network": ({}, "1 of 2", "({net} missing)"),
    "half of a network": ({"local_ts": ["{half}", "{more}"]}, "1 of 2", "(only {local} - {half})"),
    "one host": ({"local_ts": ["{host}/32", "{more}"]}, "1 of 2", "(only {local} - {host}/32)"),
    "a range": ({"local_ts": ["{prefix}.0-{prefix}.9", "{more}"]}, "1 of 2", "(only {local} - {prefix}.0..{prefix}.9)"),
    "one protocol": ({"local_ts": ["{net}[icmp]", "{more}[icmp]"]}, "0 of 2", "(only {local} - {net}[icmp])"),
    "one port": ({"local_ts": ["{net}[tcp/8472]", "{more}"]}, "1 of 2", "(only {local} - {net}[tcp/8472])"),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_the_peer_does_not_carry_is_in_the_reason_and_asked_for_again(ours: Ours, peer: Peer, part: str) -> None:
    """After the peer was mended, a rekey brings the rest; the narrower child does not stay beside it."""
    prefix = peer.net4.removesuffix(".0/24")
    more = f"{prefix.removesuffix('.0')}.1.0/24"
    peer.run("ip", "address", "add", more.replace(".0/24", ".1/24"), "dev", "lo")
    names = {"net": peer.net4, "more": more, "half": f"{prefix}.0/25", "host": peer.in4, "prefix": prefix}
    narrowed, count, words = PARTS[part]
    child = {key: [text.format(**names) for text in value] for key, value in narrowed.items()}
    peer.load(ours.v4, ours.psk, child=child)
    link = ours.connect(peer, peer_cidrs=[peer.net4, more])
    reason = link.wait_reason(f"{count} pairs of networks are up; missing: ", 20.0)
    expected = f"{LOCAL4} - {more}" if part == "one network" else words.format(local=LOCAL4, **names)
    assert expected in reason
    assert link.status == "ACTIVE"
    until(lambda: peer.log.count("CREATE_CHILD_SA request") >= 3, 20.0, lambda: peer.log[-3000:])
    until(lambda: len(peer.children()) == 1, 10.0, lambda: str(peer.children()))
    peer.load(ours.v4, ours.psk, child={"local_ts": [peer.net4, more]})
    with peer.session() as session:
        list(session.rekey({"child": "net"}))
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 30.0, lambda: f"{link.shown} {peer.children()}")
    assert_passes(peer, (ours.host, peer.in4), (ours.host, more.replace(".0/24", ".1")))
    carried = [(child["local-ts"], child["remote-ts"]) for child in peer.children()]
    assert ([f"{prefix}.0/25"], [LOCAL4]) not in carried


@needs_ikev1
def test_ikev1_says_and_asks_alike(ours: Ours, peer: Peer) -> None:
    half = peer.net4.replace("/24", "/25")
    peer.load(ours.v4, ours.psk, version="1", child={"local_ts": [half]})
    link = ours.connect(peer, ike={"ike_version": "v1"})
    link.wait_reason(f"(only {LOCAL4} - {half})", 20.0)
    peer.load(ours.v4, ours.psk, version="1")
    with peer.session() as session:
        list(session.rekey({"child": "net"}))
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 30.0, lambda: f"{link.shown} {peer.children()}")
    assert_passes(peer, (ours.host, peer.in4))
