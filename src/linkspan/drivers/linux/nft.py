"""Runs nft as a process in the calling thread's namespace.

libnftables inside the agent would save 5 to 10 ms per call, but its crash would end the agent.
"""

from __future__ import annotations

import json
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.ports import DriverError

_DEADLINE: Final = 10.0
_pids: deque[int] = deque(maxlen=64)


def apply(transaction: str, purpose: str) -> None:
    """Apply a transaction atomically. Raises DriverError, whose message names the `purpose`."""
    _run(["-f", "-"], transaction, purpose)


def list_sets(table: str) -> list[dict[str, Any]]:
    """Return the sets of a table as nft lists them in JSON."""
    listed = json.loads(_run(["-n", "-j", "list", "sets"], "", "list of sets"))["nftables"]
    return [item["set"] for item in listed if item.get("set", {}).get("table") == table]


def recent_pids() -> tuple[int, ...]:
    """Return the pids of the nft processes that were run last: the kernel says which process changed its rules."""
    return tuple(_pids)


def list_table(name: str) -> list[dict[str, Any]]:
    """Return all objects of a table of the family inet as nft lists them in JSON; none if there is no such table."""
    try:
        text = _run(["-n", "-j", "list", "table", "inet", name], "", "list of a table")
    except DriverError as error:
        if "No such file or directory" in str(error):
            return []
        raise
    listed: list[dict[str, Any]] = json.loads(text)["nftables"]
    return listed


def pairs_in(pair_set: dict[str, Any]) -> Iterator[SelectorPair]:
    """Return the pairs in a set whose name contains, after its first underscore, the prefix length of each side."""
    lengths = pair_set["name"].split("_")[1:3]
    for element in pair_set.get("elem", ()):
        sides = [side["prefix"]["addr"] if isinstance(side, dict) else side for side in element["concat"]]
        local, remote = (f"{address}/{length}" for address, length in zip(sides, lengths, strict=True))
        yield SelectorPair(local, remote)


def element_command(verb: str, table: str, name: str, pairs: Iterable[SelectorPair]) -> str:
    """Return the nft command that adds pairs to a set or deletes them, as `verb` says."""
    listed = ", ".join(f"{pair.local} . {pair.remote}" for pair in sorted(pairs))
    return f"{verb} element {table} {name} {{ {listed} }}"


def _run(arguments: list[str], text: str, purpose: str) -> str:
    pipe = subprocess.PIPE
    with subprocess.Popen(["nft", *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        _pids.append(process.pid)
        try:
            output, errors = process.communicate(text, timeout=_DEADLINE)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise DriverError(f"nft did not answer within {_DEADLINE:.0f} s") from error
    if process.returncode:
        raise DriverError(f"nft refused the {purpose}: {errors.strip().partition(chr(10))[0]}")
    return output
