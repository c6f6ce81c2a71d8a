"""The `openstack` command without the second and a half of imports before each: one process has them, and forks.

Run by the Python of an environment with python-openstackclient, whose version it is; it knows nothing of Linkspan. It
reads a line of JSON, {"words": […], "environment": {…}}, and writes one, {"code": 0, "out": "…", "err": "…"}. Every
command runs in a process of its own, through the function that the installed script calls. None runs in this one: the
client keeps the first cloud that it read of.
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


def run(asked: dict[str, Any], out: IO[bytes], err: IO[bytes], modules: IO[bytes]) -> int:
    """The exit code of one command; the names of what it imported are left in a file."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.clear()
            os.environ.update(asked["environment"])
            code = shell.main(asked["words"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            modules.write("\n".join(sys.modules).encode())
            modules.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def learn(names: list[str]) -> None:
    """Imports what a command did, for those after it."""
    for name in names:
        if name not in sys.modules:
            # Not all can be: some exist only for those who imported them.
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def text(file: IO[bytes]) -> str:
    """The output of a child process."""
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Serves until its input ends."""
    # Half of what a command takes, for a line of its help; this remembers.
    command._get_distributions_by_modules()
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as modules:
            code = run(json.loads(line), out, err, modules)
            print(json.dumps({"code": code, "out": text(out), "err": text(err)}), flush=True)
            learn(text(modules).split("\n"))


if __name__ == "__main__":
    main()
