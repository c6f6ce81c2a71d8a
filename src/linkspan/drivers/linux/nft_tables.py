"""Compares a table of nftables with the script that makes it from nothing.

nft lists rules in other words than it was given, so rules are compared by their number in each chain; and then, as long
as the script stays the same, by their listing when they were compared first. Nothing is listed while the kernel's
generation, which every change of any table increments, is the one that was compared last.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from linkspan.drivers.linux import netns, nft

_NETLINK_NETFILTER: Final = 12
_GET_GENERATION: Final = 10 << 8 | 16
_GENERATION_AT: Final = 24
"""The place of the first attribute's value in the answer: after two headers and the attribute's own."""
_DEADLINE: Final = 5.0


class Layout(msgspec.Struct, frozen=True):
    """What a table consists of: the number of rules of each chain, and of elements of each set; `hooked`: the chains
    with a hook."""

    chains: dict[str, int]
    sets: dict[str, int]
    hooked: frozenset[str] = frozenset()


class _Compared(msgspec.Struct, frozen=True):
    """A comparison without differences: of which namespace, script and generation, with a digest of the listing."""

    inode: int
    script: str
    generation: int
    listing: str


class TableComparison:
    """Compares the table `name` (family inet) of each namespace; `purpose` is the table's in the differences."""

    def __init__(self, name: str, purpose: str) -> None:
        self._name = name
        self._purpose = purpose
        self._compared: dict[str, _Compared] = {}

    def differences(self, namespace: str, script: Iterable[str]) -> tuple[str, ...]:
        """Return what of the script is missing or changed, in words. Raises DriverError, OSError without a namespace.

        An empty script stands for no table.
        """
        lines = tuple(script)
        inode = os.stat(netns.path(namespace)).st_ino
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        known = self._compared.get(namespace)
        if known and (known.inode, known.script) != (inode, digest):
            known = None
        found, compared = netns.run_inside(namespace, lambda: self._compare(layout(lines), known))
        if compared:
            self._compared[namespace] = _Compared(inode, digest, *compared)
        else:
            self._compared.pop(namespace, None)
        return tuple(f"{item} of the {self._purpose}" for item in found)

    def _compare(
        self, wanted: Layout | None, known: _Compared | None
    ) -> tuple[tuple[str, ...], tuple[int, str] | None]:
        generation = read_generation()
        if known and known.generation == generation:
            return (), (generation, known.listing)
        listed = nft.list_table(self._name)
        found, listing = differences(wanted, listed), _digest(listed)
        if not found and known and known.listing != listing:
            found = ("rules",)
        return found, None if found else (generation, listing)


def layout(script: Iterable[str]) -> Layout | None:
    """Return what a script makes, None if it makes no table. Pure."""
    chains: dict[str, int] = {}
    sets: dict[str, int] = {}
    hooked: set[str] = set()
    lines = [line.split() for line in script if line]
    for _, kind, _, _, name, *rest in (words for words in lines if words[0] == "add" and len(words) > 4):
        if kind == "chain":
            chains.setdefault(name, 0)
            hooked |= {name} if "hook" in rest else set()
        elif kind == "rule":
            chains[name] = chains.get(name, 0) + 1
        elif kind == "set":
            sets.setdefault(name, 0)
        elif kind == "element":
            sets[name] = sets.get(name, 0) + sum(word.endswith(",") for word in rest) + 1
    return Layout(chains, sets, frozenset(hooked)) if any(words[:2] == ["add", "table"] for words in lines) else None


def differences(wanted: Layout | None, listed: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return what differs between a layout and a listing in JSON, in words. Pure."""
    items = tuple(listed)
    tables = [item["table"] for item in items if "table" in item]
    if wanted is None or not tables:
        return ("table",) if bool(tables) != (wanted is not None) else ()
    found = ["table (dormant)"] if "flags" in tables[0] else []
    hooks = {item["chain"]["name"]: "hook" in item["chain"] for item in items if "chain" in item}
    rules = Counter(item["rule"]["chain"] for item in items if "rule" in item)
    found += [
        f"chain {chain}" if hooks.get(chain) != (chain in wanted.hooked) else f"rules in chain {chain}"
        for chain, number in wanted.chains.items()
        if hooks.get(chain) != (chain in wanted.hooked) or rules[chain] != number
    ]
    sets = {item["set"]["name"]: len(item["set"].get("elem", ())) for item in items if "set" in item}
    return (*found, *(f"set {name}" for name, number in wanted.sets.items() if sets.get(name) != number))


def read_generation() -> int:
    """Return the generation of the rules in the calling thread's namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(_DEADLINE)
        kernel.send(struct.pack("=IHHIIBBH", 20, _GET_GENERATION, 1, 1, 0, 0, 0, 0))
        answer = kernel.recv(4096)
    number: int = struct.unpack_from(">I", answer, _GENERATION_AT)[0]
    return number


def _digest(listed: Iterable[dict[str, Any]]) -> str:
    """Return a digest of chains, rules and sets without what changes by itself: counters, handles, and the order of
    everything but the rules of a chain, which follows from the changes that led here."""
    kept: dict[str, list[Any]] = {}
    for item in listed:
        for kind, content in item.items():
            if kind in ("table", "chain", "rule", "set"):
                place = f"rules of {content['chain']}" if kind == "rule" else f"{kind} {content['name']}"
                kept.setdefault(place, []).append({key: value for key, value in content.items() if key != "handle"})
    return hashlib.sha256(json.dumps(_ordered(kept), sort_keys=True).encode()).hexdigest()


def _ordered(value: Any) -> Any:
    """Return a value of a listing with the elements of its sets in one order."""
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: sorted(map(_ordered, content), key=json.dumps)
        if key in ("set", "elem") and isinstance(content, list)
        else _ordered(content)
        for key, content in value.items()
    }
