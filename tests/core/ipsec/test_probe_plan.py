"""The limits of a probe: the connection's own peer and networks, and inside only what is guarded and carried."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import probe_plan
from linkspan.core.ipsec.probe_plan import InsidePlan
from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.state.desired import Connection
from linkspan.core.state.live_facts import LiveFacts
from tests.core.diagnosis.test_layers import CHILD, DOWN, IKE_SA, UP
from tests.core.samples import CONNECTION, GATEWAY

replace = msgspec.structs.replace
OTHER = "2d1c7c3e-6a55-4b8c-9a56-2f6f5a9f0b22"


def edited(**changes: Any) -> Connection:
    """The sample with changes."""
    return replace(CONNECTION, **changes)


def carrying(*remote: str, state: str = "INSTALLED", local: str = "10.1.0.0/24") -> LiveFacts:
    """Facts with a child SA to these networks."""
    child = replace(CHILD, state=state, local_selectors=(local,), remote_selectors=remote)
    return replace(UP, ike_sas=(replace(IKE_SA, children=(child,)),))


def inside(
    of: Connection,
    target: str = "",
    facts: LiveFacts | None = None,
    guarded: frozenset[SelectorPair] | None = None,
    others: tuple[Connection, ...] = (),
) -> InsidePlan:
    """The plan, by default of a tunnel whose pairs are all guarded and carried."""
    guarded = pairs(of) if guarded is None else guarded
    facts = carrying(*of.peer_cidrs) if facts is None else facts
    return probe_plan.inside_plan(of, facts, GATEWAY, guarded, (of, *others), 1400, target)


def test_the_first_host_of_the_smallest_network_is_chosen() -> None:
    assert inside(edited()) == InsidePlan("10.1.0.1", "10.2.0.1", 1400)
    several = edited(peer_cidrs=("10.0.0.0/8", "10.3.0.0/24", "10.4.0.7/32"))
    assert inside(several).target == "10.4.0.7"
    assert "name one as 'target'" in inside(edited(peer_cidrs=("0.0.0.0/0",))).refusal
    assert inside(edited(peer_cidrs=("0.0.0.0/0",)), "10.9.0.1").refusal == ""


@pytest.mark.parametrize("target", ["10.3.0.1", "198.51.100.2", "127.0.0.1", "fd00::1", "10.1.0.1"])
def test_no_other_address_is_a_target(target: str) -> None:
    plan = inside(edited(), target)
    assert plan.refusal == f"{target} is in none of the peer networks (10.2.0.0/24)"
    assert inside(edited(), "10.2.0.200").refusal == "", "the control"


def test_nothing_is_sent_inside_that_is_not_guarded() -> None:
    assert "leak guard" in inside(edited(), guarded=frozenset()).refusal
    assert "leak guard" in inside(edited(), guarded=frozenset({SelectorPair("10.1.0.0/24", "10.3.0.0/24")})).refusal


@pytest.mark.parametrize(
    "facts",
    [
        DOWN,
        carrying("10.2.0.0/24", state="DELETED"),
        carrying("10.3.0.0/24"),
        carrying("10.2.0.0/24[udp/53]"),
        carrying("10.2.0.2..10.2.0.9"),
        carrying("10.2.0.0/24", local="10.1.7.0/24"),
    ],
)
def test_nothing_is_sent_inside_that_no_child_carries(facts: LiveFacts) -> None:
    assert "no child SA carries packets from 10.1.0.1 to 10.2.0.1" in inside(edited(), facts=facts).refusal
    assert inside(edited(), facts=carrying("10.2.0.1..10.2.0.9")).refusal == "", "the control"


def test_what_another_connection_carries_is_not_sent() -> None:
    nearer = replace(CONNECTION, id=OTHER, name="branch", peer_address="198.51.100.9", peer_cidrs=("10.2.0.0/28",))
    assert "another connection, 'branch'" in inside(edited(), others=(nearer,)).refusal
    assert inside(edited(), "10.2.0.77", others=(nearer,)).refusal == ""
    assert inside(edited(), others=(replace(nearer, peer_cidrs=("10.0.0.0/8",)),)).refusal == ""


def test_a_tunnel_of_the_gateways_themselves_is_left_to_charon() -> None:
    between = edited(local_cidrs=("198.51.100.1/32",), peer_cidrs=("198.51.100.2/32",))
    assert "only charon's own packets" in probe_plan.path_refusal(between)
    assert inside(between).refusal
    assert probe_plan.path_refusal(CONNECTION) == ""


def test_a_connection_that_is_disabled_or_has_no_peer_sends_nothing() -> None:
    assert probe_plan.refusal(edited(), "") == ""
    assert "down by request" in probe_plan.refusal(edited(enabled=False), "")
    assert "the peer's name has no address" in probe_plan.refusal(edited(peer_address="peer.example.org"), "")
