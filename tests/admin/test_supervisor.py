"""Child processes: none is left behind, none of a stranger's is touched, and what died comes back."""

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


def child(tmp_path: Path, name: str, command: list[str]) -> ChildProcess:
    return ChildProcess(name, command, tmp_path / "logs" / f"{name}.log", dict(os.environ))


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_up(one: ChildProcess) -> Callable[[], bool]:
    return lambda: one.log.exists() and "up" in one.log.read_text()


def test_children_are_written_down_and_ended(tmp_path: Path) -> None:
    said: list[str] = []
    children = Supervisor(tmp_path, said.append)
    first, second = child(tmp_path, "api", SLEEP), child(tmp_path, "node-1", STUBBORN)
    children.start(first)
    children.start(second)
    until(is_up(second))
    until(is_up(first))
    assert {found.name for found in leftover_processes(tmp_path)} == {"api", "node-1"}
    assert children.stop(lambda name: name == "node-1", 0.1) == ["node-1"]
    assert [found.name for found in leftover_processes(tmp_path)] == ["api"]
    assert children.stop(lambda _: True, 5.0) == []
    assert leftover_processes(tmp_path) == []
    assert first.log.stat().st_mode & 0o077 == 0
    assert said == []


def test_a_child_that_dies_is_reported_in_one_line_and_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    children = Supervisor(tmp_path, said.append)
    one = child(tmp_path, "api", SLEEP)
    children.start(one)
    until(is_up(one))
    before = one.identity()
    assert before
    before.signal(signal.SIGKILL)
    until(lambda: children.dead() is one)
    deadline = time.monotonic() + 10.0
    while one.identity() is None:
        assert time.monotonic() < deadline
        children.revive()
        time.sleep(0.01)
    assert one.identity() != before
    assert len(said) == 1
    assert "api was killed by SIGKILL; it starts again in 0.2 s" in said[0]
    children.stop(lambda _: True, 5.0)


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from linkspan.admin.supervisor import ChildProcess, Supervisor
children = Supervisor(Path({str(tmp_path)!r}), print)
children.start(ChildProcess("x", {SLEEP!r}, Path({str(tmp_path)!r}) / "x.log", dict(os.environ)))
print("started", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (left,) = leftover_processes(tmp_path)
        parent.kill()
    until(lambda: not left.alive())


def test_what_a_killed_run_left_is_found_and_ended_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen(STUBBORN, stdout=subprocess.PIPE) as mine, subprocess.Popen(SLEEP) as stranger:
        assert mine.stdout is not None
        mine.stdout.readline()
        start = start_time(mine.pid)
        assert start
        record = [
            {"name": "api", "pid": mine.pid, "start": start},
            # The same pid as somebody else's process, but another start: a recycled pid.
            {"name": "node-1", "pid": stranger.pid, "start": 1},
            {"name": "node-2", "pid": 2**22 + 1, "start": 1},
        ]
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "children.json").write_text(json.dumps(record))
        found = leftover_processes(tmp_path)
        assert [identity.name for identity in found] == ["api"]
        terminate(found, 0.1)
        assert mine.wait(5.0) == -signal.SIGKILL
        ProcessIdentity("node-1", stranger.pid, 1).signal(signal.SIGKILL)
        assert stranger.poll() is None
        stranger.kill()


def test_a_damaged_record_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for text in ("", "{", "[1]", '{"a": 1}'):
        (tmp_path / "run" / "children.json").write_text(text)
        assert leftover_processes(tmp_path) == []
