"""The findings of a probe, in sentences for people. Pure.

Silence is said as silence: a filter, a host that is down and one that answers nobody look the same from here. What the
SAs prove is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from linkspan.core.state.live_facts import LiveFacts, LiveIkeSa
from linkspan.core.state.probes import EchoProbe, PortProbe, ProbeResult

FindingName = Literal["UDP 500", "UDP 4500", "round trip", "path MTU", "inside", "inside MTU"]
FindingState = Literal["ok", "failed", "unknown"]

IKE_PORT: Final = 500
RECENT: Final = 10
"""Seconds for which a packet that came shows that there is a way."""
_ESTABLISHED: Final = "ESTABLISHED"


class ProbeFinding(msgspec.Struct, frozen=True):
    """One thing that was probed; `text`: one sentence."""

    name: FindingName
    state: FindingState
    text: str


def findings(result: ProbeResult, facts: LiveFacts) -> tuple[ProbeFinding, ...]:
    """The findings of a probe, from the outside to the inside. `facts`: those of the moment before it."""
    ports = (_port(port, result, facts) for port in result.ports)
    return (*ports, *_path(result, _established(facts)), *_inside(result.inside))


def summary(result: ProbeResult) -> str:
    """The round trip and the path MTU, as a clause; empty if neither is known."""
    milliseconds = round_trip(result)
    parts = [f"round trip {format_time(milliseconds)}"] if milliseconds >= 0 else []
    parts += [f"packets of up to {result.path.passes} bytes pass"] if result.path.passes else []
    return ", ".join(parts)


def round_trip(result: ProbeResult) -> float:
    """Milliseconds between the gateways, the shortest that were measured; -1: not known."""
    times = [result.path.milliseconds, *(port.milliseconds for port in result.ports)]
    return min((time for time in times if time >= 0), default=-1.0)


def format_time(milliseconds: float) -> str:
    """Milliseconds with three significant digits."""
    return f"{milliseconds:.{max(0, 2 - len(str(int(milliseconds))) + 1)}f} ms"


# --- outside --------------------------------------------------------------------------------------------------------


def _port(port: PortProbe, result: ProbeResult, facts: LiveFacts) -> ProbeFinding:
    name: FindingName = "UDP 500" if port.port == IKE_PORT else "UDP 4500"
    match port.state:
        case "answered":
            answer = f" with {port.note}" if port.note else ""
            return ProbeFinding(name, "ok", f"the peer answers IKE{answer} after {format_time(port.milliseconds)}")
        case "silent":
            return ProbeFinding(name, *_silence(port, result, facts))
        case "refused":
            text = f"the port is closed{_by(port)}: the peer runs no IKE there, or a filter refuses it"
            return ProbeFinding(name, "failed", text)
        case "unreachable":
            return ProbeFinding(name, "failed", f"the peer cannot be reached: {_error(port, result)}")
        case _:
            return ProbeFinding(name, "unknown", f"nothing was sent: {port.note}")


def _silence(port: PortProbe, result: ProbeResult, facts: LiveFacts) -> tuple[FindingState, str]:
    if any(other.state == "answered" for other in result.ports):
        other = "4500" if port.port == IKE_PORT else "500"
        return "failed", f"silence, while UDP {other} answers: a filter drops UDP {port.port} on the way or at the peer"
    for sa in _established(facts):
        heard = [child.idle_in for child in sa.children if child.is_encapsulated and 0 <= child.idle_in <= RECENT]
        if sa.remote_port == port.port and heard:
            return "ok", f"no answer to a stranger's message, but ESP came through this port {min(heard)} s ago"
    return "unknown", "silence: a filter drops it, the peer is down, or it answers only those that it knows"


def _established(facts: LiveFacts) -> list[LiveIkeSa]:
    return [sa for sa in facts.ike_sas if sa.state == _ESTABLISHED]


def _path(result: ProbeResult, established: list[LiveIkeSa]) -> Iterator[ProbeFinding]:
    path, milliseconds = result.path, round_trip(result)
    if path.state == "answered":
        loss = "" if path.received == path.sent else f", {path.sent - path.received} of {path.sent} lost"
        yield ProbeFinding("round trip", "ok", f"{format_time(path.milliseconds)} to {path.target} (ping){loss}")
        yield ProbeFinding("path MTU", *_size(path, "outside the tunnel"))
        return
    if milliseconds >= 0:
        yield ProbeFinding(
            "round trip", "ok", f"{format_time(milliseconds)} to {path.target} (IKE); it answers no pings"
        )
    elif path.state == "unreachable":
        yield ProbeFinding("round trip", "failed", f"{path.target} cannot be reached: {_error(path, result)}")
    elif path.state == "not sent" and not result.ports:
        proof = "; the IKE SA that is up shows that there is a way" if established else ""
        yield ProbeFinding("round trip", "ok" if established else "unknown", f"nothing was sent: {path.note}{proof}")
        return
    else:
        yield ProbeFinding("round trip", "unknown", f"{path.target} answers no pings")
    if path.next_hop_mtu:
        yield ProbeFinding("path MTU", "ok", f"a router says {path.next_hop_mtu} bytes")
    else:
        yield ProbeFinding("path MTU", "unknown", "not measured: that takes a peer that answers pings")


# --- inside ---------------------------------------------------------------------------------------------------------


def _inside(inside: EchoProbe) -> Iterator[ProbeFinding]:
    match inside.state:
        case "answered":
            loss = "" if inside.received == inside.sent else f", {inside.sent - inside.received} of {inside.sent} lost"
            time = format_time(inside.milliseconds)
            yield ProbeFinding("inside", "ok", f"{inside.target} answers through the tunnel after {time}{loss}")
            yield ProbeFinding("inside MTU", *_size(inside, "through the tunnel"))
        case "silent":
            text = (
                f"{inside.target} does not answer through the tunnel: it may not exist, answer no pings, or have no "
                "route back; name a host that answers pings as 'target'"
            )
            yield ProbeFinding("inside", "unknown", text)
        case "not sent":
            yield ProbeFinding("inside", "unknown", f"nothing was sent: {inside.note}")
        case _:
            yield ProbeFinding("inside", "failed", f"{inside.target} cannot be reached: {inside.note}{_by(inside)}")


def _size(echo: EchoProbe, where: str) -> tuple[FindingState, str]:
    if echo.passes >= echo.limit:
        return "ok", f"{echo.passes} bytes pass {where}, as many as this end may send"
    reported = f"; a router says {echo.next_hop_mtu}" if echo.next_hop_mtu else ""
    text = f"{echo.passes} bytes pass {where}, and no more, where this end may send {echo.limit}{reported}"
    return "failed", text + f": set the mtu of the connection to {echo.passes} or less" * (
        where == "through the tunnel"
    )


def _error(probe: PortProbe | EchoProbe, result: ProbeResult) -> str:
    if probe.reporter and probe.reporter == result.path.source:
        return f"{probe.note}: no host of the external network has the address of the peer, or of the next hop to it"
    return probe.note + _by(probe)


def _by(probe: PortProbe | EchoProbe) -> str:
    return f", says {probe.reporter}" if probe.reporter else ""
