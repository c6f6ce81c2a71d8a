"""The agent's client of the API: requests authenticated by the node's certificate, or by its token over TLS or on
loopback.

It knows HTTP and nothing of gateways. Errors are `ApiUnreachable`: one sentence, and whether a retry can help.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from linkspan.agent.node_identity import IdentityError, IdentityFile, NewKey, NodeIdentity, rejoin
from linkspan.core.addresses import is_loopback
from linkspan.core.node_join import RENEW_HEADER, SERVER_NAME, Issued, Renewal
from linkspan.core.state import desired
from linkspan.core.state.desired import Delta
from linkspan.core.state.live_facts import LiveAnswer, Question
from linkspan.core.state.observed import AGENT_PATH, HOLDER_HEADER, Hello, Report, Welcome

HINTS_TIMEOUT = 35.0
"""Seconds without data on the hint stream after which it counts as broken; the API sends a heartbeat every 10 s."""

REPLACED = 60.0
"""Seconds after its replacement after which nothing but a hint stream can be in progress over a connection."""


class ApiUnreachable(Exception):
    """The API cannot be used. `final`: a retry cannot help, only a change of the configuration."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def _ignore(_question: Question) -> None:
    """Answers nothing."""


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

    def __init__(
        self,
        url: str,
        token: str = "",
        ca_file: Path | None = None,
        holder: str = "",
        *,
        identity: IdentityFile | None = None,
    ) -> None:
        """`holder`: which agent this is, see `HOLDER_HEADER`. `identity`: instead of token and CA file, and its URL
        instead of `url`."""
        self._holder = holder
        self._file = identity
        self._identity: NodeIdentity | None = None
        self._version: tuple[int, ...] = ()
        # Clients with previous certificates: requests that have begun with them go on. When each was replaced.
        self._replaced: dict[httpx.Client, float] = {}
        self._streaming: httpx.Client | None = None
        self._stream: socket.socket | None = None
        self._replacing = threading.Lock()
        self.renewal_asked = threading.Event()
        """Set when the API asks for a renewal of the certificate."""
        if identity is not None:
            self._http = self._as_node(identity)
            return
        check_url(url)
        verify: ssl.SSLContext | bool = True
        if ca_file is not None:
            try:
                verify = ssl.create_default_context(cafile=str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise ApiUnreachable(f"the CA file {ca_file} cannot be used: {error}", final=True) from error
        self._http = self._client(url, verify, {"Authorization": f"Bearer {token}"})

    def _client(self, url: str, verify: ssl.SSLContext | bool, headers: dict[str, str]) -> httpx.Client:
        return httpx.Client(
            base_url=f"{url.rstrip('/')}{AGENT_PATH}",
            headers=headers | ({HOLDER_HEADER: self._holder} if self._holder else {}),
            timeout=httpx.Timeout(10.0),
            verify=verify,
            # Desired state has keys: no proxy of the environment may see it, and no redirect may lead it elsewhere.
            trust_env=False,
        )

    def close(self) -> None:
        """Close all HTTP connections; a thread that waits in `hints` gets ApiUnreachable at once."""
        # A read that waits would not notice that its socket is closed before the next heartbeat.
        if (stream := self._stream) is not None:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        for http in (self._http, *self._replaced):
            http.close()

    # -- the certificate -----------------------------------------------------------------------------------------

    def _as_node(self, file: IdentityFile) -> httpx.Client:
        self._version = file.version()
        try:
            identity = file.read()
            context = file.context(identity)
        except IdentityError as error:
            raise ApiUnreachable(str(error), final=True) from None
        self._identity = identity
        self._check_identity()
        return self._client(identity.url, context, {})

    def _check_identity(self) -> None:
        fault = self._identity.fault(self._file.clock()) if self._identity and self._file else ""
        if fault:
            raise ApiUnreachable(fault, final=True)

    @property
    def certificate_lifetime(self) -> float:
        """Seconds for which the certificate is valid from its begin; 0 without one."""
        return 0.0 if self._identity is None else self._identity.valid_until - self._identity.valid_from

    def renewal_is_due(self) -> bool:
        """True if the certificate is past half of its life, or the API has asked for a renewal."""
        if self._file is None or self._identity is None:
            return False
        return self.renewal_asked.is_set() or self._file.clock() >= self._identity.renew_at

    def renew(self) -> None:
        """Take a new key and certificate, and use them for what begins from now on. Requests in progress end with the
        previous ones, which the API accepts until the first request with the new ones."""
        if self._file is None or self._identity is None:
            return
        key = NewKey()
        body = self._post("certificate", msgspec.json.encode(Renewal(key.request)))
        try:
            issued = msgspec.json.decode(body, type=Issued)
            self._file.write(key.identity(issued, self._identity.url))
        except (msgspec.DecodeError, IdentityError) as error:
            raise ApiUnreachable(f"the certificate of the node cannot be renewed: {error}") from None
        self._replace(self._as_node(self._file))

    def reload_identity(self) -> bool:
        """Use the identity that is in the file now; False if it has not changed."""
        if self._file is None or self._file.version() == self._version:
            return False
        self._replace(self._as_node(self._file))
        return True

    def _replace(self, http: httpx.Client) -> None:
        with self._replacing:
            self._replaced[self._http] = time.monotonic()
            self._http = http
            # What was asked for was about the previous one.
            self.renewal_asked.clear()
        for old, since in list(self._replaced.items()):
            # Never one that is in use: a thread that waits for its socket would do so for ever.
            if time.monotonic() > since + REPLACED and old is not self._streaming:
                del self._replaced[old]
                old.close()

    # -- requests ------------------------------------------------------------------------------------------------

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

    def answer(self, id: str, answer: LiveAnswer) -> None:
        """Answer a question of the API."""
        self._post(f"answers/{id}", msgspec.json.encode(answer))

    def hints(self, ask: Callable[[Question], None] = _ignore) -> Iterator[int]:
        """Revisions as the API announces them (server-sent events), until the stream ends. Raises ApiUnreachable.

        `ask` takes the API's questions, on this thread, and must not block. A stream that ends because the certificate
        was renewed goes on with the next one.
        """
        while True:
            http = self._streaming = self._http
            yield from self._hints(http, ask)
            if http is self._http:
                return

    def _hints(self, http: httpx.Client, ask: Callable[[Question], None]) -> Iterator[int]:
        self._check_identity()
        event = ""
        timeout = httpx.Timeout(10.0, read=HINTS_TIMEOUT)
        try:
            with http.stream("GET", "hints", timeout=timeout, extensions=self._extensions) as response:
                if response.status_code != 200:
                    response.read()
                if response.status_code == 401 and http is not self._http:
                    return
                self._checked(response)
                self._stream = response.extensions["network_stream"].get_extra_info("socket")
                for line in response.iter_lines():
                    if line.startswith("event:"):
                        event = line.removeprefix("event:").strip()
                    elif line.startswith("data:"):
                        data = line.removeprefix("data:")
                        if event == "revision":
                            yield int(data)
                        elif event == "question":
                            ask(msgspec.json.decode(data, type=Question))
        except (httpx.HTTPError, RuntimeError, ValueError, msgspec.DecodeError) as error:
            raise ApiUnreachable(f"the hint stream broke: {error}") from error

    @property
    def _extensions(self) -> dict[str, str]:
        """The name that the server has to have, wherever it is."""
        return {"sni_hostname": SERVER_NAME} if self._identity is not None else {}

    def _get(self, path: str, since: int) -> httpx.Response:
        return self._send("GET", path, params={"since": since})

    def _post(self, path: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        return self._checked(self._send("POST", path, content=body, headers=headers)).content

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        self._check_identity()
        while True:
            http = self._http
            try:
                response = http.request(method, path, extensions=self._extensions, **more)
            except (httpx.HTTPError, RuntimeError) as error:
                # In TLS 1.3 a refused certificate shows only so.
                doubt = ", or does not accept this node's certificate" if self._identity is not None else ""
                raise ApiUnreachable(f"the API cannot be reached{doubt}: {error}") from error
            with self._replacing:
                if response.headers.get(RENEW_HEADER) and http is self._http:
                    self.renewal_asked.set()
            # Another thread may have used the next certificate meanwhile, which ends the one that this began with.
            if response.status_code != 401 or http is self._http:
                return response

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.status_code == 401 and self._identity is not None:
            raise ApiUnreachable(
                f"the API does not know this certificate of node {self._identity.name}: it was revoked, or another one "
                f"has taken its place; {rejoin(self._identity.name)}",
                final=True,
            )
        if response.status_code == 401:
            raise ApiUnreachable(
                "the API does not know this node's token: create one with 'linkspan node create NAME'", final=True
            )
        if response.status_code == 409:
            raise NodeHeld(response.text)
        if response.status_code >= 400:
            raise ApiUnreachable(f"the API answered {response.status_code}: {response.text[:200]}")
        return response
