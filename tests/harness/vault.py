"""A server that behaves like Vault's transit engine: its requests, ciphertexts, versions and errors.

After https://developer.hashicorp.com/vault/api-docs/secret/transit and Vault's own answers.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.a-token-for-tests"


class Refused(Exception):
    """An answer that is an error: status and Vault's words."""


class Vault:
    """One transit engine with one key. `sealed`, `may_rotate` and `oldest` may be changed at any time."""

    def __init__(self) -> None:
        self.versions = [AESGCM(os.urandom(32))]
        self.sealed = False
        self.may_rotate = True
        self.oldest = 1
        """min_decryption_version"""
        self.requests: list[str] = []
        self.url = ""

    def answer(self, path: str, token: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The data of an answer. Raises `Refused`."""
        self.requests.append(path)
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        if token != TOKEN:
            raise Refused(403, "permission denied")
        match path.removeprefix("/v1/transit/").split("/"):
            case ["keys", "linkspan", "rotate"]:
                if not self.may_rotate:
                    raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")
                self.versions.append(AESGCM(os.urandom(32)))
                return None
            case ["encrypt", "linkspan"]:
                return {"ciphertext": self._encrypt(body["plaintext"]), "key_version": len(self.versions)}
            case ["decrypt", "linkspan"]:
                return {"plaintext": self._decrypt(body["ciphertext"])}
            case ["rewrap", "linkspan"]:
                return {"ciphertext": self._encrypt(self._decrypt(body["ciphertext"]))}
            case [_, _]:
                raise Refused(400, "encryption key not found")
        raise Refused(404, "")

    def _encrypt(self, plaintext: str) -> str:
        nonce = os.urandom(12)
        sealed = nonce + self.versions[-1].encrypt(nonce, base64.b64decode(plaintext), None)
        return f"vault:v{len(self.versions)}:{base64.b64encode(sealed).decode()}"

    def _decrypt(self, ciphertext: str) -> str:
        match = re.fullmatch("vault:v([0-9]+):(.+)", ciphertext)
        if match is None:
            raise Refused(400, "invalid ciphertext: no prefix")
        version, sealed = int(match[1]), base64.b64decode(match[2])
        if version < self.oldest:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            return base64.b64encode(self.versions[version - 1].decrypt(sealed[:12], sealed[12:], None)).decode()
        except InvalidTag:
            raise Refused(400, "cipher: message authentication failed") from None


@contextmanager
def running_vault() -> Iterator[Vault]:
    """Serve a Vault on a loopback address."""
    vault = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                data = vault.answer(self.path, self.headers.get("X-Vault-Token", ""), body)
            except Refused as error:
                status, words = error.args
                self._send(status, {"errors": [words] if words else []})
            else:
                self._send(204 if data is None else 200, None if data is None else {"data": data})

        def _send(self, status: int, body: Any) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    vault.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield vault
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
