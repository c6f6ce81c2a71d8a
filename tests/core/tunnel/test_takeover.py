"""Takeovers: what goes on until a successor is up, what only keeps its SAs, and what has moved for good."""

from __future__ import annotations

from typing import Any

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import reconcile, takeover
from linkspan.core.tunnel.reconcile import Plan
from linkspan.core.tunnel.reports import report
from linkspan.core.tunnel.takeover import Seen
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import connection

_set = msgspec.structs.replace
OLD = connection(id="old", name="old", created_at=1.0, peer_cidrs=("10.8.0.0/24", "10.9.0.0/24"))
EQUAL = _set(OLD, id="new", name="new", created_at=2.0, mtu=1300)
PART = _set(EQUAL, peer_cidrs=("10.9.0.0/24",))
OTHER_KEY = _set(EQUAL, psk=Secret("another"), psk_ref="another")
SLOW = _set(EQUAL, dpd=_set(OLD.dpd, interval=7))
OTHER_IKE = _set(EQUAL, ike=_set(OLD.ike, encryption_algorithm="aes-256"))


class Node:
    """A gateway that carries out its plans at once. What is named in `up` comes up."""

    def __init__(self) -> None:
        self.tunnels: dict[str, Tunnel] = {}
        self.loaded: dict[str, frozenset[str]] = {}

    def plan(self, *connections: Connection, seen: Seen = Seen(), gone: Any = ()) -> Plan:  # noqa: B008 # frozen
        desired = {entry.id: entry for entry in connections}
        plan = reconcile.reconcile(self.tunnels, desired, gone, self.loaded, "user-space", seen=seen)
        self.loaded |= {config.name: frozenset(child.name for child in config.children) for config in plan.load}
        self.loaded = {name: held for name, held in self.loaded.items() if name not in plan.unload}
        self.tunnels = {id: _set(tunnel, applied=True) for id, tunnel in plan.tunnels.items()}
        return plan

    def come_up(self, id: str) -> None:
        tunnel = self.tunnels[id]
        assert tunnel.config
        self.tunnels[id] = _set(tunnel, up=frozenset(child.name for child in tunnel.config.children), previous=None)

    def go_down(self, id: str) -> None:
        self.tunnels[id] = _set(self.tunnels[id], up=frozenset())

    def reason(self, id: str) -> tuple[str, str]:
        shown = report(self.tunnels[id], 1)
        assert shown
        return shown.state, shown.reason


def node(*later: Connection) -> Node:
    """A node whose older connection is up, and has got these newer ones."""
    made = Node()
    made.plan(OLD)
    made.come_up("old")
    made.plan(OLD, *later)
    return made


def test_the_older_one_goes_on_until_the_newer_one_is_up_and_no_longer() -> None:
    made = node(EQUAL)
    assert made.reason("old") == ("up", "will be superseded by new (new) once that is up")
    assert made.reason("new") == ("down", "until it is up, old (old) goes on")
    made.come_up("new")
    plan = made.plan(OLD, EQUAL, seen=Seen(unsettled=frozenset({"new"})))
    assert made.reason("old")[0] == "up", "the peer may not use the newer one yet"
    assert report(made.tunnels["new"], 1) is None, "a client would delete the older one"
    plan = made.plan(OLD, EQUAL)
    assert made.reason("new") == ("up", "")
    assert made.reason("old") == ("disabled", "superseded by new (new)")
    assert not [child for child in plan.needed.children if child.startswith("old")]
    # It has moved for good: the newer one is in charge also while its tunnel is down.
    made.go_down("new")
    made.plan(OLD, EQUAL)
    assert made.reason("old") == ("disabled", "superseded by new (new)")
    for back in ((OLD,), (OLD, _set(EQUAL, enabled=False, revision=2))):
        made.plan(*back, gone={"new"} - {entry.id for entry in back})
        assert made.tunnels["old"].config == ipsec_config.build(OLD)
        made.come_up("old")


def test_the_two_ends_do_not_end_anything_at_the_same_time() -> None:
    far = _set(EQUAL, local_address=EQUAL.peer_address, peer_address=EQUAL.local_address)
    assert takeover.overlap(EQUAL, {}) < takeover.overlap(far, {})
    assert takeover.overlap(far, {}) < takeover.settled(EQUAL) < takeover.settled(far)
    # The SAs of another key are the older connection's at both ends.
    old = _set(node(OTHER_KEY).tunnels["old"], connection=_set(far, id="old"))
    assert takeover.overlap(far, {"old": old}) == takeover.overlap(EQUAL, {})


def test_an_outdated_ike_connection_takes_what_is_desired_now() -> None:
    """Its peer may use it for anything: a responder takes the first IKE connection that matches."""
    made = node(SLOW)
    made.come_up("new")
    first = ipsec_config.build(OLD).name
    made.plan(OLD, SLOW)
    # The child of the newer one is in an IKE SA of the older one, whose IKE connection stays for it.
    new = {child.name for child in ipsec_config.build(SLOW).children}
    made.loaded |= {first: frozenset(new)}
    last = _set(SLOW, id="top", name="top", created_at=3.0, ipsec=_set(OLD.ipsec, encryption_algorithm="aes-256"))
    top = {child.name for child in ipsec_config.build(last).children}

    def refreshed(known: IkeConfig) -> list[set[str]]:
        desired = {entry.id: entry for entry in (OLD, SLOW, last)}
        seen = Seen(configs={first: known})
        plan = reconcile.reconcile(made.tunnels, desired, (), made.loaded, "user-space", seen=seen)
        return [{child.name for child in config.children} for config in plan.load if config.name == first]

    assert refreshed(ipsec_config.build(OLD)) == [new | top]
    # The peer can distinguish this one from the newest one, which comes up by its own.
    assert refreshed(_set(ipsec_config.build(OTHER_IKE), name=first)) == []


