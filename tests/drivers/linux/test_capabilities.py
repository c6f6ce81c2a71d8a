"""A process gives up its capabilities for good, and keeps those without which it could not use its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from linkspan.admin import units
from linkspan.drivers.charon.strongswan_conf import SOCKET
from linkspan.drivers.linux import capabilities
from linkspan.drivers.linux.capabilities import OVERRIDE, READ_SEARCH

STRANGER = 1234
NUMBERS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
"""include/uapi/linux/capability.h"""
PROGRAM = """
import json, os, subprocess, sys, threading
from pathlib import Path
from linkspan.drivers.linux import capabilities

def state(text):
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return [int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd", "NoNewPrivs")]

kept = json.loads(sys.argv[1])
if kept is not None:
    capabilities.drop(kept)
seen = [state(Path("/proc/thread-self/status").read_text())]
thread = threading.Thread(target=lambda: seen.append(state(Path("/proc/thread-self/status").read_text())))
thread.start()
thread.join()
seen.append(state(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout))
seen.append(os.access(sys.argv[2], os.R_OK, effective_ids=True))
print(json.dumps(seen))
"""


def seen(kept: list[int] | None, file: Path) -> list[list[int]]:
    """The capabilities of a program, of its thread and of a program that it starts; whether it can read a file."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(kept), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    states: list[list[int]] = json.loads(done.stdout)
    return states


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file that only its owner may read, somebody else."""
    file = tmp_path / "file"
    file.write_text("text")
    file.chmod(0o600)
    os.chown(file, STRANGER, STRANGER)
    return file


@pytest.mark.root
def test_nothing_is_left_for_threads_and_programs(foreign: Path) -> None:
    *states, can_read = seen([], foreign)
    assert states == [[0, 0, 0, 0, 0, 1]] * 3
    assert not can_read


@pytest.mark.root
def test_without_that_everything_is_there(foreign: Path) -> None:
    """The control."""
    *states, can_read = seen(None, foreign)
    assert all(state[0] and state[4] for state in states)
    assert can_read


@pytest.mark.root
@pytest.mark.parametrize("kept", [[READ_SEARCH], [OVERRIDE, READ_SEARCH]])
def test_what_is_kept_is_kept_and_nothing_else(foreign: Path, kept: list[int]) -> None:
    mask = sum(1 << number for number in kept)
    *states, can_read = seen(kept, foreign)
    assert [(state[0], state[1], state[4]) for state in states] == [(mask, mask, mask)] * 3
    assert can_read


@pytest.mark.root
def test_what_other_files_need(tmp_path: Path, foreign: Path) -> None:
    own, closed = tmp_path / "own", tmp_path / "home"
    own.mkdir()
    (closed / "inner").mkdir(parents=True)
    os.chown(closed, STRANGER, STRANGER)
    needed = capabilities.needed_for
    # What is ours, or does not exist.
    assert needed([own, own / "absent"], [own]) == set()
    # Somebody else's folder that lets everybody through, and one that does not.
    closed.chmod(0o755)
    assert needed([closed / "inner"], [closed / "inner"]) == set()
    for mode in (0o700, 0o750, 0o710):
        closed.chmod(mode)
        assert needed([closed / "inner"], []) == {READ_SEARCH}
        assert needed([], [closed / "inner"]) == {READ_SEARCH}
        assert needed([closed], []) == {READ_SEARCH}
    # A file that only its owner may read; one that everybody may read.
    assert needed([foreign], []) == {READ_SEARCH}
    foreign.chmod(0o644)
    assert needed([foreign], []) == set()
    # A folder of somebody else to write into, and a file of somebody else in one.
    closed.chmod(0o755)
    assert needed([], [closed]) == {OVERRIDE}
    os.chown(closed / "inner", STRANGER, STRANGER)
    os.chown(closed, 0, 0)
    assert needed([], [closed]) == {OVERRIDE}


AGENT = """
import json, subprocess, sys
from pathlib import Path
from linkspan.drivers.charon import vici
from linkspan.drivers.linux import capabilities, process

capabilities.drop(json.loads(sys.argv[1]))
stranger = int(sys.argv[2])
match sys.argv[3]:
    case "close the socket of a charon":
        vici.restrict(Path(sys.argv[4]))
    case "end a process with a uid of its own":
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        child = subprocess.Popen(
            ["cat"], stdin=pipe, stdout=null, stderr=null, user=stranger, group=stranger, extra_groups=[]
        )
        process.terminate([child.pid])
        child.wait()
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("capability", "task"),
    [("CAP_FOWNER", "close the socket of a charon"), ("CAP_KILL", "end a process with a uid of its own")],
)
def test_the_agents_unit_has_no_capability_too_many(capability: str, task: str, foreign: Path) -> None:
    """With those of the unit the agent can do it, and without this one it cannot."""
    assert set(units.CAPABILITIES) == set(NUMBERS)

    def attempt(names: set[str]) -> str:
        kept = json.dumps([NUMBERS[name] for name in names])
        command = [sys.executable, "-c", AGENT, kept, str(STRANGER), task, str(foreign.parent)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr

    foreign.rename(foreign.with_name(SOCKET))
    assert attempt(set(NUMBERS)) == ""
    assert "PermissionError" in attempt(set(NUMBERS) - {capability})
