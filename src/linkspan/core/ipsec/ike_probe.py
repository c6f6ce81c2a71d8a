"""IKE messages that any IKE daemon answers without a negotiation, and what its answers say. Pure.

The first message has a major version that nobody has: its receiver says so, without a state and without looking for a
connection (RFC 7296, section 2.5). For those that keep silent about it, the second one offers only algorithms from the
range for private use, so that no SA can follow. Neither is one of charon's: the answers go to the port that sent them.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

NON_ESP_MARKER: Final = bytes(4)
"""The beginning of an IKE message on UDP port 4500 (RFC 3948, section 2.2)."""
SPI_LENGTH: Final = 8
_HEADER: Final = struct.Struct("!8s8sBBBBII")
_PAYLOAD: Final = struct.Struct("!BBH")
_UNKNOWN_MAJOR: Final = 0x30
_IKE_SA_INIT, _MAIN_MODE = 34, 2
_INITIATOR: Final = 0x08
_SA, _KE, _NONCE, _NOTIFY, _NOTIFY_V1 = 33, 34, 40, 41, 11
_PRIVATE: Final = 65_001
_GROUP_LENGTH: Final = 256
_NOTIFIES: Final = {
    4: "INVALID_IKE_SPI",
    5: "INVALID_MAJOR_VERSION",
    7: "INVALID_SYNTAX",
    14: "NO_PROPOSAL_CHOSEN",
    17: "INVALID_KE_PAYLOAD",
    24: "AUTHENTICATION_FAILED",
    16390: "COOKIE",
}


def unknown_version(spi: bytes, nonce: bytes) -> bytes:
    """An IKE_SA_INIT request of IKE 3.0."""
    return _sa_init(_UNKNOWN_MAJOR, spi, nonce)


def unacceptable(version: Literal[1, 2], spi: bytes, nonce: bytes) -> bytes:
    """The first request of an IKE version, with a proposal that nobody accepts."""
    if version == 2:
        return _sa_init(0x20, spi, nonce)
    return _main_mode(spi)


def notify_in(answer: bytes, spi: bytes) -> str | None:
    """The notify in an answer to the message with this SPI, empty if it has another payload; None: it is no answer."""
    if len(answer) < _HEADER.size:
        return None
    initiator, _, payload, version, _, _, _, length = _HEADER.unpack_from(answer)
    if initiator != spi or length > len(answer) or not 0x10 <= version < 0x40:
        return None
    body = answer[_HEADER.size :]
    if payload in (_NOTIFY, _NOTIFY_V1):
        # IKEv1 has the domain of interpretation before the rest.
        at = 6 if payload == _NOTIFY else 10
        if len(body) < at + 2:
            return ""
        number = int.from_bytes(body[at : at + 2], "big")
        return _NOTIFIES.get(number, f"notify {number}")
    return ""


def _sa_init(version: int, spi: bytes, nonce: bytes) -> bytes:
    transforms = [_transform(kind, last=kind == 4) for kind in (1, 2, 3, 4)]
    proposal = b"".join(transforms)
    # The last proposal, number 1, of IKE, without an SPI.
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(proposal), 1, 1, 0, len(transforms)) + proposal
    exchange = struct.pack("!HH", _PRIVATE, 0) + nonce * (_GROUP_LENGTH // len(nonce))
    body = _payload(_KE, proposal) + _payload(_NONCE, exchange) + _payload(0, nonce)
    return _message(version, _SA, _IKE_SA_INIT, _INITIATOR, spi, body)


def _transform(kind: int, *, last: bool) -> bytes:
    return struct.pack("!BBHBBH", 0 if last else 3, 0, 8, kind, 0, _PRIVATE)


def _main_mode(spi: bytes) -> bytes:
    """The first message of main mode (RFC 2409, section 5.4): one transform of a private algorithm and hash."""
    attributes = b"".join(
        struct.pack("!HH", 0x8000 | kind, value) for kind, value in ((1, 65_001), (2, 65_001), (3, 1), (4, 14))
    )
    transform = struct.pack("!BBHBBH", 0, 0, 8 + len(attributes), 1, 1, 0) + attributes
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transform), 1, 1, 0, 1) + transform
    # The domain of interpretation is IPsec, the situation identity only.
    return _message(0x10, 1, _MAIN_MODE, 0, spi, _payload(0, struct.pack("!II", 1, 1) + proposal))


def _payload(following: int, content: bytes) -> bytes:
    return _PAYLOAD.pack(following, 0, _PAYLOAD.size + len(content)) + content


def _message(version: int, first: int, exchange: int, flags: int, spi: bytes, body: bytes) -> bytes:
    return _HEADER.pack(spi, bytes(SPI_LENGTH), first, version, exchange, flags, 0, _HEADER.size + len(body)) + body
