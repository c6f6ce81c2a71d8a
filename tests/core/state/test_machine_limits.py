"""What a node's gateways need of the machine's limits."""

from __future__ import annotations

import pytest

from linkspan.core.state import machine_limits
from linkspan.core.state.machine_limits import NOTHING, MachineNeeds


@pytest.mark.parametrize(
    ("gateways", "connections", "neighbours"), [(0, 0, 1024), (1, 1, 2048), (100, 1000, 8192), (200, 2000, 16384)]
)
def test_every_connection_and_gateway_has_neighbours(gateways: int, connections: int, neighbours: int) -> None:
    needs = machine_limits.needs(gateways, connections)
    assert needs.neighbours == neighbours >= 10 * gateways + connections


def test_needs_change_seldom() -> None:
    """Each change costs some files to be read, on the thread that reads desired state."""
    assert len({machine_limits.needs(number, 10 * number) for number in range(1000)}) < 20


def test_the_greater_of_each_counts() -> None:
    few, many = MachineNeeds(1, 20, 300), MachineNeeds(10, 2, 30)
    assert machine_limits.at_least(few, many) == machine_limits.at_least(many, few) == MachineNeeds(10, 20, 300)
    assert machine_limits.at_least(NOTHING, few) == few
