"""The agent's client of the API: four requests, authenticated by the node's token, over TLS or on loopback.

It knows HTTP and nothing of gateways. Errors are `ApiUnreachable`: one sentence, and whether a retry can help.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from linkspan.core.addresses import is_loopback
from linkspan.core.state import desired
from linkspan.core.state.desired import Delta
from linkspan.core.state.observed import HOLDER_HEADER, Hello, Report, Welcome

HINTS_TIMEOUT = 35.0
"""Seconds without data on the hint stream after which it counts as broken; the API sends a heartbeat every 10 s."""


class ApiUnreachable(Exception):
    """The API cannot be used. `final`: a retry cannot help, only a change of the configuration."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class NodeHeld(ApiUnreachable):
    """Another agent holds the node of this one's token."""


def check_url(url: str) -> None:
    """Refuse plain HTTP except on loopback: desired state has pre-shared keys. Raises ApiUnreachable."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ApiUnreachable(
            f"{url!r} is not the URL of an API: write http://127.0.0.1:9696 or https://HOST:PORT", final=True
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ApiUnreachable(
            f"{url} is plain HTTP to another machine and would send keys in plaintext: use https:// with a CA file",
            final=True,
        )


class ApiClient:
    """The API as one node uses it. Safe to use from several threads."""

    def __init__(self, url: str, token: str, ca_file: Path | None = None, holder: str = "") -> None:
        """`holder`: which agent this is, see `HOLDER_HEADER`."""
        check_url(url)
        verify: ssl.SSLContext | bool = True
        if ca_file is not None:
            try:
                verify = ssl.create_default_context(cafile=str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise ApiUnreachable(f"the CA file {ca_file} cannot be used: {error}", final=True) from error
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/agent/v1",
            headers={"Authorization": f"Bearer {token}"} | ({HOLDER_HEADER: holder} if holder else {}),
            timeout=httpx.Timeout(10.0),
            verify=verify,
            # Desired state has keys: no proxy of the environment may see it, and no redirect may lead it elsewhere.
            trust_env=False,
        )

    def close(self) -> None:
        """Close all HTTP connections; a thread that waits in `hints` gets ApiUnreachable."""
        self._http.close()

    def hello(self, hello: Hello) -> Welcome:
        """Join: send what this node is, and receive its name, revision and lease."""
        body = self._post("hello", msgspec.json.encode(hello))
        try:
            return msgspec.json.decode(body, type=Welcome)
        except msgspec.DecodeError as error:
            raise ApiUnreachable(f"this is not the API of Linkspan, or another version of it: {error}") from error

    def desired(self, since: int) -> Delta:
        """The desired state that changed after a revision; all of it after revision 0."""
        try:
            return desired.decode(self._checked(self._get("desired", since)).content)
        except msgspec.DecodeError as error:
            raise ApiUnreachable(f"the API sent a desired state that this agent cannot read: {error}") from error

    def report(self, report: Report) -> None:
        """Deliver one batch of reports. Every delivery, also of an empty batch, extends the node's lease."""
        self._post("reports", msgspec.json.encode(report))

    def hints(self) -> Iterator[int]:
        """Revisions as the API announces them (server-sent events), until the stream ends. Raises ApiUnreachable."""
        timeout = httpx.Timeout(10.0, read=HINTS_TIMEOUT)
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
                "the API does not know this node's token: create one with 'linkspan node create NAME'", final=True
            )
        if response.status_code == 409:
            raise NodeHeld(response.text)
        if response.status_code >= 400:
            raise ApiUnreachable(f"the API answered {response.status_code}: {response.text[:200]}")
        return response
