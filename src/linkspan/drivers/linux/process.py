"""Ends processes without the races of pids, reaps child processes, and limits this one.

A process is signalled through a descriptor (pidfd), so a pid that the kernel has reused meanwhile is never signalled.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_KILL_DEADLINE: Final = 5.0
_SET_DUMPABLE: Final = 4
_children: dict[int, subprocess.Popen[bytes]] = {}


def terminate(pids: Iterable[int], patience: float = 0.0) -> None:
    """End processes: SIGTERM, after `patience` seconds SIGKILL; 0 kills at once. No error for ended processes."""
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            _end(fd, patience)
        except ProcessLookupError:
            continue
        finally:
            os.close(fd)


def executable(pid: int) -> str:
    """Return the name of the program that a process runs; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def forbid_core_dumps() -> None:
    """Let no file have this process's memory with its keys; other processes of its uid cannot look into it either."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        code = ctypes.CDLL(None, use_errno=True).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
        if code:
            raise OSError(ctypes.get_errno(), "prctl")


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Register a child process that may outlive the object that started it, for `reap`."""
    _children[child.pid] = child


def reap() -> None:
    """Reap the registered children that have ended."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            _children.pop(pid, None)


def _end(pidfd: int, patience: float) -> None:
    if patience:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)  # a stopped process can still shut down properly
        if _gone(pidfd, patience):
            return
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _gone(pidfd, _KILL_DEADLINE)


def _gone(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
