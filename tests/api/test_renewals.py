"""Reports without news: the leases of many nodes in one statement, and the rest as every other report."""

from __future__ import annotations

from concurrent.futures import wait

import pytest
from sqlalchemy import Engine

from linkspan.api.renewals import Renewals
from linkspan.core.state.observed import Report
from linkspan.store.nodes import registry
from tests.api.conftest import OpenApi
from tests.api.world import Api, LocalSite, encode
from tests.harness.databases import Clock
from tests.harness.statements import Statements

LEASE = 30.0


def leases(api: Api) -> dict[str, float]:
    """When the leases of all nodes end, by name."""
    with api.store.read() as tx:
        return {node["name"]: node["lease_until"] for node in registry.all_nodes(tx)}


def test_renewals_are_gathered(database: Engine, open_api: OpenApi) -> None:
    clock = Clock()
    statements = Statements(database)
    with open_api(store={"clock": clock, "lease": LEASE}) as api:
        nodes = [api.node(f"node-{number}").hello()["node_id"] for number in range(50)]
        clock.pass_(LEASE / 2)
        renewals = Renewals(api.store, gather=0.5)
        with statements.counted() as sent:
            futures = [renewals.renew(node) for node in nodes]
            unknown = renewals.renew("unknown")
            wait(futures)
        assert all(future.result() for future in futures)
        assert not unknown.result()
        assert len(sent) == 1
        assert set(leases(api).values()) == {clock.now + LEASE}


def test_a_report_without_news_extends_the_lease(open_api: OpenApi) -> None:
    clock = Clock()
    with open_api(store={"clock": clock, "lease": LEASE}) as api:
        node, other = api.node("one"), api.node("two")
        clock.pass_(LEASE / 2)
        node.report()
        assert leases(api) == {"one": clock.now + LEASE, "two": clock.now + LEASE / 2}
        clock.pass_(LEASE * 2)
        other.report()
        assert leases(api)["two"] == clock.now + LEASE


def test_a_lease_that_has_ended_is_not_only_extended(open_api: OpenApi) -> None:
    """What waited for the node is completed first."""
    clock = Clock()
    with open_api(store={"clock": clock, "lease": LEASE}) as api:
        node = api.node()
        connection = LocalSite(api).connection()
        node.apply_desired()
        api.delete(f"/vpn/ipsec-site-connections/{connection['id']}")
        assert len(api.get("/vpn/ipsec-site-connections")["ipsec_site_connections"]) == 1
        clock.pass_(LEASE + 1)
        node.report()
        assert api.get("/vpn/ipsec-site-connections")["ipsec_site_connections"] == []


@pytest.mark.parametrize("token", ["", "Bearer unknown", "Basic x"])
def test_an_unknown_token_is_refused(api: Api, token: str) -> None:
    api.node()
    response = api.client.post("/agent/v1/reports", content=encode(Report((), ())), headers={"authorization": token})
    assert response.status_code == 401
