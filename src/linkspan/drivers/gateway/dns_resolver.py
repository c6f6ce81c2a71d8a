"""Resolves names inside a gateway's namespace, with the hosts and resolv.conf of /etc/netns/NAME (ip-netns(8)).

Each query runs in its own process: the files that the C library reads depend on the process's mount namespace, and a
query that waits for a silent name server delays no other and can be ended. What a name server answers is read without
any rights, as a uid of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final

from linkspan.core.tunnel.peer_names import Resolution
from linkspan.drivers.linux import user_namespace

_DEADLINE: Final = 4.0
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "RES_OPTIONS": "timeout:1 attempts:1"}
"""resolv.conf(5): each name server is queried once and has one second; the agent repeats a failed query."""
_NO_NEW_PRIVS: Final = 38
_PROGRAM: Final = f"""\
import ctypes, encodings.idna, os, resource, socket, sys
uid, name = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
if ctypes.CDLL(None).prctl({_NO_NEW_PRIVS}, 1, 0, 0, 0):
    sys.exit("its rights cannot be limited")
try:
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
    uid = user_namespace.uid(f"resolver {namespace}")
    command = ["ip", "netns", "exec", namespace, sys.executable, "-I", "-S", "-c", _PROGRAM, str(uid), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=_ENVIRONMENT, timeout=_DEADLINE, check=False)
    except subprocess.TimeoutExpired:
        return Resolution(name, error=_NO_ANSWER.format(namespace))
    except OSError as error:
        return Resolution(name, error=f"the resolver cannot be started: {error}")
    # A zone marks a link-local address, which no peer can have.
    addresses = tuple(address for address in done.stdout.split() if "%" not in address)
    if done.returncode == 0 and addresses:
        return Resolution(name, addresses)
    message = done.stderr.strip().rpartition("\n")[2]
    fallback = f"the resolver failed: {message}" if message else _ERRORS[10]
    return Resolution(name, error=_ERRORS.get(done.returncode, fallback).format(namespace))
