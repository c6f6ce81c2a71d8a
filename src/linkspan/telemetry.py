"""Configures logging: JSON lines for programs, readable lines for people.

Every entry is scrubbed before it reaches a sink: a `Secret`, and each value under a name such as psk, password, token
or authorization, becomes `***`, also inside text from other libraries. Records of the standard library's loggers
(uvicorn, SQLAlchemy) take the same path. Nothing here uses the network.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from linkspan.core.printable import one_line
from linkspan.core.secret import Secret

HIDDEN: Final = "***"
_SECRET_NAME = re.compile(r"(?:^|[_-])(?:psk|passw(?:or)?d|passphrase|token|authorization|secret)$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"""(?ix) ( \b(?:psk|password|token|authorization) ["']? \s*[:=]\s* (?:b?["'])? (?:basic\s+|bearer\s+)? )
        [^\s"',;}\]]+ """
)
_URL_PASSWORD = re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+@")
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Sink = Callable[[EventDict], None]


def scrub(value: Any) -> Any:
    """Returns the value with every secret in it hidden; lists and mappings are copied, not changed."""
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1{HIDDEN}@", _SECRET_TEXT.sub(rf"\1{HIDDEN}", value))
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if item is not None and _SECRET_NAME.search(str(key)) else scrub(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(item) for item in value]
    return value


def configure(*, file: Path | None = None, terminal: str = "human", level: str = "info") -> Callable[[], None]:
    """Configures logging of this process: JSON lines to `file`; `human` lines, `json` or nothing to standard error.

    Returns a function that closes the file.
    """
    sinks: list[Sink] = []
    stream = _open(file) if file else None
    if stream is not None:
        sinks.append(_json_sink(stream))
    if terminal == "human":
        sinks.append(_human_sink(sys.stderr))
    elif terminal == "json":
        sinks.append(_json_sink(sys.stderr))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _scrubber,
            _FanOut(sinks),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=max(_LEVELS[level], logging.INFO), force=True)
    for library in ("httpx", "httpcore"):
        # They log a line for every request, and an agent sends one every few seconds.
        logging.getLogger(library).setLevel(logging.WARNING)
    return stream.close if stream else lambda: None


def _open(path: Path) -> TextIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Logs name customers' networks: only their owner may read them.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")


def _scrubber(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    scrubbed: EventDict = scrub(event)
    return scrubbed


class _FanOut:
    """The last processor: passes an entry to every sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        for sink in self._sinks:
            # A full disk or a closed terminal must not stop the service.
            try:
                sink(event)
            except (OSError, ValueError):
                continue
        raise structlog.DropEvent


def _json_sink(stream: TextIO) -> Sink:
    render = structlog.processors.JSONRenderer(sort_keys=False, default=str)

    def write(event: EventDict) -> None:
        stream.write(f"{render(None, '', dict(event))!s}\n")

    return write


def _human_sink(stream: TextIO) -> Sink:
    def write(event: EventDict) -> None:
        stream.write(format_line(event) + "\n")
        stream.flush()

    return write


def format_line(event: Mapping[str, Any]) -> str:
    """Formats an entry as one line: time, level, event and details."""
    rest = {key: value for key, value in event.items() if key not in {"timestamp", "level", "event", "exception"}}
    details = " ".join(f"{key}={value}" for key, value in rest.items())
    exception = str(event.get("exception", "")).strip().rpartition("\n")[2]
    parts = [
        str(event.get("timestamp", ""))[11:19],
        f"{event.get('level', ''):<7}",
        str(event.get("event", "")),
        details,
        f"({exception})" if exception else "",
    ]
    # Peers choose some of it: their identities, for example.
    return one_line(" ".join(part for part in parts if part))


class _Bridge(logging.Handler):
    """Passes the standard library's log records to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
