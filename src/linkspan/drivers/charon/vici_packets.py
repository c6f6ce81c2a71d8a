"""VICI's packets and messages as bytes (strongSwan: src/libcharon/plugins/vici/README.md). Pure.

The `vici` package encodes. Its decoder reads a message byte by byte, which takes most of the time of an adoption with
many tunnels, and it skips elements that it does not know; so messages are decoded here.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from vici.protocol import Message, Packet

ViciMessage = dict[str, Any]
MAX_SIZE: Final = 512 * 1024
"""Bytes of the largest packet."""
HEADER: Final = struct.Struct("!I")
"""The size of a packet, before it on the stream."""

ANSWER: Final = Packet.CMD_RESPONSE
EVENT: Final = Packet.EVENT
CONFIRMED: Final = Packet.EVENT_CONFIRM
_SECTION, _SECTION_END, _VALUE = Message.SECTION_START, Message.SECTION_END, Message.KEY_VALUE
_LIST, _ITEM, _LIST_END = Message.LIST_START, Message.LIST_ITEM, Message.LIST_END

register: Final = Packet.register_event
unregister: Final = Packet.unregister_event

_SECTION, _SECTION_END, _VALUE = Message.SECTION_START, Message.SECTION_END, Message.KEY_VALUE
_LIST, _ITEM, _LIST_END = Message.LIST_START, Message.LIST_ITEM, Message.LIST_END


class Received(NamedTuple):
    """A packet from charon: its type, the name of an event, and the message in it, still encoded."""

    type: int
    event: str
    message: memoryview


def request(command: str, message: ViciMessage | None) -> bytes:
    """Return the packet of a command."""
    packet: bytes = Packet.request(command, Message.serialize(message) if message is not None else None)
    return packet


def parse(packet: bytes) -> Received:
    """Return the parts of a packet. Raises ValueError if it is malformed."""
    if not packet:
        raise ValueError("an empty packet")
    if packet[0] != EVENT:
        return Received(packet[0], "", memoryview(packet)[1:])
    if len(packet) < 2 or len(packet) < 2 + packet[1]:
        raise ValueError("an event without its name")
    start = 2 + packet[1]
    return Received(EVENT, packet[2:start].decode(), memoryview(packet)[start:])


def decode(encoded: memoryview) -> ViciMessage:
    """Return a message: names to bytes, lists of bytes, and sections. Raises ValueError if it is malformed."""
    data = bytes(encoded)
    try:
        return _decode(data)
    except IndexError:
        raise ValueError("the message ends within an element") from None


def _decode(data: bytes) -> ViciMessage:
    section: ViciMessage = {}
    outer: list[ViciMessage] = []
    at, end = 0, len(data)
    while at < end:
        kind = data[at]
        if kind == _SECTION_END:
            if not outer:
                raise ValueError("the end of a section that has not begun")
            section = outer.pop()
            at += 1
            continue
        start = at + 2
        at = start + data[at + 1]
        name = data[start:at].decode()
        if kind == _VALUE:
            start = at + 2
            at = start + (data[at] << 8 | data[at + 1])
            section[name] = data[start:at]
        elif kind == _SECTION:
            outer.append(section)
            inner: ViciMessage = {}
            section[name] = inner
            section = inner
        elif kind == _LIST:
            section[name], at = _items(data, at)
        else:
            raise ValueError(f"an element of type {kind}")
    if at > end or outer:
        raise ValueError("the message ends within an element")
    return section


def _items(data: bytes, at: int) -> tuple[list[bytes], int]:
    """Return the items of a list that begins at this place, and the place after it."""
    items: list[bytes] = []
    while data[at] == _ITEM:
        start = at + 3
        at = start + (data[at + 1] << 8 | data[at + 2])
        items.append(data[start:at])
    if data[at] != _LIST_END:
        raise ValueError("a list without its end")
    return items, at + 1
