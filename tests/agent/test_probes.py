"""Probes on the worker of a gateway: sent beside its work, answered once, and kept for diagnoses."""

from __future__ import annotations

import queue
from collections.abc import Callable

import msgspec
import pytest

from linkspan.agent.gateway_worker import Ask
from linkspan.agent.probes import BUSY
from linkspan.core.ipsec.probe_plan import ProbePlan
from linkspan.core.state.live_facts import LiveAnswer
from linkspan.core.state.probes import ProbeRequest, ProbeResult
from linkspan.testing.fake_drivers import FakeLeakGuard
from tests.agent.test_gateway_worker import TO_LEFT, TO_RIGHT, GatewayUnderTest, asked, left, right, world

__all__ = ["left", "right", "world"]

replace = msgspec.structs.replace
Answers = queue.SimpleQueue[LiveAnswer]


def probe(gateway: GatewayUnderTest, id: str = TO_RIGHT.id) -> Answers:
    """Ask for a probe; the answers to come."""
    answers: Answers = queue.SimpleQueue()
    gateway.worker.send(Ask(id, answers.put, ProbeRequest()))
    return answers


def both_up(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    """Bring the tunnel up."""
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")


def test_a_probe_is_answered_and_kept(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    both_up(left, right)
    answer = probe(left).get(timeout=10.0)
    assert (answer.fault, answer.facts is not None) == ("", True)
    assert answer.facts
    assert answer.facts.probe
    assert [port.state for port in answer.facts.probe.ports] == ["answered"] * 2
    (plan,) = left.drivers.prober.plans
    assert (plan.source, plan.peer, plan.version, plan.refusal) == (
        TO_RIGHT.local_address,
        TO_RIGHT.peer_address,
        2,
        "",
    )
    kept = asked(left, TO_RIGHT.id).facts
    assert kept
    assert kept.probe == answer.facts.probe
    assert kept.probe_age >= 0
    # It is about these two addresses only.
    left.set_desired(replace(TO_RIGHT, revision=TO_RIGHT.revision + 1, peer_address="203.0.113.9"))
    left.wait(TO_RIGHT.id, "down")
    other = asked(left, TO_RIGHT.id).facts
    assert other
    assert other.probe is None


def test_what_the_kernel_does_not_guard_is_not_sent(
    left: GatewayUnderTest, right: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_up(left, right)
    probe(left).get(timeout=10.0)
    monkeypatch.setattr(FakeLeakGuard, "current", lambda _guard, _gateway: frozenset())
    probe(left).get(timeout=10.0)
    guarded, open_ = left.drivers.prober.plans
    # The fake charon lists no selectors, so the plan of a guarded pair gets as far as them.
    assert ("leak guard" in guarded.inside.refusal, "leak guard" in open_.inside.refusal) == (False, True)


def test_one_probe_of_a_connection_runs_at_a_time_and_the_worker_goes_on(
    left: GatewayUnderTest, right: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_up(left, right)
    ends: list[Callable[[ProbeResult | str], None]] = []

    def never(_gateway: str, _plan: ProbePlan, deliver: Callable[[ProbeResult | str], None]) -> None:
        ends.append(deliver)

    monkeypatch.setattr(left.drivers.prober, "probe", never)
    first = probe(left)
    assert probe(left).get(timeout=10.0).fault == BUSY
    assert asked(left, TO_RIGHT.id).facts is not None, "other questions are answered meanwhile"
    assert first.empty()
    (end,) = ends
    end("the probe did not end within 9 s")
    assert first.get(timeout=10.0).fault == "the probe did not end within 9 s"
    # Then the next one may begin.
    probe(left)
    asked(left, TO_RIGHT.id)
    assert len(ends) == 2


def test_what_cannot_be_probed_is_refused_with_a_sentence(left: GatewayUnderTest) -> None:
    left.set_desired(replace(TO_RIGHT, enabled=False))
    left.wait(TO_RIGHT.id, "disabled")
    assert "down by request" in probe(left).get(timeout=10.0).fault
    assert left.drivers.prober.plans == []
    assert probe(left, id="another").get(timeout=10.0).fault == "the node has not applied this connection yet"
