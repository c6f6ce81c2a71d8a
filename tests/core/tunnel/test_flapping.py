"""A tunnel that goes down again and again says so, until it has stayed up for a while."""

from __future__ import annotations

from linkspan.core.diagnosis.catalogue.declared import FLAPPING_WITHIN, FLAPS
from linkspan.core.tunnel import lifecycle, reconcile, reports
from linkspan.core.tunnel.events import Loaded, SasListed, WatchDue
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, sa


def said(tunnel: Tunnel) -> tuple[str, str]:
    report = reports.report(tunnel, 1)
    assert report
    return report.state, report.code


def listed(tunnel: Tunnel, up: bool) -> SasListed:
    assert tunnel.config
    return SasListed((sa(tunnel.config.name, child(tunnel.config.children[0].name)),) if up else ())


def flap(times: int, spacing: float) -> tuple[Tunnel, float]:
    tunnel = reconcile.tunnel_for(connection(initiator="response-only"), "user-space")
    tunnel, now = lifecycle.step(tunnel, Loaded(), 0.0)[0], 0.0
    for _ in range(times):
        tunnel, _ = lifecycle.step(tunnel, listed(tunnel, up=True), now)
        tunnel, _ = lifecycle.step(tunnel, listed(tunnel, up=False), now + 1)
        now += spacing
    return tunnel, now


def test_often_is_flapping_down_and_up_and_ends_after_a_while() -> None:
    tunnel, now = flap(FLAPS, 20.0)
    assert said(tunnel) == ("down", "FLAPPING")
    tunnel, _ = lifecycle.step(tunnel, listed(tunnel, up=True), now)
    assert said(tunnel) == ("up", "FLAPPING")
    due = lifecycle.watch_at(tunnel)
    while due is not None and due < FLAPPING_WITHIN:
        tunnel, _ = lifecycle.step(tunnel, WatchDue(), due)
        tunnel, _ = lifecycle.step(tunnel, listed(tunnel, up=True), due)
        assert said(tunnel) == ("up", "FLAPPING")
        due = lifecycle.watch_at(tunnel)
    assert due is not None
    tunnel, _ = lifecycle.step(tunnel, WatchDue(), due)
    assert said(tunnel) == ("up", "")


def test_seldom_is_not() -> None:
    assert said(flap(FLAPS - 1, 20.0)[0]) == ("down", "PEER_DELETED")
    assert said(flap(2 * FLAPS, FLAPPING_WITHIN)[0]) == ("down", "PEER_DELETED")
