"""Child processes of a supervisor: started, watched, restarted, and never left behind.

Each child is told by the kernel when its parent dies, runs in a session of its own (so that Ctrl-C reaches the
supervisor alone, who ends them in order), and is written down with its start time. So a later run finds what a killed
one left, and never mistakes a stranger's process with a recycled pid for its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

BACKOFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a child that died is started again; a child that lived for a minute starts over at the first."""
LONG_LIVED: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for another: pid, and its start in clock ticks after boot."""

    name: str
    pid: int
    start: int

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_time(self.pid) == self.start

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, and to nobody else."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None if there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class StateLock:
    """Holds a state directory for one supervisor at a time. The kernel lets go when the process dies."""

    def __init__(self, state: Path) -> None:
        path = state / "run" / "lock"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise click.ClickException(
                f"linkspan already runs with the state directory {state} (process {holder}): stop it, or give "
                "another one with --state DIR and another --port"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.close(self._file)


class ChildProcess:
    """One child process and what it takes to start it again."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.failures = 0
        self.due = 0.0

    def start(self) -> None:
        """Start it; its output goes to the end of its log file."""
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        parent = os.getpid()
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=self.environment,
                start_new_session=True,
                # No Python runs between fork and exec but this one system call, so no lock can be held there.
                preexec_fn=lambda: _terminate_with_parent(parent),  # noqa: PLW1509
            )
        finally:
            os.close(descriptor)
        self.started = time.monotonic()

    def identity(self) -> ProcessIdentity | None:
        """Who it is, None if it does not run."""
        if self.process is None or self.process.poll() is not None:
            return None
        start = start_time(self.process.pid)
        return None if start is None else ProcessIdentity(self.name, self.process.pid, start)

    def last_words(self) -> str:
        """The last line that it wrote, for a report on its death."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


def _terminate_with_parent(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class Supervisor:
    """All children of one supervisor, in the order in which they were started."""

    def __init__(self, state: Path, say: Callable[[str], None]) -> None:
        self._record = state / "run" / "children.json"
        self._say = say
        self._all: list[ChildProcess] = []

    def start(self, child: ChildProcess) -> None:
        """Start a child and remember it."""
        self._all.append(child)
        child.start()
        self._write()

    def dead(self) -> ChildProcess | None:
        """A child that is not running, if there is one."""
        return next((child for child in self._all if child.process and child.process.poll() is not None), None)

    def revive(self) -> None:
        """Start again what died, with a small back-off, and say so in one line. Call it again and again."""
        now = time.monotonic()
        for child in self._all:
            if child.process is None:
                if now >= child.due:
                    child.start()
                    self._write()
                continue
            code = child.process.poll()
            if code is None:
                continue
            child.failures = 0 if now - child.started > LONG_LIVED else child.failures
            delay = BACKOFF[min(child.failures, len(BACKOFF) - 1)]
            child.failures += 1
            child.process, child.due = None, now + delay
            self._say(f"{child.name} {_describe_exit(code)}; it starts again in {delay:g} s (see {child.log})")

    def stop(self, names: Callable[[str], bool], timeout: float) -> list[str]:
        """End the children of these names together; hands back the names of those that had to be killed."""
        chosen = [child for child in self._all if names(child.name) and child.process]
        for child in chosen:
            if child.process and child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + timeout
        killed = []
        for child in chosen:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                killed.append(child.name)
        self._all = [child for child in self._all if child not in chosen]
        self._write()
        return killed

    def _write(self) -> None:
        found = [identity for child in self._all if (identity := child.identity())]
        temporary = self._record.with_suffix(".new")
        temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.json.encode(found))
        temporary.replace(self._record)


def _describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def leftover_processes(state: Path) -> list[ProcessIdentity]:
    """Children of an earlier run with this state directory that still run."""
    try:
        raw: Any = json.loads((state / "run" / "children.json").read_bytes())
        found = msgspec.convert(raw, list[ProcessIdentity])
    except (OSError, ValueError):
        return []
    return [identity for identity in found if identity.alive()]


def terminate(processes: Sequence[ProcessIdentity], timeout: float) -> None:
    """End processes that are not ours to wait for: politely, and after `timeout` seconds not politely."""
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and any(process.alive() for process in processes):
        time.sleep(0.02)
    for process in processes:
        process.signal(signal.SIGKILL)
