"""A real Keystone: another server on a port of its own, spoken to by keystoneauth1, and then gone.

The Keystone here is the embedded one of a second installation; what it says has Keystone's shape, which is tested with
keystoneauth1 elsewhere.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    """The Keystone."""
    shutil.copy(sqlite_template, tmp_path / "keystone.db")
    engine = engines.connect(f"sqlite:///{tmp_path}/keystone.db")
    with served(engine, embedded) as running:
        yield running
    engine.dispose()


@pytest.fixture
def users(cloud: Served) -> Client:
    """The Keystone's users."""
    return Client(cloud.api.client, cloud.api.store)


class Asked:
    """A Keystone that counts what it is asked."""

    def __init__(self, url: str, user: str = "root", password: str = PASSWORD, project: str = "admin") -> None:
        self._keystone = Keystone(url, user, Secret(password), project, timeout=2.0)
        self.count = 0

    def validate(self, token: str) -> Any:
        """Asks."""
        self.count += 1
        return self._keystone.validate(token)


@pytest.fixture
def keystone(cloud: Served) -> Asked:
    return Asked(cloud.url + "/identity")


class Api:
    """The API under test, whose users are the Keystone's."""

    def __init__(self, store: Store, keystone: Any, **more: Any) -> None:
        self.auth = KeystoneAuth(keystone, "https://keystone.example.org/v3", **more)
        self.http = TestClient(create_app(store, self.auth, Notifier()))

    def get(self, token: str, path: str = SERVICES, **headers: str) -> Any:
        """A GET with a token."""
        return self.http.get(path, headers={"x-auth-token": token, **headers})

    def code(self, token: str) -> int:
        """What the API answers to a token."""
        code: int = self.get(token).status_code
        return code


@pytest.fixture
def api(store: Store, keystone: Asked) -> Api:
    return Api(store, keystone)


def test_the_project_and_the_roles_are_those_of_the_token(api: Api, users: Client) -> None:
    member, reader, root = (
        users.token("alice"),
        users.token("alice", {"project": {"name": "red", "domain": {"id": "default"}}}),
        users.token("root"),
    )
    made = api.http.post("/v2.0/networks", json={"network": {"name": "lan"}}, headers={"x-auth-token": member})
    assert (made.status_code, made.json()["network"]["project_id"]) == (201, "b" * 32)
    refused = api.http.post("/v2.0/networks", json={"network": {}}, headers={"x-auth-token": reader})
    assert refused.status_code == 403
    assert [len(api.get(token, "/v2.0/networks").json()["networks"]) for token in (member, reader, root)] == [1, 0, 1]


def test_everybody_else_is_told_where_keystone_is(api: Api, users: Client) -> None:
    for answer in (
        api.http.get(SERVICES),
        api.http.get(SERVICES, auth=("alice", PASSWORD)),
        api.get("nothing"),
        api.get(""),
        api.get("a b"),
        api.get("x" * 9000),
        api.get(users.token("alice", "unscoped")),
    ):
        assert answer.status_code == 401
        assert answer.json()["error"]["message"] == "The request you have made requires authentication."
        assert answer.headers["www-authenticate"] == "Keystone uri='https://keystone.example.org/v3'"


def test_there_is_no_second_identity(api: Api) -> None:
    assert api.http.get("/identity/v3").status_code == 404
    assert api.http.post("/v3/auth/tokens", json={}).status_code == 404


def test_a_token_is_asked_about_once(api: Api, users: Client, keystone: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    good = users.token("alice")
    assert [api.code(token) for token in (good, good, "bad", "bad", good)] == [200, 200, 401, 401, 200]
    assert keystone.count == 2
    monkeypatch.setattr(authentication_keystone, "time", _Later(authentication_keystone.TTL + 1))
    assert (api.code(good), api.code("bad"), keystone.count) == (200, 401, 4)


class _Later:
    """The time, some seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    def time(self) -> float:
        return time.time() + self.seconds


def test_keystone_goes_away(
    store: Store, cloud: Served, users: Client, keystone: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was good works for its time. The control remembers nothing, and the same token fails at once."""
    api, control = Api(store, keystone), Api(store, keystone, ttl=0.0001)
    known, unknown = users.token("alice"), users.token("bob")
    assert (api.code(known), control.code(known)) == (200, 200)
    cloud.stop()
    assert [api.code(known) for _ in range(5)] == [200] * 5
    refused = api.get(unknown)
    assert (refused.status_code, refused.json()["NeutronError"]["type"]) == (503, "ServiceUnavailable")
    assert "Keystone cannot be asked now" in refused.json()["NeutronError"]["message"]
    assert refused.headers["retry-after"] == "1"
    assert control.code(known) == 503, "without a memory the token has to fail"
    print("control: without a memory the same token got 503")
    monkeypatch.setattr(authentication_keystone, "time", _Later(authentication_keystone.TTL - 5))
    assert api.code(known) == 200
    monkeypatch.setattr(authentication_keystone, "time", _Later(authentication_keystone.TTL + 5))
    assert api.code(known) == 503


def test_keystone_comes_back(store: Store, users: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flapping:
        away = True
        asked = 0

        def validate(self, token: str) -> Any:
            self.asked += 1
            if self.away:
                raise KeystoneUnreachable("gone")
            return said()

    flapping = Flapping()
    api = Api(store, flapping)
    assert [api.code("token"), api.code("token"), flapping.asked] == [503, 503, 1]
    flapping.away = False
    assert api.code("token") == 503
    monkeypatch.setattr(authentication_keystone, "time", _Later(authentication_keystone.RETRY))
    assert (api.code("token"), flapping.asked) == (200, 2)


def said(expires_at: str = "2999-01-01T00:00:00.000000Z", **more: Any) -> Any:
    """What a Keystone says of a token."""
    token: dict[str, Any] = {
        "user": {"id": "u", "name": "ada", "domain": {"id": "d"}},
        "project": {"id": "p", "name": "blue"},
        "roles": [{"id": "1", "name": "Member"}],
        "expires_at": expires_at,
    }
    return {"token": {key: value for key, value in (token | more).items() if value is not ...}}


def test_a_keystone_that_is_slow_holds_up_nobody_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication_keystone, "PATIENCE", 0.05)
    release, asked = threading.Event(), threading.Semaphore(0)

    class Slow:
        slow = False

        def validate(self, token: str) -> Any:
            if self.slow:
                asked.release()
                release.wait(30.0)
                raise KeystoneUnreachable("gone")
            return said()

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
        assert asked.acquire(timeout=10.0)
    # All turns are taken: whoever is known passes, everybody else is told at once.
    assert (api.code("known"), api.code("another")) == (200, 503)
    release.set()
    for thread in threads:
        thread.join(10.0)
    assert codes == [503] * len(threads)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        said(project=...),
        said("2001-01-01T00:00:00.000000Z"),
    ],
)
def test_a_token_that_is_not_for_us(store: Store, answer: Any) -> None:
    class Says:
        def validate(self, token: str) -> Any:
            return answer

    assert Api(store, Says()).code("token") == 401


