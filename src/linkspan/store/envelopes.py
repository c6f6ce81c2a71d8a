"""Envelopes for what must not be readable in the database: AES-256-GCM under a key that lives in a file beside it.

The additional data of an envelope is `project|object|field`, so a ciphertext means nothing in another row. The id of
the key is kept beside each envelope and the keyring holds several keys, so that keys can be rotated. It refuses a key
file that others than its owner can read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from linkspan.core.secret import Secret

_NONCE: Final = 12
_LINE: Final = re.compile(r"([A-Za-z0-9._-]{1,64}):(\S+)")


class KeyFileError(Exception):
    """A key file or an envelope cannot be used; one sentence that says what and what to do."""


class Envelope(msgspec.Struct, frozen=True):
    """An envelope and the id of its key."""

    key_id: str
    ciphertext: bytes


class Keyring:
    """Keys by id; the first one seals, every one opens."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys or any(len(key) != 32 for key in keys.values()):
            raise KeyFileError("a keyring needs at least one key, each of 32 bytes")
        self._keys = {id: AESGCM(key) for id, key in keys.items()}
        self.current = next(iter(keys))
        self._sealing = {id: hmac.digest(key, b"linkspan: audit trail", "sha256") for id, key in keys.items()}
        self._naming = hmac.digest(keys[self.current], b"linkspan: names of secrets", "sha256")

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the sealing one first."""
        return tuple(self._keys)

    def seal(self, secret: Secret, project: str, id: str, field: str) -> Envelope:
        """Puts a secret into an envelope that opens only for this project, object and field."""
        nonce = os.urandom(_NONCE)
        about = f"{project}|{id}|{field}".encode()
        text = secret.reveal().encode()
        return Envelope(self.current, nonce + self._keys[self.current].encrypt(nonce, text, about))

    def open(self, key_id: str, ciphertext: bytes, project: str, id: str, field: str) -> Secret:
        """The secret in an envelope. Raises `KeyFileError` if the envelope is damaged, or key, row or field is not the
        one it was sealed for."""
        key = self._keys.get(key_id)
        if key is None:
            raise KeyFileError(f"the {field} of {id} is under key {key_id}, which is not in the key file")
        try:
            text = key.decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], f"{project}|{id}|{field}".encode())
            return Secret(text.decode())
        except (InvalidTag, ValueError):
            raise KeyFileError(f"the {field} of {id} does not open: it was not sealed for this row") from None

    def try_open(
        self, key_id: str | None, ciphertext: bytes, project: str, id: str, field: str
    ) -> tuple[Secret | None, str]:
        """The secret in an envelope; or None, and a sentence that says why it cannot be read and what to do. Whoever
        reads many objects goes on with the others."""
        try:
            return self.open(key_id or "", ciphertext, project, id, field), ""
        except KeyFileError as error:
            return None, f"the stored {field} cannot be read ({error}): write it again"

    def name(self, secret: Secret, project: str) -> str:
        """A name that does not tell a secret and is the same for the same secret of a project.

        Nodes compare names: connections to one peer with one key share its IKE SA, and a new key is a new name.
        """
        return hmac.digest(self._naming, f"{project}|{secret.reveal()}".encode(), "sha256").hex()[:16]

    def seal_audit(self, text: bytes) -> tuple[str, str]:
        """The id of the sealing key, and its seal of a text of the audit trail."""
        return self.current, self._audit_seal(self.current, text)

    def sealed_audit(self, key_id: str, seal: str, text: bytes) -> bool:
        """True if a seal was made with the key of this id."""
        return key_id in self._keys and hmac.compare_digest(self._audit_seal(key_id, text), seal)

    def _audit_seal(self, key_id: str, text: bytes) -> str:
        return hmac.digest(self._sealing[key_id], text, "sha256").hex()

    def proof(self, key_id: str) -> bytes:
        """A known text under a key, kept in the database to recognise the key by."""
        nonce = os.urandom(_NONCE)
        return nonce + self._keys[key_id].encrypt(nonce, b"linkspan", key_id.encode())

    def proves(self, key_id: str, proof: bytes) -> bool:
        """True if a proof was made with the key of this id."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.decrypt(proof[:_NONCE], proof[_NONCE:], key_id.encode())
        except InvalidTag:
            return False
        return True


def load_keyring(path: Path, *, make: bool = True) -> Keyring:
    """The keyring of a key file: lines `id:key`, the key 32 bytes in hex or base64; the first one seals.

    `make`: a missing file is made, mode 0400, with one random key. Raises `KeyFileError`.
    """
    if make and not path.exists():
        _make(path)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from None
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(file)
        user = os.geteuid()
        if status.st_uid not in (0, user):
            raise KeyFileError(
                f"the key file {path} belongs to the user {status.st_uid}: run 'chown {user} {path}', or this as that "
                "user"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyFileError(f"others can read the key file {path}: run 'chmod 0400 {path}'")
        text = stream.read().decode("ascii", "replace")
    return Keyring(parse(text.splitlines(), str(path)))


def parse(lines: Iterable[str], name: str) -> dict[str, bytes]:
    """Keys out of the lines of a key file; `name` is for messages, which never tell a key."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        key = _bytes(match[2]) if match else None
        if match is None or key is None or match[1] in keys:
            raise KeyFileError(
                f"{name}, line {number}: write ID:KEY, the key as 32 bytes in hex or base64, each id once"
            )
        keys[match[1]] = key
    if not keys:
        raise KeyFileError(f"the key file {name} holds no key")
    return keys


def _bytes(text: str) -> bytes | None:
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return key if len(key) == 32 else None


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"{secrets.token_hex(4)}:{secrets.token_hex(32)}\n".encode()
    # Complete under another name first: a crash leaves either no key file or a whole one, never half a key.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        try:
            os.write(file, text)
            os.fsync(file)
        finally:
            os.close(file)
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was faster: its key is the key
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
