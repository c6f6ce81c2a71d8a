"""The findings of a probe: what came back, what did not, and what the SAs prove beside it."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.diagnosis.findings import RECENT, ProbeFinding, findings, format_time, summary
from linkspan.core.diagnosis.layers import layers
from linkspan.core.state.live_facts import LiveFacts
from linkspan.core.state.probes import EchoProbe, PortProbe, ProbeResult
from tests.core.diagnosis.test_layers import CHILD, DOWN, IKE_SA, INPUTS, NOW, UP

replace = msgspec.structs.replace
ECHO = EchoProbe(
    source="198.51.100.2",
    target="198.51.100.3",
    state="answered",
    sent=3,
    received=3,
    milliseconds=1.234,
    passes=1500,
    limit=1500,
)
INSIDE = replace(ECHO, source="10.1.0.1", target="10.2.0.1", passes=1400, limit=1400)
WHOLE = ProbeResult(
    ports=tuple(
        PortProbe(port=port, state="answered", milliseconds=2.0, note="INVALID_MAJOR_VERSION") for port in (500, 4500)
    ),
    path=ECHO,
    inside=INSIDE,
)
SILENT = EchoProbe(source="198.51.100.2", target="198.51.100.3", state="silent", sent=3)


def found(result: ProbeResult = WHOLE, facts: LiveFacts = DOWN) -> dict[str, ProbeFinding]:
    """The findings by name."""
    return {finding.name: finding for finding in findings(result, facts)}


def with_ports(**changes: PortProbe) -> ProbeResult:
    """The result with other ports: `ike`, `nat`."""
    first, second = WHOLE.ports
    return replace(WHOLE, ports=(changes.get("ike", first), changes.get("nat", second)))


def silent(port: int) -> PortProbe:
    """A port that has not answered."""
    return PortProbe(port=port, state="silent")


def test_what_is_whole_is_ok_throughout() -> None:
    shown = found()
    assert [*shown] == ["UDP 500", "UDP 4500", "round trip", "path MTU", "inside", "inside MTU"]
    assert {finding.state for finding in shown.values()} == {"ok"}
    assert summary(WHOLE) == "round trip 1.23 ms, packets of up to 1500 bytes pass"


def test_one_silent_port_beside_one_that_answers_is_filtered() -> None:
    shown = found(with_ports(nat=silent(4500)))
    assert (shown["UDP 4500"].state, "a filter drops UDP 4500" in shown["UDP 4500"].text) == ("failed", True)
    shown = found(with_ports(ike=silent(500)))
    assert (shown["UDP 500"].state, "UDP 4500 answers" in shown["UDP 500"].text) == ("failed", True)


@pytest.mark.parametrize(("idle", "state"), [(RECENT, "ok"), (RECENT + 1, "unknown"), (-1, "unknown")])
def test_two_silent_ports_prove_nothing_but_esp_that_came_does(idle: int, state: str) -> None:
    both = with_ports(ike=silent(500), nat=silent(4500))
    assert {found(both)[name].state for name in ("UDP 500", "UDP 4500")} == {"unknown"}
    sa = replace(IKE_SA, remote_port=4500, children=(replace(CHILD, is_encapsulated=True, idle_in=idle),))
    facts = replace(UP, ike_sas=(sa,))
    assert (found(both, facts)["UDP 4500"].state, found(both, facts)["UDP 500"].state) == (state, "unknown")
    # Neither does it once UDP 500 answers strangers: what came may have come before the filter.
    assert found(with_ports(nat=silent(4500)), facts)["UDP 4500"].state == "failed"


def test_errors_name_who_reports_them() -> None:
    closed = PortProbe(port=500, state="refused", note="port closed", reporter="198.51.100.3")
    far = PortProbe(port=500, state="unreachable", note="filtered", reporter="192.0.2.1")
    own = PortProbe(port=500, state="unreachable", note="host unreachable", reporter="198.51.100.2")
    assert "says 198.51.100.3" in found(with_ports(ike=closed))["UDP 500"].text
    assert found(with_ports(ike=far))["UDP 500"].text == "the peer cannot be reached: filtered, says 192.0.2.1"
    assert "no host of the external network has the address" in found(with_ports(ike=own))["UDP 500"].text


def test_without_pings_ike_tells_the_round_trip() -> None:
    shown = found(replace(WHOLE, path=SILENT))
    assert (shown["round trip"].state, shown["round trip"].text) == (
        "ok",
        "2.00 ms to 198.51.100.3 (IKE); it answers no pings",
    )
    assert shown["path MTU"].state == "unknown"
    told = found(replace(WHOLE, path=replace(SILENT, next_hop_mtu=1400)))
    assert told["path MTU"].text == "a router says 1400 bytes"


def test_too_small_a_path_says_what_to_set() -> None:
    narrow = replace(WHOLE, path=replace(ECHO, passes=1300), inside=replace(INSIDE, passes=1222))
    shown = found(narrow)
    assert (shown["path MTU"].state, shown["inside MTU"].state) == ("failed", "failed")
    assert shown["inside MTU"].text.endswith("set the mtu of the connection to 1222 or less")


def test_what_was_not_sent_is_said_with_its_reason() -> None:
    unsent = EchoProbe(state="not sent", note="the tunnel covers the addresses of both gateways")
    shown = found(ProbeResult(ports=(), path=unsent, inside=unsent), UP)
    assert [*shown] == ["round trip", "inside"]
    assert (shown["round trip"].state, shown["inside"].state) == ("ok", "unknown")
    assert "the tunnel covers" in shown["round trip"].text
    assert found(ProbeResult(ports=(), path=unsent, inside=unsent), DOWN)["round trip"].state == "unknown"


def test_a_probe_is_told_in_the_path_of_a_diagnosis() -> None:
    facts = replace(UP, probe=WHOLE, probe_age=12)
    (path,) = [layer for layer in layers(INPUTS, facts, "", NOW) if layer.name == "path"]
    assert path.text.endswith("; round trip 1.23 ms, packets of up to 1500 bytes pass, probed 12 s ago")
    (without,) = [layer for layer in layers(INPUTS, UP, "", NOW) if layer.name == "path"]
    assert "probed" not in without.text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0868, "0.09 ms"), (1.2, "1.20 ms"), (23.456, "23.5 ms"), (250.1, "250 ms")]
)
def test_times_have_three_digits(value: float, text: str) -> None:
    assert format_time(value) == text
