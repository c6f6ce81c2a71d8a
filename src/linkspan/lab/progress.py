"""Shows the progress of a run in steps.

On a terminal the current step is one line that is redrawn. In a pipe or a log, each finished step and each change of
its detail is a line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_CLEAR = "\r\x1b[K"


class Progress:
    """Writes to one stream, usually standard error, so that reports can be piped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._detail = ""
        self._text = ""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show a step at once, and again with its duration when it is done. If it fails, its line stays, marked ✗."""
        started = time.monotonic()
        self._text, self._detail = text, ""
        self._draw(f"  … {text}")
        try:
            yield
        except BaseException:
            self._line(f"  ✗ {self._text}", "31")
            raise
        self._line(f"  ✓ {self._text}  {time.monotonic() - started:.1f} s", "32")

    def detail(self, text: str) -> None:
        """Show what the current step waits for."""
        if text == self._detail:
            return
        self._detail = text
        if self._terminal:
            self._draw(f"  … {self._text}: {text}")
        elif text:
            self._write(f"  … {text}\n")

    def say(self, text: str) -> None:
        """Write a line between the steps."""
        self._line(f"  {text}", "")

    def _draw(self, text: str) -> None:
        if self._terminal:
            self._write(_CLEAR + text[:200])

    def _line(self, text: str, colour: str) -> None:
        if self._terminal:
            text = _CLEAR + (f"\x1b[{colour}m{text[:3]}\x1b[0m{text[3:]}" if colour else text)
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        # A closed terminal must not keep the run from cleaning up.
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            return
