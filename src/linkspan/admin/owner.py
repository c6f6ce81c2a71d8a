"""Lets root work on the state directory of a service's user as that user.

Otherwise the database, its journal and the keys would belong to root after an upgrade or a first start, and the service
could not open them; and root would follow whatever links the service's user has put there. Files that the operator
names, such as one for a token, are read and written as the operator. Reading stays as root's, since Python and its
modules may be where only root reads them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CAPABILITY_VERSION: Final = 0x20080522
_READ_SEARCH: Final = 1 << 2
"""CAP_DAC_READ_SEARCH (capabilities(7))."""


@contextmanager
def act_as_owner(state: Path) -> Iterator[None]:
    """Acts as the owner of a state directory, if there is one and this is root."""
    try:
        status = os.stat(state)
    except OSError:
        yield
        return
    if os.geteuid() != 0 or status.st_uid == 0 or str(status.st_uid) == os.environ.get("SUDO_UID"):
        yield
        return
    with _acting(status.st_uid, status.st_gid, []):
        yield


@contextmanager
def act_as_operator() -> Iterator[None]:
    """Acts as whoever has started this command, within `act_as_owner`."""
    if os.getuid() != 0 or os.geteuid() == 0:
        yield
        return
    with _acting(0, 0, None):
        yield


@contextmanager
def _acting(uid: int, gid: int, groups: Sequence[int] | None) -> Iterator[None]:
    """Acts with these ids. The groups can be set by root only; None: they stay."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    if groups is not None:
        os.setgroups(groups)
    _become(uid, gid)
    try:
        yield
    finally:
        _become(before[0], before[1])
        if groups is not None:
            os.setgroups(before[2])


def _become(uid: int, gid: int) -> None:
    # Only root can set a group: first become root, last become another user.
    os.seteuid(0)
    os.setegid(gid)
    os.seteuid(uid)
    if uid:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.capget(header, sets)
        sets[0] = sets[1] & _READ_SEARCH  # effective: of what is permitted, which is root's until its end
        libc.capset(header, sets)
