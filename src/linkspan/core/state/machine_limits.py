"""What a node's gateways need of the machine's limits. Pure.

Connection tracking and inotify are not used. The figures are more than what was measured: a gateway with user-space ESP
has 17 threads and 8 open files of the agent, and a neighbour for each peer that is on-link, or for the next hop.
"""

from __future__ import annotations

from typing import Final

import msgspec

_OTHERS: Final = 1024
"""Neighbours, processes and files of everything else on the machine."""
_NEIGHBOURS: Final = 32
_THREADS: Final = 24
_FILES: Final = 12


class MachineNeeds(msgspec.Struct, frozen=True):
    """The least limits: entries of each neighbour table, threads of the machine, open files of the agent."""

    neighbours: int
    threads: int
    files: int


NOTHING: Final = MachineNeeds(0, 0, 0)


def needs(gateways: int, connections: int) -> MachineNeeds:
    """What these gateways and connections need, in powers of two, so that it seldom changes.

    The neighbour tables are the machine's: all network namespaces share one per IP version (arp(7)).
    """
    return MachineNeeds(
        neighbours=_power_of_two(_OTHERS + _NEIGHBOURS * gateways + 2 * connections),
        threads=_power_of_two(_OTHERS + _THREADS * gateways),
        files=_power_of_two(_OTHERS + _FILES * gateways),
    )


def at_least(first: MachineNeeds, second: MachineNeeds) -> MachineNeeds:
    """The greater of each."""
    return MachineNeeds(
        max(first.neighbours, second.neighbours),
        max(first.threads, second.threads),
        max(first.files, second.files),
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
