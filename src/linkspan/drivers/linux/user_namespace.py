"""User namespaces that own network namespaces: a process inside has its capabilities over that network only.

Each has one uid, the gateway's, and belongs to root: a user namespace that a uid creates can be entered by every
process of that uid. Nobody has to stay inside: the kernel keeps it as long as the network namespace, through which it
is found again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_NS_GET_USERNS: Final = 0xB701
_OURS: Final = Path("/proc/self/ns/user")
_DEADLINE: Final = 5.0
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_READY: Final = b"ready\n"
_WAIT: Final = "echo ready && exec cat"
_RANGES: Final = ((1_879_048_192, 268_304_384), (61_184, 4_336))
"""First uid and number of uids: those that systemd leaves free; in a container without them, those that it gives to
users without a name."""


def uid(purpose: str) -> int:
    """Return an unprivileged uid, the same for each purpose. Two purposes may get the same one."""
    digest = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8])
    first, count = next((span for span in _RANGES if _is_mapped(*span)), _RANGES[-1])
    return first + digest % count


@contextmanager
def network(owner: int) -> Iterator[Path]:
    """Yield a new network namespace, owned by a new user namespace with this uid and gid alone.

    Raises OSError if the kernel refuses.
    """
    command = ["unshare", "--user", "--net", "--", "sh", "-c", _WAIT]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env={"PATH": _PATH}) as child:
        assert child.stdout
        assert child.stderr
        try:
            if child.stdout.readline() != _READY:
                raise OSError(child.stderr.read().decode(errors="replace").strip() or "unshare(1) failed")
            folder = Path(f"/proc/{child.pid}")
            for file in ("uid_map", "gid_map"):
                (folder / file).write_text(f"{owner} {owner} 1")
            yield folder / "ns" / "net"
        finally:
            child.kill()


def refusal() -> str:
    """Return why this machine has no user namespaces, in the kernel's words; empty if it has."""
    try:
        with network(uid("")):
            return ""
    except OSError as error:
        return str(error)


def owner_of(network: int) -> int:
    """Return a descriptor of the user namespace that owns a network namespace, of which `network` is one."""
    descriptor: int = fcntl.ioctl(network, _NS_GET_USERNS)
    return descriptor


def is_ours(owner: int) -> bool:
    """True if a user namespace is the one of this program, whose root has power over more than one gateway."""
    return os.fstat(owner).st_ino == _OURS.stat().st_ino


def _is_mapped(first: int, count: int) -> bool:
    """True if the program's own user namespace has these uids."""
    lines = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(inside <= first and first + count <= inside + size for inside, _, size in lines)
