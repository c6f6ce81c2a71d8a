"""What a change does to each connection of a gateway, foretold from its state before and after."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.foresight.effects import GatewayState, Outlook, Running
from linkspan.core.foresight.foretell import foretell
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PreviousKey
from linkspan.core.state.desired import Connection, Dpd, Gateway
from tests.core.samples import CONNECTION, GATEWAY, ID, certified, connection

replace = msgspec.structs.replace
OTHER = "1d1c7c3e-6a55-4b8c-9a56-2f6f5a9f0b11"


def state(*connections: Connection, gateway: Gateway | None = GATEWAY) -> GatewayState:
    return GatewayState(gateway, {each.id: each for each in connections})


def outlooks(
    before: GatewayState, after: GatewayState, up: tuple[str, ...] | None = None, **more: Any
) -> dict[str, Outlook]:
    """The effects on connections; by default all that were there are up."""
    running = Running(True, frozenset(before.connections if up is None else up), more.pop("backend", "kernel"))
    return foretell(before, after, running, **more)


def effect(before: Connection, after: Connection, **more: Any) -> str:
    """The effect on the only connection of a gateway."""
    return outlooks(state(before), state(after), **more)[before.id].effect


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"name": "other"}, "nothing"),
        ({"mtu": 1300}, "nothing"),
        ({"initiator": "response-only"}, "nothing"),
        ({"dpd": Dpd("clear", 10, 60)}, "nothing"),
        ({"dpd": Dpd("restart", 11, 30)}, "make-before-break"),
        ({"peer_cidrs": ("10.3.0.0/24",)}, "make-before-break"),
        ({"ike": replace(CONNECTION.ike, phase1_negotiation_mode="aggressive")}, "nothing"),
        ({"ike": replace(CONNECTION.ike, pfs="group19")}, "make-before-break"),
        ({"ike": replace(CONNECTION.ike, ike_version="v1")}, "make-before-break"),
        ({"ipsec": replace(CONNECTION.ipsec, lifetime=7200)}, "make-before-break"),
        ({"ipsec": replace(CONNECTION.ipsec, transform_protocol="ah-esp")}, "goes down"),
        ({"local_address": "198.51.100.7"}, "interruption"),
        ({"local_id": "us"}, "interruption"),
        ({"peer_id": "them"}, "interruption"),
        ({"peer_address": "198.51.100.7"}, "interruption"),
        ({"peer_address": "peer.example.org"}, "interruption"),
        ({"psk": Secret("another"), "psk_ref": "ref-2"}, "interruption"),
        ({"enabled": False}, "goes down"),
        ({"fault": "its key cannot be read"}, "goes down"),
    ],
    ids=str,
)
def test_a_change_of_a_connection_that_is_up(changes: dict[str, Any], wanted: str) -> None:
    assert effect(CONNECTION, connection(**changes)) == wanted


def test_a_key_that_is_kept_for_a_while_is_no_interruption() -> None:
    after = connection(psk=Secret("another"), psk_ref="ref-2", previous_psk=PreviousKey(CONNECTION.psk, "ref-1"))
    outlook = outlooks(state(CONNECTION), state(after))[ID]
    assert outlook.effect == "make-before-break"
    assert "psk_grace" in outlook.reason


def test_a_name_is_itself() -> None:
    named = connection(peer_address="peer.example.org")
    assert effect(named, named) == "nothing"
    assert effect(named, replace(named, mtu=1300)) == "nothing"
    assert effect(named, replace(named, peer_address="other.example.org")) == "interruption"


def test_the_backend_decides_what_can_run() -> None:
    after = connection(ipsec=replace(CONNECTION.ipsec, transform_protocol="ah"))
    assert effect(CONNECTION, after) == "make-before-break"
    assert effect(CONNECTION, after, backend="user-space") == "goes down"


def test_an_end_that_waits_says_so() -> None:
    waiting = connection(initiator="response-only")
    outlook = outlooks(state(waiting), state(replace(waiting, peer_id="them")))[ID]
    assert (outlook.effect, outlook.seconds) == ("interruption", None)
    assert "initiates" in outlook.reason
    assert outlooks(state(CONNECTION), state(connection(peer_id="them")))[ID].seconds == 1.0


def test_tunnels_that_are_down() -> None:
    changed = connection(ike=replace(CONNECTION.ike, pfs="group19"))
    assert effect(CONNECTION, changed, up=()) == "comes up"
    assert effect(CONNECTION, connection(mtu=1300), up=()) == "nothing"
    assert effect(connection(enabled=False), CONNECTION, up=()) == "comes up"
    assert effect(connection(enabled=False), connection(enabled=False, mtu=1300), up=()) == "nothing"


def test_a_gateway_without_a_node_runs_nothing() -> None:
    running = Running(False, frozenset(), "kernel")
    (outlook,) = foretell(state(), state(CONNECTION), running).values()
    assert (outlook.effect, outlook.reason) == ("comes up", "no node has its gateway: it comes up once one does")
    (outlook,) = foretell(state(CONNECTION), state(connection(peer_id="them")), running).values()
    assert outlook.effect == "nothing"


def test_admin_states_of_the_gateway() -> None:
    closed = replace(GATEWAY, enabled=False)
    assert outlooks(state(CONNECTION), state(CONNECTION, gateway=closed))[ID].effect == "goes down"
    assert outlooks(state(CONNECTION, gateway=closed), state(CONNECTION), up=())[ID].effect == "comes up"
    (inside,) = GATEWAY.inside
    two = connection(local_cidrs=("10.1.0.0/24", "10.7.0.0/24"))
    part = replace(GATEWAY, inside=(replace(inside, enabled=False),))
    outlook = outlooks(state(two), state(two, gateway=part))[ID]
    assert (outlook.effect, outlook.seconds) == ("interruption", None)
    assert "10.1.0.0/24" in outlook.reason


def test_a_successor_takes_over_and_gives_back() -> None:
    older = connection(service_id=GATEWAY.id, peer_cidrs=("10.2.0.0/24", "10.3.0.0/24"))
    newer = replace(older, id=OTHER, name="newer", created_at=1.0)
    found = outlooks(state(older), state(older, newer))
    assert [(found[id].effect, found[id].by) for id in (ID, OTHER)] == [("superseded", (OTHER,)), ("comes up", ())]
    part = replace(newer, peer_cidrs=("10.2.0.0/24",))
    assert outlooks(state(older), state(older, part))[ID].reason.startswith("for 1 of 2 pairs of networks by newer")
    found = outlooks(state(older, newer), state(older), up=(OTHER,))
    assert [found[id].effect for id in (ID, OTHER)] == ["comes up", "goes down"]
    # One that its node cannot run supersedes nothing.
    unable = replace(newer, ipsec=replace(newer.ipsec, transform_protocol="ah-esp"))
    found = outlooks(state(older), state(older, unable))
    assert [found[id].effect for id in (ID, OTHER)] == ["nothing", "nothing"]


def test_a_key_that_another_connection_shares() -> None:
    """charon has one key for two identities: that of the connection that was written last."""
    other = connection(id=OTHER, peer_cidrs=("10.3.0.0/24",))
    changed = connection(psk=Secret("another"), psk_ref="ref-2", psk_written_at=2.0)
    found = outlooks(state(CONNECTION, other), state(changed, other))
    assert [found[id].effect for id in (ID, OTHER)] == ["interruption", "interruption"]
    assert found[OTHER].changed == ()


def test_what_shares_an_ike_sa_stays() -> None:
    other = connection(id=OTHER, peer_cidrs=("10.3.0.0/24",))
    assert outlooks(state(CONNECTION, other), state(CONNECTION))[ID].effect == "nothing"
    found = outlooks(state(CONNECTION), state(CONNECTION, other))
    assert [found[id].effect for id in (ID, OTHER)] == ["nothing", "comes up"]


def test_certificates() -> None:
    assert effect(CONNECTION, certified()) == "make-before-break"
    assert effect(certified(), certified(chain=("new leaf",))) == "make-before-break"
    assert effect(certified(), certified(crls=("list",)), revokes_more=lambda _old, _new: True) == "rekey"
    assert effect(certified(), certified(crls=("list",))) == "nothing"
    assert effect(certified(), certified(crls=("list",)), up=(), revokes_more=lambda _old, _new: True) == "nothing"
    outlook = outlooks(state(certified()), state(certified(issuers=("another",))))[ID]
    assert outlook.effect == "make-before-break"
    assert "10 s later" in outlook.reason
