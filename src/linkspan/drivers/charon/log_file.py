"""The log of a gateway's charon: reads its end, and bounds its size.

charon owns the folder and may put anything there under the log's name, so only a regular file is read or written.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from linkspan.drivers.charon.strongswan_conf import LOG

OLDER: Final = f"{LOG}.1"
LIMIT: Final = 4 << 20
"""Bytes from which on the log is rotated."""
_TAIL: Final = 16384
"""Bytes of the log's end that have what a command just caused."""
_COPIED: Final = 1 << 20
_UNNAMED_LINE: Final = re.compile(r"\S+ \d+\[(?:IKE|CFG|KNL|LIB)\] (?![<])(?!vici )(.+)")


def tail(directory: Path) -> str:
    """Return the end of the log; empty if there is none."""
    try:
        with _opened(directory, os.O_RDONLY) as log:
            return os.pread(log, _TAIL, max(0, os.fstat(log).st_size - _TAIL)).decode(errors="replace")
    except OSError:
        return ""


def reason(directory: Path, child: str) -> str:
    """Return what charon logged after the command to initiate a child, outside of any IKE SA; empty if nothing.

    VICI only says that it failed.
    """
    _, command, after = tail(directory).rpartition(f"vici initiate CHILD_SA '{child}'\n")
    lines = after.splitlines() if command else ()
    return next((match[1] for line in lines if (match := _UNNAMED_LINE.match(line))), "")


def rotate(directory: Path) -> None:
    """Keep a log beyond `LIMIT` as `OLDER`, and let charon go on with an empty one. A full disk costs the older one."""
    try:
        with _opened(directory, os.O_RDWR) as log:
            size = os.fstat(log).st_size
            if size <= LIMIT:
                return
            older = directory / OLDER
            older.unlink(missing_ok=True)
            try:
                _copy(log, size, older)
            finally:
                os.ftruncate(log, 0)  # charon appends
    except OSError:
        return


def _copy(log: int, size: int, target: Path) -> None:
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for position in range(max(0, size - LIMIT), size, _COPIED):
            os.write(copy, os.pread(log, min(_COPIED, size - position), position))
    finally:
        os.close(copy)


@contextmanager
def _opened(directory: Path, mode: int) -> Iterator[int]:
    descriptor = os.open(directory / LOG, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("charon's log is no file")
        yield descriptor
    finally:
        os.close(descriptor)
