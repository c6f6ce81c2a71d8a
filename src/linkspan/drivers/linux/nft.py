"""nft as a process in the namespace of the calling thread.

Not as libnftables in ours: the library saves 5 to 10 ms, and its crash would take the agent along.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any, Final

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.ports import DriverError

_DEADLINE: Final = 10.0


def apply(transaction: str, what: str) -> None:
    """Carry out all of it or nothing. Raises DriverError, which names `what` was to be changed."""
    _run(["-f", "-"], transaction, what)


def sets(table: str) -> list[dict[str, Any]]:
    """The sets of a table, as nft shows them in JSON."""
    listed = json.loads(_run(["-n", "-j", "list", "sets"], "", "list of sets"))["nftables"]
    return [item["set"] for item in listed if item.get("set", {}).get("table") == table]


def pairs(one: dict[str, Any]) -> Iterator[SelectorPair]:
    """The pairs in a set whose name has, after its first underscore, the prefix length of each side."""
    lengths = one["name"].split("_")[1:3]
    for element in one.get("elem", ()):
        sides = [side["prefix"]["addr"] if isinstance(side, dict) else side for side in element["concat"]]
        local, remote = (f"{address}/{length}" for address, length in zip(sides, lengths, strict=True))
        yield SelectorPair(local, remote)


def elements(verb: str, table: str, name: str, pairs: Iterable[SelectorPair]) -> str:
    """The line that adds these pairs to a set, or deletes them."""
    listed = ", ".join(f"{pair.local} . {pair.remote}" for pair in sorted(pairs))
    return f"{verb} element {table} {name} {{ {listed} }}"


def _run(arguments: list[str], text: str, what: str) -> str:
    try:
        done = subprocess.run(
            ["nft", *arguments], input=text, capture_output=True, text=True, timeout=_DEADLINE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"nft did not answer within {_DEADLINE:.0f} s") from error
    if done.returncode:
        raise DriverError(f"nft refused the {what}: {done.stderr.strip().partition(chr(10))[0]}")
    return done.stdout
