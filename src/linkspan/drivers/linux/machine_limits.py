"""Raises the machine's limits to what a node's gateways need, never below what they are (arp(7), proc(5), cgroups(7)).

The neighbour tables are the important one: when theirs is full, charon's packets to new peers vanish without a word.
"""

from __future__ import annotations

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
        return (
            *(word for table in _TABLES for word in self._raise_table(table, needs.neighbours)),
            *self._raise("kernel/threads-max", needs.threads),
            *self._raise("kernel/pid_max", needs.threads),
            *self._check_cgroups(needs.threads),
            *_raise_files(needs.files),
        )

    def _raise_table(self, table: str, entries: int) -> Iterator[str]:
        """Let a neighbour table keep `entries` for good, and twice as many for a moment."""
        for name, value in (("gc_thresh3", 2 * entries), ("gc_thresh2", entries), ("gc_thresh1", entries // 2)):
            yield from self._raise(f"{table}/{name}", value)

    def _raise(self, key: str, value: int) -> Iterator[str]:
        file = self._sysctl / key
        try:
            now = int(file.read_text())
        except (OSError, ValueError):
            return  # not in a network namespace other than the machine's first
        if now >= value:
            return
        try:
            file.write_text(str(value))
        except OSError as error:
            name = key.replace("/", ".")
            yield f"{name} is {now} and cannot be raised ({error.strerror}): set it with 'sysctl -w {name}={value}'"

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
