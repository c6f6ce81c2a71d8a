"""Rate limits: a project's requests and an address's failures, with Retry-After, in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from linkspan.api.app import create_app
from linkspan.api.authentication.rate_limits import Buckets, RateLimited, RateLimits, source
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.api.http.notifications import Notifier
from linkspan.core.errors import ApiError
from linkspan.core.token_bucket import Rate
from linkspan.store.store import Store
from tests.api.conftest import OpenApi
from tests.api.world import USERS, Api, ByName
from tests.harness.databases import Clock

IKE = "/vpn/ikepolicies"
MANY = (429, "TooManyRequests")


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


def test_failed_authentication_is_limited_per_address(open_api: OpenApi) -> None:
    with open_api(rates=RateLimits(failures=Rate(0.001, 3))) as api:
        assert {api.send("GET", IKE).status_code for _ in range(10)} == {200}, "successes do not count"
        assert [api.as_("stranger").send("GET", IKE).status_code for _ in range(4)] == [401, 401, 401, 429]
        response = api.send("GET", IKE)
        assert (response.status_code, response.json()["NeutronError"]["type"]) == MANY, (
            "the address is limited, whichever user it sends"
        )
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
    assert source(address) == expected


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
