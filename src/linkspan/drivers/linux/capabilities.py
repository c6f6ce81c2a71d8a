"""Gives up the capabilities of this process that it does not need (capabilities(7))."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

OVERRIDE: Final = 1
"""CAP_DAC_OVERRIDE: write what is somebody else's."""
READ_SEARCH: Final = 2
"""CAP_DAC_READ_SEARCH: read what is somebody else's, and search such folders."""
_SET_NO_NEW_PRIVS, _CAPBSET_DROP, _CAP_AMBIENT, _AMBIENT_CLEAR = 38, 24, 47, 4
_VERSION: Final = 0x20080522
_MOST: Final = 64

_libc = ctypes.CDLL(None, use_errno=True)


def drop(kept: Iterable[int] = ()) -> None:
    """Gives up all capabilities but these for good, also those that a program could get. Raises OSError.

    Of this thread and of those that it starts afterwards: to be called before there are others.
    """
    allowed = set(kept)
    _call(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _libc.prctl(_CAP_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    for number in range(_MOST):
        if number not in allowed and _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0):
            if ctypes.get_errno() in (errno.EINVAL, errno.EPERM):
                break  # the kernel has no more of them, or there is none to give up
            _call(-1, "the bounding set")
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same of the numbers from 32
    _call(_libc.capget(header, held), "capget")
    if not any(held):
        return  # a service may be forbidden to ask for none
    for at in range(6):
        first = 32 * (at // 3)
        held[at] &= sum(1 << number - first for number in allowed if first <= number < first + 32)
    _call(_libc.capset(header, held), "capset")


def needed_for(read: Iterable[Path], written: Iterable[Path]) -> set[int]:
    """The capabilities without which this user could not read these files, and those in these folders, or write files
    and folders: none if they are its own."""
    user = os.geteuid()
    needed = set()
    written = [path.absolute() for path in written]
    entries = [entry for path in written if path.is_dir() for entry in path.iterdir()]
    if any(status.st_uid != user for path in [*written, *entries] if (status := _status(path))):
        needed.add(OVERRIDE)
    read = [path.absolute() for path in read]
    folders = {folder for path in [*read, *written] for folder in path.parents}
    folders |= {path for path in read if path.is_dir()}
    closed = any(_is_closed(folder, stat.S_IXOTH) for folder in folders)
    if closed or any(_is_closed(path, stat.S_IROTH) for path in read):
        needed.add(READ_SEARCH)
    return needed


def _is_closed(path: Path, bit: int) -> bool:
    """True if something is somebody else's and not open to everybody."""
    status = _status(path)
    return status is not None and status.st_uid != os.geteuid() and not status.st_mode & bit


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _call(result: int, name: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
