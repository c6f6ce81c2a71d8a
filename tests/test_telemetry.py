"""Logs in both formats, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from linkspan import telemetry
from linkspan.core.secret import Secret


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    handlers = logging.getLogger().handlers[:]
    yield tmp_path / "logs" / "api.json"
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers = handlers


@pytest.mark.parametrize(
    "value",
    [
        Secret("geheim"),
        {"psk": "geheim"},
        {"deep": [{"agent_token": "geheim"}, (Secret("geheim"),)]},
        {"Authorization": "Basic geheim"},
        '{"psk": "geheim"}',
        "psk=geheim",
        "Authorization: Bearer geheim",
        "password: 'geheim'",
        "cannot connect to postgresql://linkspan:geheim@db/linkspan",
    ],
)
def test_secrets_are_hidden(value: object) -> None:
    assert "geheim" not in str(telemetry.scrub(value))
    assert "***" in str(telemetry.scrub(value))


def test_other_values_are_logged_unchanged() -> None:
    harmless = {"psk_ref": "a1", "node": "n", "count": 3, "none": None, "psk": None}
    assert telemetry.scrub(harmless) == harmless


def test_entries_are_json_lines_with_the_request_id(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    close = telemetry.configure(file=log_file)
    structlog.contextvars.bind_contextvars(request_id="req-1")
    structlog.get_logger().info("made", connection="left", psk="geheim")
    logging.getLogger("uvicorn.error").warning("token=%s", "geheim")
    try:
        raise ValueError("psk=geheim")
    except ValueError:
        structlog.get_logger().exception("failed")
    close()
    entries = [json.loads(line) for line in log_file.read_text(encoding="utf-8").splitlines()]
    assert [entry["event"] for entry in entries] == ["made", "token=***", "failed"]
    assert {entry["request_id"] for entry in entries} == {"req-1"}
    assert log_file.stat().st_mode & 0o077 == 0
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 3
    assert "geheim" not in log_file.read_text(encoding="utf-8") + shown


def test_entries_below_the_level_are_dropped(log_file: Path) -> None:
    close = telemetry.configure(file=log_file, terminal="off", level="warning")
    structlog.get_logger().info("small")
    structlog.get_logger().warning("large")
    close()
    assert "small" not in log_file.read_text(encoding="utf-8")
    assert "large" in log_file.read_text(encoding="utf-8")


def test_a_readable_entry_is_one_line() -> None:
    line = telemetry.format_line({"timestamp": "2026-01-01T10:20:30Z", "level": "info", "event": "a\nb", "node": "n"})
    assert line == "10:20:30 info    a b node=n"
