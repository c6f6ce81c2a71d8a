"""Sends probes from inside a gateway's namespace, in a process of its own that gives up its rights before it reads.

The IKE messages come from source ports that the leak guard lets out (`guard_rules`): charon has IKE's own, and what is
probed is the way, not charon. Outside, sockets have no interface, as the kernel's own errors about an address without a
host come by lo; routes by source keep them outside (`main_routing`). Echo requests through the tunnel leave by
charon's TUN device only, where ESP is in user space; in the kernel the leak guard lets out what is encrypted.
"""

from __future__ import annotations

import inspect
import secrets
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec

from linkspan.core.ipsec import ike_probe
from linkspan.core.ipsec.probe_plan import InsidePlan, ProbePlan
from linkspan.core.state.observed import Backend
from linkspan.core.state.probes import EchoProbe, PortProbe, ProbeResult
from linkspan.drivers.gateway import powerless_process, probe_program
from linkspan.drivers.gateway.guard_rules import PROBE_PORTS
from linkspan.drivers.linux import interface_names

DEADLINE: Final = 9
"""Seconds after which the program is ended: more than it needs."""
MOST: Final = 8
"""Probes of a node at a time."""
_NONCE_LENGTH: Final = 32
_PROGRAM: Final = f"""\
{inspect.getsource(probe_program)}
import ctypes, json, resource, signal, sys
signal.alarm({DEADLINE})
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
uid, plan = int(sys.argv[1]), json.loads(sys.argv[2])
probes = opened(plan)
{powerless_process.DROP_RIGHTS}print(json.dumps(run(probes)))
"""
_NOTHING: Final = EchoProbe(state="not sent")


class _Port(msgspec.Struct):
    port: int
    state: str
    milliseconds: float
    note: str
    reporter: str
    answer: str


class _Output(msgspec.Struct):
    ports: tuple[_Port, ...]
    echoes: dict[str, EchoProbe]


class NamespaceProber:
    """The `Prober` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._free = threading.BoundedSemaphore(MOST)

    def probe(self, gateway_id: str, plan: ProbePlan, deliver: Callable[[ProbeResult | str], None]) -> None:
        if not self._free.acquire(blocking=False):
            deliver(f"the node already runs {MOST} probes, and no more at a time: try again in some seconds")
            return
        namespace, device = self._namespace(gateway_id), interface_names.TUN if self._backend == "user-space" else ""

        def run() -> None:
            try:
                result = _run(namespace, plan, device)
            finally:
                self._free.release()
            deliver(result)

        threading.Thread(target=run, name=f"probe-{gateway_id[:8]}", daemon=True).start()


def _run(namespace: str, plan: ProbePlan, device: str) -> ProbeResult | str:
    sent, spis = _messages(plan)
    echoes = {} if plan.refusal else {"path": _echo(plan.source, plan.peer, plan.limit, "")}
    if not plan.inside.refusal:
        echoes["inside"] = _echo(plan.inside.source, plan.inside.target, plan.inside.limit, device)
    argument = {
        "source": plan.source,
        "peer": plan.peer,
        "source_ports": [*PROBE_PORTS],
        "messages": sent,
        "echoes": echoes,
    }
    text = msgspec.json.encode(argument).decode()
    try:
        done = powerless_process.run(namespace, "prober", _PROGRAM, text, environment={}, timeout=DEADLINE + 2)
        if done.returncode:
            return f"the probe failed: {_last_line(done.stderr) or f'its process ended with {done.returncode}'}"
        output = msgspec.json.decode(done.stdout, type=_Output)
        return _result(plan, output, spis)
    except subprocess.TimeoutExpired:
        return f"the probe did not end within {DEADLINE} s"
    except (OSError, msgspec.DecodeError) as error:
        return f"the probe cannot be run: {error}"


def _messages(plan: ProbePlan) -> tuple[dict[str, Any], dict[int, list[bytes]]]:
    """The messages to each port, and their SPIs."""
    sent: dict[str, Any] = {}
    spis: dict[int, list[bytes]] = {}
    for port in () if plan.refusal else (500, 4500):
        spis[port] = [secrets.token_bytes(ike_probe.SPI_LENGTH) for _ in probe_program.ATTEMPTS]
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        *first, last = spis[port]
        made = [(spi, ike_probe.unknown_version(spi, nonce)) for spi in first]
        made.append((last, ike_probe.unacceptable(plan.version, last, nonce)))
        marker = ike_probe.NON_ESP_MARKER.hex() if port == 4500 else ""
        sent[str(port)] = {"marker": marker, "messages": [(spi.hex(), message.hex()) for spi, message in made]}
    return sent, spis


def _echo(source: str, target: str, limit: int, device: str) -> dict[str, Any]:
    return {"source": source, "target": target, "limit": limit, "device": device}


def _result(plan: ProbePlan, output: _Output, spis: dict[int, list[bytes]]) -> ProbeResult:
    ports = tuple(_port(port, spis[port.port]) for port in output.ports)
    path = output.echoes.get("path", msgspec.structs.replace(_NOTHING, note=plan.refusal))
    return ProbeResult(ports=ports, path=path, inside=output.echoes.get("inside", _not_sent(plan.inside)))


def _port(port: _Port, spis: list[bytes]) -> PortProbe:
    answer = bytes.fromhex(port.answer)
    notify = next((found for spi in spis if (found := ike_probe.notify_in(answer, spi)) is not None), None)
    note = notify if port.state == "answered" and notify is not None else port.note
    values = {"port": port.port, "state": port.state, "milliseconds": port.milliseconds, "reporter": port.reporter}
    return msgspec.convert(values | {"note": note}, PortProbe)


def _not_sent(inside: InsidePlan) -> EchoProbe:
    return msgspec.structs.replace(_NOTHING, source=inside.source, target=inside.target, note=inside.refusal)


def _last_line(output: bytes) -> str:
    return output.decode(errors="replace").strip().rpartition("\n")[2][:200]
