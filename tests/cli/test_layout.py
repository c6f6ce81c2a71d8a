"""The texts that people read on a terminal and in a pipe: aligned, wrapped, coloured only where that is wanted."""

from __future__ import annotations

import re
import sys
from typing import Any

import click
import pytest

from linkspan.cli import diagnose, layout, probe, status
from linkspan.cli.layout import Part, Screen
from tests.cli.conftest import Service
from tests.harness.terminal import on_terminal

COLOURED = Screen(80, 24, True)
LONG = "the peer refused our authentication: compare the pre-shared key and the identities on both sides, please"
DIAGNOSIS: dict[str, Any] = {
    "connection_id": "1",
    "name": "to the branch",
    "status": "DOWN",
    "node": "node-1",
    "verdict": {"name": "authentication", "state": "failed", "text": LONG},
    "layers": [
        {"name": "intent", "state": "ok", "text": "the connection is enabled"},
        {"name": "authentication", "state": "failed", "text": LONG},
        {"name": "child", "state": "unknown", "text": "the negotiation has not come this far"},
    ],
    "live": {"ike_sas": [], "retry_in": 4, "failures": 3},
}


def item(name: str, state: str, reason: str = "") -> dict[str, Any]:
    """A connection of the board."""
    return {
        "connection": name,
        "id": name,
        "status": state,
        "since": None,
        "peer": "198.51.100.3",
        "code": "",
        "reason": reason,
    }


def board(*items: dict[str, Any]) -> status.Board:
    """A board with these connections and a node."""
    node = {"node": "node-1", "state": "up", "esp": "kernel", "gateways": 1, "strongswan": "6.0.1", "isolation": "full"}
    return {"connections": list(items), "services": [], "nodes": [node]}


# --- layout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [LONG, "x" * 200, "ab " * 50, "漢字かな" * 30, "", "word"])
@pytest.mark.parametrize("width", [20, 33, 80])
def test_wrapped_text_fits_and_nothing_is_lost(text: str, width: int) -> None:
    lines = layout.wrapped(text, width)
    assert all(layout.cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_texts_stand_below_each_other_whatever_they_are_in() -> None:
    items = [Part("ok", "path", "fine"), Part("failed", "漢字", LONG), Part("waiting", "authentication", LONG)]
    for on in (Screen(60), Screen(60, 20, True)):
        lines = [click.unstyle(line) for line in layout.parts(items, on)]
        columns = {
            layout.cells(line[: len(line) - len(line.lstrip(" ✓✗…"))]) for line in lines if line.startswith("   ")
        }
        assert columns == {20}
        assert all(layout.cells(line) <= 60 for line in lines)
    assert len(list(layout.parts(items, Screen()))) == 3, "in a pipe nothing is wrapped"


def test_colours_are_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    painted = "\n".join(diagnose.diagnosis_lines(DIAGNOSIS, COLOURED))
    plain = "\n".join(diagnose.diagnosis_lines(DIAGNOSIS, Screen(80)))
    assert "\x1b[" in painted
    assert "\x1b" not in plain
    assert click.unstyle(painted) == plain
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value, coloured in (("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)):
        with monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.delenv("NO_COLOR", raising=False)
            patch.setenv(name, value)
            assert layout.screen().coloured == coloured


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234, "1.23 kB"), (123_456, "123 kB"), (10**12, "1 TB")],
)
def test_amounts_have_three_digits(count: int, text: str) -> None:
    assert layout.amount(count) == text


def test_what_a_server_sends_commands_no_terminal() -> None:
    hostile = "\x1b[2J\u202e\r\n"
    shown = [
        *diagnose.diagnosis_lines({**DIAGNOSIS, "name": hostile, "node": hostile}, Screen(80)),
        *probe.probe_lines({"name": hostile, "node": hostile, "connection_id": "1", "findings": []}, hostile, Screen()),
        *status.board_lines(board(item(hostile, hostile, hostile)), Screen(80)),
        *layout.parts([Part("ok", hostile, hostile)], Screen(80)),
    ]
    assert not re.search("[\x1b\u202e\r\n]", "".join(shown))


