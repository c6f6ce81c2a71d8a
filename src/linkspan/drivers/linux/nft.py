"""Changes and lists the nftables rules of the calling thread's namespace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.linux import nft_client, nft_server
from linkspan.drivers.ports import DriverError


def apply(transaction: str, purpose: str) -> None:
    """Apply a transaction atomically. Raises DriverError, whose message names the `purpose`.

    A percent sign begins an IPv6 zone, after which an address may have any text, commands too; nothing else has one.
    """
    if "%" in transaction:
        raise DriverError(f"the {purpose} is refused: an address has an IPv6 zone")
    _run(transaction, 0, purpose)


def list_sets(table: str) -> list[dict[str, Any]]:
    """Return the sets of a table as nft lists them in JSON."""
    listed = json.loads(_run("list sets", nft_server.NUMERIC_JSON, "list of sets"))["nftables"]
    return [item["set"] for item in listed if item.get("set", {}).get("table") == table]


def list_table(name: str) -> list[dict[str, Any]]:
    """Return all objects of a table of the family inet as nft lists them in JSON; none if there is no such table."""
    try:
        text = _run(f"list table inet {name}", nft_server.NUMERIC_JSON, "list of a table")
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


def _run(commands: str, flags: int, purpose: str) -> str:
    try:
        result, output, errors = nft_client.ask(commands, flags)
    except TimeoutError as error:
        raise DriverError(f"nftables did not answer within {nft_server.DEADLINE} s") from error
    except OSError as error:
        raise DriverError(f"nftables cannot be asked for the {purpose}: {error}") from error
    if result:
        raise DriverError(f"nftables refused the {purpose}: {errors.strip().partition(chr(10))[0]}")
    return output