def test_with_another_key_no_outdated_ike_connection_stays() -> None:
    made = node(SLOW)
    made.come_up("new")
    first, second = ipsec_config.build(OLD).name, ipsec_config.build(SLOW).name
    made.plan(OLD, SLOW)
    made.loaded |= {first: made.loaded[second]}
    plan = made.plan(OLD, SLOW, _set(OTHER_KEY, id="top", name="top", created_at=3.0))
    assert plan.park >= {first, second}
    assert made.loaded.keys() == {ipsec_config.build(OTHER_KEY).name}


def test_only_what_overlaps_moves() -> None:
    made = node(PART)
    made.come_up("new")
    made.plan(OLD, PART)
    tunnel = made.tunnels["old"]
    assert tunnel.config
    assert [child.remote_ts for child in tunnel.config.children] == [("10.8.0.0/24",)]
    assert tunnel.previous, "its own tunnel is replaced as by an edit"
    assert made.reason("old") == ("up", "1 of 2 pairs of networks superseded by new (new)")


def test_with_another_key_the_older_one_keeps_its_sas_and_is_not_loaded() -> None:
    made = node(OTHER_KEY)
    old, new = ipsec_config.build(OLD), ipsec_config.build(OTHER_KEY)
    assert made.loaded.keys() == {new.name}
    plan = made.plan(OLD, OTHER_KEY)
    assert {child.name for child in old.children} <= plan.needed.children
    assert made.tunnels["old"].keeping
    assert made.reason("old") == ("up", "will be superseded by new (new) once that is up")
    # Without SAs it is over.
    made.go_down("old")
    made.plan(OLD, OTHER_KEY)
    assert made.reason("old") == ("disabled", "superseded by new (new)")
    # Its key comes back with it.
    made.plan(OLD, gone={"new"})
    assert made.loaded.keys() == {old.name}
    assert made.tunnels["old"].connection.psk == OLD.psk


def test_an_agent_that_is_started_again_comes_to_the_same_result() -> None:
    for later in (EQUAL, OTHER_KEY, SLOW, OTHER_IKE):
        made = node(later)
        running = frozenset(child.name for child in ipsec_config.build(OLD).children)
        made.tunnels = {}
        made.plan(OLD, later, seen=Seen(running))
        made.come_up("old")
        assert made.reason("old") == ("up", "will be superseded by new (new) once that is up"), later
        made.tunnels = {}
        made.plan(OLD, later, seen=Seen(frozenset(child.name for child in ipsec_config.build(later).children)))
        assert made.reason("old") == ("disabled", "superseded by new (new)"), later


def test_children_are_in_the_ike_connections_by_which_they_may_come_up() -> None:
    """The newer one's first; and where the peer can distinguish the two, each only in its own."""

    def held(later: Connection) -> dict[str, list[str]]:
        made = Node()
        made.plan(OLD)
        made.come_up("old")
        plan = made.plan(OLD, later)
        assert not plan.unload
        known = {ipsec_config.build(OLD).name: "old", ipsec_config.build(later).name: "new"}
        return {known[config.name]: [child.name[:3] for child in config.children] for config in plan.load}

    assert held(EQUAL) == {"new": ["new", "old"]}
    assert held(SLOW) == {"old": ["new", "old"], "new": ["new", "old"]}
    assert held(OTHER_IKE) == {"new": ["new"]}


def test_a_response_only_successor_uses_the_ike_sa_that_is_there() -> None:
    for later, ike in ((EQUAL, OLD), (SLOW, OLD), (OTHER_IKE, None), (OTHER_KEY, None)):
        made = node(_set(later, initiator="response-only"))
        assert made.tunnels["new"].joining == (ipsec_config.build(ike).name if ike else ""), later
    made, v1 = Node(), _set(OLD.ike, ike_version="v1")
    made.plan(_set(OLD, ike=v1))
    made.come_up("old")
    made.plan(_set(OLD, ike=v1), _set(EQUAL, ike=v1, initiator="response-only"))
    assert made.tunnels["new"].joining == "", "response-only IKEv1 never initiates"


def test_what_the_node_cannot_run_supersedes_nothing() -> None:
    ah = _set(EQUAL, ipsec=_set(OLD.ipsec, transform_protocol="ah"))
    made = node(ah)
    assert made.reason("old") == ("up", "")
    assert made.reason("new")[0] == "error"
    fresh = Node()
    fresh.plan(OLD, ah)
    assert fresh.tunnels["old"].config


def test_a_chain_of_three() -> None:
    last = _set(EQUAL, id="top", name="top", created_at=3.0)
    made = node(EQUAL, last)
    assert made.reason("old") == ("up", "will be superseded by top (top) once that is up")
    (config,) = [name for name in made.loaded if name == ipsec_config.build(OLD).name]
    made.come_up("top")
    made.plan(OLD, EQUAL, last)
    assert made.reason("old") == made.reason("new") == ("disabled", "superseded by top (top)")
    # The one in the middle is deleted: nothing moves.
    made.plan(OLD, last, gone={"new"})
    assert made.reason("old") == ("disabled", "superseded by top (top)")
    made.plan(OLD, gone={"top"})
    assert made.loaded.keys() == {config}
    # A connection that is enabled while its successor is in charge does not start.
    made = Node()
    made.plan(_set(OLD, enabled=False), EQUAL)
    made.plan(_set(OLD, revision=2), EQUAL)
    assert made.reason("old") == ("disabled", "superseded by new (new)")
