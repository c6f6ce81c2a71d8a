"""Checks of peers whose tunnels are up: reauthenticated, waited for while busy, and deleted without a successor."""

from __future__ import annotations

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel import events, lifecycle, rechecks
from linkspan.core.tunnel.actions import DeleteIkeSa, ListSas, ReplaceIkeSa
from linkspan.core.tunnel.rechecks import ANSWERED, BUSY, PATIENCE, Rechecks
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import new_tunnel
from tests.core.samples import certified, child, connection, sa

CONFIG = ipsec_config.build(certified())
NAME = CONFIG.children[0].name
UP = sa(CONFIG.name, child(NAME))
BUSY_SA = sa(CONFIG.name, child(NAME, state="DELETED"), child(NAME, number=2))


def advance(before: Rechecks, *sas: IkeSa, now: float = 0.0) -> tuple[Rechecks, tuple[object, ...]]:
    return rechecks.advance(before, sas, now)


def test_nothing_is_checked_unasked() -> None:
    assert advance(Rechecks(), UP) == (Rechecks(), ())


def test_an_ike_sa_is_replaced_and_that_is_all_if_its_successor_comes() -> None:
    after, actions = advance(rechecks.want(Rechecks(), 0.0), UP)
    assert actions == (ReplaceIkeSa(1),)
    assert after.due == ANSWERED
    successor = msgspec.structs.replace(UP, unique_id=2)
    old = msgspec.structs.replace(UP, state="DELETING")
    assert advance(after, old, successor, now=1.0) == (Rechecks(), ())


def test_an_ike_sa_without_a_successor_is_deleted() -> None:
    after, _ = advance(rechecks.want(Rechecks(), 0.0), UP)
    assert advance(after, UP, now=ANSWERED - 0.1)[1] == ()
    assert advance(after, UP, now=ANSWERED) == (Rechecks(), (DeleteIkeSa(1),))


def test_a_busy_ike_sa_is_waited_for_but_not_for_ever() -> None:
    after, actions = advance(rechecks.want(Rechecks(), 0.0), BUSY_SA)
    assert (actions, after.due) == ((), BUSY)
    assert advance(after, UP, now=1.0)[1] == (ReplaceIkeSa(1),)
    assert advance(after, BUSY_SA, now=PATIENCE)[1] == (ReplaceIkeSa(1),)


def test_a_second_wish_does_not_put_the_end_off() -> None:
    after, _ = advance(rechecks.want(Rechecks(), 0.0), UP)
    after, actions = advance(rechecks.want(after, 3.0), UP, now=3.0)
    assert actions == ()
    assert advance(after, UP, now=ANSWERED)[1] == (DeleteIkeSa(1),)


def test_a_tunnel_lists_its_sas_to_be_checked() -> None:
    tunnel = msgspec.structs.replace(new_tunnel(certified(), CONFIG, ""), applied=True)
    tunnel, _ = lifecycle.step(tunnel, events.SasListed((UP,)), 0.0)
    tunnel, actions = lifecycle.step(tunnel, events.RecheckPeer(), 100.0)
    assert actions == (ListSas(),)
    tunnel, actions = lifecycle.step(tunnel, events.SasListed((UP,)), 100.0)
    assert ReplaceIkeSa(1) in actions
    tunnel, actions = lifecycle.step(tunnel, events.SasListed((UP,)), 100.0 + ANSWERED)
    assert DeleteIkeSa(1) in actions
    tunnel, _ = lifecycle.step(tunnel, events.SasListed(()), 100.0 + ANSWERED)
    assert tunnel.reason == rechecks.FAILED


def test_what_a_key_has_authenticated_is_not_checked() -> None:
    config = ipsec_config.build(connection())
    tunnel = msgspec.structs.replace(new_tunnel(connection(), config, ""), applied=True)
    up = sa(config.name, child(config.children[0].name))
    tunnel, _ = lifecycle.step(tunnel, events.SasListed((up,)), 0.0)
    tunnel, _ = lifecycle.step(tunnel, events.RecheckPeer(), 100.0)
    _, actions = lifecycle.step(tunnel, events.SasListed((up,)), 100.0)
    assert ReplaceIkeSa(1) not in actions