# --- diagnose -------------------------------------------------------------------------------------------------------


def test_a_diagnosis_begins_with_the_cause_and_the_next_step() -> None:
    lines = list(diagnose.diagnosis_lines(DIAGNOSIS, Screen()))
    assert lines[0] == "to the branch  DOWN  on node-1"
    assert lines[1] == f"  authentication: {LONG}"
    assert lines[2] == "  next attempt in 4 s, after 3 that failed"
    cause = {
        "code": "PSK_MISMATCH",
        "layer": "authentication",
        "title": "the pre-shared keys differ",
        "severity": "error",
        "sentence": LONG,
        "ours": "",
        "peer": "'x'",
        "evidence": [{"source": "charon", "text": "MAC mismatched"}],
        "fix": [{"who": "us", "text": "set psk to the peer's key"}, {"who": "peer", "text": "set the key to ours"}],
    }
    told = list(diagnose.diagnosis_lines(DIAGNOSIS | {"cause": cause}, Screen()))
    assert told[1:7] == [
        "  authentication: the pre-shared keys differ (PSK_MISMATCH)",
        f"  {LONG}",
        "  the peer        'x'",
        "  shown by        charon: MAC mismatched",
        "  do here         set psk to the peer's key",
        "  do at the peer  set the key to ours",
    ]
    assert [line[:4] for line in lines[4:]] == ["  ✓ ", "  ✗ ", "  · "]


# --- status ---------------------------------------------------------------------------------------------------------


def test_what_needs_a_look_comes_first_with_its_reason_below() -> None:
    shown = board(item("a", "ACTIVE"), item("z", "DOWN", LONG))
    lines = status.board_lines(shown, Screen(60))
    assert lines[0] == "1 of 2 connections ACTIVE · 1 of 1 node up"
    assert [line.split()[0] for line in lines[2:4]] == ["connection", "z"]
    assert all(line.startswith("    ") and len(line) <= 60 for line in lines[4:6])
    assert lines[6].split()[:2] == ["a", "ACTIVE"]
    assert status.board_lines({"connections": [], "services": [], "nodes": []}, Screen())[0].startswith(
        "no connections"
    )


def test_changes_are_told_once_each() -> None:
    before = board(item("a", "ACTIVE"), item("b", "DOWN", "old"), item("c", "ACTIVE"))
    after = board(item("a", "DOWN", "why"), item("b", "DOWN", "new"), item("d", "ACTIVE"))
    assert status.changes_between(before, after, "10:00:00") == [
        "10:00:00  a ACTIVE → DOWN: why",
        "10:00:00  b DOWN: new",
        "10:00:00  d is new, ACTIVE",
        "10:00:00  c is gone",
    ]
    assert status.changes_between(after, after, "10:00:01") == []


def test_a_frame_fits_into_its_terminal() -> None:
    lines = [str(number) for number in range(50)]
    framed = status.frame(lines, Screen(80, 24)).split("\n")
    assert len(framed) == 24
    assert "more lines" in framed[-3]
    assert framed[-2].startswith("49")
    assert len(status.frame(lines[:5], Screen(80, 24)).split("\n")) == 6


def test_the_watch_redraws_a_terminal_in_place(service: Service) -> None:
    command = [sys.executable, "-m", "linkspan.bootstrap", "status", "--watch", "--state", str(service.state)]
    text = on_terminal(command, until=lambda text: text.count("\x1b[H") >= 2)
    assert "Ctrl-C ends it" in text
    assert re.search("\x1b\\[[0-9;]*m", text), "it is coloured"
    plain = on_terminal(command, until=lambda text: text.count("\x1b[H") >= 2, NO_COLOR="1")
    assert not re.search("\x1b\\[[0-9;]*m", plain)
