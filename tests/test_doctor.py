"""`linkspan doctor` on this machine: a line for each subject, and what it changes nothing of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from linkspan.bootstrap.doctor import INSTANCE
from tests.harness.api_process import running_api
from tests.harness.world import leftovers

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo ./dev test tests/test_doctor.py"),
]


def doctor(state: Path, **environment: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and mark and text by subject."""
    done = subprocess.run(
        [sys.executable, "-m", "linkspan.bootstrap", "doctor", "--state", str(state)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    lines = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return done.returncode, {subject: (mark, text) for mark, subject, text in lines}


def test_a_machine_that_works_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with running_api(tmp_path, f"sqlite:///{tmp_path / 'linkspan.db'}", tmp_path / "seal") as api:
        code, found = doctor(tmp_path / "state", LINKSPAN_AGENT_API=f"http://127.0.0.1:{api.port}")
    faults = {subject: text for subject, (mark, text) in found.items() if mark == "FAULT" and subject != "strongSwan"}
    assert faults == {}
    assert code == ("FAULT" in [mark for mark, _ in found.values()])
    assert found["gateways"][1].startswith("can run, with ESP in ")
    assert found["API"] == ("ok", "answers")
    assert {"programs", "strongSwan", "isolation", "clock", "files", "limits"} <= found.keys()
    assert leftovers(INSTANCE) == [], "charon was started for a moment, and nothing of it is left"
    assert list((tmp_path / "state").iterdir()) == []


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    (state / "keys").mkdir()
    (state / "keys" / "seal").touch()
    (state / "keys" / "seal").chmod(0o644)
    code, found = doctor(state, LINKSPAN_AGENT_API="http://127.0.0.1:9")
    assert code == 1
    assert found["API"][0] == "FAULT"
    assert "linkspan api" in found["API"][1]
    assert found["files"][0] == "look"
    assert f"others can change the state directory {state}: run 'chmod go-w {state}'" in found["files"][1]
    assert f"others can read the key file {state / 'keys' / 'seal'}" in found["files"][1]
