"""Fetches files over HTTP from inside a gateway's namespace: the revocation lists of trust anchors.

The URL is a tenant's, and the answer that of a server that they chose. So each fetch runs in its own process, without
any rights, in the gateway's network alone, where nothing but charon's UDP ports listens. Its time and what it reads
have limits, and it follows no redirect. Its source ports are those that the leak guard lets out (`guard_rules`): they
are bound before the rights are dropped, as nobody else can bind them.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from linkspan.core.ipsec.crl_schedule import Fetched
from linkspan.drivers.gateway import powerless_process
from linkspan.drivers.gateway.guard_rules import FETCH_PORTS

MOST: Final = 65_000
"""Bytes of a file. A value of VICI has 65,535 at most."""
DEADLINE: Final = 10
"""Seconds, with the resolution of the name."""
_ENVIRONMENT: Final = {"RES_OPTIONS": "timeout:1 attempts:2"}
_PROGRAM: Final = f"""\
import ctypes, encodings.idna, ipaddress, os, random, resource, signal, socket, struct, sys
uid, host, port, path = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
signal.alarm({DEADLINE})
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
ports, sockets = list(range({FETCH_PORTS[0]}, {FETCH_PORTS[-1]} + 1)), {{}}
random.shuffle(ports)
for family in (socket.AF_INET, socket.AF_INET6):
    for source in ports:
        one = socket.socket(family, socket.SOCK_STREAM)
        # Without a reset a port would be in use for a minute. It goes only to who has been asked.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind(("", source))
        except OSError:
            continue
        sockets[family] = one
        break
{powerless_process.DROP_RIGHTS}try:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
except socket.gaierror:
    sys.exit(f"there is no address for {{host}}")
error = f"there is no address for {{host}} that can be reached"
for family, _, _, _, address in found:
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if family not in sockets or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        continue
    try:
        one = sockets.pop(family)
        one.connect(address)
        break
    except OSError as failure:
        error = f"{{host}} cannot be reached: {{os.strerror(failure.errno or 0).lower()}}"
else:
    sys.exit(error)
name = f"[{{host}}]" if ":" in host else host
one.sendall(f"GET {{path}} HTTP/1.0\\r\\nHost: {{name}}\\r\\nConnection: close\\r\\n\\r\\n".encode())
answer = b""
while len(answer) <= {MOST} + 8192 and (part := one.recv(65536)):
    answer += part
head, _, body = answer.partition(b"\\r\\n\\r\\n")
lines = head.decode("latin-1").split("\\r\\n")
status = lines[0].split(" ")
if not status[0].startswith("HTTP/1.") or len(status) < 2:
    sys.exit("the server does not speak HTTP")
if status[1] != "200":
    sys.exit(f"the server answers {{status[1][:3]}}")
fields = dict(line.lower().split(":", 1) for line in lines[1:] if ":" in line)
length = fields.get("content-length", "").strip()
if len(body) > {MOST} or (length.isdigit() and int(length) > {MOST}):
    sys.exit("the file has more than {MOST} bytes")
if length.isdigit() and int(length) != len(body):
    sys.exit("the server has sent only a part of the file")
sys.stdout.buffer.write(body)
"""


class NamespaceFetcher:
    """The `Fetcher` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, namespace: Callable[[str], str]) -> None:
        self._namespace = namespace

    def fetch(self, gateway_id: str, url: str, deliver: Callable[[Fetched], None]) -> None:
        namespace = self._namespace(gateway_id)
        threading.Thread(
            target=lambda: deliver(_fetch(namespace, url)), name=f"fetch-{gateway_id[:8]}", daemon=True
        ).start()


def _fetch(namespace: str, url: str) -> Fetched:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return Fetched(url, error="it is no URL")
    if parts.scheme != "http" or not host or parts.username or not url.isascii() or any(c <= " " for c in url):
        return Fetched(url, error="only plain http URLs are fetched")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    arguments = host, str(port), path
    try:
        done = powerless_process.run(
            namespace, "fetcher", _PROGRAM, *arguments, environment=_ENVIRONMENT, timeout=DEADLINE + 2
        )
    except subprocess.TimeoutExpired:
        return Fetched(url, error=_late())
    except OSError as error:
        return Fetched(url, error=f"the fetcher cannot be started: {error}")
    if done.returncode == 0:
        return Fetched(url, done.stdout)
    message = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return Fetched(url, error=_late() if done.returncode < 0 or not message else message[:200])


def _late() -> str:
    return f"the server did not answer within {DEADLINE} s"
