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
        return (
            *(word for table in _TABLES for word in self._raise_table(table, needs.neighbours)),
            *self._raise("kernel/threads-max", needs.threads),
            *self._raise("kernel/pid_max", needs.threads),
            *self._check_cgroups(needs.threads),
            *_raise_files(needs.files),
        )

    def refusals(self, needs: MachineNeeds) -> tuple[str, ...]:
        """Return what `ensure` could not raise of the machine's limits, without changing any."""
        keys = [(f"{table}/gc_thresh3", 2 * needs.neighbours) for table in _TABLES]
        keys += [("kernel/threads-max", needs.threads), ("kernel/pid_max", needs.threads)]
        low = [(key, now, value) for key, value in keys if (now := self._read(key)) is not None and now < value]
        return (
            *(_refusal(key, now, value, "it is read-only") for key, now, value in low if not self._is_writable(key)),
            *self._check_cgroups(needs.threads),
        )

    def _is_writable(self, key: str) -> bool:
        return os.access(self._sysctl / key, os.W_OK)

    def _read(self, key: str) -> int | None:
        """The value of a limit; None without it, as in a network namespace other than the machine's first."""
        try:
            return int((self._sysctl / key).read_text())
        except (OSError, ValueError):
            return None

    def _raise_table(self, table: str, entries: int) -> Iterator[str]:
        """Let a neighbour table keep `entries` for good, and twice as many for a moment."""
        for name, value in (("gc_thresh3", 2 * entries), ("gc_thresh2", entries), ("gc_thresh1", entries // 2)):
            yield from self._raise(f"{table}/{name}", value)

    def _raise(self, key: str, value: int) -> Iterator[str]:
        now = self._read(key)
        if now is None or now >= value:
            return
        try:
            (self._sysctl / key).write_text(str(value))
        except OSError as error:
            yield _refusal(key, now, value, str(error.strerror))

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


def _refusal(key: str, now: int, value: int, reason: str) -> str:
    name = key.replace("/", ".")
    return f"{name} is {now} and cannot be raised ({reason}): set it with 'sysctl -w {name}={value}'"


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
