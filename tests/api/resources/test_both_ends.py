"""Two connections that are each other's ends: the one that was refused shows what the one that has refused it knows."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.state.observed import ConnectionReport, GatewayReport
from tests.api.world import CONNECTIONS, Api, LocalSite, Node

CANARY = "canary-of-the-other-project"


class Ends:
    """Two sites on one external network, and a connection of each to the other. `users`: the owners of the sites."""

    def __init__(self, api: Api, *users: str) -> None:
        self.node: Node = api.node()
        owners = [api.as_(user) for user in users]
        self.sites = [LocalSite(owners[0]), LocalSite(owners[1], "203.0.113.0/24", inside="10.2.0.0/24")]
        addresses = [site.api.get(f"/vpn/vpnservices/{site.service['id']}")["vpnservice"] for site in self.sites]
        self.v4 = [shown["external_v4_ip"] for shown in addresses]
        self.connections: list[dict[str, Any]] = []

    def connect(self, number: int, **values: Any) -> None:
        """Create the connection of an end to the other one."""
        peer = self.v4[1 - number]
        values = {"peer_address": peer, "peer_id": peer, "peer_cidrs": ["10.77.0.0/24"]} | values
        self.connections.append(self.sites[number].connection(**values))

    def report(self, number: int, code: str, reason: str, state: Any = "down") -> None:
        desired = self.node.desired()
        gateways = {row["id"]: row["generation"] for row in desired["gateways"]}
        self.node.report(*(GatewayReport(id, at, desired["revision"], "ready") for id, at in gateways.items()))
        id = self.connections[number]["id"]
        (row,) = (row for row in desired["connections"] if row["id"] == id)
        generation = gateways[row["gateway_id"]]
        self.node.report(ConnectionReport(id, generation, desired["revision"], state, reason, code=code))

    def shown(self, number: int) -> dict[str, Any]:
        api, id = self.sites[number].api, self.connections[number]["id"]
        shown: dict[str, Any] = api.get(f"{CONNECTIONS}/{id}")["ipsec_site_connection"]
        (listed,) = (item for item in api.get(CONNECTIONS)["ipsec_site_connections"] if item["id"] == id)
        assert (listed["status_code"], listed["status_reason"]) == (shown["status_code"], shown["status_reason"])
        cause = api.get(f"{CONNECTIONS}/{id}/diagnosis")["diagnosis"]["cause"]
        assert cause["code"] == shown["status_code"]
        return shown


@pytest.fixture(params=[("alice", "alice"), ("alice", "bob")], ids=["one project", "two projects"])
def ends(api: Api, request: pytest.FixtureRequest) -> Ends:
    """Both ends, loaded."""
    ends = Ends(api, *request.param)
    for number in range(2):
        ends.connect(number)
    return ends


def test_who_was_refused_shows_what_the_other_end_knows(ends: Ends) -> None:
    ends.report(0, "AUTHENTICATION_REFUSED", "the peer refused our authentication")
    assert ends.shown(0)["status_code"] == "AUTHENTICATION_REFUSED", "nothing is known yet"
    ends.report(1, "PSK_MISMATCH", f"the keys differ {CANARY}")
    first, second = ends.shown(0), ends.shown(1)
    assert (first["status_code"], second["status_code"]) == ("PSK_MISMATCH", "PSK_MISMATCH")
    is_own = ends.sites[0].api.user == ends.sites[1].api.user
    assert (CANARY in first["status_reason"]) == is_own, "values of another project's connection are its own"
    assert first["status_reason"].endswith("here: the peer refused our authentication")


def test_what_no_packet_shows(ends: Ends) -> None:
    for number in range(2):
        api, id = ends.sites[number].api, ends.connections[number]["id"]
        api.update(f"{CONNECTIONS}/{id}", "ipsec_site_connection", initiator="response-only")
        ends.report(number, "WAITING_FOR_PEER", "waits for the peer to initiate")
    assert [ends.shown(number)["status_code"] for number in range(2)] == ["BOTH_RESPONSE_ONLY"] * 2
    api, id = ends.sites[1].api, ends.connections[1]["id"]
    api.update(f"{CONNECTIONS}/{id}", "ipsec_site_connection", admin_state_up=False)
    assert ends.shown(0)["status_code"] == "PEER_END_DISABLED"
    api.update(f"{CONNECTIONS}/{id}", "ipsec_site_connection", admin_state_up=True, initiator="bi-directional")
    assert ends.shown(0)["status_code"] == "WAITING_FOR_PEER", "the control"


def test_an_exact_cause_and_a_tunnel_that_is_up_are_not_replaced(ends: Ends) -> None:
    ends.report(1, "PSK_MISMATCH", "the keys differ")
    ends.report(0, "PEER_ID_MISMATCH", "another identity")
    assert ends.shown(0)["status_code"] == "PEER_ID_MISMATCH"
    ends.report(0, "", "", "up")
    shown = ends.sites[0].api.get(f"{CONNECTIONS}/{ends.connections[0]['id']}")["ipsec_site_connection"]
    assert (shown["status"], shown["status_code"]) == ("ACTIVE", "")


def test_of_two_connections_at_the_other_end_the_enabled_one_counts(api: Api) -> None:
    ends = Ends(api, "alice", "alice")
    ends.connect(0)
    ends.connect(1)
    ends.sites[1].connection(name="off", peer_address=ends.v4[0], peer_id=ends.v4[0], admin_state_up=False)
    ends.report(0, "AUTHENTICATION_REFUSED", "refused")
    ends.report(1, "PSK_MISMATCH", "the keys differ")
    assert ends.shown(0)["status_code"] == "PSK_MISMATCH"


def test_who_only_claims_to_be_the_other_end_is_not(api: Api) -> None:
    """Another project's connection to our address, whose gateway is not at the address of our peer."""
    ends = Ends(api, "alice", "bob")
    ends.connect(0, peer_address="192.0.2.9", peer_id="192.0.2.9")
    ends.connect(1)
    ends.report(1, "PSK_MISMATCH", "the keys differ")
    ends.report(0, "AUTHENTICATION_REFUSED", "refused")
    assert ends.shown(0)["status_code"] == "AUTHENTICATION_REFUSED"
