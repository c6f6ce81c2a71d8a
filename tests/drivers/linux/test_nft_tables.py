"""What a script of nft makes, compared with what nft lists. tests/drivers/test_drift.py compares real tables."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.drivers.linux import nft_tables
from linkspan.drivers.linux.nft_tables import Layout

SCRIPT = """\
add table inet t
add counter inet t dropped
add chain inet t out { type filter hook postrouting priority 0; policy accept; }
flush chain inet t out
add rule inet t out oifname lo accept
add rule inet t out ip saddr . ip daddr @pairs drop
add set inet t pairs { type ipv4_addr . ipv4_addr; flags interval; }
add element inet t pairs { 10.1.0.0/24 . 10.2.0.0/24, 10.1.0.0/24 . 10.3.0.0/24 }
"""
LAYOUT = Layout({"out": 2}, {"pairs": 2}, frozenset({"out"}))


def listing(rules: int = 2, elements: int = 2, **table: Any) -> list[dict[str, Any]]:
    return [
        {"table": {"name": "t", **table}},
        {"chain": {"name": "out", "hook": "postrouting"}},
        *[{"rule": {"chain": "out", "expr": [number]}} for number in range(rules)],
        {"set": {"name": "pairs", "elem": [*range(elements)]}},
    ]


def test_the_layout_of_a_script() -> None:
    assert nft_tables.layout(SCRIPT.splitlines()) == LAYOUT
    assert nft_tables.layout([]) is None


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (listing(), ()),
        ([], ("table",)),
        (listing(rules=1), ("rules in chain out",)),
        (listing(rules=3), ("rules in chain out",)),
        (listing(elements=1), ("set pairs",)),
        (listing()[:1], ("chain out", "set pairs")),
        (listing(flags="dormant"), ("table (dormant)",)),
        ([{"table": {"name": "t"}}, {"chain": {"name": "out"}}, *listing()[2:]], ("chain out",)),
    ],
)
def test_differences_are_named(listed: list[dict[str, Any]], expected: tuple[str, ...]) -> None:
    assert nft_tables.differences(LAYOUT, listed) == expected


def test_a_table_that_should_not_be_there_is_a_difference() -> None:
    assert nft_tables.differences(None, listing()) == ("table",)
    assert nft_tables.differences(None, []) == ()


def test_what_only_the_order_of_changes_decides_is_no_change() -> None:
    """An element that was gone for a while, a set that was made anew, and handles. Control: the order of rules."""
    ports: dict[str, Any] = {"match": {"right": {"set": [500, 4500]}}}
    turned: dict[str, Any] = {"match": {"right": {"set": [4500, 500]}}}
    first = [*listing(elements=3), {"set": {"name": "more", "handle": 1}}, {"rule": {"chain": "out", "expr": [ports]}}]
    other = [{"set": {"name": "more", "handle": 7}}, *listing(), {"rule": {"chain": "out", "expr": [turned]}}]
    other[-2] = {"set": {"name": "pairs", "elem": [2, 0, 1]}}
    assert nft_tables._digest(first) == nft_tables._digest(other)
    assert nft_tables._digest(first) != nft_tables._digest([*first[:2], *reversed(first[2:])])
