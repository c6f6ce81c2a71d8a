"""Rate limits: a project's requests and an address's failures, with Retry-After, in bounded memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from linkspan.api.app import create_app
from linkspan.api.authentication import cache
from linkspan.api.authentication.rate_limits import LOOKS, Buckets, RateLimited, RateLimits, claimed
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.caller import Caller
from linkspan.api.http.client_address import client_key
from linkspan.api.http.messages import Request
from linkspan.api.http.notifications import Notifier
from linkspan.core.errors import ApiError
from linkspan.core.token_bucket import Rate
from linkspan.store.identity import users
from linkspan.store.store import Store
from tests.api.conftest import OpenApi
from tests.api.quick_client import QuickClient
from tests.api.users import PASSWORD, by_credential, by_password, by_token, embedded, quick
from tests.api.world import USERS, Api, ByName
from tests.harness.databases import Clock
from tests.harness.first_state import QUICK

__all__ = ["quick"]

IKE = "/vpn/ikepolicies"
MANY = (429, "TooManyRequests")


@pytest.mark.security(
    "15",
    tried="more requests than a project's rate",
    control="test_without_a_setting_nothing_is_limited",
)
def test_requests_of_a_project_are_limited(open_api: OpenApi) -> None:
    # The bucket refills so slowly that no test run gets another token.
    with open_api(rates=RateLimits(project=Rate(0.001, 3))) as api:
        assert [api.send("GET", IKE).status_code for _ in range(3)] == [200] * 3
        response = api.send("GET", IKE)
        assert (response.status_code, response.json()["NeutronError"]["type"]) == MANY
        assert 900 < int(response.headers["retry-after"]) <= 1000
        assert api.as_("reader").refused("POST", IKE, {"ikepolicy": {}}) == MANY, "the same project"
        assert api.as_("bob").get(IKE) == {"ikepolicies": []}
        # Requests that need no authentication are not limited.
        assert api.send("GET", "//healthz").status_code == 200


def test_without_a_setting_nothing_is_limited(api: Api) -> None:
    assert {api.send("GET", IKE).status_code for _ in range(200)} == {200}


@pytest.mark.security(
    "15",
    tried="failed logins beyond the rate of an address",
    control="test_known_credentials_are_not_limited_by_the_failures_of_others",
)
def test_failed_authentication_is_limited_per_address(open_api: OpenApi) -> None:
    with open_api(rates=RateLimits(failures=Rate(0.001, 3))) as api:
        assert {api.send("GET", IKE).status_code for _ in range(10)} == {200}, "successes do not count"
        assert [api.as_("stranger").send("GET", IKE).status_code for _ in range(4)] == [401, 401, 401, 429]
        response = api.as_("bob").send("GET", IKE)
        assert (response.status_code, response.json()["NeutronError"]["type"]) == MANY, (
            "the address is limited, whichever user it sends"
        )
        assert api.send("GET", IKE).status_code == 200, "but none that was right before"
        assert int(response.headers["retry-after"]) > 900
        # The agents' API is not limited: nobody can guess a node's token.
        assert api.node().hello()


class CountingAuth(ByName):
    """An authentication backend that counts the requests it authenticates."""

    def __init__(self) -> None:
        self.count = 0

    def identify(self, request: Request) -> Caller:
        self.count += 1
        return super().identify(request)


def request_of(user: str, address: str) -> Request:
    """Returns a request of a user from an address."""
    return Request("GET", "/", headers=[(b"authorization", user.encode())], source=address)


def test_a_limited_address_costs_no_password_check() -> None:
    clock, counting = Clock(), CountingAuth()
    limited = RateLimited(counting, RateLimits(failures=Rate(0.5, 2)), clock)

    def outcome(user: str, address: str) -> str:
        try:
            return limited.identify(request_of(user, address)).name
        except ApiError as problem:
            return problem.type

    assert [outcome("x", "192.0.2.1") for _ in range(5)] == ["Unauthorized"] * 2 + ["TooManyRequests"] * 3
    assert counting.count == 2
    assert outcome("alice", "192.0.2.2") == "alice", "another address"
    clock.pass_(1.9)
    assert outcome("alice", "192.0.2.1") == "TooManyRequests"
    clock.pass_(0.2)
    assert outcome("alice", "192.0.2.1") == "alice"
    assert limited.identify(request_of("bob", "192.0.2.1")) == USERS["bob"]


def test_cached_callers_count_once_and_are_limited_too() -> None:
    class CachingAuth(ByName):
        def cached(self, request: Request) -> Caller | None:
            return None if request.header(b"authorization") == b"bob" else self.identify(request)

    limited = RateLimited(CachingAuth(), RateLimits(project=Rate(0.001, 2), failures=Rate(0.001, 2)), Clock())

    def outcome(user: str, address: str) -> str:
        try:
            caller = limited.cached(request_of(user, address)) or limited.identify(request_of(user, address))
        except ApiError as problem:
            return problem.type
        return caller.name

    assert [outcome("alice", "192.0.2.1") for _ in range(3)] == ["alice", "alice", "TooManyRequests"]
    assert [outcome("bob", "192.0.2.1") for _ in range(3)] == ["bob", "bob", "TooManyRequests"]
    assert [outcome("x", "192.0.2.2") for _ in range(3)] == ["Unauthorized", "Unauthorized", "TooManyRequests"]
    assert outcome("admin", "192.0.2.2") == "TooManyRequests", "the address is limited, whichever user it sends"
    assert outcome("admin", "192.0.2.1") == "admin"


def test_the_advertised_wait_is_sufficient() -> None:
    clock = Clock()
    limited = RateLimited(ByName(), RateLimits(project=Rate(2.0, 1)), clock)
    limited.identify(request_of("alice", ""))
    with pytest.raises(ApiError) as caught:
        limited.identify(request_of("alice", ""))
    assert caught.value.wait == pytest.approx(0.5)
    clock.pass_(caught.value.wait)
    limited.identify(request_of("alice", ""))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_ipv6_sources_are_grouped_by_64_bit_prefix(address: str, expected: str) -> None:
    assert client_key(address) == expected


def test_memory_is_bounded() -> None:
    buckets = Buckets(Rate(0.001, 1), Clock(), room=100)
    for number in range(1000):
        assert buckets.take(f"key {number}") == 0
        # This key is used all the time, so its bucket is never evicted.
        buckets.take("busy")
    assert len(buckets) == 100
    assert buckets.wait("busy") > 0
    assert buckets.wait("key 999") > 0
    assert buckets.wait("key 0") == 0, "evicted"


def test_a_refused_key_keeps_its_bucket() -> None:
    """The bucket of a key that keeps sending requests while it has to wait is not evicted before others."""
    buckets = Buckets(Rate(0.001, 1), Clock(), room=2)
    refused: list[Any] = [buckets.take(key) > 0 for key in ("a", "b", "a", "c", "a")]
    assert refused == [False, False, True, False, True]


def test_logins_for_a_token_count_too(store: Store) -> None:
    """The embedded Keystone authenticates its requests itself; the same limit applies to its paths."""
    notifier = Notifier()
    app = create_app(store, EmbeddedKeystone(store), notifier, rates=RateLimits(failures=Rate(0.001, 2)))
    user = {"name": "nobody", "domain": {"id": "default"}, "password": "wrong"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    with TestClient(app) as client:
        codes = [client.post("/identity/v3/auth/tokens", json=body).status_code for _ in range(2)]
        response = client.post("/v3/auth/tokens", json=body)
        assert [*codes, response.status_code] == [401, 401, 429]
        assert response.json()["error"]["code"] == 429, "in Keystone's format"
        assert int(response.headers["retry-after"]) > 900
        assert client.get("/v2.0/networks").status_code == 429, "one address, one bucket"


# --- whose failures count -----------------------------------------------------------------------------------------


def login_body(identity: Any) -> bytes:
    """Returns the body of a request for a token."""
    return json.dumps({"auth": {"identity": identity}}).encode()


LIMITS = RateLimits(failures=Rate(0.001, 10), names=Rate(0.001, 3))


class Shared:
    """Clients behind one address."""

    def __init__(self, auth: EmbeddedKeystone, notifier: Notifier, store: Store, rates: RateLimits = LIMITS) -> None:
        self.http = QuickClient(create_app(store, auth, notifier, rates=rates))

    def basic(self, name: str, password: str) -> int:
        """Returns the status of a request with a name and a password."""
        return int(self.http.get("/v2.0/networks", auth=(name, password)).status_code)

    def login(self, name: str, password: str) -> int:
        """Returns the status of a login for a token."""
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        return int(self.http.post("/v3/auth/tokens", json={"auth": {"identity": by_password(user)}}).status_code)

    def token(self, token: str, path: str = "/v2.0/networks") -> int:
        """Returns the status of a request with a token."""
        return int(self.http.get(path, headers={"x-auth-token": token}).status_code)

    def by_token(self, token: str) -> int:
        """Returns the status of a login with a token."""
        return int(self.http.post("/v3/auth/tokens", json={"auth": {"identity": by_token(token)}}).status_code)


@pytest.fixture
def shared(store: Store, quick: None) -> Iterator[Shared]:
    auth = embedded(store)
    with store.write() as tx:
        for name in ("bob", "root"):
            user = users.user_by_name(tx, name)
            assert user is not None
            # A hash of their own: with a common one they would be known together.
            users.set_password(tx, user["id"], QUICK.hash(PASSWORD))
    shared = Shared(auth, Notifier(), store)
    with shared.http:
        yield shared


def test_a_name_that_fails_hinders_no_other_behind_its_address(shared: Shared) -> None:
    assert [shared.basic("mallory", "wrong") for _ in range(100)] == [401] * 3 + [429] * 97
    assert shared.basic("alice", PASSWORD) == 200
    assert [shared.login("bob", "wrong") for _ in range(4)] == [401, 401, 401, 429]
    assert (shared.login("bob", PASSWORD), shared.basic("bob", PASSWORD)) == (429, 429), "not known yet"
    assert shared.login("root", PASSWORD) == 201
    assert [shared.token("expired") for _ in range(4)] == [401, 401, 401, 429], "the same token again"


@pytest.mark.parametrize("trust", [cache.TRUST, 0.0])
def test_known_credentials_are_not_limited_by_the_failures_of_others(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, trust: float
) -> None:
    user = {"name": "alice", "domain": {"id": "default"}, "password": PASSWORD}
    issued = shared.http.post("/v3/auth/tokens", json={"auth": {"identity": by_password(user)}})
    token = issued.headers["x-subject-token"]
    path = f"/v3/users/{issued.json()['token']['user']['id']}/application_credentials"
    secret = {"name": "x", "secret": "a secret that is long"}
    made = shared.http.post(path, json={"application_credential": secret}, headers={"x-auth-token": token}).json()
    credential = by_credential(id=made["application_credential"]["id"], secret=secret["secret"])

    def by_application_credential() -> int:
        return int(shared.http.post("/v3/auth/tokens", json={"auth": {"identity": credential}}).status_code)

    def known() -> list[int]:
        answers = [shared.basic("alice", PASSWORD), shared.token(token), shared.token(token, "/v3/auth/catalog")]
        return [*answers, shared.login("alice", PASSWORD), shared.by_token(token), by_application_credential()]

    wanted = [200, 200, 200, 201, 201, 201]
    assert known() == wanted
    monkeypatch.setattr(cache, "TRUST", trust)
    assert [shared.basic(f"name {number}", "wrong") for number in range(11)] == [401] * 10 + [429]
    assert [shared.basic("alice", f"wrong {number}") for number in range(3)] == [429] * 3
    assert known() == wanted
    # The control: credentials that nobody has used before are limited, right ones too.
    assert (shared.basic("bob", PASSWORD), shared.login("bob", PASSWORD), shared.token("x")) == (429, 429, 429)


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_right_guess_from_another_address_is_limited(is_cached: bool) -> None:
    """Otherwise a limited client could try passwords until it finds one that is known."""

    class CachingAuth(ByName):
        def cached(self, request: Request) -> Caller | None:
            return self.identify(request) if is_cached and request.header(b"authorization") == b"alice" else None

    limited = RateLimited(CachingAuth(), RateLimits(failures=Rate(0.001, 2)), Clock())

    def outcome(user: str, address: str) -> str:
        request = request_of(user, address)
        try:
            return (limited.cached(request) or limited.identify(request)).name
        except ApiError as problem:
            return problem.type

    assert limited.identify(request_of("alice", "192.0.2.1")).name == "alice"
    for address in ("192.0.2.1", "192.0.2.2"):
        assert [outcome(f"x{number}", address) for number in range(3)] == ["Unauthorized"] * 2 + ["TooManyRequests"]
    assert (outcome("alice", "192.0.2.1"), outcome("alice", "192.0.2.2")) == ("alice", "TooManyRequests")


def test_guesses_of_a_limited_address_are_bounded() -> None:
    clock = Clock()
    limited = RateLimited(ByName(), RateLimits(failures=Rate(0.001, 1)), clock)

    def is_known() -> bool:
        try:
            return limited.identify(request_of("alice", "192.0.2.1")).name == "alice"
        except ApiError:
            return False

    assert is_known()
    for number in range(int(LOOKS.burst) + 1):
        assert is_known(), "right ones do not count"
        with pytest.raises(ApiError):
            limited.identify(request_of(f"x{number}", "192.0.2.1"))
    assert not is_known()
    clock.pass_(1.0)
    assert is_known()


def test_a_password_that_was_changed_is_a_guess_again(shared: Shared, store: Store) -> None:
    assert shared.basic("alice", PASSWORD) == 200
    with store.write() as tx:
        alice = users.user_by_name(tx, "alice")
        assert alice is not None
        users.set_password(tx, alice["id"], QUICK.hash("another password"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "TRUST", 0.0)
        assert [shared.basic("alice", PASSWORD) for _ in range(5)] == [401, 401, 401, 429, 429]
        assert shared.basic("alice", "another password") == 429


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"authorization": "Basic YWxpY2U6eA=="}, b"", "name alice"),
        ({"authorization": "Basic !"}, b"", "name Basic !"),
        ({"x-auth-token": "t", "authorization": "Basic YWxpY2U6eA=="}, b"", "token t"),
        ({}, b"", ""),
        ({}, b"no JSON", ""),
        ({}, login_body(by_password({"name": "alice", "password": "x"})), "name alice"),
        ({}, login_body(by_password({"id": "7", "password": "x"})), "id 7"),
        ({}, login_body(by_token("t")), "token t"),
        ({}, login_body(by_credential(id="5", secret="x")), "id 5"),
    ],
)
def test_whom_a_request_claims_to_come_from(headers: dict[str, str], body: bytes, expected: str) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert claimed(Request("POST", "/", headers=raw, body=body))[0] == expected


@pytest.mark.parametrize("blanks", ["", " ", "   "])
def test_blanks_around_a_credential_are_no_other_name(shared: Shared, blanks: str) -> None:
    """As for authentication, which takes the credential with them."""

    def status(password: str) -> int:
        encoded = base64.b64encode(f"mallory:{password}".encode()).decode()
        headers = {"authorization": f"Basic {blanks}{encoded}{blanks}"}
        return int(shared.http.get("/v2.0/networks", headers=headers).status_code)

    assert [status(f"guess {number}") for number in range(5)] == [401] * 3 + [429] * 2
