"""The agent's side of the API: four requests, authenticated by the node's token, over TLS or on loopback.

It knows HTTP and nothing about gateways. Errors are `LinkError`: one sentence, and whether trying again can help.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from linkspan.core.state import desired
from linkspan.core.state.desired import Delta
from linkspan.core.state.observed import Hello, Report, Welcome

SILENCE = 35.0
"""Seconds without a word on the hint stream after which it is taken for dead (the API speaks every 10 s)."""


class ApiUnreachable(Exception):
    """The API cannot be used now; `final` if only a person can change that."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def check_url(url: str) -> None:
    """Refuse plain HTTP to anything but this machine: desired state carries keys. Raises LinkError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ApiUnreachable(
            f"{url!r} is no URL of an API: write http://127.0.0.1:9696 or https://HOST:PORT", final=True
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ApiUnreachable(
            f"{url} is plain HTTP to another machine, and keys would travel in clear: use https:// with a CA file",
            final=True,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ApiClient:
    """A connection to the API as one node. Safe to use from several threads."""

    def __init__(self, url: str, token: str, ca_file: Path | None = None) -> None:
        check_url(url)
        verify: ssl.SSLContext | bool = True
        if ca_file is not None:
            try:
                verify = ssl.create_default_context(cafile=str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise ApiUnreachable(f"the CA file {ca_file} cannot be used: {error}", final=True) from error
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/agent/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(10.0),
            verify=verify,
            # Desired state carries keys: no proxy of the environment may see it, and no redirect may take it elsewhere.
            trust_env=False,
        )

    def close(self) -> None:
        """End all connections; a thread that waits in `hints` gets a LinkError."""
        self._http.close()

    def hello(self, hello: Hello) -> Welcome:
        """Join: say what this node is, and learn its name, revision and lease."""
        answer = self._post("hello", msgspec.json.encode(hello))
        try:
            return msgspec.json.decode(answer, type=Welcome)
        except msgspec.DecodeError as error:
            raise ApiUnreachable(f"this is not the API of Linkspan, or another version of it: {error}") from error

    def desired(self, since: int) -> Delta:
        """Everything that changed after a revision; 0: everything."""
        try:
            return desired.decode(self._checked(self._get("desired", since)).content)
        except msgspec.DecodeError as error:
            raise ApiUnreachable(f"the API sent a desired state that this agent cannot read: {error}") from error

    def report(self, report: Report) -> None:
        """Deliver one batch; an empty one renews the lease."""
        self._post("reports", msgspec.json.encode(report))

    def hints(self) -> Iterator[int]:
        """Revisions as the API announces them (server-sent events). Ends or raises LinkError when the stream does."""
        timeout = httpx.Timeout(10.0, read=SILENCE)
        try:
            with self._http.stream("GET", "hints", timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                self._checked(response)
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield int(line.removeprefix("data:"))
        except (httpx.HTTPError, RuntimeError, ValueError) as error:
            raise ApiUnreachable(f"the hint stream broke: {error}") from error

    def _get(self, path: str, since: int) -> httpx.Response:
        try:
            return self._http.get(path, params={"since": since})
        except (httpx.HTTPError, RuntimeError) as error:
            raise ApiUnreachable(f"the API cannot be reached: {error}") from error

    def _post(self, path: str, body: bytes) -> bytes:
        try:
            response = self._http.post(path, content=body, headers={"Content-Type": "application/json"})
        except (httpx.HTTPError, RuntimeError) as error:
            raise ApiUnreachable(f"the API cannot be reached: {error}") from error
        return self._checked(response).content

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.status_code == 401:
            raise ApiUnreachable(
                "the API does not know this node's token: make one with 'linkspan node create NAME'", True
            )
        if response.status_code >= 400:
            raise ApiUnreachable(f"the API answered {response.status_code}: {response.text[:200]}")
        return response
