"""What `linkspan connection traffic` prints."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.cli import traffic
from linkspan.cli.layout import Screen

TRAFFIC: dict[str, Any] = {
    "connection_id": "0198c0de-0000-7000-8000-000000000001",
    "name": "berlin",
    "node": "node-1",
    "fault": "",
    "at": [1795960010.0, 1795960020.0, 1795960080.0, 1795960090.0],
    "seconds": [10.0, 10.0, 60.0, 10.0],
    "in_bytes": [0, 12_500_000, None, 1_250_000],
    "out_bytes": [0, 0, None, 0],
    "in_packets": [0, 9000, None, 900],
    "out_packets": [0, 0, None, 0],
    "rtt_ms": [20.9, None, None, 21.5],
}


def test_each_direction_has_a_line_and_its_figures() -> None:
    lines = list(traffic.traffic_lines(TRAFFIC, Screen()))
    assert lines[0].startswith("berlin  on node-1  ")
    assert lines[1:] == [
        "  in    ▁█ ▁",
        "        now 1 Mbit/s, most 10 Mbit/s, 13.8 MB in 9900 packets",
        "  out   ▁▁ ▁",
        "        now 0 bit/s, most 0 bit/s, 0 B in 0 packets",
        "  rtt   21.5 ms, from 20.9 to 21.5 ms",
    ]


def test_nothing_is_shown_of_what_is_not_known() -> None:
    empty = TRAFFIC | {name: [] for name, value in TRAFFIC.items() if isinstance(value, list)}
    assert list(traffic.traffic_lines(empty, Screen())) == ["berlin  on node-1"]


def test_what_a_server_says_does_nothing_to_a_terminal() -> None:
    hostile = "\x1b[2J\u202e\r\n"
    shown = "".join(traffic.traffic_lines(TRAFFIC | {"name": hostile, "node": hostile}, Screen(40)))
    assert not any(character in shown for character in "\x1b\u202e\r\n")


@pytest.mark.parametrize(
    ("rates", "width", "shown"),
    [
        ([], 10, ""),
        ([0.0, 0.0], 10, "▁▁"),
        ([None, 4.0, 8.0], 10, " ▅█"),
        ([1.0, 8.0, 2.0, None, None, None], 3, "█▃ "),
    ],
)
def test_a_column_is_the_highest_rate_of_its_time(rates: list[float | None], width: int, shown: str) -> None:
    assert traffic.sparkline(rates, width) == shown
