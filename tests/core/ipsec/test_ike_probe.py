"""IKE messages of probes: their form is that of the RFCs, and their answers are read whatever a stranger sends."""

from __future__ import annotations

import struct
from typing import Literal

import pytest

from linkspan.core.ipsec import ike_probe

SPI, NONCE = bytes(range(1, 9)), bytes(range(32))


def payloads(message: bytes) -> list[tuple[int, bytes]]:
    """Type and content of each payload; their lengths add up to that of the message (RFC 7296, section 3.2)."""
    following, total = message[16], int.from_bytes(message[24:28], "big")
    assert total == len(message)
    found, at = [], 28
    while following:
        after, _, length = struct.unpack_from("!BBH", message, at)
        found.append((following, message[at + 4 : at + length]))
        following, at = after, at + length
    assert at == len(message)
    return found


def test_the_first_message_is_of_a_version_that_nobody_has() -> None:
    message = ike_probe.unknown_version(SPI, NONCE)
    assert (message[:8], message[8:16]) == (SPI, bytes(8))
    assert (message[17], message[18], message[19]) == (0x30, 34, 0x08)
    assert [kind for kind, _ in payloads(message)] == [33, 34, 40]


@pytest.mark.parametrize(("version", "exchange", "kinds"), [(2, 34, [33, 34, 40]), (1, 2, [1])])
def test_the_last_message_offers_only_private_algorithms(
    version: Literal[1, 2], exchange: int, kinds: list[int]
) -> None:
    message = ike_probe.unacceptable(version, SPI, NONCE)
    assert (message[17] >> 4, message[18]) == (version, exchange)
    found = payloads(message)
    assert [kind for kind, _ in found] == kinds
    if version == 2:
        offered = found[0][1][8:]
        transforms = [struct.unpack_from("!BBHBBH", offered, at) for at in range(0, len(offered), 8)]
        assert [transform[3] for transform in transforms] == [1, 2, 3, 4]
        assert all(transform[5] >= 1024 for transform in transforms), "private use begins at 1024 (RFC 7296, 3.3.2)"
    else:
        assert struct.pack("!HH", 0x8001, 65_001) in message


def answer(payload: int, body: bytes, spi: bytes = SPI, version: int = 0x20) -> bytes:
    """A message from the peer."""
    length = 28 + len(body)
    return struct.pack("!8s8sBBBBII", spi, b"peer-spi", payload, version, 34, 0x20, 0, length) + body


@pytest.mark.parametrize(
    ("message", "notify"),
    [
        (answer(41, bytes.fromhex("0000000800000005")), "INVALID_MAJOR_VERSION"),
        (answer(41, bytes.fromhex("000000080000000e")), "NO_PROPOSAL_CHOSEN"),
        (answer(41, bytes.fromhex("00000008000003e7")), "notify 999"),
        (answer(11, bytes.fromhex("0000000c000000010100000e"), version=0x10), "NO_PROPOSAL_CHOSEN"),
        (answer(33, bytes(20)), ""),
        (answer(41, b""), ""),
        (answer(41, bytes.fromhex("0000000800000005"), spi=b"another!"), None),
        (answer(41, bytes.fromhex("0000000800000005"), version=0x50), None),
        (answer(41, bytes.fromhex("0000000800000005"))[:30], None),
        (b"", None),
        (bytes(27), None),
    ],
)
def test_an_answer_is_one_to_the_message_and_says_why(message: bytes, notify: str | None) -> None:
    assert ike_probe.notify_in(message, SPI) == notify
