"""The layers of a connection: each fact, and each lack of facts, shows in the layer that it belongs to."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from linkspan.core.diagnosis.catalogue.declared import LayerName
from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.diagnosis.codes import Code
from linkspan.core.diagnosis.layers import Layer, layers, verdict
from linkspan.core.state.live_facts import LiveChild, LiveFacts, LiveIkeSa
from linkspan.core.state.status import Node, Observed, StatusInputs

NOW = 1000.0
NAMES: tuple[LayerName, ...] = get_args(LayerName)
REPORTED = Observed(revision=7, state="up", reason="", applied_at=0.0, ready_at=0.0)
INPUTS = StatusInputs(
    deleted=False,
    enabled=True,
    revision=7,
    changed_at=0.0,
    node=Node("edge-1", NOW + 10),
    observed=REPORTED,
)
CHILD = LiveChild(
    state="INSTALLED",
    protocol="ESP",
    mode="TUNNEL",
    is_encapsulated=False,
    spi_in="c1",
    spi_out="c2",
    encryption="AES_GCM_16",
    encryption_bits=256,
    integrity="",
    key_exchange="ECP_256",
    local_selectors=("10.1.0.0/24",),
    remote_selectors=("10.2.0.0/24",),
    bytes_in=100,
    packets_in=1,
    idle_in=0,
    bytes_out=100,
    packets_out=2,
    idle_out=0,
    age=60,
    rekey_in=3000,
    expires_in=3300,
)
IKE_SA = LiveIkeSa(
    state="ESTABLISHED",
    version=2,
    initiator=True,
    local_address="198.51.100.2",
    local_port=500,
    local_identity="198.51.100.2",
    remote_address="198.51.100.3",
    remote_port=61001,
    remote_identity="peer.example.org",
    local_nat=False,
    remote_nat=True,
    encryption="AES_CBC",
    encryption_bits=256,
    integrity="HMAC_SHA2_256_128",
    prf="PRF_HMAC_SHA2_256",
    key_exchange="MODP_2048",
    age=7300,
    rekey_in=1000,
    reauthenticates_in=-1,
    children=(CHILD,),
)
UP = LiveFacts(phase="up", cause="", reason="", failures=0, retry_in=-1, revision=7, ike_sas=(IKE_SA,))
DOWN = msgspec.structs.replace(UP, phase="backing off", ike_sas=())


def found(inputs: StatusInputs = INPUTS, facts: LiveFacts | None = UP, fault: str = "") -> dict[str, Layer]:
    """The layers by name."""
    return {layer.name: layer for layer in layers(inputs, facts, fault, NOW)}


def states(shown: dict[str, Layer]) -> str:
    """The first letters of the states."""
    return "".join(layer.state[0] for layer in shown.values())


def with_child(**values: Any) -> LiveFacts:
    """Facts of a tunnel whose child differs."""
    child = msgspec.structs.replace(CHILD, **values)
    return msgspec.structs.replace(UP, ike_sas=(msgspec.structs.replace(IKE_SA, children=(child,)),))


def test_a_tunnel_that_is_up() -> None:
    shown = found()
    assert tuple(shown) == NAMES
    assert states(shown) == "ooooooo"
    assert verdict(tuple(shown.values())) is None
    assert "198.51.100.3, UDP port 61001, with address translation before the peer" in shown["path"].text
    assert "IKEv2 SA of 2 h, initiated by this end: AES_CBC_256/HMAC_SHA2_256_128" in shown["ike"].text
    assert "'peer.example.org'" in shown["authentication"].text
    assert "AES_GCM_16_256/ECP_256" in shown["child"].text
    assert "2 packets out and one packet in" in shown["data"].text


def test_a_peer_that_feigns_address_translation_is_not_believed() -> None:
    """charon does, where ESP is in user space."""
    feigned = msgspec.structs.replace(IKE_SA, remote_port=4500)
    assert "translation" not in found(facts=msgspec.structs.replace(UP, ike_sas=(feigned,)))["path"].text
    behind = msgspec.structs.replace(feigned, local_nat=True)
    assert "before this end" in found(facts=msgspec.structs.replace(UP, ike_sas=(behind,)))["path"].text


NEGOTIATED = [
    cause
    for cause in CAUSES.values()
    if cause.layer in ("path", "ike", "authentication", "child") and cause.severity != "info"
]


@pytest.mark.parametrize("cause", [declared.code for declared in NEGOTIATED])
def test_the_layer_of_the_cause_has_failed_and_those_before_it_are_ok(cause: Code) -> None:
    shown = found(facts=msgspec.structs.replace(DOWN, cause=cause, reason="because"))
    failed = NAMES.index(CAUSES[cause].layer)
    assert [layer.state for layer in shown.values()] == ["ok"] * failed + ["failed"] + ["unknown"] * (6 - failed)
    first = verdict(tuple(shown.values()))
    assert first is not None
    assert (first.name, first.text) == (CAUSES[cause].layer, "because")


INTENT: list[tuple[dict[str, Any], str, str]] = [
    ({"enabled": False}, "intent", "admin_state_up"),
    ({"deleted": True}, "intent", "deleted"),
    ({"fault": "the psk cannot be read"}, "intent", "the psk cannot be read"),
    ({"node": None}, "node", "no node"),
    ({"node": Node("edge-1", NOW - 1)}, "node", "may still carry"),
    ({"observed": msgspec.structs.replace(REPORTED, state="error", reason="no AH here")}, "node", "no AH here"),
]


@pytest.mark.parametrize(("values", "layer", "text"), INTENT)
def test_what_is_below_the_tunnel_comes_first(values: dict[str, Any], layer: str, text: str) -> None:
    shown = found(msgspec.structs.replace(INPUTS, **values))
    first = verdict(tuple(shown.values()))
    assert first is not None
    assert (first.name, first.state) == (layer, "failed")
    assert text in first.text
    assert all(each.state == "unknown" for each in list(shown.values())[2:])


def test_a_revision_that_is_not_applied_waits() -> None:
    shown = found(msgspec.structs.replace(INPUTS, revision=8))
    assert states(shown) == "owooooo"


def test_a_node_that_does_not_answer() -> None:
    shown = found(facts=None, fault="it has not answered within 2.5 s")
    assert states(shown) == "ouuuuuu"
    assert "holds its lease, but: it has not answered" in shown["node"].text


def test_a_tunnel_without_a_cause_waits() -> None:
    shown = found(facts=msgspec.structs.replace(DOWN, phase="waiting for the peer"))
    assert states(shown) == "oowuuuu"
    assert "waiting for the peer" in shown["path"].text
    assert found(facts=msgspec.structs.replace(DOWN, reason="the peer ended the tunnel"))["path"].text.endswith(
        "tunnel"
    )


def test_an_ike_sa_without_a_child() -> None:
    alone = msgspec.structs.replace(UP, ike_sas=(msgspec.structs.replace(IKE_SA, children=()),))
    shown = found(facts=alone)
    assert states(shown) == "ooooofu"
    refused = msgspec.structs.replace(alone, cause="SELECTORS_UNACCEPTABLE", reason="they do not match")
    assert found(facts=refused)["child"].text == "they do not match"


def test_a_tunnel_that_is_up_in_part_says_so() -> None:
    shown = found(facts=msgspec.structs.replace(UP, reason="1 of 2 pairs of networks are up"))
    assert states(shown) == "ooooowo"
    assert shown["child"].text.endswith("1 of 2 pairs of networks are up")


@pytest.mark.parametrize(
    ("values", "state", "text"),
    [
        ({"packets_in": 0}, "failed", "2 packets went out and none came in"),
        ({"packets_in": 0, "age": 9}, "waiting", "2 packets out and 0 packets in"),
        ({"packets_out": 0}, "failed", "one packet came in and none went out"),
        ({"packets_out": 0, "age": 1}, "waiting", "0 packets out and one packet in"),
        ({"packets_out": 0, "packets_in": 0}, "waiting", "no packet has passed"),
        ({"state": "REKEYED"}, "ok", "2 packets out"),
        ({"state": "DELETED"}, "unknown", "there is no child SA"),
    ],
)
def test_counters_show_whether_packets_pass(values: dict[str, Any], state: str, text: str) -> None:
    data = found(facts=with_child(**values))["data"]
    assert data.state == state
    assert text in data.text
