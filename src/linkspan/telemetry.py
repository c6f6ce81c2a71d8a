"""Configures logging: JSON lines for programs, readable lines for people.

Every entry is scrubbed before it reaches a sink: a `Secret`, and each value under a name such as psk, password, token
or authorization, becomes `***`, also inside text from other libraries. Records of the standard library's loggers
(uvicorn, SQLAlchemy) take the same path. Nothing here uses the network. A file never exceeds `LIMIT`, also one that
standard error is appended to; what it had by then is kept once, under the name with `.1`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from linkspan.core.printable import one_line
from linkspan.core.secret import Secret

HIDDEN: Final = "***"
LIMIT: Final = 16 << 20
"""Bytes of a log file."""
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:psk|ppk|passw(?:or)?d|passphrase|token|authorization|secret|private_key)$", re.IGNORECASE
)
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
    log = _LogFile(file) if file else None
    stderr = _appended_file() or sys.stderr
    if log is not None:
        sinks.append(_json_sink(log))
    if terminal == "human":
        sinks.append(_human_sink(stderr))
    elif terminal == "json":
        sinks.append(_json_sink(stderr))
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
    return log.close if log else lambda: None


class _LogFile:
    """A log file of bounded size. It keeps its inode, to which other processes may append too."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        # Logs name customers' networks: only their owner may read them.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._open = True

    def write(self, text: str) -> None:
        data = text.encode(errors="replace")[-LIMIT:]
        with self._lock:
            if not self._open:
                raise ValueError("the log file is closed")
            if os.fstat(self._descriptor).st_size + len(data) > LIMIT:
                self._start_anew()
            os.write(self._descriptor, data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._descriptor)

    def _start_anew(self) -> None:
        older = self._path.with_name(f"{self._path.name}.1")
        try:
            older.unlink(missing_ok=True)
            size = os.fstat(self._descriptor).st_size
            copy = os.open(older, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.sendfile(copy, self._descriptor, max(0, size - LIMIT), LIMIT)
            finally:
                os.close(copy)
        finally:  # a full disk costs the older one
            os.ftruncate(self._descriptor, 0)


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


def _json_sink(stream: _LogFile | TextIO) -> Sink:
    render = structlog.processors.JSONRenderer(sort_keys=False, default=str)

    def write(event: EventDict) -> None:
        stream.write(f"{render(None, '', dict(event))!s}\n")

    return write


def _appended_file() -> _LogFile | None:
    """The file that standard error is appended to, as a supervisor has it done; None for anything else."""
    try:
        descriptor = sys.stderr.fileno()
        status, flags = os.fstat(descriptor), fcntl.fcntl(descriptor, fcntl.F_GETFL)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 # may have a suffix
        if stat.S_ISREG(status.st_mode) and flags & os.O_APPEND and os.path.samestat(status, path.stat()):
            return _LogFile(path)
    except (OSError, ValueError):  # none, or a test's
        return None
    return None


def _human_sink(stream: _LogFile | TextIO) -> Sink:
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
