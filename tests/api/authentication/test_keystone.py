"""A separate Keystone on its own port, accessed through keystoneauth1, and its failure.

The Keystone is the embedded one of a second installation. `test_auth_types` verifies with keystoneauth1 that its
responses have Keystone's format.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from linkspan.api.app import create_app
from linkspan.api.authentication import keystone as authentication_keystone
from linkspan.api.authentication.keystone import KeystoneAuth
from linkspan.api.authentication.keystone_client import Keystone, KeystoneUnreachable
from linkspan.api.http.notifications import Notifier
from linkspan.bootstrap import wiring
from linkspan.core.secret import Secret
from linkspan.settings import load
from linkspan.store.database import engine as engines
from linkspan.store.store import Store
from tests.api.serving import Served, served
from tests.api.users import PASSWORD, Client, embedded, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

SERVICES = "/v2.0/vpn/vpnservices"


@pytest.fixture
def cloud(tmp_path: Path, sqlite_template: Path) -> Iterator[Served]:
    """A running Keystone."""
    shutil.copy(sqlite_template, tmp_path / "keystone.db")
    engine = engines.connect(f"sqlite:///{tmp_path}/keystone.db")
    with served(engine, embedded) as running:
        yield running
    engine.dispose()


@pytest.fixture
def users(cloud: Served) -> Client:
    """A client of the Keystone."""
    return Client(cloud.api.client, cloud.api.store)


class CountingKeystone:
    """A Keystone client that counts the tokens that it validates."""

    def __init__(self, url: str, user: str = "root", password: str = PASSWORD, project: str = "admin") -> None:
        self._keystone = Keystone(url, user, Secret(password), project, timeout=2.0)
        self.count = 0

    def validate(self, token: str) -> Any:
        """Validates a token and counts it."""
        self.count += 1
        return self._keystone.validate(token)


@pytest.fixture
def keystone(cloud: Served) -> CountingKeystone:
    return CountingKeystone(cloud.url + "/identity")


class Api:
    """The API under test, which authenticates with the Keystone. `clients`: they are closed after each test."""

    clients: ClassVar[ExitStack]

    def __init__(self, store: Store, keystone: Any, **more: Any) -> None:
        self.auth = KeystoneAuth(keystone, "https://keystone.example.org/v3", **more)
        self.http = self.clients.enter_context(TestClient(create_app(store, self.auth, Notifier())))

    def get(self, token: str, path: str = SERVICES, **headers: str) -> Any:
        """Sends a GET with a token."""
        return self.http.get(path, headers={"x-auth-token": token, **headers})

    def code(self, token: str) -> int:
        """Returns the status of a request with a token."""
        code: int = self.get(token).status_code
        return code


@pytest.fixture(autouse=True)
def clients(store: Store) -> Iterator[None]:
    """Stops the applications of a test before its database goes."""
    with ExitStack() as Api.clients:
        yield


@pytest.fixture
def api(store: Store, keystone: CountingKeystone) -> Api:
    return Api(store, keystone)


def test_the_project_and_the_roles_are_those_of_the_token(api: Api, users: Client) -> None:
    member, reader, root = (
        users.token("alice"),
        users.token("alice", {"project": {"name": "red", "domain": {"id": "default"}}}),
        users.token("root"),
    )
    created = api.http.post("/v2.0/networks", json={"network": {"name": "lan"}}, headers={"x-auth-token": member})
    assert (created.status_code, created.json()["network"]["project_id"]) == (201, "b" * 32)
    refused = api.http.post("/v2.0/networks", json={"network": {}}, headers={"x-auth-token": reader})
    assert refused.status_code == 403
    assert [len(api.get(token, "/v2.0/networks").json()["networks"]) for token in (member, reader, root)] == [1, 0, 1]


def test_a_401_names_the_keystone(api: Api, users: Client) -> None:
    for response in (
        api.http.get(SERVICES),
        api.http.get(SERVICES, auth=("alice", PASSWORD)),
        api.get("nothing"),
        api.get(""),
        api.get("a b"),
        api.get("x" * 9000),
        api.get(users.token("alice", "unscoped")),
    ):
        assert response.status_code == 401
        assert response.json()["error"]["message"] == "The request you have made requires authentication."
        assert response.headers["www-authenticate"] == "Keystone uri='https://keystone.example.org/v3'"


def test_the_embedded_keystone_is_not_served_beside_a_real_one(api: Api) -> None:
    assert api.http.get("/identity/v3").status_code == 404
    assert api.http.post("/v3/auth/tokens", json={}).status_code == 404


def test_a_token_is_validated_once(
    api: Api, users: Client, keystone: CountingKeystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = users.token("alice")
    assert [api.code(token) for token in (good, good, "bad", "bad", good)] == [200, 200, 401, 401, 200]
    assert keystone.count == 2
    monkeypatch.setattr(authentication_keystone, "time", _ShiftedClock(authentication_keystone.TTL + 1))
    assert (api.code(good), api.code("bad"), keystone.count) == (200, 401, 4)


class _ShiftedClock:
    """A clock that is some seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    def time(self) -> float:
        return time.time() + self.seconds