@pytest.mark.parametrize("answer", [{}, [], {"token": {}}, said(user=5), said("soon"), said(project={"id": 5})])
def test_an_answer_that_is_no_token(store: Store, answer: Any) -> None:
    class Says:
        def validate(self, token: str) -> Any:
            return answer

    with capture_logs() as logs:
        assert Api(store, Says()).code("token") == 503
    assert "something else than a token" in logs[0]["reason"]


def test_a_token_is_not_remembered_beyond_its_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Says:
        def validate(self, token: str) -> Any:
            end = time.gmtime(time.time() + 60)
            return said(time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", end)) if not asked else None

    asked: list[int] = []
    api = Api(store, Says())
    assert api.code("token") == 200
    asked.append(1)
    assert api.code("token") == 200
    monkeypatch.setattr(authentication_keystone, "time", _Later(61))
    assert api.code("token") == 401


@pytest.mark.parametrize(
    ("user", "password", "project", "words"),
    [
        ("root", "wrong", "admin", "does not accept our own user"),
        ("nobody", PASSWORD, "admin", "does not accept our own user"),
        ("bob", PASSWORD, "red", "may not validate tokens"),
    ],
)
def test_our_own_user_is_wrong(
    store: Store, cloud: Served, users: Client, user: str, password: str, project: str, words: str
) -> None:
    """That is no fault of whoever asks: a 503, and a line in the log that says what to do."""
    with capture_logs() as logs:
        assert Api(store, Asked(cloud.url + "/v3", user, password, project)).code(users.token("alice")) == 503
    assert words in logs[0]["reason"]


def test_something_else_listens(store: Store, cloud: Served) -> None:
    with capture_logs() as logs:
        assert Api(store, Asked(f"{cloud.url}/nothing")).code("token") == 503
    assert f"there is no Keystone v3 at {cloud.url}/nothing/v3" in logs[0]["reason"]


def test_nobody_listens(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with capture_logs() as logs:
        assert Api(store, Asked(url)).code("token") == 503
    assert "Unable to establish connection" in logs[0]["reason"]
    assert "\n" not in logs[0]["reason"]


def test_no_token_and_no_password_is_kept_or_logged(
    store: Store, cloud: Served, users: Client, keystone: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    api, token = Api(store, keystone), users.token("alice")
    caplog.set_level("DEBUG")
    with capture_logs() as logs:
        assert api.code(token) == 200
        cloud.stop()
        api.code("unknown-token")
    # What this test's own client logs is not ours.
    lines = [record.getMessage() for record in caplog.records if record.name.split(".")[0] not in ("httpx", "httpcore")]
    kept = repr(api.auth._good._values) + repr(api.auth._bad._values) + repr(logs) + repr(lines)
    assert "Making authentication request to" in kept
    for secret in (token, "unknown-token", PASSWORD):
        assert secret not in kept


def test_the_settings_lead_there(cloud: Served, users: Client, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    given = {
        "auth_url": f"{cloud.url}/v3",
        "public_url": "https://keystone.example.org/v3",
        "username": "root",
        "password_file": tmp_path / "password",
        "project": "admin",
    }
    overrides = {"state": tmp_path / "state", "api.auth": "keystone"} | {f"keystone.{k}": v for k, v in given.items()}
    with (
        wiring.open_application(load(environment={}, overrides=overrides)) as (app, _notifier),
        TestClient(app) as http,
    ):
        found = http.get(SERVICES, headers={"x-auth-token": users.token("alice")})
        assert (found.status_code, found.json()) == (200, {"vpnservices": []})
        refused = http.get(SERVICES, headers={"x-auth-token": "nothing"})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Keystone uri='https://keystone.example.org/v3'"
