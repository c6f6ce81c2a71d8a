"""Creates, enters and removes network namespaces; the only module that calls setns(2).

A function runs inside a namespace on a new thread that ends with it. So an error never leaves a thread of the program
in another namespace, and processes and sockets that the function creates belong to the namespace. Names are those of
`ip netns`: files in /run/netns. No state is kept in memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from linkspan.drivers.linux import user_namespace

RUN: Final = Path("/run/netns")
CURRENT: Final = ""
"""The name that stands for the namespace of the program itself."""

_MACHINE: Final = Path("/proc/1/ns/mnt")
"""The mount namespace of the machine's first process, whose mounts everybody sees."""

_CLONE_NEWNS: Final = 0x20000
_CLONE_FS: Final = 0x200
_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWPID: Final = 0x20000000
_MNT_DETACH: Final = 2
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_SHARED: Final = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def path(name: str) -> Path:
    """Return the file of a namespace; for `CURRENT` that of the program's main thread."""
    return Path("/proc/self/ns/net") if name == CURRENT else RUN / name


def names() -> list[str]:
    """Return the names of the machine's namespaces, sorted."""
    try:
        return sorted(os.listdir(RUN))
    except FileNotFoundError:
        return []


def exists(name: str) -> bool:
    """True if the namespace exists, and not only a file that a crash has left."""
    try:
        return name == CURRENT or os.stat(path(name)).st_dev != os.stat(RUN).st_dev
    except FileNotFoundError:
        return False


def run_inside(name: str, function: Callable[[], T]) -> T:
    """Run a function inside a namespace; return its result or raise its exception. OSError without a namespace."""
    fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)

    def run() -> T:
        _call("setns", _libc.setns(fd, _CLONE_NEWNET))
        return function()

    try:
        return _on_own_thread(run)
    finally:
        os.close(fd)


def run_in_throwaway(function: Callable[[], T]) -> T:
    """Run a function inside a new unnamed namespace, which the kernel removes afterwards."""

    def run() -> T:
        _call("unshare", _libc.unshare(_CLONE_NEWNET))
        return function()

    return _on_own_thread(run)


def run_with_new_pids(function: Callable[[], T]) -> T:
    """Run a function whose first child process begins a process namespace, in which it sees itself and its own only."""

    def run() -> T:
        _call("unshare", _libc.unshare(_CLONE_NEWPID))
        return function()

    return _on_own_thread(run)


def create(name: str, prepare: Callable[[], None], owner: int | None = None) -> None:
    """Create a namespace: run `prepare` inside, then give it its name, so that it never appears half prepared.

    With `owner`, it belongs to a user namespace with this uid alone (`drivers.linux.user_namespace`). Raises
    FileExistsError if the name is in use, OSError if the kernel refuses.
    """

    def make() -> None:
        _call("unshare", _libc.unshare(_CLONE_NEWNET))
        prepare()
        _bind(f"/proc/self/task/{threading.get_native_id()}/ns/net", name)

    def make_owned(source: Path) -> None:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", _libc.setns(fd, _CLONE_NEWNET))
        finally:
            os.close(fd)
        prepare()
        _bind(str(source), name)

    _for_the_machine(_share_run_directory)
    if owner is None:
        _on_own_thread(make)
        return
    with user_namespace.network(owner) as source:
        _on_own_thread(lambda: make_owned(source))


def has_owner(name: str) -> bool:
    """True if a namespace belongs to a user namespace of its own. OSError without a namespace."""
    fd = hold(name)
    try:
        owner = user_namespace.owner_of(fd)
    finally:
        os.close(fd)
    try:
        return not user_namespace.is_ours(owner)
    finally:
        os.close(owner)


def hold(name: str) -> int:
    """Return a descriptor of a namespace, which lives until it is closed, also without a name."""
    return os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)


def attach(name: str, fd: int) -> bool:
    """Give a held namespace this name, also in the place of another one; return whether it did not have it."""
    try:
        if os.stat(path(name)).st_ino == os.fstat(fd).st_ino:
            return False
        delete(name)
    except FileNotFoundError:
        pass
    _for_the_machine(_share_run_directory)
    _bind(f"/proc/self/fd/{fd}", name)
    return True


def delete(name: str) -> None:
    """Remove the name; the kernel removes the namespace with its last process. No error if the name is unknown."""
    target = str(path(name)).encode()

    def remove() -> None:
        while exists(name) and _libc.umount2(target, _MNT_DETACH) == 0:
            pass
        path(name).unlink(missing_ok=True)

    _for_the_machine(remove)


def processes(*names: str) -> list[int]:
    """Return the pids of the processes inside these namespaces. It looks at every process of the machine, so ask once
    for many."""
    wanted: set[tuple[int, int]] = set()
    for name in names:
        with suppress(FileNotFoundError):
            wanted.add(_identity(os.stat(path(name))))
    pids: list[int] = []
    if not wanted:
        return pids
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            status = os.stat(f"/proc/{entry}/ns/net")
        except OSError:
            continue
        if _identity(status) in wanted:
            pids.append(int(entry))
    return pids


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def is_inside(pid: int, name: str) -> bool:
    """True if a process runs in the namespace that now has this name. False if either is gone."""
    try:
        current, named = os.stat(f"/proc/{pid}/ns/net"), os.stat(path(name))
    except OSError:
        return False
    return _identity(current) == _identity(named)


@contextmanager
def machine_lock() -> Iterator[None]:
    """Lock out all other agents of this machine; to be held for milliseconds only."""
    if not RUN.exists():
        _for_the_machine(lambda: RUN.mkdir(mode=0o755, exist_ok=True))
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


def _for_the_machine(function: Callable[[], None]) -> None:
    """Run a function that mounts, or writes in `RUN`, where the machine and later agents see it.

    A service manager gives a service with a protected file system a mount namespace that only receives mounts: names
    that it made there would end with it.
    """
    if not _only_receives_mounts():
        function()
        return
    fd = os.open(_MACHINE, os.O_RDONLY | os.O_CLOEXEC)

    def run() -> None:
        _call("unshare", _libc.unshare(_CLONE_FS))
        _call("setns", _libc.setns(fd, _CLONE_NEWNS))
        function()

    try:
        _on_own_thread(run)
    finally:
        os.close(fd)


def _only_receives_mounts() -> bool:
    """True if the mount that `RUN` is on is a slave of another one (proc(5), mountinfo)."""
    found = ("/", False)
    for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = fields[4]
        if RUN.is_relative_to(point) and len(point) >= len(found[0]):
            options = fields[6 : fields.index("-")]
            found = (point, any(option.startswith("master:") for option in options))
    return found[1]


def _bind(source: str, name: str) -> None:
    target = path(name)

    def bind() -> None:
        if not exists(name):
            target.unlink(missing_ok=True)
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        try:
            _mount(source, str(target), _MS_BIND)
        except OSError:
            target.unlink(missing_ok=True)
            raise

    _for_the_machine(bind)


def _share_run_directory() -> None:
    # As `ip netns add` does: make the directory a shared mount, so that a process in its own mount namespace (as
    # `ip netns exec` creates for charon) does not keep removed namespaces alive.
    with machine_lock():
        if any(line.split()[4] == str(RUN) for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()):
            return
        _mount(str(RUN), str(RUN), _MS_BIND | _MS_REC)
        _mount("", str(RUN), _MS_SHARED | _MS_REC)


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None), target)


def _call(function: str, result: int, detail: str = "") -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}", detail or None)
