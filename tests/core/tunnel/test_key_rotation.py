"""Which of two keys is in use after each success and failure, for all connections that share them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PreviousKey
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import key_choice, key_rotation, lifecycle, reconcile
from linkspan.core.tunnel.events import SasListed
from linkspan.core.tunnel.key_rotation import KeyRotation
from linkspan.core.tunnel.reconcile import Plan
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, sa

replace = msgspec.structs.replace
ROTATION = KeyRotation("new", "old")
OLD: dict[str, Any] = {"psk": Secret("old key"), "psk_ref": "old"}
NEW: dict[str, Any] = {
    "psk": Secret("new key"),
    "psk_ref": "new",
    "psk_written_at": 5.0,
    "previous_psk": PreviousKey(Secret("old key"), "old"),
}


def over(rotation: KeyRotation, **changes: Any) -> KeyRotation:
    """The rotation after an attempt of this end that has failed."""
    values: dict[str, Any] = {"in_main_mode": False, "code": "AUTHENTICATION_REFUSED", "is_alone": True} | changes
    return key_rotation.own_attempt_over(rotation, **values)


def test_the_initiator_changes_after_its_own_failure() -> None:
    refused = key_rotation.own_attempt_refused(ROTATION, 3)
    assert over(refused).is_due
    beside = over(refused, is_alone=False)
    assert not beside.is_due, "something is up that the previous key has made"
    assert key_rotation.alone(beside).is_due, "the key has failed before it was lost"
    assert not key_rotation.alone(ROTATION).is_due
    assert not over(ROTATION, code="PEER_NO_REPLY").is_due, "IKEv2 says why"
    assert over(ROTATION, code="PEER_NO_REPLY", in_main_mode=True).is_due
    turned = key_rotation.turned(over(refused))
    assert (turned.uses_previous, turned.is_due, turned.has_turned) == (True, False, True)
    assert not over(key_rotation.own_attempt_refused(turned, 3)).is_due, "charon is late"
    assert over(key_rotation.own_attempt_refused(turned, 4)).is_due


def test_the_responder_changes_after_two_failures_of_different_attempts() -> None:
    once = key_rotation.peers_attempt_refused(ROTATION, 7, 1.0)
    assert not once.is_due
    assert not key_rotation.peers_attempt_refused(once, 7, 1.1).is_due, "the same attempt, sent again"
    assert key_rotation.peers_attempt_refused(once, 8, 1.2).is_due
    turned = key_rotation.key_loaded(key_rotation.turned(once), 2.0)
    late = key_rotation.peers_attempt_refused(turned, 9, 2.1)
    assert not key_rotation.peers_attempt_refused(late, 10, 2.2).is_due, "they have met the key before"


def test_it_is_over_once_the_new_key_has_authenticated_the_peer() -> None:
    done = key_rotation.settled(ROTATION)
    assert (done.is_over, key_rotation.is_active(done), key_rotation.accepts(done, "old")) == (True, False, False)
    assert not over(key_rotation.own_attempt_refused(done, 1)).is_due
    by_previous = key_rotation.settled(replace(ROTATION, uses_previous=True))
    assert (by_previous.is_over, by_previous.uses_previous) == (False, True)


@pytest.mark.parametrize("rotation", [KeyRotation("new"), KeyRotation()])
def test_without_a_previous_key_nothing_changes_it(rotation: KeyRotation) -> None:
    failed = over(key_rotation.own_attempt_refused(rotation, 1), in_main_mode=True, code=None)
    twice = key_rotation.peers_attempt_refused(key_rotation.peers_attempt_refused(failed, 1, 0.0), 2, 0.0)
    assert not twice.is_due
    assert key_rotation.note(twice, up=False, previous_up=False) == ""


def test_the_new_key_is_tried_again_by_an_end_that_may_initiate() -> None:
    used = replace(ROTATION, uses_previous=True)
    waiting = key_rotation.while_up(used, 100.0, may_initiate=True)
    assert not waiting.is_due
    assert not key_rotation.while_up(waiting, 114.0, may_initiate=True).is_due
    assert key_rotation.while_up(waiting, 115.0, may_initiate=True).is_due
    assert key_rotation.while_up(used, 100.0, may_initiate=False).new_at is None


# --- all that share a key -----------------------------------------------------------------------------------------

FIRST, SECOND = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


@pytest.mark.parametrize("revision", [1, 2], ids=["the other key's turn", "edited"])
@pytest.mark.parametrize(("version", "parts"), [("v1", 1), ("v1", 2), ("v2", 1)])
def test_it_is_over_however_the_new_version_comes_up(version: str, parts: int, revision: int) -> None:
    """At once, one child after the other, and beside the previous version, which stays for a while."""
    changes: dict[str, Any] = {
        "id": "c1",
        "ike": replace(connection().ike, ike_version=version),
        "peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24"),
    }
    old = run({}, connection(**OLD, **changes)).tunnels["c1"]
    old, _ = lifecycle.step(replace(old, applied=True), SasListed((listed(old),)), 0.0)
    new = run({"c1": old}, connection(**NEW, **changes, revision=revision)).tunnels["c1"]
    assert new.previous
    assert not new.key_rotation.is_over
    for part in range(1, parts + 1):
        up = None if part == parts else part
        new, _ = lifecycle.step(new, SasListed((listed(old), listed(new, up, unique_id=2))), float(part))
    assert new.up
    assert new.key_rotation.is_over


def listed(tunnel: Tunnel, children: int | None = None, unique_id: int = 1) -> IkeSa:
    """The IKE SA of a tunnel with so many children, or all of them."""
    assert tunnel.config
    names = [child.name for child in tunnel.config.children][:children]
    return sa(tunnel.config.name, *(child(name, number=10 * unique_id) for name in names), unique_id=unique_id)


def run(tunnels: dict[str, Tunnel], *desired: Connection, **seen: Any) -> Plan:
    loaded = seen.get("loaded", {})
    return reconcile.reconcile(tunnels, {each.id: each for each in desired}, (), loaded, "user-space")


def keys(plan: Plan) -> set[str]:
    return {tunnel.connection.psk.reveal() for tunnel in plan.tunnels.values()}


def test_connections_that_share_a_key_change_together() -> None:
    first, second = connection(id=FIRST, **NEW), connection(id=SECOND, peer_cidrs=("10.9.0.0/24",), **OLD)
    plan = run({}, first, second)
    assert keys(plan) == {"new key"}
    due = replace(plan.tunnels[FIRST].key_rotation, is_due=True)
    tunnels = plan.tunnels | {FIRST: replace(plan.tunnels[FIRST], key_rotation=due)}
    turned = run(tunnels, first, second)
    assert keys(turned) == {"old key"}
    assert keys(run(turned.tunnels, first, second)) == {"old key"}
    over = replace(turned.tunnels[SECOND].key_rotation, is_over=True, uses_previous=False)
    tunnels = turned.tunnels | {SECOND: replace(turned.tunnels[SECOND], key_rotation=over)}
    assert keys(run(tunnels, first, second)) == {"new key"}


def test_what_has_the_other_key_is_unloaded_before_anything_is_loaded() -> None:
    old, new = connection(**OLD), connection(revision=2, **NEW)
    name, children = ipsec_config.build(old).name, {each.name for each in ipsec_config.build(old).children}
    before = run({}, old).tunnels
    up = replace(before[old.id], applied=True, up=frozenset(children))
    plan = run({old.id: up}, new, loaded={name: frozenset(children)})
    assert plan.park == {name}
    assert plan.needed.children >= children, "what the previous key has made goes on"
    assert [each.name for each in plan.load] == [ipsec_config.build(new).name]
    alone = run({old.id: up}, replace(new, previous_psk=None), loaded={name: frozenset(children)})
    assert not plan.needed.children <= alone.needed.children, "without the rotation it ends"


@pytest.mark.parametrize(("ran", "expected"), [("old", "old key"), ("new", "new key")])
def test_a_restarted_agent_goes_on_with_the_key_in_use(ran: str, expected: str) -> None:
    new = connection(**NEW)
    config = ipsec_config.build(connection(**OLD) if ran == "old" else new)
    children = frozenset(each.name for each in config.children)
    for adopted in (children, frozenset[str]()):
        chosen = key_choice.choose({new.id: new}, {}, adopted, {config.name: children})
        assert chosen[new.id].connection.psk.reveal() == expected
