"""A systemd of its own, with the service's units: process 1 in namespaces, with its own /run, /etc and /var/lib.

What runs inside sees this machine's programs, and nothing of it is left afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from tests.harness.world import until

PROGRAM: Final = "/lib/systemd/systemd"
_BOOT: Final = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cp -a /etc "$1/etc"
rm -rf "$1"/etc/systemd/system
mkdir -p "$1"/etc/systemd/system/linkspan-.service.d
cd "$1"/etc/systemd/system
printf '[Service]\nStandardOutput=append:/run/%%N.log\nStandardError=inherit\n' >linkspan-.service.d/log.conf
for unit in sysinit basic network-online nothing; do printf '[Unit]\nDescription=%s\n' "$unit" >"$unit.target"; done
cd /
mount --bind "$2" /etc
for directory in tmp run var/tmp var/lib var/log; do mount -t tmpfs tmpfs "/$directory"; done
mkdir -p /run/lock
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,bind,ro /
mount --make-rshared /
ip link set lo up
exec env -i container=other SYSTEMD_UNIT_PATH=/etc/systemd/system PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    "$3" --system --unit=nothing.target --log-target=console
"""
"""Nothing that it starts can change this machine: / is read-only, and it knows no units but those of a test."""


class Systemd:
    """A running systemd; `directory` is an empty one that it may use."""

    def __init__(self, directory: Path) -> None:
        command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
        self._output = (directory.parent / f"{directory.name}.out").open("w+b")
        self._outer = subprocess.Popen(
            [*command, "bash", "-c", _BOOT, "boot", str(directory), f"{directory}/etc", PROGRAM],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
        )
        self.pid = 0
        until(self._is_up, 30.0, self._said)

    def _is_up(self) -> bool:
        assert self._outer.poll() is None, self._said()
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if not children:
            return False
        self.pid = int(children[0])
        return self.run("systemctl", "is-active", "nothing.target", check=False).stdout.strip() == "active"

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def enter(self, *command: str) -> list[str]:
        """Return the command that runs another one inside."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-u", "-i", "-C", *command]

    def run(self, *command: str, check: bool = True, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        done = subprocess.run(
            self.enter(*command), capture_output=True, text=True, timeout=timeout, check=False, cwd="/"
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def log(self, unit: str) -> str:
        """Return what systemd says of a unit."""
        status = self.run("systemctl", "status", "--no-pager", "--full", unit, check=False).stdout
        return status + self.run("tail", "-n", "60", f"/run/{unit}.log", check=False).stdout + self._said()

    def main_pid(self, unit: str) -> int:
        """Return the pid of a unit's main process, inside; 0 if it does not run."""
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout)

    def stop(self) -> None:
        """End it with all that it runs."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self._outer.kill()
        self._outer.wait()
        self._output.close()


def can_run() -> str:
    """Return why there can be no systemd here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root for namespaces"
    return "" if shutil.which(PROGRAM) else f"needs {PROGRAM}"
