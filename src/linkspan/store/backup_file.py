"""The form of a backup: a stream of blocks, encrypted with a passphrase.

A header has the parameters of argon2id, which makes a key for this file alone; each block is AES-256-GCM under it, with
the header as additional data. The nonce counts the blocks and marks the last one, so a block that is missing, moved or
repeated, and an end that is not one, do not decrypt. The first block is empty: it tells whether the passphrase is
right.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import IO, Final, NamedTuple

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from linkspan.core.secret import Secret

BLOCK: Final = 65_536
"""Bytes of a block in plaintext."""
_MAGIC: Final = b"linkspan backup 1\n"
_HEADER: Final = struct.Struct("!III16s")
_LENGTH: Final = struct.Struct("!I")
_TAG: Final = 16


class BackupError(Exception):
    """A backup cannot be made or restored; one sentence that says what and what to do."""


class Cost(NamedTuple):
    """Parameters of argon2id: passes, KiB of memory, lanes."""

    passes: int = 4
    memory: int = 131_072
    lanes: int = 2


DEFAULT_COST: Final = Cost()
MOST_COST: Final = Cost(passes=64, memory=4_194_304, lanes=64)
"""What a file may ask for: its header is read before anything shows that it is genuine."""


def _cipher(passphrase: Secret, cost: Cost, salt: bytes) -> AESGCM:
    text = passphrase.reveal().encode()
    return AESGCM(hash_secret_raw(text, salt, cost.passes, cost.memory, cost.lanes, 32, Type.ID))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(8, "big") + bytes((last, 0, 0, 0))


def write(stream: IO[bytes], passphrase: Secret, parts: Iterable[bytes], cost: Cost = DEFAULT_COST) -> int:
    """Writes a backup; returns its size."""
    salt = os.urandom(16)
    header = _MAGIC + _HEADER.pack(*cost, salt)
    cipher = _cipher(passphrase, cost, salt)
    size = stream.write(header)

    def put(number: int, text: bytes, last: bool = False) -> int:
        sealed = cipher.encrypt(_nonce(number, last), text, header)
        return stream.write(_LENGTH.pack(len(sealed))) + stream.write(sealed)

    size += put(0, b"")
    number, pending = 1, bytearray()
    for part in parts:
        pending += part
        while len(pending) > BLOCK:
            size += put(number, bytes(pending[:BLOCK]))
            del pending[:BLOCK]
            number += 1
    return size + put(number, bytes(pending), last=True)


def read(stream: IO[bytes], passphrase: Secret) -> Iterator[bytes]:
    """The parts of a backup. What was yielded is genuine, and whole only once this ends. Raises `BackupError`."""
    header = stream.read(len(_MAGIC) + _HEADER.size)
    if not header.startswith(_MAGIC):
        raise BackupError("this is no backup of linkspan, or one of another version")
    if len(header) < len(_MAGIC) + _HEADER.size:
        raise BackupError("the backup is truncated: take another copy of it")
    *numbers, salt = _HEADER.unpack(header[len(_MAGIC) :])
    cost = Cost(*numbers)
    # The limits of argon2 itself at the lower end: a lane has at least 8 KiB.
    if any(not 1 <= given <= most for given, most in zip(cost, MOST_COST, strict=True)) or cost.memory < 8 * cost.lanes:
        raise BackupError("the header of the backup is damaged: take another copy of it")
    cipher = _cipher(passphrase, cost, salt)
    try:
        cipher.decrypt(_nonce(0, False), _block(stream, 0), header)
    except InvalidTag:
        raise BackupError("the passphrase is wrong, or the beginning of the backup is damaged") from None
    number, last = 1, False
    while not last:
        sealed = _block(stream, number)
        try:
            text, last = _decrypt(cipher, number, sealed, header)
        except InvalidTag:
            raise BackupError(f"the backup is damaged in block {number}: take another copy of it") from None
        yield text
        number += 1
    if stream.read(1):
        raise BackupError("something follows the end of the backup: take another copy of it")


def _decrypt(cipher: AESGCM, number: int, sealed: bytes, header: bytes) -> tuple[bytes, bool]:
    # Only the last block may be shorter, so most often one attempt is enough.
    for last in (len(sealed) < BLOCK + _TAG, len(sealed) >= BLOCK + _TAG):
        try:
            return cipher.decrypt(_nonce(number, last), sealed, header), last
        except InvalidTag:
            continue
    raise InvalidTag


def _block(stream: IO[bytes], number: int) -> bytes:
    head = stream.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    if length > BLOCK + _TAG:
        raise BackupError(f"the backup is damaged in block {number}: take another copy of it")
    sealed = stream.read(length)
    if len(head) < _LENGTH.size or len(sealed) < length:
        raise BackupError("the backup is truncated: take another copy of it")
    return sealed
