"""Raises the machine's limits to what a node's gateways need, never below what they are (arp(7), proc(5), cgroups(7)).

The neighbour tables are the important one: when theirs is full, charon's packets to new peers vanish without a word.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from linkspan.core.state.machine_limits import MachineNeeds

_SYSCTL: Final = Path("/proc/sys")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")
_TABLES: Final = ("net/ipv4/neigh/default", "net/ipv6/neigh/default")


class KernelMachineLimits:
    """The `MachineLimits` of one node; see `drivers.ports`. The paths are those of proc(5) and cgroups(7)."""

    def __init__(self, sysctl: Path = _SYSCTL, cgroups: Path = _CGROUPS, own_cgroups: Path = _OWN_CGROUPS) -> None:
        self._sysctl = sysctl
        self._cgroups = cgroups
        self._own_cgroups = own_cgroups

    def ensure(self, needs: MachineNeeds) -> tuple[str, ...]:
        return (*self._raise(needs), *self._check_cgroups(needs.threads), *_raise_files(needs.files))

    def refusals(self, needs: MachineNeeds) -> tuple[str, ...]:
        """Return what `ensure` could not raise of the machine's limits, without changing any."""
        low = ((file, now, value) for file, now, value in self._low(needs) if not os.access(file, os.W_OK))
        return (
            *(self._refusal(file, now, value, "it is read-only") for file, now, value in low),
            *self._check_cgroups(needs.threads),
        )

    def _raise(self, needs: MachineNeeds) -> Iterator[str]:
        for file, now, value in self._low(needs):
            try:
                file.write_text(str(value))
            except OSError as error:
                yield self._refusal(file, now, value, str(error.strerror))

    def _low(self, needs: MachineNeeds) -> Iterator[tuple[Path, int, int]]:
        """Yield the limits that are too low: file, value, and the value that is needed."""
        for key, value in _values(needs):
            file = self._sysctl / key
            try:
                now = int(file.read_text())
            except (OSError, ValueError):
                continue  # not in a network namespace other than the machine's first
            if now < value:
                yield file, now, value

    def _refusal(self, file: Path, now: int, value: int, reason: str) -> str:
        name = str(file.relative_to(self._sysctl)).replace("/", ".")
        return f"{name} is {now} and cannot be raised ({reason}): set it with 'sysctl -w {name}={value}'"

    def _check_cgroups(self, threads: int) -> Iterator[str]:
        for file in self._limits_of_cgroups():
            try:
                most = file.read_text().strip()
            except OSError:
                continue
            if most.isdecimal() and int(most) < threads:
                yield f"{file} is {most}: set it to {threads} at least, with systemd by TasksMax="

    def _limits_of_cgroups(self) -> Iterator[Path]:
        """The files with the limit of processes of the agent's own cgroup and those above it, in both versions."""
        try:
            lines = self._own_cgroups.read_text().splitlines()
        except OSError:
            return
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "pids"):
                own = self._cgroups / controllers / path.lstrip("/")
                folders = [own, *own.parents]
                yield from (folder / "pids.max" for folder in folders[: folders.index(self._cgroups / controllers)])


def _values(needs: MachineNeeds) -> Iterator[tuple[str, int]]:
    """Yield each limit's key and its least value. A neighbour table keeps as many entries as are needed for good, and
    twice as many for a moment."""
    for table in _TABLES:
        yield f"{table}/gc_thresh3", 2 * needs.neighbours
        yield f"{table}/gc_thresh2", needs.neighbours
        yield f"{table}/gc_thresh1", needs.neighbours // 2
    yield "kernel/threads-max", needs.threads
    yield "kernel/pid_max", needs.threads


def _raise_files(files: int) -> Iterator[str]:
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now >= files:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, most)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if most < files:
            yield f"the agent may open {most} files: let it open {files}, with systemd by LimitNOFILE="
