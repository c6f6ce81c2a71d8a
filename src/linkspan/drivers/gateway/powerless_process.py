"""Programs that read what strangers send: in a gateway's namespace, in a process of their own, without any rights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from linkspan.drivers.linux import user_namespace

_NO_NEW_PRIVS: Final = 38
DROP_RIGHTS: Final = f"""\
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
if ctypes.CDLL(None).prctl({_NO_NEW_PRIVS}, 1, 0, 0, 0):
    sys.exit("its rights cannot be limited")
"""
"""The lines of a program that give up its rights. It has imported ctypes, os and sys, and has the `uid`."""
_PATH: Final = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}


def run(
    namespace: str, role: str, program: str, *arguments: str, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program with a uid of its role in a namespace, which is its first argument.

    Raises OSError, subprocess.TimeoutExpired.
    """
    uid = user_namespace.uid(f"{role} {namespace}")
    command = ["ip", "netns", "exec", namespace, sys.executable, "-I", "-S", "-c", program, str(uid), *arguments]
    return subprocess.run(command, capture_output=True, env={**_PATH, **environment}, timeout=timeout, check=False)
