"""Vault's transit engine (HashiCorp Vault, OpenBao) as the wrapper of the key file's keys.

Vault is asked when a key file is read or changed, never for a single secret: while it is away or sealed, everything
that runs goes on, and only what starts has to wait for it.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, Final

import httpx

from linkspan.store.key_file import KeyFileError, KeysUnavailable

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_CIPHERTEXT: Final = re.compile(r"vault:v[0-9]+:[A-Za-z0-9+/=]+")


class VaultTransit:
    """A key of a transit engine: `store.key_file.KeyWrapper`. Requests nothing before its first use."""

    def __init__(
        self, url: str, mount: str, key: str, token_file: Path | None, *, ca_file: Path | None, timeout: float
    ) -> None:
        """Raises `KeyFileError` for settings that cannot work."""
        target = httpx.URL(url)
        if target.scheme != "https" and target.host not in ("localhost", "127.0.0.1", "::1"):
            raise KeyFileError("vault.url has to be https, except on a loopback address: the keys pass there")
        if not _NAME.fullmatch(mount) or not _NAME.fullmatch(key) or "/" in key:
            raise KeyFileError("vault.mount and vault.key are names of letters, digits, dots, underscores and hyphens")
        if token_file is None:
            raise KeyFileError("vault.url needs vault.token_file")
        self._url = f"{url.rstrip('/')}/v1/{mount}"
        self._key = key
        self._token_file = token_file
        self._verify: bool | str = True if ca_file is None else str(ca_file)
        self._timeout = timeout

    def wraps(self, text: str) -> bool:
        """Returns whether a text is a ciphertext of Vault."""
        return text.startswith("vault:")

    def wrap(self, key: bytes) -> str:
        """Encrypts a key. Raises `KeyFileError` and `KeysUnavailable`, as all that ask Vault."""
        return self._ciphertext("encrypt", {"plaintext": base64.b64encode(key).decode()})

    def unwrap(self, text: str) -> bytes:
        """Decrypts a key."""
        answer = self._ask("decrypt", {"ciphertext": text})
        try:
            key = base64.b64decode(answer["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError):
            key = b""
        if len(key) != 32:
            raise KeyFileError(f"what Vault decrypts with {self._key} is no key of 32 bytes")
        return key

    def rewrap(self, text: str) -> str:
        """Encrypts a key under the newest version of Vault's key; Vault does not tell it."""
        return self._ciphertext("rewrap", {"ciphertext": text})

    def rotate(self) -> str:
        """Makes a new version of Vault's key; returns a notice if this token may not."""
        try:
            self._post(f"keys/{self._key}/rotate", {})
        except _Forbidden:
            return f"Vault does not let this token rotate {self._key}: its newest version is used"
        return ""

    def _ciphertext(self, operation: str, body: dict[str, str]) -> str:
        text = self._ask(operation, body).get("ciphertext")
        if not isinstance(text, str) or not _CIPHERTEXT.fullmatch(text):
            raise KeyFileError(f"Vault answered {operation} without a ciphertext")
        return text

    def _ask(self, operation: str, body: dict[str, str]) -> dict[str, Any]:
        answer = self._post(f"{operation}/{self._key}", body)
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise KeyFileError(f"Vault answered {operation} without data")
        return data

    def _post(self, path: str, body: dict[str, str]) -> Any:
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"cannot read the token for Vault in {self._token_file}: {error}") from None
        try:
            answer = httpx.post(
                f"{self._url}/{path}",
                json=body,
                headers={"X-Vault-Token": token, "X-Vault-Request": "true"},
                timeout=self._timeout,
                verify=self._verify,
                trust_env=False,
            )
        except (httpx.HTTPError, OSError) as error:
            raise KeysUnavailable(f"Vault at {self._url} does not answer: {error}") from None
        if answer.is_success:
            return _json(answer)
        raise _refusal(answer, f"{self._url}/{path}")


class _Forbidden(KeyFileError):
    """Vault's 403."""


def _refusal(answer: httpx.Response, url: str) -> Exception:
    # Vault's own words, which tell no secret: {"errors": ["Vault is sealed"]}.
    body = _json(answer)
    errors = body.get("errors") if isinstance(body, dict) else None
    words = "; ".join(str(error).strip() for error in errors)[:300] if isinstance(errors, list) else ""
    said = f"Vault answers {answer.status_code} at {url}" + (f" ({words})" if words else "")
    match answer.status_code:
        case 403:
            return _Forbidden(f"{said}: check the token in vault.token_file and its policy")
        case 429 | 472 | 473 | 500 | 502 | 503 | 504:
            hint = ": unseal it" if "sealed" in words else ""
            return KeysUnavailable(f"{said}{hint}")
        case _:
            return KeyFileError(f"{said}: check vault.mount and vault.key")


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        return {}