def test_cached_tokens_work_while_keystone_is_unreachable(
    store: Store, cloud: Served, users: Client, keystone: CountingKeystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validated token works while it is cached. The control has no cache, and the same token fails at once."""
    api, control = Api(store, keystone), Api(store, keystone, ttl=0.0001)
    known, unknown = users.token("alice"), users.token("bob")
    assert (api.code(known), control.code(known)) == (200, 200)
    cloud.stop()
    assert [api.code(known) for _ in range(5)] == [200] * 5
    refused = api.get(unknown)
    assert (refused.status_code, refused.json()["NeutronError"]["type"]) == (503, "ServiceUnavailable")
    assert "Keystone cannot be asked now" in refused.json()["NeutronError"]["message"]
    assert refused.headers["retry-after"] == "1"
    assert control.code(known) == 503, "control: without a cache the token has to fail"
    print("control: without a cache the same token got 503")
    monkeypatch.setattr(authentication_keystone, "time", _ShiftedClock(authentication_keystone.TTL - 5))
    assert api.code(known) == 200
    monkeypatch.setattr(authentication_keystone, "time", _ShiftedClock(authentication_keystone.TTL + 5))
    assert api.code(known) == 503


def test_keystone_is_tried_again_after_a_pause(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flapping:
        unreachable = True
        validated = 0

        def validate(self, token: str) -> Any:
            self.validated += 1
            if self.unreachable:
                raise KeystoneUnreachable("gone")
            return token_info()

    flapping = Flapping()
    api = Api(store, flapping)
    assert [api.code("token"), api.code("token"), flapping.validated] == [503, 503, 1]
    flapping.unreachable = False
    assert api.code("token") == 503
    monkeypatch.setattr(authentication_keystone, "time", _ShiftedClock(authentication_keystone.RETRY))
    assert (api.code("token"), flapping.validated) == (200, 2)


def token_info(expires_at: str = "2999-01-01T00:00:00.000000Z", **more: Any) -> Any:
    """Returns a Keystone's response about a token."""
    token: dict[str, Any] = {
        "user": {"id": "u", "name": "ada", "domain": {"id": "d"}},
        "project": {"id": "p", "name": "blue"},
        "roles": [{"id": "1", "name": "Member"}],
        "expires_at": expires_at,
    }
    return {"token": {key: value for key, value in (token | more).items() if value is not ...}}


def test_a_slow_keystone_delays_no_cached_token(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication_keystone, "PATIENCE", 0.05)
    release, started = threading.Event(), threading.Semaphore(0)

    class Slow:
        slow = False

        def validate(self, token: str) -> Any:
            if self.slow:
                started.release()
                release.wait(30.0)
                raise KeystoneUnreachable("gone")
            return token_info()

    slow = Slow()
    api = Api(store, slow)
    assert api.code("known") == 200
    slow.slow = True
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda name=f"unknown-{number}": codes.append(api.code(name)))
        for number in range(authentication_keystone.AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert started.acquire(timeout=10.0)
    # All validation slots are in use: a cached token passes, any other gets its 503 at once.
    assert (api.code("known"), api.code("another")) == (200, 503)
    release.set()
    for thread in threads:
        thread.join(10.0)
    assert codes == [503] * len(threads)


@pytest.mark.parametrize(
    "response",
    [
        None,
        token_info(project=...),
        token_info("2001-01-01T00:00:00.000000Z"),
    ],
)
def test_a_token_that_is_invalid_unscoped_or_expired_is_a_401(store: Store, response: Any) -> None:
    class FixedResponse:
        def validate(self, token: str) -> Any:
            return response

    assert Api(store, FixedResponse()).code("token") == 401


@pytest.mark.parametrize(
    "response", [{}, [], {"token": {}}, token_info(user=5), token_info("soon"), token_info(project={"id": 5})]
)
def test_a_malformed_keystone_response_is_a_503(store: Store, response: Any) -> None:
    class FixedResponse:
        def validate(self, token: str) -> Any:
            return response

    with capture_logs() as logs:
        assert Api(store, FixedResponse()).code("token") == 503
    assert "something else than a token" in logs[0]["reason"]


GOOD = (200, json.dumps(token_info()).encode())
ODD: dict[str, tuple[int, bytes]] = {
    "no JSON": (200, b"<html>"),
    "no token": (200, b"{}"),
    "an array": (200, b"[]"),
    "nothing": (200, b""),
    "broken UTF-8": (200, b"\xff\xfe{"),
    "a token without a user": (200, json.dumps(token_info(user=...)).encode()),
    "roles of another shape": (200, json.dumps(token_info(roles={"a": 1})).encode()),
    "a time of another kind": (200, json.dumps(token_info("soon")).encode()),
    "400": (400, b"{}"),
    "409": (409, b"{}"),
    "418": (418, b"teapot"),
    "500": (500, b"Internal Server Error"),
}
AWAY = {"502": (502, b""), "503": (503, b""), "504": (504, b"")}


class OddKeystone(BaseHTTPRequestHandler):
    """A Keystone that accepts the service user, and answers about a token as the token's name says."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._reply(201, json.dumps(token_info()).encode())

    def do_GET(self) -> None:
        name = self.headers["x-subject-token"].replace("_", " ")
        self._reply(*(ODD | AWAY).get(name, GOOD))

    def _reply(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-subject-token", "service")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Logs nothing."""


def test_an_odd_answer_concerns_only_its_token(store: Store) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OddKeystone) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Keystone(f"http://127.0.0.1:{server.server_port}/v3", "linkspan", Secret("x"), "service", timeout=5.0)
        try:
            for number, kind in enumerate(ODD):
                api = Api(store, client)
                assert (kind, api.code(kind.replace(" ", "_"))) == (kind, 503)
                assert (kind, api.code(f"good-{number}")) == (kind, 200)
            for kind in AWAY:
                # The control: what concerns every token is not asked about again for a while.
                api = Api(store, client)
                assert (kind, api.code(kind), api.code("good")) == (kind, 503, 503)
        finally:
            server.shutdown()


