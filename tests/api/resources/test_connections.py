"""Services and connections: values, conversions, conflicts, endpoint groups and visibility."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.checks.cross_resource import Limits
from tests.api.conftest import OpenApi
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite

SERVICES = "/vpn/vpnservices"


# --- services -----------------------------------------------------------------------------------------------------


def test_a_service_shows_its_gateways_addresses(api: Api) -> None:
    site = LocalSite(api, "198.51.100.0/24", "2001:db8::/64")
    assert site.service == {
        "id": site.service["id"],
        "tenant_id": BLUE,
        "project_id": BLUE,
        "name": "service",
        "description": "",
        "router_id": site.router["id"],
        "subnet_id": site.subnet["id"],
        "flavor_id": None,
        "admin_state_up": True,
        "external_v4_ip": "198.51.100.2",
        "external_v6_ip": "2001:db8::2",
        "status": "PENDING_CREATE",
        "status_reason": "waits for a node that can run the gateway",
        "status_code": "PROVISIONING",
        "created_at": site.service["created_at"],
        "updated_at": site.service["created_at"],
        "revision_number": 1,
    }
    assert api.get(f"{SERVICES}/{site.service['id']}") == {"vpnservice": site.service}


def test_a_service_in_use_cannot_be_deleted(site: LocalSite) -> None:
    connection = site.connection()
    path = f"{SERVICES}/{site.service['id']}"
    assert site.api.refused("DELETE", path) == (409, "VPNServiceInUse")
    assert site.api.update(path, "vpnservice", name="new")["name"] == "new"
    site.api.delete(f"{CONNECTIONS}/{connection['id']}")
    site.api.delete(path)


# --- connections: values ------------------------------------------------------------------------------------------


def test_a_connection_of_defaults_is_complete(site: LocalSite) -> None:
    connection = site.connection()
    assert connection == {
        "id": connection["id"],
        "tenant_id": BLUE,
        "project_id": BLUE,
        "name": "connection",
        "description": "",
        "vpnservice_id": site.service["id"],
        "ikepolicy_id": site.ike["id"],
        "ipsecpolicy_id": site.ipsec["id"],
        "peer_address": "203.0.113.9",
        "peer_id": "203.0.113.9",
        "local_id": "",
        "peer_cidrs": ["10.9.0.0/24"],
        "local_ep_group_id": None,
        "peer_ep_group_id": None,
        "mtu": 1500,
        "initiator": "bi-directional",
        "dpd": {"action": "hold", "interval": 30, "timeout": 120},
        "admin_state_up": True,
        "auth_mode": "psk",
        "local_certificate_id": None,
        "trust_anchor_id": None,
        "peer_certificates": [],
        "ppk_id": "",
        "ppk": None,
        "ppk_required": False,
        "route_mode": "static",
        "effective_mtu": None,
        "last_good_revision": None,
        "psk": "correct horse",
        "status": "PENDING_CREATE",
        "status_reason": "waits for a node that can run the gateway",
        "status_code": "PROVISIONING",
        "created_at": connection["created_at"],
        "updated_at": connection["created_at"],
        "revision_number": 1,
    }
    assert site.api.get(f"{CONNECTIONS}/{connection['id']}") == {"ipsec_site_connection": connection}
    assert site.api.get(CONNECTIONS) == {"ipsec_site_connections": [connection]}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"peer_cidrs": "10.9.0.0/24"}, {"peer_cidrs": ["10.9.0.0/24"]}),
        ({"peer_cidrs": ["10.9.0.7/24", "10.8.0.0/24"]}, {"peer_cidrs": ["10.9.0.7/24", "10.8.0.0/24"]}),
        ({"mtu": "1400"}, {"mtu": 1400}),
        ({"mtu": 68}, {"mtu": 68}),
        ({"mtu": 9216}, {"mtu": 9216}),
        ({"dpd": {}}, {"dpd": {"action": "hold", "interval": 30, "timeout": 120}}),
        ({"dpd": None}, {"dpd": {"action": "hold", "interval": 30, "timeout": 120}}),
        ({"dpd": {"interval": "9"}}, {"dpd": {"action": "hold", "interval": 9, "timeout": 120}}),
        ({"admin_state_up": "False"}, {"admin_state_up": False}),
        ({"auth_mode": "psk"}, {"auth_mode": "psk"}),
        ({"peer_address": "vpn.Example.org"}, {"peer_address": "vpn.Example.org"}),
        ({"peer_id": "@gw.example.org"}, {"peer_id": "@gw.example.org"}),
        ({"local_id": "me@example.org"}, {"local_id": "me@example.org"}),
        ({"local_id": None}, {"local_id": ""}),
        ({"local_ep_group_id": None}, {"local_ep_group_id": None}),
        ({"local_ep_group_id": "", "peer_ep_group_id": ""}, {"local_ep_group_id": None, "peer_ep_group_id": None}),
        ({"dpd": {"actions": "restart"}}, {"dpd": {"action": "restart", "interval": 30, "timeout": 120}}),
        ({"psk": 'a"b\nc'}, {"psk": 'a"b\nc'}),
        ({"name": "🔒", "description": "two\nlines"}, {"name": "🔒", "description": "two\nlines"}),
        ({"tenant_id": BLUE}, {"project_id": BLUE}),
    ],
)
def test_values_are_converted(site: LocalSite, values: dict[str, Any], shown: dict[str, Any]) -> None:
    connection = site.connection(**values)
    assert {name: connection[name] for name in shown} == shown
    read = site.api.get(f"{CONNECTIONS}/{connection['id']}")["ipsec_site_connection"]
    assert {name: read[name] for name in shown} == shown


BAD = (400, "HTTPBadRequest")


def test_messages_of_some_errors(site: LocalSite) -> None:
    def message(**values: Any) -> str:
        response = site.api.send("POST", CONNECTIONS, {"ipsec_site_connection": site.values(**values)})
        text: str = response.json()["NeutronError"]["message"]
        return text

    assert message(psk=None) == "Invalid input for psk. Reason: 'None' is not a valid string."
    assert message(psk=...) == "Failed to parse request. Required attribute 'psk' not specified"
    assert message(route_mode="static") == "Attribute 'route_mode' not allowed in POST"
    assert message(effective_mtu=1400) == "Attribute 'effective_mtu' not allowed in POST"
    assert "kkk" not in message(psk="k" * 256)


@pytest.mark.parametrize(
    "psk",
    [
        987654321987654321,
        987654321.5,
        True,
        ["sesame-987654321"],
        {"key": "sesame-987654321"},
        {"sesame-987654321": 1},
        [["sesame-987654321"]],
        [],
        "sesame-987654321" * 17,
    ],
    ids=repr,
)
def test_no_error_repeats_a_key(site: LocalSite, psk: Any) -> None:
    """Clients log errors, and YAML makes a number of digits without quotes."""
    id = site.connection()["id"]
    sent = {"psk": psk}
    for method, path, body in (
        ("POST", CONNECTIONS, {"ipsec_site_connection": site.values(**sent)}),
        ("POST", CONNECTIONS, {"ipsec_site_connections": [site.values(), site.values(**sent)]}),
        ("PUT", f"{CONNECTIONS}/{id}", {"ipsec_site_connection": sent}),
        ("PUT", f"{CONNECTIONS}/{id}", {"ipsec_site_connection": sent | {"unknown": 1}}),
    ):
        response = site.api.send(method, path, body)
        assert response.status_code == 400, response.text
        assert not any(part in response.text for part in ("sesame", "987654321", "True")), response.text


@pytest.mark.parametrize("form", ["203.0.113.77 ", "gw.example.org ", "asn1dn:CN=gw", "fqdn:", "ü" * 127])
def test_identities_that_no_node_can_use_are_refused(site: LocalSite, form: str) -> None:
    for name in ("peer_id", "local_id"):
        response = site.api.send("POST", CONNECTIONS, {"ipsec_site_connection": site.values(**{name: form})})
        assert (response.status_code, name in response.text) == (400, True), response.text


def test_the_gateways_own_address_cannot_be_the_peers(site: LocalSite) -> None:
    own = site.service["external_v4_ip"]
    response = site.api.send("POST", CONNECTIONS, {"ipsec_site_connection": site.values(peer_address=own)})
    assert response.json()["NeutronError"]["type"] == "VPNPeerAddressNotResolved"
    assert "itself" in response.text


# --- endpoint groups ----------------------------------------------------------------------------------------------


@pytest.fixture
def open_site(api: Api) -> LocalSite:
    """A site whose service has no subnet: its connections use endpoint groups."""
    return LocalSite(api, "198.51.100.0/24", "2001:db8::/64", with_subnet=False)


def test_a_connection_between_groups(open_site: LocalSite) -> None:
    api = open_site.api
    second = api.inside("10.2.0.0/24")
    api.plug(open_site.router, second)
    local = api.group("subnet", open_site.subnet["id"], second["id"])
    peer = api.group("cidr", "10.20.0.0/24", "10.21.0.0/24")
    values = {"peer_cidrs": ..., "local_ep_group_id": local["id"], "peer_ep_group_id": peer["id"]}
    connection = open_site.connection(**values)
    assert (connection["peer_cidrs"], connection["local_ep_group_id"], connection["peer_ep_group_id"]) == (
        [],
        local["id"],
        peer["id"],
    )
    assert api.refused("DELETE", f"/vpn/endpoint-groups/{peer['id']}") == (400, "EndpointGroupInUse")
    assert api.refused("DELETE", f"/vpn/endpoint-groups/{local['id']}") == (400, "EndpointGroupInUse")
    api.delete(f"{CONNECTIONS}/{connection['id']}")
    api.delete(f"/vpn/endpoint-groups/{peer['id']}")


# --- updates ------------------------------------------------------------------------------------------------------


def test_every_attribute_can_be_changed(site: LocalSite) -> None:
    connection = site.connection()
    changes: dict[str, Any] = {
        "name": "new",
        "description": "other",
        "peer_address": "203.0.113.10",
        "peer_id": "peer@example.org",
        "local_id": "me",
        "peer_cidrs": ["10.31.0.0/24", "10.30.0.0/24"],
        "psk": "battery staple",
        "mtu": 1300,
        "initiator": "response-only",
        "admin_state_up": False,
    }
    changed = site.api.update(f"{CONNECTIONS}/{connection['id']}", "ipsec_site_connection", **changes)
    assert {name: changed[name] for name in changes} == changes
    merged = site.api.update(f"{CONNECTIONS}/{connection['id']}", "ipsec_site_connection", dpd={"timeout": "60"})
    assert merged["dpd"] == {"action": "hold", "interval": 30, "timeout": 60}


def test_every_request_that_leads_to_a_conflict_is_refused(site: LocalSite) -> None:
    site.connection(name="first")
    clash = (409, "IPsecSiteConnectionConflict")
    assert site.refused(psk="another", peer_cidrs=["10.8.0.0/24"]) == clash
    elsewhere = site.api.service(site.router, site.subnet)
    assert site.refused(peer_cidrs=["10.9.0.128/25"], vpnservice_id=elsewhere["id"]) == clash
    there = site.connection(name="there", peer_cidrs=["10.5.0.0/24"], vpnservice_id=elsewhere["id"])
    body = {"ipsec_site_connection": {"peer_cidrs": ["10.0.0.0/8"]}}
    assert site.api.refused("PUT", f"{CONNECTIONS}/{there['id']}", body) == clash
    other = site.connection(name="third", peer_id="other", peer_cidrs=["10.9.0.0/24"])
    values = {"peer_id": "203.0.113.9", "psk": "another", "peer_cidrs": ["10.7.0.0/24"]}
    assert site.api.refused("PUT", f"{CONNECTIONS}/{other['id']}", {"ipsec_site_connection": values}) == clash


def test_a_successor_is_accepted_and_says_what_it_supersedes(site: LocalSite) -> None:
    older = site.connection(name="older", peer_cidrs=["10.9.0.0/24", "10.8.0.0/24"])
    newer = site.connection(name="newer", peer_cidrs=["10.8.0.0/24"], mtu=1300)
    waits = "waits for a node that can run the gateway"
    part = f"older ({older['id']}) for 1 of 2 pairs of networks"
    assert newer["status_reason"] == f"{waits}; supersedes {part} once it is up"
    # With another key too, if it takes over something of each that has the earlier key.
    whole = site.connection(name="", psk="another", peer_cidrs=["10.8.0.0/15"])
    assert whole["status_reason"] == (f"{waits}; supersedes older ({older['id']}), newer ({newer['id']}) once it is up")
    assert (whole["status"], older["status_reason"]) == ("PENDING_CREATE", waits)
    # A key that nothing has any more joins nothing, and the one in charge does.
    disjoint = {"peer_cidrs": ["10.6.0.0/24"]}
    assert site.refused(**disjoint) == (409, "IPsecSiteConnectionConflict")
    assert site.connection(psk="another", **disjoint)["status_reason"] == waits


def test_the_key_of_a_peer_with_two_connections_can_be_changed(site: LocalSite) -> None:
    """One PUT after the other, in either order; between them every other edit is taken, and a POST joins."""
    one, two = site.connection(name="one"), site.connection(name="two", peer_cidrs=["10.8.0.0/24"])
    for key, order in (("second key", (one, two)), ("third key", (two, one))):
        site.api.update(f"{CONNECTIONS}/{order[0]['id']}", "ipsec_site_connection", psk=key)
        site.api.update(f"{CONNECTIONS}/{order[1]['id']}", "ipsec_site_connection", peer_cidrs=["10.7.0.0/24"])
        # Clients send all attributes back: the earlier key does not become the later one.
        shown = site.api.get(f"{CONNECTIONS}/{order[1]['id']}")["ipsec_site_connection"]
        again = {name: shown[name] for name in ("psk", "peer_id", "peer_address", "mtu")}
        site.api.update(f"{CONNECTIONS}/{order[1]['id']}", "ipsec_site_connection", **again)
        clash = (409, "IPsecSiteConnectionConflict")
        assert site.refused(psk=shown["psk"], peer_cidrs=["10.6.0.0/24"]) == clash
        joined = site.connection(psk=key, peer_cidrs=["10.6.0.0/24"])
        site.api.send("DELETE", f"{CONNECTIONS}/{joined['id']}")
        site.api.update(
            f"{CONNECTIONS}/{order[1]['id']}", "ipsec_site_connection", psk=key, peer_cidrs=order[1]["peer_cidrs"]
        )


def test_a_policy_can_cause_a_conflict(site: LocalSite) -> None:
    """IKEv1 main mode selects the pre-shared key by address alone."""
    site.connection(name="first", peer_id="one", psk="first key")
    site.connection(name="second", peer_id="two", psk="second key", peer_cidrs=["10.8.0.0/24"])
    path = f"/vpn/ikepolicies/{site.ike['id']}"
    clash = (409, "IPsecSiteConnectionConflict")
    assert site.api.refused("PUT", path, {"ikepolicy": {"ike_version": "v1"}}) == clash
    assert site.api.get(path)["ikepolicy"]["ike_version"] == "v2"


def test_policies_that_cannot_be_negotiated_together_are_refused(site: LocalSite) -> None:
    """AES-CMAC for ESP needs IKEv2: refused when a connection would use the two policies, or already does."""
    v1, cmac = site.api.ike(ike_version="v1"), site.api.ipsec(auth_algorithm="aes-cmac")
    pair = {"ikepolicy_id": v1["id"], "ipsecpolicy_id": cmac["id"]}
    body = {"ipsec_site_connection": site.values(**pair)}
    response = site.api.send("POST", CONNECTIONS, body)
    assert response.status_code == 400
    assert "aes-cmac needs IKEv2" in response.json()["NeutronError"]["message"]
    site.connection(ikepolicy_id=v1["id"])
    path = f"/vpn/ipsecpolicies/{site.ipsec['id']}"
    refused = {"ipsecpolicy": {"auth_algorithm": "aes-cmac"}}
    assert site.api.refused("PUT", path, refused) == BAD
    assert site.api.get(path)["ipsecpolicy"]["auth_algorithm"] == "sha256"
    aead = {"auth_algorithm": "aes-cmac", "encryption_algorithm": "aes-128-gcm-16"}
    assert site.api.update(path, "ipsecpolicy", **aead)["auth_algorithm"] == "aes-cmac", "not used with an AEAD cipher"
    assert site.api.refused("PUT", path, {"ipsecpolicy": {"encryption_algorithm": "aes-128"}}) == BAD
    site.connection(ipsecpolicy_id=cmac["id"], peer_cidrs=["10.8.0.0/24"])
    path = f"/vpn/ikepolicies/{site.ike['id']}"
    assert site.api.refused("PUT", path, {"ikepolicy": {"ike_version": "v1"}}) == BAD
    assert site.api.get(path)["ikepolicy"]["ike_version"] == "v2"


@pytest.mark.security(
    "8",
    tried="one connection more than a gateway may have",
    control="test_with_higher_limits_the_same_is_taken",
)
def test_the_connections_of_a_gateway_are_limited(open_api: OpenApi) -> None:
    with open_api(limits=Limits(connections=2)) as api:
        site = LocalSite(api)
        for number in range(2):
            site.connection(peer_id=f"peer-{number}")
        assert site.refused(peer_id="one too many") == (409, "OverQuota")


@pytest.mark.security(
    "8",
    tried="one network more than a side may have",
    control="test_with_higher_limits_the_same_is_taken",
)
def test_the_cidrs_of_a_side_are_limited(open_api: OpenApi) -> None:
    with open_api(limits=Limits(cidrs=2)) as api:
        site = LocalSite(api)
        three = [f"10.{number}.0.0/24" for number in (7, 8, 9)]
        assert site.refused(peer_cidrs=three) == BAD
        path = f"{CONNECTIONS}/{site.connection(peer_cidrs=three[:2])['id']}"
        assert api.refused("PUT", path, {"ipsec_site_connection": {"peer_cidrs": three}}) == BAD
        body = {"endpoint_group": {"type": "cidr", "endpoints": three}}
        assert api.refused("POST", "/vpn/endpoint-groups", body) == BAD


def test_with_higher_limits_the_same_is_taken(open_api: OpenApi) -> None:
    """The control."""
    with open_api(limits=Limits(connections=3, cidrs=3)) as api:
        site = LocalSite(api)
        for number in range(2):
            site.connection(peer_id=f"peer-{number}")
        three = [f"10.{number}.0.0/24" for number in (7, 8, 9)]
        assert site.connection(peer_id="one too many", peer_cidrs=three)["peer_cidrs"] == three


# --- in use -------------------------------------------------------------------------------------------------------


def test_policies_in_use_can_be_changed_but_not_deleted(site: LocalSite) -> None:
    site.connection()
    ike, ipsec = f"/vpn/ikepolicies/{site.ike['id']}", f"/vpn/ipsecpolicies/{site.ipsec['id']}"
    assert site.api.refused("DELETE", ike) == (409, "IKEPolicyInUse")
    assert site.api.refused("DELETE", ipsec) == (409, "IPsecPolicyInUse")
    assert site.api.update(ike, "ikepolicy", pfs="group19")["pfs"] == "group19"
    assert site.api.update(ipsec, "ipsecpolicy", name="new")["name"] == "new"


# --- visibility ---------------------------------------------------------------------------------------------------


def test_a_reader_does_not_see_the_key(site: LocalSite) -> None:
    connection = site.connection()
    reader = site.api.as_("reader")
    path = f"{CONNECTIONS}/{connection['id']}"
    assert reader.get(path)["ipsec_site_connection"] == connection | {"psk": None}
    assert reader.get(CONNECTIONS)["ipsec_site_connections"] == [connection | {"psk": None}]
    assert reader.get(f"{CONNECTIONS}?fields=psk&fields=name")["ipsec_site_connections"] == [
        {"name": "connection", "psk": None}
    ]
    assert reader.refused("POST", CONNECTIONS, {"ipsec_site_connection": site.values()}) == (
        403,
        "PolicyNotAuthorized",
    )


def test_other_projects_see_and_use_nothing(site: LocalSite) -> None:
    connection = site.connection()
    bob = site.api.as_("bob")
    assert bob.refused("GET", f"{CONNECTIONS}/{connection['id']}") == (404, "IPsecSiteConnectionNotFound")
    assert bob.refused("DELETE", f"{CONNECTIONS}/{connection['id']}") == (404, "IPsecSiteConnectionNotFound")
    assert bob.get(CONNECTIONS) == {"ipsec_site_connections": []}
    own = LocalSite(bob, inside="10.5.0.0/24")
    for name, id, type in (
        ("vpnservice_id", site.service["id"], "VPNServiceNotFound"),
        ("ikepolicy_id", site.ike["id"], "IKEPolicyNotFound"),
        ("ipsecpolicy_id", site.ipsec["id"], "IPsecPolicyNotFound"),
    ):
        assert own.refused(**{name: id}) == (404, type)


def test_an_admin_creates_a_connection_for_a_project(site: LocalSite) -> None:
    body = {"ipsec_site_connection": site.values(project_id=BLUE)}
    response = site.api.as_("admin").send("POST", CONNECTIONS, body)
    assert response.status_code == 201
    connection = response.json()["ipsec_site_connection"]
    assert site.api.get(f"{CONNECTIONS}/{connection['id']}")["ipsec_site_connection"] == connection
