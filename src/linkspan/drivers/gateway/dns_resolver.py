"""Resolves names inside a gateway's namespace, with the hosts and resolv.conf of /etc/netns/NAME (ip-netns(8)).

Each query runs in its own process: the files that the C library reads depend on the process's mount namespace, and a
query that waits for a silent name server delays no other and can be ended. What a name server answers is read without
any rights, as a uid of its own.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from typing import Final

from linkspan.core.tunnel.peer_names import Resolution
from linkspan.drivers.gateway import powerless_process

_DEADLINE: Final = 4.0
_ENVIRONMENT: Final = {"RES_OPTIONS": "timeout:1 attempts:1"}
"""resolv.conf(5): each name server is queried once and has one second; the agent repeats a failed query."""
_PROGRAM: Final = f"""\
import ctypes, encodings.idna, os, resource, socket, sys
uid, name = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
{powerless_process.DROP_RIGHTS}try:
    entries = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
except socket.gaierror as error:
    sys.exit(11 if error.errno in (socket.EAI_AGAIN, socket.EAI_SYSTEM) else 10)
print(*dict.fromkeys(entry[4][0] for entry in entries))
"""
_NO_ANSWER: Final = "no name server answers, see resolv.conf in /etc/netns/{}"
_ERRORS: Final = {10: "there is no such name, or it has no address", 11: _NO_ANSWER}


class NamespaceResolver:
    """The `Resolver` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, namespace: Callable[[str], str]) -> None:
        self._namespace = namespace

    def resolve(self, gateway_id: str, name: str, deliver: Callable[[Resolution], None]) -> None:
        namespace = self._namespace(gateway_id)
        threading.Thread(
            target=lambda: deliver(_query(namespace, name)), name=f"resolve-{gateway_id[:8]}", daemon=True
        ).start()


def _query(namespace: str, name: str) -> Resolution:
    try:
        done = powerless_process.run(namespace, "resolver", _PROGRAM, name, environment=_ENVIRONMENT, timeout=_DEADLINE)
    except subprocess.TimeoutExpired:
        return Resolution(name, error=_NO_ANSWER.format(namespace))
    except OSError as error:
        return Resolution(name, error=f"the resolver cannot be started: {error}")
    # A zone marks a link-local address, which no peer can have.
    addresses = tuple(address for address in done.stdout.decode().split() if "%" not in address)
    if done.returncode == 0 and addresses:
        return Resolution(name, addresses)
    message = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    fallback = f"the resolver failed: {message}" if message else _ERRORS[10]
    return Resolution(name, error=_ERRORS.get(done.returncode, fallback).format(namespace))
