"""A connection to PostgreSQL that is lost in a COMMIT: the first answer says what the database holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import httpx
import pytest

from linkspan.api.app import create_app
from linkspan.api.http.notifications import Notifier
from linkspan.core.authorization.policy import policy_of
from linkspan.store import store as stores
from linkspan.store.database import commit_markers, deadlines
from linkspan.store.database import engine as engines
from linkspan.store.database.gate import Gate
from tests.api.quick_client import QuickClient
from tests.api.serving import wait_for
from tests.api.world import Api, ByName, LocalSite
from tests.harness.databases import open_store
from tests.harness.postgres import Server
from tests.harness.postgres_proxy import Fault, Proxy, proxy

pytestmark = pytest.mark.postgres

FAULTS = get_args(Fault)
POLICIES = "/vpn/ikepolicies"


@contextmanager
def behind_proxy(postgres: Server) -> Iterator[tuple[Api, Proxy]]:
    """The API of a database behind a proxy."""
    with proxy(postgres.folder) as (running, folder):
        url = postgres.current().replace(str(postgres.folder), str(folder))
        engine = engines.connect(url)
        notifier = Notifier()
        store = open_store(engine, notifier.publish)
        app = create_app(store, ByName(), notifier, delete_wait=0.3, policy=policy_of())
        try:
            with QuickClient(app) as client:
                yield Api(client, store, notifier), running
        finally:
            engine.dispose()


@pytest.fixture
def lossy(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Api, Proxy]]:
    monkeypatch.setattr(deadlines, "ANSWER", 1.0)
    with behind_proxy(postgres) as opened:
        yield opened


def create(api: Api) -> Callable[[], httpx.Response]:
    return lambda: api.send("POST", POLICIES, {"ikepolicy": {"name": "new"}})


def create_many(api: Api) -> Callable[[], httpx.Response]:
    names = [{"name": "new"}, {"name": "second"}]
    return lambda: api.send("POST", POLICIES, {"ikepolicies": names})


def create_connection(api: Api) -> Callable[[], httpx.Response]:
    site = LocalSite(api)
    return lambda: api.send("POST", "/vpn/ipsec-site-connections", {"ipsec_site_connection": site.values()})


def update(api: Api) -> Callable[[], httpx.Response]:
    policy = api.ike(name="before")
    return lambda: api.send("PUT", f"{POLICIES}/{policy['id']}", {"ikepolicy": {"name": "new"}})


def delete(api: Api) -> Callable[[], httpx.Response]:
    policy = api.ike(name="before")
    return lambda: api.send("DELETE", f"{POLICIES}/{policy['id']}")


def delete_connection(api: Api) -> Callable[[], httpx.Response]:
    connection = LocalSite(api).connection()
    return lambda: api.send("DELETE", f"/vpn/ipsec-site-connections/{connection['id']}")


def add_interface(api: Api) -> Callable[[], httpx.Response]:
    router, subnet = api.router(api.outside()), api.inside()
    return lambda: api.send("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})


def quota(api: Api) -> Callable[[], httpx.Response]:
    return lambda: api.as_("admin").send("PUT", "/quotas/" + "b1" * 16, {"quota": {"ikepolicy": 7}})


def held(api: Api) -> Any:
    """What the database holds, without ids and times."""
    shown = []
    for path, key in (
        (POLICIES, "ikepolicies"),
        ("/vpn/ipsec-site-connections", "ipsec_site_connections"),
        ("/ports", "ports"),
    ):
        shown.append([(item["name"], item.get("revision_number")) for item in api.get(path)[key]])
    shown.append(api.as_("admin").get("/quotas/" + "b1" * 16)["quota"]["ikepolicy"])
    # Each change has its entry, and only one.
    trail = api.as_("admin").get("/linkspan/audit")["audit"]
    shown.append(sorted((entry["action"], entry["resource"]) for entry in trail))
    return shown


MUTATIONS = (create, create_many, create_connection, update, delete, delete_connection, add_interface, quota)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_answer_is_true(lossy: tuple[Api, Proxy], mutation: Any, fault: Fault, postgres: Server) -> None:
    """The change is answered as done, and is done once: as without a fault."""
    api, running = lossy
    send = mutation(api)
    running.fault = fault
    response = send()
    assert response.status_code in (200, 201, 204), response.text
    assert running.met == 1
    wait_for(lambda: running.late == (fault == "late"))
    after = held(api)
    with behind_proxy(postgres) as (other, unused):
        again = mutation(other)
        assert again().status_code == response.status_code
        assert held(other) == after
        assert unused.met == 0


@pytest.mark.parametrize("fault", ["unanswered", "silent"])
def test_without_a_look_up_the_first_answer_is_false(
    lossy: tuple[Api, Proxy], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """The control: repeated as if nothing had been written, the change is there twice."""
    api, running = lossy
    monkeypatch.setattr(stores.Store, "_has_committed", lambda *_: False)
    running.fault = fault
    assert create(api)().status_code == 201
    assert len(api.get(POLICIES)["ikepolicies"]) == 2


def test_without_the_claim_a_late_commit_stands(lossy: tuple[Api, Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a look-up that only reads lets a COMMIT pass that arrives after it."""
    api, running = lossy
    monkeypatch.setattr(commit_markers, "has_committed", lambda *_: False)
    running.fault = "late"
    assert create(api)().status_code == 201
    wait_for(lambda: running.late == 1)
    assert len(api.get(POLICIES)["ikepolicies"]) == 2


def test_an_outcome_that_nobody_can_look_up_is_said_so(
    lossy: tuple[Api, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, running = lossy
    monkeypatch.setattr(stores, "RESOLVE", 0.3)
    running.fault = "silent"
    monkeypatch.setattr(Gate, "__enter__", _closed_after(running, Gate.__enter__))
    response = create(api)()
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "look before you try again" in response.json()["NeutronError"]["message"]


def _closed_after(running: Proxy, enter: Callable[[Gate], None]) -> Callable[[Gate], None]:
    def closed(self: Gate) -> None:
        enter(self)
        if running.met:
            raise stores.Disconnected("closed")

    return closed
