"""Starts a gateway's charon with no rights but those it needs: over the network of its gateway, and in its own folder.

Whoever has broken into a charon finds a root of its own without any file of the machine, no other process, no
capability beyond this network namespace, and few system calls. A network namespace that belongs to the machine, on a
kernel without user namespaces or of an earlier version, leaves it CAP_NET_ADMIN, with which links can be put into other
namespaces. `drivers.charon.launcher` carries it out.
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from linkspan.drivers.charon import launcher, system_calls
from linkspan.drivers.linux import netns, user_namespace

CONFIGURATION: Final = "/etc/strongswan.conf"
_LAUNCHER: Final = "import sys; sys.path.append(sys.argv[1]); import launcher; launcher.main(int(sys.argv[2]))"
"""Imported, so that it is compiled once."""
PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for."""
_ALLOCATOR: Final = "glibc.malloc.arena_max=2:glibc.malloc.tcache_count=0"
"""Each of charon's 16 threads would keep a heap and a cache of its own: 25 KiB more for each connection, and no packet
a second more."""


def uid(namespace: str) -> int:
    """Return the uid of the charon in a gateway's namespace."""
    return user_namespace.uid(f"charon {namespace}")


def start(
    program: str, arguments: list[str], namespace: str, directory: Path, configuration: str, output: int, *, tun: bool
) -> subprocess.Popen[bytes]:
    """Start a program in a gateway's namespace; return its process, which it is for good.

    `directory` is its folder /run, and has to belong to its uid; `configuration` is the text of `CONFIGURATION`;
    `output`: a descriptor for what it prints. Raises OSError.
    """
    network = netns.hold(namespace)
    owner = user_namespace.owner_of(network)
    order = os.memfd_create("order")
    descriptors = [order, network]
    try:
        confined = not user_namespace.is_ours(owner)
        if confined:
            descriptors.append(owner)
        fields = {
            "program": program,
            "arguments": arguments,
            "environment": {"PATH": PATH, "STRONGSWAN_CONF": CONFIGURATION, "GLIBC_TUNABLES": _ALLOCATOR},
            "uid": uid(namespace),
            "network": network,
            "owner": owner if confined else -1,
            "directory": str(directory),
            "configuration": configuration,
            "tun": tun,
            "system_calls": system_calls.program(),
        }
        os.write(order, marshal.dumps(fields))
        os.lseek(order, 0, os.SEEK_SET)
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(Path(launcher.__file__).parent), str(order)]
        return netns.run_with_new_pids(
            lambda: subprocess.Popen(
                command,
                env={"PATH": PATH},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                start_new_session=True,
            )
        )
    finally:
        for descriptor in (order, network, owner):
            os.close(descriptor)
