"""Programs that cannot share the project's packages: clients of other versions, and services of OpenStack.

Each has its own Python environment, which ./dev creates on first use from tests/clients/environments/NAME.lock. If it
cannot be installed, the tests that need it fail rather than be skipped.
"""

from __future__ import annotations

import functools
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
_START = 150.0
"""Seconds until a service must answer; they start slowly on a busy machine."""


@functools.cache
def python(name: str) -> Path:
    """Return the Python of an environment. Raises RuntimeError with the output of ./dev."""
    done = subprocess.run([ROOT / "dev", "environment", name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"there is no environment {name}: {done.stderr.strip()}")
    return Path(done.stdout.strip()) / "bin" / "python"


@contextmanager
def serving(name: str, folder: Path, path: str, *arguments: str) -> Iterator[str]:
    """Start a service of OpenStack in its environment and an empty folder; yield its URL and kill it afterwards.

    NAME_server.py beside this file makes the application from the arguments. The service is ready when it answers for
    the path.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    here = Path(__file__).parent
    script: tuple[str | Path, ...] = (here / f"{name}_server.py", folder, str(listener.fileno()), *arguments)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            # If this process is killed, the service is killed too. -P: do not import from the script's folder.
            ["setpriv", "--pdeathsig", "KILL", "--", python(name), "-P", here / "wsgi_server.py", *script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
        )
    listener.close()
    try:
        _wait(process, url + path, folder / "log")
        yield url
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            # The socket listens from the start, but is not served until the service is ready.
            answer = httpx.get(url, timeout=_START)
        except httpx.TransportError:
            continue
        if answer.status_code < 400:
            return
    raise RuntimeError(f"{url} was not served: {log.read_text(errors='replace')[-4000:]}")
