"""The IKE SA of a peer that refuses pfs: replaced before the key ends, by the end that may, and the reason stays."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.state.desired import IpsecPolicy
from linkspan.core.tunnel import ike_replacement, lifecycle, pfs_check, reconcile, reports
from linkspan.core.tunnel.actions import ListSas, Rekey, ReplaceIkeSa
from linkspan.core.tunnel.charon_events import RekeyFailed
from linkspan.core.tunnel.events import Loaded, SasListed, Tick
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import CONNECTION, child, connection, sa

replace = msgspec.structs.replace
HOUR = 3600
REASON = pfs_check.reason("group14", replaces=True)
KILOBYTES = replace(CONNECTION.ipsec, lifetime_units="kilobytes", lifetime=100)


class Refused:
    """A tunnel whose peer has refused the first rekey. `sas` lists its one IKE SA with what is left of the key."""

    def __init__(self, ipsec: IpsecPolicy = CONNECTION.ipsec, initiator: bool = True, **changes: Any) -> None:
        self.initiator = initiator
        tunnel = reconcile.tunnel_for(connection(ipsec=ipsec, **changes), "user-space")
        self.tunnel, _ = lifecycle.step(tunnel, Loaded(), 0.0)
        self.list(1.0, self.sas(HOUR))
        due = lifecycle.wake_at(self.tunnel)
        assert due
        actions = self.list(due, self.sas(HOUR))
        assert Rekey(1) in actions
        self.tunnel, _ = lifecycle.step(self.tunnel, RekeyFailed(self.tunnel.connection.id), due + 0.1)

    def sas(self, left: int = -1, *, number: int = 1, used: int = 0, **more: Any) -> IkeSa:
        assert self.tunnel.config
        bare = child(self.tunnel.config.children[0].name, group="", number=number)
        bare = replace(bare, life_left=left, bytes_out=used)
        return sa(self.tunnel.config.name, bare, unique_id=number, initiator=self.initiator, **more)

    def list(self, now: float, *sas: IkeSa) -> list[Any]:
        self.tunnel, actions = lifecycle.step(self.tunnel, SasListed(sas), now)
        return [action for action in actions if isinstance(action, Rekey | ReplaceIkeSa)]


def reason(tunnel: Tunnel) -> str:
    report = reports.report(tunnel, 1)
    assert report
    assert report.state == "up"
    return report.reason


@pytest.mark.parametrize(("initiator", "part"), [(True, ike_replacement.INITIATOR), (False, ike_replacement.RESPONDER)])
def test_it_is_replaced_when_a_part_of_the_lifetime_is_left(initiator: bool, part: float) -> None:
    refused = Refused(initiator=initiator)
    assert refused.list(10.0, refused.sas(HOUR - 10)) == []
    due = lifecycle.wake_at(refused.tunnel)
    assert due == HOUR * (1 - part)
    assert lifecycle.step(refused.tunnel, Tick(), due)[1] == (ListSas(),)
    assert refused.list(due, refused.sas(round(HOUR * part))) == [ReplaceIkeSa(1)]
    assert reason(refused.tunnel) == REASON


def test_until_the_new_one_is_up_it_is_asked_for_again_now_and_then() -> None:
    refused = Refused()
    times = [now for now in range(3000, 3060) if refused.list(float(now), refused.sas(HOUR - now))]
    assert times == list(range(3000, 3060, 3))


def test_an_attempt_with_the_peer_is_waited_for() -> None:
    refused = Refused()
    assert refused.tunnel.config
    attempt = sa(refused.tunnel.config.name, unique_id=2, state="CONNECTING")
    assert refused.list(3000.0, refused.sas(600), attempt) == []
    busy = refused.sas(600)
    rekeying = replace(busy, children=(replace(busy.children[0], state="REKEYING"),))
    assert refused.list(3000.0, rekeying) == [], "charon would put it off for ten seconds"
    assert lifecycle.wake_at(refused.tunnel) == 3000.25
    assert refused.list(3000.25, refused.sas(599)) == [ReplaceIkeSa(1)]


def test_the_reason_stays_while_one_takes_the_place_of_the_other() -> None:
    """And goes when the peer takes the key exchange of the next rekey."""
    refused = Refused()
    assert refused.list(3000.0, refused.sas(600)) == [ReplaceIkeSa(1)]
    for now, listed in (
        (3000.1, (refused.sas(600), refused.sas(HOUR, number=2, age=0))),
        (3000.2, (refused.sas(HOUR, number=2),)),
    ):
        refused.list(now, *listed)
        assert reason(refused.tunnel) == REASON
    (rekey,) = refused.list(3000.6, refused.sas(HOUR, number=2))
    assert rekey == Rekey(2)
    assert reason(refused.tunnel) == REASON
    assert refused.tunnel.config
    verified = sa(refused.tunnel.config.name, child(refused.tunnel.config.children[0].name, number=3), unique_id=2)
    refused.list(3001.0, verified)
    assert reason(refused.tunnel) == ""


def test_a_peer_that_was_corrected_is_asked_as_often_as_any_other() -> None:
    refused = Refused()
    requests = 0
    for now in range(3000, 3060):
        requests += Rekey(2) in refused.list(float(now), refused.sas(HOUR, number=2))
    assert requests == pfs_check.TRIES


def test_an_end_that_only_waits_replaces_nothing_and_says_so() -> None:
    refused = Refused(initiator=False)
    waiting = replace(refused.tunnel, connection=connection(initiator="response-only", revision=2))
    refused.tunnel = waiting
    assert refused.list(3590.0, refused.sas(10)) == []
    assert lifecycle.wake_at(refused.tunnel) is None
    assert reason(refused.tunnel) == pfs_check.reason("group14", replaces=False)


@pytest.mark.parametrize(("used", "replaced"), [(10, False), (70, False), (75, True), (90, True)])
def test_of_a_volume_charons_own_rekey_says_when(used: int, replaced: bool) -> None:
    refused = Refused(ipsec=KILOBYTES)
    failed = RekeyFailed(refused.tunnel.connection.id)
    assert lifecycle.step(refused.tunnel, failed, 50.0)[1] == (ListSas(),)
    actions = refused.list(50.0, refused.sas(used=used * 1024))
    assert actions == ([ReplaceIkeSa(1)] if replaced else [])


def test_a_tunnel_whose_peer_refuses_nothing_keeps_its_ike_sa() -> None:
    tunnel = reconcile.tunnel_for(connection(), "user-space")
    tunnel, _ = lifecycle.step(tunnel, Loaded(), 0.0)
    assert tunnel.config
    verified = replace(child(tunnel.config.children[0].name), life_left=5)
    tunnel, actions = lifecycle.step(tunnel, SasListed((sa(tunnel.config.name, verified),)), 3595.0)
    assert actions == ()


def test_a_child_with_a_key_exchange_of_its_own_does_not_hurry_the_others() -> None:
    refused = Refused()
    assert refused.tunnel.config
    other = replace(child("another.12345678"), life_left=1)
    both = replace(refused.sas(2000), children=(*refused.sas(2000).children, other))
    assert refused.list(1600.0, both) == []
    assert lifecycle.wake_at(refused.tunnel) == 1600.0 + 2000 - 720
