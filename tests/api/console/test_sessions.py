"""Sessions of the console: login, choice of a project, the cookie, and what makes it useless to anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import Morsel, SimpleCookie
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine

from linkspan.api.app import create_app
from linkspan.api.authentication.rate_limits import RateLimits
from linkspan.api.http import session_cookie
from linkspan.api.http.notifications import Notifier
from linkspan.core.token_bucket import Rate
from linkspan.store.identity import users
from tests.api.quick_client import QuickClient
from tests.api.users import PASSWORD, Client, embedded, quick
from tests.api.world import ByName
from tests.harness.databases import open_store

__all__ = ["quick"]

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.parametrize("database", ["sqlite"], indirect=True)]

PATH: Final = "/console/session"
POLICIES: Final = "/v2.0/vpn/ikepolicies"
HEADER: Final = {session_cookie.CONSOLE.decode(): "1"}


@pytest.fixture
def client(database: Engine) -> Iterator[Client]:
    """The API with the users of `tests.api.users`. It keeps cookies, and sends the header of the console."""
    store = open_store(database)
    with QuickClient(create_app(store, embedded(store), Notifier())) as http:
        http.headers.update(HEADER)
        yield Client(http, store)


def log_in(client: Client, name: str, password: str = PASSWORD) -> httpx.Response:
    return client.http.post(PATH, json={"name": name, "password": password})


def cookie_of(response: httpx.Response) -> Morsel[str]:
    return SimpleCookie(response.headers["set-cookie"])[session_cookie.NAME]


def test_nobody_is_logged_in_at_first(client: Client) -> None:
    session = client.http.get(PATH).json()
    assert (session["user"], session["login"], session["external"]) == (None, "password", False)
    assert client.http.get(POLICIES).status_code == 401


def test_a_login_sets_a_cookie_that_no_script_reads(client: Client) -> None:
    response = log_in(client, "alice")
    cookie = cookie_of(response)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert not cookie["secure"], "the API of this test has no TLS"
    assert cookie.value not in response.text
    session = response.json()
    assert session["user"]["name"] == "alice"
    assert session["project"]["name"] == "blue"
    assert {item["name"] for item in session["projects"]} == {"blue", "red"}
    assert client.http.get(POLICIES).status_code == 200
    assert client.http.get(PATH).json() == session


def test_over_https_the_cookie_is_secure(client: Client) -> None:
    client.http.base_url = httpx.URL("https://testserver")
    assert cookie_of(log_in(client, "alice"))["secure"]


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("", ""), ("a\x00b", "c")])
def test_a_wrong_login_sets_no_cookie(client: Client, name: str, password: str) -> None:
    response = log_in(client, name, password)
    assert response.status_code in (400, 401)
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"name": 1, "password": "x"}', b'{"name": "alice"}'])
def test_a_malformed_login_says_so(client: Client, body: bytes) -> None:
    response = client.http.post(PATH, content=body)
    assert response.status_code == 400
    assert "request body" in response.text or "Resource body required" in response.text


def test_the_challenge_of_basic_is_not_for_the_console(client: Client) -> None:
    """A browser would open a dialog of its own for it. Control: other clients get it."""
    assert client.http.get(POLICIES).headers["www-authenticate"] == "Linkspan-Session"
    assert log_in(client, "alice", "wrong").headers["www-authenticate"] == "Linkspan-Session"
    del client.http.headers[session_cookie.CONSOLE.decode()]
    assert client.http.get(POLICIES).headers["www-authenticate"].startswith("Basic ")


def test_the_cookie_alone_is_no_credential(client: Client) -> None:
    """A form of another site sends no such header. Control: with it, the same cookie is one."""
    log_in(client, "alice")
    assert client.http.get(POLICIES).status_code == 200
    del client.http.headers[session_cookie.CONSOLE.decode()]
    assert client.http.get(POLICIES).status_code == 401
    assert client.http.post(POLICIES, json={"ikepolicy": {"name": "forged"}}).status_code == 401


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "same-site"}]
)
def test_a_page_of_another_site_is_refused(client: Client, headers: dict[str, str]) -> None:
    log_in(client, "alice")
    assert client.http.get(POLICIES, headers=headers).status_code == 403
    assert client.http.get(PATH, headers=headers).status_code == 403
    assert client.http.put(PATH, json={"project_id": "r" * 32}, headers=headers).status_code == 403


def test_other_credentials_win_over_the_cookie(client: Client) -> None:
    log_in(client, "alice")
    assert client.http.get(POLICIES, headers={"x-auth-token": "made up"}).status_code == 401
    token = client.token("root")
    assert client.http.get("/v2.0/linkspan/nodes", headers={"x-auth-token": token}).status_code == 200
    assert client.http.get("/v2.0/linkspan/nodes").status_code == 403


def test_another_project(client: Client) -> None:
    log_in(client, "alice")
    session = client.http.put(PATH, json={"project_id": "r" * 32}).json()
    assert (session["project"]["name"], session["roles"]) == ("red", ["reader"])
    assert "create_ikepolicy" not in session["allowed"]
    assert client.http.post(POLICIES, json={"ikepolicy": {"name": "x"}}).status_code == 403
    assert client.http.put(PATH, json={"project_id": "a" * 32}).status_code == 401, "she has no role there"


@pytest.mark.parametrize(
    ("user", "creates", "nodes", "users_"),
    [("alice", True, False, False), ("root", True, True, True)],
)
def test_what_a_user_may_do(client: Client, user: str, creates: bool, nodes: bool, users_: bool) -> None:
    session = log_in(client, user).json()
    allowed = set(session["allowed"])
    assert ("create_ipsec_site_connection" in allowed) is creates
    assert session["is_admin"] is nodes
    assert session["manages_users"] is users_


def test_a_user_with_a_role_nowhere_logs_in_and_may_do_nothing(client: Client) -> None:
    session = log_in(client, "idle").json()
    assert (session["project"], session["projects"], session["allowed"]) == (None, [], [])
    assert client.http.get(POLICIES).status_code == 401


def test_a_user_without_a_default_project_gets_the_only_one(client: Client) -> None:
    with client.store.write() as tx:
        user = users.user_by_name(tx, "idle")
        assert user is not None
        users.set_roles(tx, user["id"], "r" * 32, ("member",))
    session = log_in(client, "idle").json()
    assert session["project"]["name"] == "red"


def test_log_out_revokes_the_token_and_removes_the_cookie(client: Client) -> None:
    token = cookie_of(log_in(client, "alice")).value
    response = client.http.delete(PATH)
    assert response.status_code == 204
    assert cookie_of(response)["max-age"] == "0"
    assert client.code(token) == 401
    assert client.http.get(PATH).json()["user"] is None
    assert client.http.delete(PATH).status_code == 204, "twice equals once"


def test_an_ended_token_is_a_session_of_nobody_and_its_cookie_goes(client: Client) -> None:
    token = cookie_of(log_in(client, "alice")).value
    client.http.delete("/v3/auth/tokens", headers={"x-auth-token": token, "x-subject-token": token})
    response = client.http.get(PATH)
    assert response.json()["user"] is None
    assert cookie_of(response)["max-age"] == "0"


def test_guesses_are_limited(database: Engine) -> None:
    store = open_store(database)
    rates = RateLimits(failures=Rate(0.01, 3), names=Rate(0.01, 3))
    with QuickClient(create_app(store, embedded(store), Notifier(), rates=rates)) as http:
        http.headers.update(HEADER)
        client = Client(http, store)
        codes = [log_in(client, "alice", f"guess {number}").status_code for number in range(5)]
        assert codes == [401, 401, 401, 429, 429]
        assert log_in(client, "bob", "guess").status_code == 429, "from the same address"


def test_without_authentication_everybody_is_logged_in(database: Engine) -> None:
    store = open_store(database)
    with QuickClient(create_app(store, ByName(), Notifier())) as http:
        session: dict[str, Any] = http.get(PATH, headers={"authorization": "alice"}).json()
        assert session["login"] == "none"
        assert session["user"]["name"] == "alice"
        assert session["allowed"]
        refused = http.post(PATH, json={"name": "alice", "password": "x"}, headers=HEADER)
        assert refused.status_code == 400
        assert "no users" in refused.text
