"""Who asks: nobody, users with passwords, and where everybody may be an admin."""

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
from tests.api.users import QUICK, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

HASH = QUICK.hash("correct horse")


def basic(name: str, password: str) -> str:
    """The header of a name and a password."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def ask(auth: BasicAuth, header: str | None) -> Caller:
    """Who somebody with this header is."""
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    return auth.identify(Request("GET", "/", headers=headers))


@pytest.fixture
def people(store: Store) -> Store:
    """A store with two users."""
    with store.write() as tx:
        project = stored_users.add_project(tx, "blue")["id"]
        stored_users.add_user(tx, "alice", HASH, project, ("Member", "auditor"))
        stored_users.add_user(tx, "zoë", HASH, project, ("reader",))
    return store


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords were compared with."""
    seen: list[str] = []

    def counted(password_hash: str, password: str) -> bool:
        seen.append(password_hash)
        return verify_password(password_hash, password)

    monkeypatch.setattr(passwords, "verify_password", counted)
    return seen


def test_a_user(people: Store) -> None:
    with people.read() as tx:
        user: Any = stored_users.user_by_name(tx, "alice")
    assert ask(BasicAuth(people), basic("alice", "correct horse")) == Caller(
        user["id"], "alice", user["project_id"], frozenset({"member", "reader", "auditor"})
    )
    assert ask(BasicAuth(people), basic("zoë", "correct horse")).name == "zoë"
    assert ask(BasicAuth(people), basic("alice", "correct horse").replace("Basic", "bAsIc")).name == "alice"


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
def test_everybody_else_is_refused_in_the_same_words(people: Store, header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        ask(BasicAuth(people), header)
    assert (caught.value.status, caught.value.message) == (401, "The request you have made requires authentication.")


def test_a_password_is_compared_once(people: Store, costs: list[str]) -> None:
    users = BasicAuth(people)
    for _ in range(20):
        ask(users, basic("alice", "correct horse"))
    assert len(costs) == 1


def test_a_wrong_password_and_an_unknown_name_cost_the_same(people: Store, costs: list[str]) -> None:
    users = BasicAuth(people)
    for header in (basic("alice", "wrong"), basic("alice", "wrong"), basic("nobody", "wrong")):
        with pytest.raises(ApiError):
            ask(users, header)
    assert len(costs) == 3
    assert costs[:2] == [HASH, HASH]
    assert costs[2].split("$")[:4] == HASH.split("$")[:4]


def test_what_is_remembered_is_soon_asked_again(
    people: Store, costs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    users, header = BasicAuth(people), basic("alice", "correct horse")
    ask(users, header)
    monkeypatch.setattr(cache, "TRUST", 0.0)
    ask(users, header)
    assert len(costs) == 1
    with people.write() as tx:
        user: Any = stored_users.user_by_name(tx, "alice")
        stored_users.set_roles(tx, user["id"], user["project_id"], ("reader",))
    assert ask(users, header).roles == frozenset({"reader"})
    with people.write() as tx:
        stored_users.set_password(tx, user["id"], hash_password("battery staple"))
    with pytest.raises(ApiError):
        ask(users, header)
    with people.write() as tx:
        stored_users.remove_user(tx, user["id"])
    with pytest.raises(ApiError):
        ask(users, basic("alice", "battery staple"))


def test_memory_answers_without_a_look(people: Store, costs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    users = BasicAuth(people)
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

    def unasked(_self: Store) -> Any:
        raise AssertionError("the database is asked")

    monkeypatch.setattr(Store, "read", unasked)
    assert users.cached(good) == known
    assert users.cached(bad) is None, "a wrong password stays wrong, and is compared each time"
    with pytest.raises(ApiError, match="requires authentication"):
        users.cached(Request("GET", "/"))
    monkeypatch.setattr(cache, "TRUST", 0.0)
    assert users.cached(good) is None
    assert len(costs) == 2


def test_what_is_remembered_holds_no_password(people: Store) -> None:
    users = BasicAuth(people)
    ask(users, basic("alice", "correct horse"))
    kept = repr({key: vars_of(value) for key, value in users._memory._values.items()})
    assert "correct horse" not in kept
    assert basic("alice", "correct horse")[6:] not in kept
    assert users._memory._key != BasicAuth(people)._memory._key


def vars_of(value: Any) -> dict[str, Any]:
    """What an object with slots holds."""
    return {name: getattr(value, name) for name in value.__slots__}


def test_a_flood_of_logins_does_not_take_all_memory(people: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PATIENCE", 0.1)
    users = BasicAuth(people)
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


def test_without_authentication_everybody_is_one_admin(open_api: OpenApi) -> None:
    with open_api(auth=NoAuth("0123" * 8)) as api:
        for headers in ({}, {"x-auth-token": "notused"}, {"x-project-id": "ffff" * 8}):
            answer = api.client.post("/v2.0/vpn/ikepolicies", json={"ikepolicy": {}}, headers=headers)
            assert answer.json()["ikepolicy"]["project_id"] == "0123" * 8


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_is_fine(host: str) -> None:
    check_bind(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_anything_else_is_refused_in_one_line(host: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1") as caught:
        check_bind(host)
    assert "\n" not in str(caught.value)
