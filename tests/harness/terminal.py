"""A terminal for a command: what it writes there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence


def on_terminal(
    command: Sequence[str],
    columns: int = 72,
    lines: int = 20,
    until: Callable[[str], bool] = lambda _: False,
    seconds: float = 60.0,
    **environment: str,
) -> str:
    """Return what a command writes to a terminal, until it ends or that is enough. NO_COLOR is not set by default."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    with subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=inherited | {"TERM": "xterm"} | environment,
    ) as running:
        os.close(follower)
        text, end = b"", time.monotonic() + seconds
        try:
            while not until(text.decode(errors="replace")):
                assert time.monotonic() < end, text
                if select.select([leader], [], [], 0.2)[0]:
                    text += os.read(leader, 65_536)
        except OSError:  # the command has ended
            pass
        finally:
            running.terminate()
            os.close(leader)
    return text.decode(errors="replace").replace("\r\n", "\n")
