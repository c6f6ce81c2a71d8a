"""Starts, restarts and stops child processes, and finds the children that a killed supervisor left running.

Children outlive a supervisor that is killed: only an intended stop ends them. Each child has a session of its own, so
that Ctrl-C reaches only the supervisor, which stops its children in order. A file in the state directory records the
children with their start times, which distinguish them from unrelated processes that got the same pid. A child that
could not be recorded, as on a full disk, is found by the settings file in its command line. A disk that cannot be
written, or a process that cannot be started, delays what needs it and ends nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

BACKOFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before an exited child is restarted. After `LONG_LIVED` seconds of running, the next delay is the first."""
LONG_LIVED: Final = 60.0
SETTINGS_OPTION: Final = "--config"
"""The option before the settings file in the command of a child."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """Identifies a process beyond the reuse of its pid: `start` is its start time in clock ticks since boot."""

    name: str
    pid: int
    start: int

    def is_running(self) -> bool:
        """True if this process still runs."""
        return start_time(self.pid) == self.start

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, unless it has ended."""
        if self.is_running():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def start_time(pid: int) -> int | None:
    """Returns the start time of a process in clock ticks since boot; None if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class ChildProcess:
    """A child process, with its command, environment and log file to restart it."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.failures = 0
        self.restart_at = 0.0

    def start(self) -> None:
        """Starts the process; its output is appended to the log file, if there can be one. Raises OSError."""
        descriptor = self._open_log()
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=self.environment,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self.started_at = time.monotonic()

    def _open_log(self) -> int:
        try:
            self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def identity(self) -> ProcessIdentity | None:
        """Returns the identity of the running process, None if it does not run."""
        if self.process is None or self.process.poll() is not None:
            return None
        start = start_time(self.process.pid)
        return None if start is None else ProcessIdentity(self.name, self.process.pid, start)

    def last_log_line(self) -> str:
        """Returns the last line of the log file, for a report on the exit."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


class Supervisor:
    """Starts, restarts and stops children. `report` gets one line for each exit of a child or other fault."""

    def __init__(self, state: Path, report: Callable[[str], None]) -> None:
        self._record = state / "run" / "children.json"
        self._report = report
        self._children: list[ChildProcess] = []
        self._recorded = True

    def start(self, child: ChildProcess) -> None:
        """Starts a child and records it. Raises OSError."""
        self._children.append(child)
        child.start()
        self._write()

    def exited_child(self) -> ChildProcess | None:
        """Returns a child that has exited, None if all are running."""
        return next((child for child in self._children if child.process and child.process.poll() is not None), None)

    def restart_exited(self) -> None:
        """Reports each child that has exited, and restarts it after a short delay (`BACKOFF`). Call it repeatedly."""
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.restart_at:
                    self._restart(child, now)
                continue
            code = child.process.poll()
            if code is None:
                continue
            child.failures = 0 if now - child.started_at > LONG_LIVED else child.failures
            self._delay(child, now, _describe_exit(code))
        if not self._recorded:
            self._write()

    def _restart(self, child: ChildProcess, now: float) -> None:
        try:
            child.start()
        except OSError as error:
            self._delay(child, now, f"could not be started ({error.strerror})")
        else:
            self._write()

    def _delay(self, child: ChildProcess, now: float, fault: str) -> None:
        delay = BACKOFF[min(child.failures, len(BACKOFF) - 1)]
        child.failures += 1
        child.process, child.restart_at = None, now + delay
        self._report(f"{child.name} {fault}; restarting in {delay:g} s (see {child.log})")

    def stop(
        self, selects: Callable[[str], bool], timeout: float, number: signal.Signals = signal.SIGTERM
    ) -> list[str]:
        """Stops the children whose names are selected; returns the names of those killed after `timeout` seconds."""
        chosen = [child for child in self._children if selects(child.name) and child.process]
        for child in chosen:
            if child.process and child.process.poll() is None:
                child.process.send_signal(number)
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
        self._children = [child for child in self._children if child not in chosen]
        self._write()
        return killed

    def _write(self) -> None:
        """Records the children. If that fails, it is reported once, and `restart_exited` tries again."""
        running = [identity for child in self._children if (identity := child.identity())]
        temporary = self._record.with_suffix(".new")
        try:
            temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(running))
            temporary.replace(self._record)
        except OSError as error:
            if self._recorded:
                self._report(f"cannot write {self._record}: {error.strerror}; everything goes on")
            self._recorded = False
        else:
            self._recorded = True


def _describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def leftover_processes(state: Path) -> list[ProcessIdentity]:
    """Returns the children of an earlier run with this state directory that still run."""
    try:
        raw: Any = json.loads((state / "run" / "children.json").read_bytes())
        recorded = msgspec.convert(raw, list[ProcessIdentity])
    except (OSError, ValueError):
        recorded = []
    running = {identity.pid: identity for identity in recorded if identity.is_running()}
    return list((_unrecorded(state) | running).values())


def _unrecorded(state: Path) -> dict[int, ProcessIdentity]:
    """Returns the processes whose settings file is one that a run with this state directory has written, by pid."""
    folder = state.absolute() / "run"
    processes = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        file = Path(arguments[arguments.index(SETTINGS_OPTION) + 1]) if SETTINGS_OPTION in arguments[:-1] else Path()
        start = start_time(int(entry.name)) if file.parent == folder else None
        if start is not None and int(entry.name) != os.getpid():
            processes[int(entry.name)] = ProcessIdentity(file.stem, int(entry.name), start)
    return processes


def terminate(processes: Sequence[ProcessIdentity], timeout: float, number: signal.Signals = signal.SIGTERM) -> None:
    """Ends processes that are not children of this one: by a signal, and by SIGKILL after `timeout` seconds."""
    for process in processes:
        process.signal(number)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and any(process.is_running() for process in processes):
        time.sleep(0.02)
    for process in processes:
        process.signal(signal.SIGKILL)
