"""The file with the keys that seal secrets: its form, its checks, and its replacement while processes use it.

Lines are `ID:KEY`; the first key seals, every one opens. A key is 32 bytes in hex or base64, or the text of a
`KeyWrapper` that encrypts it. The line `@names:KEY` has the key that names secrets, once it is not derived from the
first one any more: names outlive rotations. A file is only ever replaced as a whole.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

NAMES: Final = "@names"
"""The line with the key that names secrets."""
_LINE: Final = re.compile(r"([A-Za-z0-9._-]{1,64}|@names):(\S+)")


class KeyFileError(Exception):
    """A key file or an envelope cannot be used; one sentence that says what and what to do."""


class KeysUnavailable(Exception):
    """A key cannot be had now, but can be later: what encrypts it does not answer."""


class KeyWrapper(Protocol):
    """Encrypts keys for the key file with a key-encryption key that is elsewhere. Raises `KeyFileError`, or
    `KeysUnavailable` if a later attempt may succeed."""

    def wraps(self, text: str) -> bool:
        """Returns whether a text is a key that this encrypted."""

    def wrap(self, key: bytes) -> str:
        """Encrypts a key."""

    def unwrap(self, text: str) -> bytes:
        """Decrypts a key."""

    def rewrap(self, text: str) -> str:
        """Encrypts a key anew, under the newest version of the key-encryption key."""

    def rotate(self) -> str:
        """Makes a new version of the key-encryption key; returns why it may not, or an empty text."""


class Keys(msgspec.Struct, frozen=True):
    """The keys of a file by id, the sealing one first; the key that names secrets if it has a line; and which file it
    was (`KeyFile.identity`)."""

    by_id: dict[str, bytes]
    names: bytes | None = None
    identity: tuple[int, ...] = ()


class Entry(NamedTuple):
    """One line of a key file."""

    id: str
    text: str


class KeyFile:
    """A key file; in $CREDENTIALS_DIRECTORY it is a systemd credential, which systemd alone replaces."""

    def __init__(self, path: Path, wrapper: KeyWrapper | None = None) -> None:
        self.path = path
        self.wrapper = wrapper
        self._unwrapped: dict[str, bytes] = {}

    @property
    def is_credential(self) -> bool:
        """True if this is a systemd credential."""
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return bool(folder) and self.path.absolute().is_relative_to(folder)

    def identity(self) -> tuple[int, ...] | None:
        """What tells this file from the one that replaces it; None if there is none."""
        try:
            return _identity(os.stat(self.path))
        except OSError:
            return None

    def make(self) -> None:
        """Makes the file with one random key, mode 0400, if it is not there."""
        if not self.is_credential and not self.path.exists():
            key = secrets.token_bytes(32)
            text = self.wrapper.wrap(key) if self.wrapper else key.hex()
            _write(self.path, f"{new_key_id()}:{text}\n")

    def read(self) -> Keys:
        """The keys. Raises `KeyFileError` and `KeysUnavailable`."""
        identity, text = self._content()
        keys = parse(text.splitlines(), str(self.path), self._decoded)
        return msgspec.structs.replace(keys, identity=identity)

    def entries(self) -> list[Entry]:
        """The lines of the keys, the sealing one first. Raises `KeyFileError`."""
        return list(_entries(self._content()[1].splitlines(), str(self.path)))

    def replace(self, entries: Iterable[Entry]) -> None:
        """Replaces the lines of the keys; comments stay, and so do owner and mode. Raises `KeyFileError`."""
        if self.is_credential:
            raise KeyFileError(f"the key file {self.path} is a systemd credential: change that, and start anew")
        comments = [line for line in self._content()[1].splitlines() if line.startswith("#")]
        lines = [*comments, *(f"{entry.id}:{entry.text}" for entry in entries)]
        path = self.path.resolve()
        _write(path, "\n".join(lines) + "\n", os.stat(path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the file against other commands that change it. Raises `KeyFileError` if one does."""
        if self.is_credential:
            yield
            return
        path = self.path.with_name(f"{self.path.name}.lock")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise KeyFileError(f"another linkspan key command works with {self.path}: wait until it ends") from None
        finally:
            os.close(file)

    def encoded(self, key: bytes) -> str:
        """The text of a key for a line."""
        return self.wrapper.wrap(key) if self.wrapper else key.hex()

    def _content(self) -> tuple[tuple[int, ...], str]:
        path = self.path
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from None
        with os.fdopen(file, "rb") as stream:
            status = os.fstat(file)
            user = os.geteuid()
            if status.st_uid not in (0, user):
                raise KeyFileError(
                    f"the key file {path} belongs to the user {status.st_uid}: run 'chown {user} {path}', or this as "
                    "that user"
                )
            # systemd gives a service's user its credentials by an ACL, whose mask shows as the group's bits.
            if stat.S_IMODE(status.st_mode) & (0o037 if self.is_credential else 0o077):
                raise KeyFileError(f"others can read the key file {path}: run 'chmod 0400 {path}'")
            return _identity(status), stream.read().decode("ascii", "replace")

    def _decoded(self, text: str) -> bytes | None:
        if self.wrapper is None or not self.wrapper.wraps(text):
            return decode(text)
        # What was decrypted once is not asked for again: a new key shall not need the old ones' decryption.
        if text not in self._unwrapped:
            self._unwrapped[text] = self.wrapper.unwrap(text)
        return self._unwrapped[text]


def new_key_id() -> str:
    """A random id for a key."""
    return secrets.token_hex(4)


def decode(text: str) -> bytes | None:
    """The 32 bytes of a key in hex or base64, or None."""
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return key if len(key) == 32 else None


class _Decoder(Protocol):
    def __call__(self, text: str, /) -> bytes | None: ...


def parse(lines: Iterable[str], name: str, decoder: _Decoder = decode) -> Keys:
    """Keys out of the lines of a key file; `name` is for messages, which never tell a key."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(_entries(lines, name), 1):
        key = decoder(entry.text)
        if key is None:
            if entry.text.startswith("vault:"):
                raise KeyFileError(f"{name}, key {entry.id}: it is encrypted by Vault: set vault.url and vault.key")
            raise KeyFileError(f"{name}, key {number}: write ID:KEY, the key as 32 bytes in hex or base64")
        keys[entry.id] = key
    names = keys.pop(NAMES, None)
    if not keys:
        raise KeyFileError(f"the key file {name} holds no key")
    return Keys(keys, names)


def _entries(lines: Iterable[str], name: str) -> Iterator[Entry]:
    ids = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] in ids:
            raise KeyFileError(
                f"{name}, line {number}: write ID:KEY, the key as 32 bytes in hex or base64, each id once"
            )
        ids.add(match[1])
        yield Entry(match[1], match[2])


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _write(path: Path, text: str, like: os.stat_result | None = None) -> None:
    """Puts a whole file in place, on the disk; without `like` only if there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Complete under another name first: a crash leaves either no key file or a whole one, never half a key.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        try:
            os.write(file, text.encode())
            if like is not None:
                os.fchown(file, like.st_uid, like.st_gid)
                os.fchmod(file, stat.S_IMODE(like.st_mode))
            os.fsync(file)
        finally:
            os.close(file)
        if like is not None:
            draft.replace(path)
        else:
            try:
                os.link(draft, path)
            except FileExistsError:
                return  # another process was faster: its key is the key
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