def test_a_token_is_not_cached_beyond_its_expiry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class FixedResponse:
        def validate(self, token: str) -> Any:
            end = time.gmtime(time.time() + 60)
            return token_info(time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", end)) if not expired else None

    expired: list[int] = []
    api = Api(store, FixedResponse())
    assert api.code("token") == 200
    expired.append(1)
    assert api.code("token") == 200
    monkeypatch.setattr(authentication_keystone, "time", _ShiftedClock(61))
    assert api.code("token") == 401


@pytest.mark.parametrize(
    ("user", "password", "project", "words"),
    [
        ("root", "wrong", "admin", "does not accept our own user"),
        ("nobody", PASSWORD, "admin", "does not accept our own user"),
        ("bob", PASSWORD, "red", "may not validate tokens"),
    ],
)
def test_a_wrong_service_user_is_a_503_with_a_log_line(
    store: Store, cloud: Served, users: Client, user: str, password: str, project: str, words: str
) -> None:
    """The caller cannot fix it, so it is a 503; the log says what to do."""
    with capture_logs() as logs:
        assert (
            Api(store, CountingKeystone(cloud.url + "/v3", user, password, project)).code(users.token("alice")) == 503
        )
    assert words in logs[0]["reason"]


def test_a_server_that_is_no_keystone_is_a_503(store: Store, cloud: Served) -> None:
    with capture_logs() as logs:
        assert Api(store, CountingKeystone(f"{cloud.url}/nothing")).code("token") == 503
    assert f"there is no Keystone v3 at {cloud.url}/nothing/v3" in logs[0]["reason"]


def test_a_refused_connection_to_keystone_is_a_503(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with capture_logs() as logs:
        assert Api(store, CountingKeystone(url)).code("token") == 503
    assert "Unable to establish connection" in logs[0]["reason"]
    assert "\n" not in logs[0]["reason"]


def test_no_token_and_no_password_is_stored_or_logged(
    store: Store, cloud: Served, users: Client, keystone: CountingKeystone, caplog: pytest.LogCaptureFixture
) -> None:
    api, token = Api(store, keystone), users.token("alice")
    caplog.set_level("DEBUG")
    with capture_logs() as logs:
        assert api.code(token) == 200
        cloud.stop()
        api.code("unknown-token")
    # The test's own HTTP client logs as well; its lines are left out.
    lines = [record.getMessage() for record in caplog.records if record.name.split(".")[0] not in ("httpx", "httpcore")]
    stored = repr(api.auth._good._values) + repr(api.auth._bad._values) + repr(logs) + repr(lines)
    assert "Making authentication request to" in stored
    for secret in (token, "unknown-token", PASSWORD):
        assert secret not in stored


def test_the_settings_configure_the_keystone(cloud: Served, users: Client, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    options = {
        "auth_url": f"{cloud.url}/v3",
        "public_url": "https://keystone.example.org/v3",
        "username": "root",
        "password_file": tmp_path / "password",
        "project": "admin",
    }
    overrides = {"state": tmp_path / "state", "api.auth": "keystone", "api.hosts": "testserver"} | {
        f"keystone.{k}": v for k, v in options.items()
    }
    with (
        wiring.open_application(load(environment={}, overrides=overrides)) as (app, _notifier),
        TestClient(app) as http,
    ):
        accepted = http.get(SERVICES, headers={"x-auth-token": users.token("alice")})
        assert (accepted.status_code, accepted.json()) == (200, {"vpnservices": []})
        refused = http.get(SERVICES, headers={"x-auth-token": "nothing"})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Keystone uri='https://keystone.example.org/v3'"
