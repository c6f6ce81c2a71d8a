"""nft as a process in the namespace of the calling thread.

Not as libnftables in ours: the library saves 5 to 10 ms, and its crash would take the agent along.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

from linkspan.drivers.ports import DriverError

_DEADLINE: Final = 10.0


def apply(transaction: str, what: str) -> None:
    """Carry out all of it or nothing. Raises DriverError, which names `what` was to be changed."""
    _run(["-f", "-"], transaction, what)


def listed(kind: str, table: str) -> list[dict[str, Any]]:
    """The sets or maps of a table, as nft shows them in JSON. `kind` is "set" or "map"."""
    found = json.loads(_run(["-n", "-j", "list", f"{kind}s"], "", f"list of {kind}s"))["nftables"]
    return [item[kind] for item in found if item.get(kind, {}).get("table") == table]


def network(side: Any, length: str) -> str:
    """A network among the elements, with the prefix length that its set's name says."""
    address = side["prefix"]["addr"] if isinstance(side, dict) else side
    return f"{address}/{length}"


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
