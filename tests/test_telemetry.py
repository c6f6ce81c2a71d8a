"""Logs in both formats, without secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
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


@pytest.mark.security(
    "2",
    tried="nine forms in which a secret gets into a log",
    control="test_other_values_are_logged_unchanged",
)
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


def test_a_log_file_stays_within_its_bounds(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what another process has written into it counts, which goes on to write into the same file."""
    monkeypatch.setattr(telemetry, "LIMIT", 4000)
    log_file.parent.mkdir()
    with log_file.open("a") as other:
        other.write("a traceback\n" * 1000)
        other.flush()
        close = telemetry.configure(file=log_file, terminal="off")
        threads = [threading.Thread(target=_log_many, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        structlog.get_logger().info("x" * 9000)
        structlog.get_logger().info("the end")
        other.write("another traceback\n")
    close()
    older = log_file.with_name("api.json.1")
    assert log_file.stat().st_size <= 4000
    assert older.stat().st_size <= 4000
    assert older.stat().st_mode & 0o077 == 0
    assert "another traceback" in log_file.read_text()
    assert "the end" in log_file.read_text()


def _log_many(number: int) -> None:
    for count in range(100):
        structlog.get_logger().info("entry", number=number, count=count)


def test_standard_error_that_is_appended_to_a_file_stays_within_the_bounds(log_file: Path) -> None:
    """As of the children of `linkspan run`. The control is a file that nobody appends to, which is left alone."""
    program = (
        "import structlog; from linkspan import telemetry\n"
        "telemetry.LIMIT = 4000; telemetry.configure(terminal='json')\n"
        "for _ in range(200): structlog.get_logger().info('entry', text='x' * 100)"
    )
    log_file.parent.mkdir()
    sizes = {}
    for mode in ("a", "w"):
        with log_file.open(mode) as stderr:
            subprocess.run([sys.executable, "-c", program], stderr=stderr, check=True)
        sizes[mode] = log_file.stat().st_size
    assert sizes["a"] <= 4000
    assert log_file.with_name("api.json.1").stat().st_size <= 4000
    assert sizes["w"] > 200 * 100
