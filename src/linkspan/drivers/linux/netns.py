"""Entering, making and removing network namespaces: the one place that calls setns(2).

A function runs inside a namespace on a thread of its own that ends with it. So no thread of the program ever stays in
a foreign namespace after a mistake, and processes and sockets made by the function belong to the namespace. Names are
those of `ip netns`: a file in /run/netns. It refuses to keep anything in memory: what is in /run/netns is the truth.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

RUN: Final = Path("/run/netns")
HERE: Final = ""
"""The name of the namespace that the program itself runs in."""

_CLONE_NEWNET: Final = 0x40000000
_MNT_DETACH: Final = 2
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_SHARED: Final = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def path(name: str) -> Path:
    """The file of a namespace; `HERE` is that of the program's main thread."""
    return Path("/proc/self/ns/net") if name == HERE else RUN / name


def names() -> list[str]:
    """All named namespaces of the machine, in order."""
    try:
        return sorted(os.listdir(RUN))
    except FileNotFoundError:
        return []


def exists(name: str) -> bool:
    """Whether a namespace is there and not only the file that a crash left of it."""
    try:
        return name == HERE or os.stat(path(name)).st_dev != os.stat(RUN).st_dev
    except FileNotFoundError:
        return False


def run_inside(name: str, function: Callable[[], T]) -> T:
    """Run a function inside a namespace and hand back what it gives or raises. OSError if there is none."""
    fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)

    def run() -> T:
        _call("setns", _libc.setns(fd, _CLONE_NEWNET))
        return function()

    try:
        return _on_own_thread(run)
    finally:
        os.close(fd)


def run_in_throwaway(function: Callable[[], T]) -> T:
    """Run a function inside a new namespace without a name, which is gone afterwards."""

    def run() -> T:
        _call("unshare", _libc.unshare(_CLONE_NEWNET))
        return function()

    return _on_own_thread(run)


def create(name: str, prepare: Callable[[], None]) -> None:
    """Make a namespace, run `prepare` inside, and only then give it its name: nobody meets it half made.

    Raises FileExistsError if the name is taken, OSError if the kernel refuses.
    """

    def make() -> None:
        _call("unshare", _libc.unshare(_CLONE_NEWNET))
        prepare()
        target = path(name)
        if not exists(name):
            target.unlink(missing_ok=True)
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        try:
            _mount(f"/proc/self/task/{threading.get_native_id()}/ns/net", str(target), _MS_BIND)
        except OSError:
            target.unlink(missing_ok=True)
            raise

    _share_run_directory()
    _on_own_thread(make)


def delete(name: str) -> None:
    """Take the name away; the kernel removes the namespace when its last process is gone. Unknown is no error."""
    target = str(path(name)).encode()
    while exists(name) and _libc.umount2(target, _MNT_DETACH) == 0:
        pass
    path(name).unlink(missing_ok=True)


def processes(name: str) -> list[int]:
    """Pids of the processes inside a namespace."""
    try:
        wanted = os.stat(path(name))
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            status = os.stat(f"/proc/{entry}/ns/net")
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(entry))
    return found


def is_inside(pid: int, name: str) -> bool:
    """Whether a process runs in the namespace that has this name now. False if either is gone."""
    try:
        one, other = os.stat(f"/proc/{pid}/ns/net"), os.stat(path(name))
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


@contextmanager
def machine_lock() -> Iterator[None]:
    """Keep every other agent of this machine out; hold it for milliseconds only."""
    RUN.mkdir(mode=0o755, exist_ok=True)
    fd = os.open(RUN, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _on_own_thread(function: Callable[[], T]) -> T:
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001 # raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="inside-namespace")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _share_run_directory() -> None:
    # As `ip netns add` does: the directory is a shared mount, so that a process in a mount namespace of its own
    # (ip netns exec makes one for charon) does not keep removed namespaces alive.
    with machine_lock():
        if any(line.split()[4] == str(RUN) for line in Path("/proc/self/mountinfo").read_text().splitlines()):
            return
        _mount(str(RUN), str(RUN), _MS_BIND | _MS_REC)
        _mount("", str(RUN), _MS_SHARED | _MS_REC)


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None), target)


def _call(what: str, answer: int, detail: str = "") -> None:
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}", detail or None)
