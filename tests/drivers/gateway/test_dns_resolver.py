"""The resolver of peers' names: the rights of the process that reads what a name server answers."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from linkspan.core.tunnel.peer_names import Resolution
from linkspan.drivers.linux import netns, user_namespace
from tests.drivers.machine import Machine, gateway

pytestmark = [pytest.mark.root, pytest.mark.wire]


@pytest.mark.security(
    "7",
    tried="the rights of the process that reads a name server's answer",
    control="test_a_resolver_with_rights_would_be_seen",
)
def test_what_a_name_server_answers_is_read_without_rights(machine: Machine) -> None:
    name, fields, answer = _queried(machine)
    uid = user_namespace.uid(f"resolver {name}")
    assert fields["Uid"] == fields["Gid"] == f"{uid}\t{uid}\t{uid}\t{uid}"
    assert fields["Groups"].split() == []
    assert {fields[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {f"{0:016x}"}
    assert not answer.addresses


def test_a_resolver_with_rights_would_be_seen(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same query by root."""
    monkeypatch.setattr(user_namespace, "uid", lambda _: 0)
    _, fields, _ = _queried(machine)
    assert fields["Uid"].split() == ["0"] * 4
    assert int(fields["CapEff"], 16)


def _queried(machine: Machine) -> tuple[str, dict[str, str], Resolution]:
    """A namespace, the state of the process that resolves a name there while it waits, and its answer."""
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    name = drivers.namespaces.name(gateway(1).id)
    files = Path("/etc/netns") / name
    files.mkdir(parents=True)
    machine.files.append(files)
    (files / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    answers: list[Resolution] = []
    answered = threading.Event()

    def deliver(resolution: Resolution) -> None:
        answers.append(resolution)
        answered.set()

    server = netns.run_inside(name, _server)
    try:
        drivers.resolver.resolve(gateway(1).id, "peer.example", deliver)
        query, client = server.recvfrom(512)
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in netns.processes(name)]
        (status,) = [text for text in statuses if "python" in text.splitlines()[0] and "NoNewPrivs:\t1" in text]
        server.sendto(query[:2] + b"\x81\x83" + query[4:], client)
    finally:
        server.close()
    assert answered.wait(10.0)
    return name, dict(line.split(":\t", 1) for line in status.splitlines()), answers[0]


def _server() -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    server.settimeout(10.0)
    return server
