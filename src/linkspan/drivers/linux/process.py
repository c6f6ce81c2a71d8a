"""Ending processes without meeting the wrong one, and collecting our own that have ended.

A process is held by a descriptor (pidfd) from the moment that it is looked at, so a number that the kernel has given
to somebody else meanwhile is never signalled.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterable
from typing import Final

_KILL_DEADLINE: Final = 5.0
_children: dict[int, subprocess.Popen[bytes]] = {}


def terminate(pids: Iterable[int], patience: float = 0.0) -> None:
    """End processes: ask and wait for so many seconds, then kill. One that is gone already is no error."""
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


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Keep a child that may outlive the object that started it, so that `reap` can collect it."""
    _children[child.pid] = child


def reap() -> None:
    """Collect those of our children that have ended."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            _children.pop(pid, None)


def _end(pidfd: int, patience: float) -> None:
    if patience:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)  # one that is stopped can still say goodbye
        if _gone(pidfd, patience):
            return
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _gone(pidfd, _KILL_DEADLINE)


def _gone(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
