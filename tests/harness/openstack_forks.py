"""Runs `openstack` commands in forks of one process, which avoids their slow imports.

Run by the Python of an environment with python-openstackclient; it does not import Linkspan. It reads lines of JSON,
{"words": […], "environment": {…}}, and answers each with {"code": 0, "out": "…", "err": "…"}. Every command runs in its
own process, through the function that the installed script calls, because the client caches the first cloud that it
reads.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from typing import IO, Any

from cliff import command
from openstackclient import shell


def run(request: dict[str, Any], out: IO[bytes], err: IO[bytes], modules: IO[bytes]) -> int:
    """Run a command and return its exit code; write the names of its modules to a file."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.clear()
            os.environ.update(request["environment"])
            code = shell.main(request["words"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            modules.write("\n".join(sys.modules).encode())
            modules.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def import_modules(names: list[str]) -> None:
    """Import the modules that a command has imported, for later commands."""
    for name in names:
        if name not in sys.modules:
            # Some modules cannot be imported by name.
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def text(file: IO[bytes]) -> str:
    """Return the content of a file."""
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Serve until standard input ends."""
    # A slow scan that the help of every command needs; its result is cached.
    command._get_distributions_by_modules()
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as modules:
            code = run(json.loads(line), out, err, modules)
            print(json.dumps({"code": code, "out": text(out), "err": text(err)}), flush=True)
            import_modules(text(modules).split("\n"))


if __name__ == "__main__":
    main()
