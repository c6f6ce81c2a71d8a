"""Child processes: none is left running, no unrelated process gets a signal, and an exited child is restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from linkspan.admin.supervisor import (
    ChildProcess,
    ProcessIdentity,
    Supervisor,
    leftover_processes,
    start_time,
    terminate,
)

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def make_child(tmp_path: Path, name: str, command: list[str]) -> ChildProcess:
    return ChildProcess(name, command, tmp_path / "logs" / f"{name}.log", dict(os.environ))


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_up(child: ChildProcess) -> Callable[[], bool]:
    return lambda: child.log.exists() and "up" in child.log.read_text()


def test_children_are_recorded_and_stopped(tmp_path: Path) -> None:
    reports: list[str] = []
    supervisor = Supervisor(tmp_path, reports.append)
    first, second = make_child(tmp_path, "api", SLEEP), make_child(tmp_path, "node-1", STUBBORN)
    supervisor.start(first)
    supervisor.start(second)
    until(is_up(second))
    until(is_up(first))
    assert {process.name for process in leftover_processes(tmp_path)} == {"api", "node-1"}
    assert supervisor.stop(lambda name: name == "node-1", 0.1) == ["node-1"]
    assert [process.name for process in leftover_processes(tmp_path)] == ["api"]
    assert supervisor.stop(lambda _: True, 5.0) == []
    assert leftover_processes(tmp_path) == []
    assert first.log.stat().st_mode & 0o077 == 0
    assert reports == []


def test_an_exited_child_is_reported_in_one_line_and_restarted(tmp_path: Path) -> None:
    reports: list[str] = []
    supervisor = Supervisor(tmp_path, reports.append)
    child = make_child(tmp_path, "api", SLEEP)
    supervisor.start(child)
    until(is_up(child))
    before = child.identity()
    assert before
    before.signal(signal.SIGKILL)
    until(lambda: supervisor.exited_child() is child)
    deadline = time.monotonic() + 10.0
    while child.identity() is None:
        assert time.monotonic() < deadline
        supervisor.restart_exited()
        time.sleep(0.01)
    assert child.identity() != before
    assert len(reports) == 1
    assert "api was killed by SIGKILL; restarting in 0.2 s" in reports[0]
    supervisor.stop(lambda _: True, 5.0)


def test_a_child_outlives_a_killed_supervisor_and_is_found(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from linkspan.admin.supervisor import ChildProcess, Supervisor
supervisor = Supervisor(Path({str(tmp_path)!r}), print)
supervisor.start(ChildProcess("x", {SLEEP!r}, Path({str(tmp_path)!r}) / "x.log", dict(os.environ)))
print("started", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (leftover,) = leftover_processes(tmp_path)
        parent.kill()
    until(is_orphan(leftover.pid))
    assert leftover_processes(tmp_path) == [leftover]
    terminate([leftover], 5.0)
    assert leftover_processes(tmp_path) == []


def restarted(supervisor: Supervisor) -> bool:
    supervisor.restart_exited()
    return True


def is_orphan(pid: int) -> Callable[[], bool]:
    return lambda: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()


def test_a_full_disk_ends_no_child_and_delays_its_record(tmp_path: Path) -> None:
    reports: list[str] = []
    supervisor = Supervisor(tmp_path, reports.append)
    child = make_child(tmp_path, "api", SLEEP)
    supervisor.start(child)
    before = child.identity()
    record = tmp_path / "run" / "children.new"
    record.symlink_to("/dev/full")
    assert before
    before.signal(signal.SIGKILL)
    until(lambda: supervisor.exited_child() is child)
    until(lambda: restarted(supervisor) and child.identity() is not None)
    assert leftover_processes(tmp_path) == [], "the record was written"
    assert [report for report in reports if "No space left on device; everything goes on" in report] == reports[1:]
    record.unlink()
    supervisor.restart_exited()
    assert leftover_processes(tmp_path) == [child.identity()]
    supervisor.stop(lambda _: True, 5.0)


def test_a_child_that_cannot_be_started_again_is_tried_again(tmp_path: Path) -> None:
    reports: list[str] = []
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    supervisor = Supervisor(tmp_path, reports.append)
    child = make_child(tmp_path, "node-1", [str(program), *SLEEP[1:]])
    supervisor.start(child)
    program.unlink()
    identity = child.identity()
    assert identity
    identity.signal(signal.SIGKILL)
    until(lambda: restarted(supervisor) and len(reports) > 1)
    assert "node-1 could not be started (No such file or directory); restarting in 0.5 s" in reports[1]
    program.symlink_to(sys.executable)
    until(lambda: restarted(supervisor) and child.identity() is not None)
    supervisor.stop(lambda _: True, 5.0)


def test_a_child_runs_without_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the place of the folder")
    supervisor = Supervisor(tmp_path, print)
    child = make_child(tmp_path, "api", SLEEP)
    supervisor.start(child)
    assert child.identity()
    supervisor.stop(lambda _: True, 5.0)


def test_a_child_that_was_not_recorded_is_found_by_its_settings_file(tmp_path: Path) -> None:
    command = [*SLEEP, "--config", str(tmp_path / "run" / "node-1.toml")]
    other = [*SLEEP, "--config", str(tmp_path / "elsewhere" / "node-1.toml")]
    with subprocess.Popen(command) as ours, subprocess.Popen(other) as unrelated:
        # Between fork and exec a child still has its parent's command line.
        until(lambda: all(b"--config" in Path(f"/proc/{p.pid}/cmdline").read_bytes() for p in (ours, unrelated)))
        assert [(found.name, found.pid) for found in leftover_processes(tmp_path)] == [("node-1", ours.pid)]
        ours.kill()
        unrelated.kill()


def test_only_the_children_of_a_killed_run_are_found_and_ended(tmp_path: Path) -> None:
    with subprocess.Popen(STUBBORN, stdout=subprocess.PIPE) as ours, subprocess.Popen(SLEEP) as unrelated:
        assert ours.stdout is not None
        ours.stdout.readline()
        start = start_time(ours.pid)
        assert start
        record = [
            {"name": "api", "pid": ours.pid, "start": start},
            # The pid of an unrelated process, with another start time: a reused pid.
            {"name": "node-1", "pid": unrelated.pid, "start": 1},
            {"name": "node-2", "pid": 2**22 + 1, "start": 1},
        ]
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "children.json").write_text(json.dumps(record))
        leftovers = leftover_processes(tmp_path)
        assert [identity.name for identity in leftovers] == ["api"]
        terminate(leftovers, 0.1)
        assert ours.wait(5.0) == -signal.SIGKILL
        ProcessIdentity("node-1", unrelated.pid, 1).signal(signal.SIGKILL)
        assert unrelated.poll() is None
        unrelated.kill()


def test_a_damaged_record_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for text in ("", "{", "[1]", '{"a": 1}'):
        (tmp_path / "run" / "children.json").write_text(text)
        assert leftover_processes(tmp_path) == []
