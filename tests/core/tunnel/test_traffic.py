"""Counters of a tunnel that is up show that packets pass in one direction only, and when they pass in both again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.tunnel import lifecycle, reconcile, reports, traffic
from linkspan.core.tunnel.charon_events import ProbeSent
from linkspan.core.tunnel.events import Loaded, SasListed, WatchDue
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, sa


def up() -> Tunnel:
    tunnel = reconcile.tunnel_for(connection(), "user-space")
    tunnel, _ = lifecycle.step(tunnel, Loaded(), 0.0)
    return lifecycle.step(tunnel, listed(tunnel), 1.0)[0]


def listed(tunnel: Tunnel, **values: Any) -> SasListed:
    assert tunnel.config
    counted = msgspec.structs.replace(child(tunnel.config.children[0].name), **values)
    return SasListed((sa(tunnel.config.name, counted),))


def code(tunnel: Tunnel) -> str:
    report = reports.report(tunnel, 1)
    assert report
    assert report.state == "up"
    return report.code


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"packets_out": 5, "packets_in": 0, "age": 12}, "UP_NO_TRAFFIC_IN"),
        ({"packets_out": 0, "packets_in": 5, "age": 12}, "UP_NO_TRAFFIC_OUT"),
        ({"packets_out": 5, "packets_in": 5, "age": 12}, ""),
        ({"packets_out": 0, "packets_in": 0, "age": 12}, ""),
        ({"packets_out": 1, "packets_in": 0, "age": 12}, ""),
        ({"packets_out": 5, "packets_in": 0, "age": 3}, ""),
    ],
)
def test_one_way_is_said_and_taken_back(values: dict[str, Any], expected: str) -> None:
    tunnel = up()
    due = lifecycle.watch_at(tunnel)
    assert due is not None
    tunnel, actions = lifecycle.step(tunnel, WatchDue(), due)
    assert actions, "its SAs are listed"
    tunnel, _ = lifecycle.step(tunnel, listed(tunnel, **values), due)
    assert code(tunnel) == expected
    next_time = lifecycle.watch_at(tunnel)
    has_passed = values["packets_out"] and values["packets_in"]
    assert (next_time is None) == bool(has_passed), "who is well is not looked at again"
    if not expected and next_time is not None:
        assert next_time - due > traffic.AGAIN, "and who is quiet less and less often"
    both = {"packets_out": 9, "packets_in": 9, "age": 30}
    tunnel, _ = lifecycle.step(tunnel, listed(tunnel, **both), due + traffic.AGAIN)
    assert code(tunnel) == ""


def test_a_probe_makes_a_quiet_tunnel_be_looked_at_but_not_too_often() -> None:
    tunnel = up()
    due = lifecycle.watch_at(tunnel)
    assert due is not None
    both = listed(tunnel, packets_out=9, packets_in=9, age=12)
    tunnel, _ = lifecycle.step(tunnel, both, due)
    assert lifecycle.watch_at(tunnel) is None
    tunnel, _ = lifecycle.step(tunnel, ProbeSent(tunnel.connection.id), due + 1)
    assert lifecycle.watch_at(tunnel) == due + traffic.AGAIN
    tunnel, _ = lifecycle.step(tunnel, ProbeSent(tunnel.connection.id), due + 60)
    assert lifecycle.watch_at(tunnel) == due + traffic.AGAIN


def test_a_report_does_not_change_with_each_packet() -> None:
    tunnel = up()
    texts = set()
    for number in range(3):
        values = {"packets_out": 5 + number, "packets_in": 0, "age": 12 + 10 * number}
        tunnel, _ = lifecycle.step(tunnel, listed(tunnel, **values), 13.0 + 10 * number)
        report = reports.report(tunnel, 1)
        assert report
        texts.add(report.reason)
    assert len(texts) == 1


def test_a_tunnel_that_has_worked_and_through_which_nothing_comes_any_more() -> None:
    tunnel, now = up(), 100.0
    seen = []
    for sent, idle_in in ((50, 30), (51, 40), (55, 50), (60, 60), (61, 0)):
        tunnel, _ = lifecycle.step(
            tunnel, listed(tunnel, packets_out=sent, packets_in=40, age=100, idle_in=idle_in, idle_out=1), now
        )
        seen.append(code(tunnel))
        now += traffic.AGAIN
    assert seen == ["", "", "UP_NO_TRAFFIC_IN", "UP_NO_TRAFFIC_IN", ""]


def test_a_single_request_that_nobody_answers_is_none() -> None:
    tunnel = up()
    for now, idle in ((100.0, 30), (110.0, 40), (120.0, 50)):
        tunnel, _ = lifecycle.step(
            tunnel, listed(tunnel, packets_out=50, packets_in=40, age=100, idle_in=idle, idle_out=idle - 25), now
        )
        assert code(tunnel) == ""


def test_a_tunnel_through_which_nothing_passes_is_looked_at_less_and_less_often() -> None:
    tunnel = up()
    delays = []
    for _ in range(8):
        due = lifecycle.watch_at(tunnel)
        assert due is not None
        tunnel, _ = lifecycle.step(tunnel, listed(tunnel, age=1000), due)
        following = lifecycle.watch_at(tunnel)
        assert following is not None
        delays.append(following - due)
    assert delays == sorted(delays)
    assert delays[-1] == traffic.LONGEST
