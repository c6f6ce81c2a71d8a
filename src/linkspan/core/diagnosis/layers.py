"""The layers of a tunnel, from the admin state up to its packets, and the state of each. Pure.

Each layer stands on those before it, so the first one that has failed is the one to mend. What a layer says follows
from the live facts of the node; without these it is unknown, and only what the node has reported before is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from linkspan.core.diagnosis import findings
from linkspan.core.diagnosis.catalogue.declared import SILENT, LayerName
from linkspan.core.diagnosis.causes import layer_of, sentence, severity_of
from linkspan.core.diagnosis.codes import Code
from linkspan.core.state.live_facts import CARRYING, LiveChild, LiveFacts, LiveIkeSa
from linkspan.core.state.status import StatusInputs, node_fault

LayerState = Literal["ok", "failed", "waiting", "unknown"]

_PORTS: Final = frozenset({500, 4500})
_ESTABLISHED: Final = frozenset({"ESTABLISHED", "REKEYING", "REKEYED"})


class Layer(msgspec.Struct, frozen=True):
    """A layer of a connection; `text`: one sentence. `code`: of the cause that only its counters show, else empty."""

    name: LayerName
    state: LayerState
    text: str
    code: str = ""


def layers(inputs: StatusInputs, facts: LiveFacts | None, fault: str, now: float) -> tuple[Layer, ...]:
    """The layers of a connection, from the bottom. `fault`: why there are no `facts`. `now`: the lease clock."""
    below = (_intent(inputs), _node(inputs, facts, fault, now))
    if facts is None or any(layer.state == "failed" for layer in below):
        text = fault or "not known"
        return (*below, *(Layer(name, "unknown", text) for name in ("path", "ike", "authentication", "child", "data")))
    established = [sa for sa in facts.ike_sas if sa.state in _ESTABLISHED]
    negotiated = _negotiated(established[0], facts) if established else _not_negotiated(facts)
    carrying = [child for sa in facts.ike_sas for child in sa.children if child.state in CARRYING]
    return (*below, *negotiated, _child(facts, carrying, bool(established)), _data(carrying))


def verdict(found: tuple[Layer, ...]) -> Layer | None:
    """The first layer that is not as it should be; None if all are."""
    return next((layer for layer in found if layer.state != "ok"), None)


def _intent(inputs: StatusInputs) -> Layer:
    if inputs.fault:
        return Layer("intent", "failed", inputs.fault)
    if inputs.deleted:
        return Layer("intent", "failed", "the connection is deleted, and waits for its node to confirm that")
    if not inputs.enabled:
        return Layer("intent", "failed", "admin_state_up of the connection or of its service is false")
    return Layer("intent", "ok", "the connection is enabled")


def _node(inputs: StatusInputs, facts: LiveFacts | None, fault: str, now: float) -> Layer:
    node, observed = inputs.node, inputs.observed
    if node is None or node.lease_until < now:
        return Layer("node", "failed", node_fault(inputs, now))
    if facts is None:
        return Layer("node", "unknown", f"node {node.name} holds its lease, but: {fault}")
    if observed is not None and observed.state == "error":
        return Layer("node", "failed", observed.reason)
    if observed is None or observed.revision < inputs.revision:
        return Layer("node", "waiting", f"node {node.name} has not applied the newest revision yet")
    return Layer("node", "ok", f"node {node.name} runs the newest revision")


# --- what IKE negotiates -------------------------------------------------------------------------------------------


def _negotiated(sa: LiveIkeSa, facts: LiveFacts) -> tuple[Layer, Layer, Layer]:
    nat = {(True, True): "both ends", (True, False): "this end", (False, True): "the peer"}
    # A peer with ESP in user space feigns to be translated, so that ESP is in UDP; its port is its own then.
    behind = nat.get((sa.local_nat, sa.remote_nat and sa.remote_port not in _PORTS))
    through = f", with address translation before {behind}" if behind else ""
    measured = findings.summary(facts.probe) if facts.probe else ""
    probed = f"; {measured}, probed {_duration(facts.probe_age)} ago" if measured else ""
    algorithms = [f"{sa.encryption}_{sa.encryption_bits}" if sa.encryption_bits else sa.encryption]
    algorithms += [name for name in (sa.integrity, sa.prf, sa.key_exchange) if name]
    by = "this end" if sa.initiator else "the peer"
    return (
        Layer("path", "ok", f"the peer answers at {sa.remote_address}, UDP port {sa.remote_port}{through}{probed}"),
        Layer("ike", "ok", f"IKEv{sa.version} SA of {_duration(sa.age)}, initiated by {by}: {'/'.join(algorithms)}"),
        Layer("authentication", "ok", f"the peer is '{sa.remote_identity}', and we are '{sa.local_identity}'"),
    )


def _not_negotiated(facts: LiveFacts) -> tuple[Layer, Layer, Layer]:
    failed = None if severity_of(facts.cause) == "info" else layer_of(facts.cause)
    names: tuple[LayerName, LayerName, LayerName] = ("path", "ike", "authentication")
    if failed is None:
        waits = Layer("path", "waiting", facts.reason or f"the tunnel is {facts.phase}")
        return waits, Layer("ike", "unknown", _NOT_REACHED), Layer("authentication", "unknown", _NOT_REACHED)
    reached = names.index(failed) if failed in names else len(names)

    def at(place: int) -> Layer:
        if place == reached:
            return Layer(names[place], "failed", facts.reason)
        if place > reached:
            return Layer(names[place], "unknown", _NOT_REACHED)
        return Layer(names[place], "ok", _REACHED[names[place]])

    return at(0), at(1), at(2)


_NOT_REACHED: Final = "the negotiation has not come this far"
_REACHED: Final[Mapping[LayerName, str]] = {
    "path": "the peer answers",
    "ike": "the ends agree on the algorithms of IKE",
    "authentication": "the ends have authenticated each other",
}


def _child(facts: LiveFacts, carrying: list[LiveChild], has_ike_sa: bool) -> Layer:
    if carrying:
        newest = min(carrying, key=lambda child: child.age)
        algorithms = [f"{newest.encryption}_{newest.encryption_bits}" if newest.encryption_bits else newest.encryption]
        algorithms += [name for name in (newest.integrity, newest.key_exchange) if name]
        count = f"{len(carrying)} child SAs" if len(carrying) > 1 else "one child SA"
        text = f"{count}, {newest.protocol} in {newest.mode.lower()} mode: {'/'.join(algorithms)}"
        if facts.reason:
            return Layer("child", "waiting", f"{text}; {facts.reason}")
        return Layer("child", "ok", text)
    if layer_of(facts.cause) == "child":
        return Layer("child", "failed", facts.reason)
    if has_ike_sa:
        code: Code | Literal[""] = "" if facts.reason else "NO_CHILD"
        return Layer("child", "failed", facts.reason or sentence("NO_CHILD"), code)
    return Layer("child", "unknown", _NOT_REACHED)


def _data(carrying: list[LiveChild]) -> Layer:
    if not carrying:
        return Layer("data", "unknown", "there is no child SA")
    sent, received = (sum(counts) for counts in zip(*((c.packets_out, c.packets_in) for c in carrying), strict=True))
    oldest = max(child.age for child in carrying)
    since = f"the {_duration(oldest)} since the child SAs were made or rekeyed"
    if oldest >= SILENT and bool(sent) != bool(received):
        code: Code = "UP_NO_TRAFFIC_IN" if sent else "UP_NO_TRAFFIC_OUT"
        return Layer("data", "failed", sentence(code, packets=_packets(sent or received), time=since), code)
    if not sent and not received:
        return Layer("data", "waiting", f"no packet has passed in {since}")
    state: LayerState = "ok" if sent and received else "waiting"
    return Layer("data", state, f"{_packets(sent)} out and {_packets(received)} in, in {since}")


def _packets(count: int) -> str:
    return "one packet" if count == 1 else f"{count} packets"


def _duration(seconds: int) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(0, seconds)} s"
