"""HTTP Basic authentication, and `NoAuth`, which listens on loopback only."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import pytest

from linkspan.api.authentication import cache, passwords
from linkspan.api.authentication.basic import BasicAuth, NoAuth, check_bind
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.core.errors import ApiError
from linkspan.store.identity import users as stored_users
from linkspan.store.identity.users import hash_password, verify_password
from linkspan.store.store import Store
from tests.api.conftest import OpenApi
from tests.api.users import quick
from tests.harness.first_state import QUICK

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

HASH = QUICK.hash("correct horse")


def basic(name: str, password: str) -> str:
    """Returns the `Authorization` header of a name and a password."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def ask(auth: BasicAuth, header: str | None) -> Caller:
    """Returns the caller that a request with this header has."""
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    return auth.identify(Request("GET", "/", headers=headers))


@pytest.fixture
def user_store(store: Store) -> Store:
    """A store with two users."""
    with store.write() as tx:
        project = stored_users.add_project(tx, "blue")["id"]
        stored_users.add_user(tx, "alice", HASH, project, ("Member", "auditor"))
        stored_users.add_user(tx, "zoë", HASH, project, ("reader",))
    return store


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords were compared with, in order."""
    seen: list[str] = []

    def counted(password_hash: str, password: str) -> bool:
        seen.append(password_hash)
        return verify_password(password_hash, password)

    monkeypatch.setattr(passwords, "verify_password", counted)
    return seen


def test_basic_credentials_identify_a_user(user_store: Store) -> None:
    with user_store.read() as tx:
        user: Any = stored_users.user_by_name(tx, "alice")
    assert ask(BasicAuth(user_store), basic("alice", "correct horse")) == Caller(
        user["id"], "alice", user["project_id"], frozenset({"member", "reader", "auditor"})
    )
    assert ask(BasicAuth(user_store), basic("zoë", "correct horse")).name == "zoë"
    assert ask(BasicAuth(user_store), basic("alice", "correct horse").replace("Basic", "bAsIc")).name == "alice"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic ****",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"a\x00b:x").decode(),
        "Bearer abc",
        basic("", "correct horse"),
        basic("alice", ""),
        basic("alice", "wrong"),
        basic("Alice", "correct horse"),
        basic("nobody", "correct horse"),
    ],
)
def test_all_wrong_credentials_get_the_same_error(user_store: Store, header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        ask(BasicAuth(user_store), header)
    assert (caught.value.status, caught.value.message) == (401, "The request you have made requires authentication.")


def test_a_password_is_compared_once(user_store: Store, costs: list[str]) -> None:
    users = BasicAuth(user_store)
    for _ in range(20):
        ask(users, basic("alice", "correct horse"))
    assert len(costs) == 1


def test_a_wrong_password_and_an_unknown_name_cost_the_same(user_store: Store, costs: list[str]) -> None:
    users = BasicAuth(user_store)
    for header in (basic("alice", "wrong"), basic("alice", "wrong"), basic("nobody", "wrong")):
        with pytest.raises(ApiError):
            ask(users, header)
    assert len(costs) == 3
    assert costs[:2] == [HASH, HASH]
    assert costs[2].split("$")[:4] == HASH.split("$")[:4]


def test_cached_credentials_are_checked_again_soon(
    user_store: Store, costs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    users, header = BasicAuth(user_store), basic("alice", "correct horse")
    ask(users, header)
    monkeypatch.setattr(cache, "TRUST", 0.0)
    ask(users, header)
    assert len(costs) == 1
    with user_store.write() as tx:
        user: Any = stored_users.user_by_name(tx, "alice")
        stored_users.set_roles(tx, user["id"], user["project_id"], ("reader",))
    assert ask(users, header).roles == frozenset({"reader"})
    with user_store.write() as tx:
        stored_users.set_password(tx, user["id"], hash_password("battery staple"))
    with pytest.raises(ApiError):
        ask(users, header)
    with user_store.write() as tx:
        stored_users.remove_user(tx, user["id"])
    with pytest.raises(ApiError):
        ask(users, basic("alice", "battery staple"))


def test_cached_credentials_need_no_database(
    user_store: Store, costs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = BasicAuth(user_store)
    good, bad = (
        Request("GET", "/", headers=[(b"authorization", basic("alice", password).encode())])
        for password in ("correct horse", "wrong")
    )
    assert users.cached(good) is None
    assert costs == []
    known = users.identify(good)
    with pytest.raises(ApiError):
        users.identify(bad)
    assert len(costs) == 2

    def unexpected_read(_self: Store) -> Any:
        raise AssertionError("the database is read")

    monkeypatch.setattr(Store, "read", unexpected_read)
    assert users.cached(good) == known
    assert users.cached(bad) is None, "a wrong password is not cached, and is compared each time"
    with pytest.raises(ApiError, match="requires authentication"):
        users.cached(Request("GET", "/"))
    monkeypatch.setattr(cache, "TRUST", 0.0)
    assert users.cached(good) is None
    assert len(costs) == 2


def test_the_cache_holds_no_password(user_store: Store) -> None:
    users = BasicAuth(user_store)
    ask(users, basic("alice", "correct horse"))
    cached = repr({key: slots_of(value) for key, value in users._cache._values.items()})
    assert "correct horse" not in cached
    assert basic("alice", "correct horse")[6:] not in cached
    assert users._cache._key != BasicAuth(user_store)._cache._key


def slots_of(value: Any) -> dict[str, Any]:
    """Returns the values of an object's slots."""
    return {name: getattr(value, name) for name in value.__slots__}


def test_concurrent_password_hashes_are_limited(user_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PATIENCE", 0.1)
    users = BasicAuth(user_store)
    at_once, most = [0], [0]

    def slow(_hash: str, _password: str) -> bool:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.3)
        at_once[0] -= 1
        return False

    monkeypatch.setattr(passwords, "verify_password", slow)
    codes: list[int] = []

    def attempt(number: int) -> None:
        try:
            ask(users, basic("alice", f"wrong {number}"))
        except ApiError as problem:
            codes.append(problem.status)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == passwords.AT_ONCE
    assert sorted(codes) == [401, 401, 503, 503, 503, 503]


def test_without_authentication_every_caller_is_the_same_admin(open_api: OpenApi) -> None:
    with open_api(auth=NoAuth("0123" * 8)) as api:
        for headers in ({}, {"x-auth-token": "notused"}, {"x-project-id": "ffff" * 8}):
            response = api.client.post("/v2.0/vpn/ikepolicies", json={"ikepolicy": {}}, headers=headers)
            assert response.json()["ikepolicy"]["project_id"] == "0123" * 8


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_no_auth_may_listen_on_loopback(host: str) -> None:
    check_bind(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_no_auth_on_other_addresses_is_refused_in_one_line(host: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1") as caught:
        check_bind(host)
    assert "\n" not in str(caught.value)
