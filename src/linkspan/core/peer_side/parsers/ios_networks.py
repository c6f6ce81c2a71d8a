"""Addresses of interfaces and networks of access lists of Cisco IOS-XE."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from linkspan.core.peer_side.parsers.ios_crypto import IosDevice
from linkspan.core.peer_side.parsers.ios_lines import Command, CommandBlock
from linkspan.core.peer_side.parsers.reading import MOST_PAIRS, Unreadable, shown


def address_of(device: IosDevice, source: str) -> str:
    """The address of an interface, or the address that stands in its place; empty if the text does not have it."""
    try:
        return str(ipaddress.ip_address(source))
    except ValueError:
        pass
    block = device.interfaces.get(source.lower())
    return _address(block) if block else ""


def address_of_map(device: IosDevice, name: str) -> tuple[str, int]:
    """The address of the interface that a crypto map is on, and its line."""
    for block in device.all("crypto", "map", name, "local-address"):
        return address_of(device, "".join(block.head.words[4:])), block.head.line
    interface = device.on_interfaces.get(name)
    if interface is None:
        return "", 0
    found = interface.find("ip", "address")
    return _address(interface), found[0].line if found else 0


def _address(interface: CommandBlock) -> str:
    found = interface.find("ip", "address")
    if not found or not found[1]:
        return ""
    try:
        return str(ipaddress.ip_address(found[1][0]))
    except ValueError:
        return ""


def access_list(device: IosDevice, name: str, line: int) -> Iterator[tuple[str, str]]:
    """The pairs of networks that an access list permits. Raises Unreadable if it is missing."""
    commands = device.access_lists.get(name)
    if not commands:
        raise Unreadable(line, f"there should be the access list '{shown(name)}': paste that too")
    permitted = [command for command in commands if "permit" in command.words[:4]]
    if len(permitted) > MOST_PAIRS:
        raise Unreadable(line, f"a connection has {MOST_PAIRS} pairs of networks at most")
    for command in permitted:
        yield _pair(command)


def _pair(command: Command) -> tuple[str, str]:
    words = list(command.words[command.words.index("permit") + 1 :])
    protocol = words.pop(0) if words else ""
    source, words = _network(words, command.line)
    target, words = _network(words, command.line)
    limit = "" if protocol in ("ip", "ipv6") and not words else f"[{' '.join([protocol, *words])}]"
    return f"{source}{limit}", f"{target}{limit}"


def _network(words: list[str], line: int) -> tuple[str, list[str]]:
    """The network at the start of words, and those after it: `any`, `host A`, `A WILDCARD`, or a prefix of IPv6."""
    match words:
        case ["any" | "any4", *rest]:
            return "0.0.0.0/0", rest
        case ["any6", *rest]:
            return "::/0", rest
        case ["host", address, *rest]:
            return _checked(f"{address}/{128 if ':' in address else 32}", line), rest
        case [prefix, *rest] if "/" in prefix:
            return _checked(prefix, line), rest
        case [address, wildcard, *rest]:
            return _checked(f"{address}/{wildcard}", line), rest
        case _:
            raise Unreadable(line, "an access list should have a source and a destination, such as 10.1.0.0 0.0.0.255")


def _checked(text: str, line: int) -> str:
    try:
        # A wildcard mask is a host mask.
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise Unreadable(line, f"'{shown(text)}' should be a network, such as 10.1.0.0 0.0.0.255") from None
