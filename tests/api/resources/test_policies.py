"""CRUD, which all resources share, tested with the simplest: IKE and IPsec policies, and endpoint groups."""

from __future__ import annotations

import re
from typing import Any

import pytest

from linkspan.core.schema.resources import ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY
from tests.api.world import ADMIN, BLUE, RED, Api

IKE = "/vpn/ikepolicies"
IPSEC = "/vpn/ipsecpolicies"
GROUPS = "/vpn/endpoint-groups"
UNKNOWN = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"


def test_a_policy_of_defaults_is_safe_and_complete(api: Api) -> None:
    policy = api.ike(name="ike")
    assert policy == {
        "id": policy["id"],
        "tenant_id": BLUE,
        "project_id": BLUE,
        "name": "ike",
        "description": "",
        "auth_algorithm": "sha256",
        "encryption_algorithm": "aes-128",
        "pfs": "group14",
        "lifetime": {"units": "seconds", "value": 3600},
        "phase1_negotiation_mode": "main",
        "ike_version": "v2",
        "crypto_profile": None,
        "created_at": policy["created_at"],
        "updated_at": policy["created_at"],
        "revision_number": 1,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", policy["created_at"])
    assert api.get(f"{IKE}/{policy['id']}") == {"ikepolicy": policy}
    assert api.get(IKE) == {"ikepolicies": [policy]}


def test_an_update_changes_what_it_names(api: Api) -> None:
    policy = api.ike(name="ike", lifetime={"value": 7200})
    changed = api.update(f"{IKE}/{policy['id']}", "ikepolicy", name="new", lifetime={"value": 3601})
    assert (changed["name"], changed["lifetime"]) == ("new", {"units": "seconds", "value": 3601})
    assert changed["revision_number"] == 2
    assert api.get(f"{IKE}/{policy['id']}")["ikepolicy"] == changed


def test_an_update_of_nothing_changes_nothing(api: Api) -> None:
    policy = api.ike(name="ike")
    assert api.update(f"{IKE}/{policy['id']}", "ikepolicy") == policy
    same = {name: policy[name] for name in ("name", "pfs", "lifetime")}
    assert api.update(f"{IKE}/{policy['id']}", "ikepolicy", **same) == policy


def test_a_put_echoes_the_type_of_a_lifetime(api: Api) -> None:
    policy = api.ike()
    changed = api.update(f"{IKE}/{policy['id']}", "ikepolicy", lifetime={"value": "7200"})
    assert changed["lifetime"] == {"units": "seconds", "value": "7200"}
    assert api.get(f"{IKE}/{policy['id']}")["ikepolicy"]["lifetime"] == {"units": "seconds", "value": 7200}


def test_a_delete_is_final(api: Api) -> None:
    policy = api.ipsec()
    api.delete(f"{IPSEC}/{policy['id']}")
    assert api.refused("GET", f"{IPSEC}/{policy['id']}") == (404, "IPsecPolicyNotFound")
    assert api.refused("DELETE", f"{IPSEC}/{policy['id']}") == (404, "IPsecPolicyNotFound")
    assert api.get(IPSEC) == {"ipsecpolicies": []}


@pytest.mark.parametrize("lifetime", [{}, None])
def test_an_empty_lifetime_is_the_default(api: Api, lifetime: Any) -> None:
    assert api.ipsec(lifetime=lifetime)["lifetime"] == {"units": "seconds", "value": 3600}


def test_an_ids_case_does_not_matter(api: Api) -> None:
    policy = api.ike()
    assert api.get(f"{IKE}/{policy['id'].upper()}")["ikepolicy"] == policy


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "tenant_id", "project_id", "created_at", "revision_number"])
def test_read_only_in_put(api: Api, name: str) -> None:
    policy = api.ike()
    response = api.send("PUT", f"{IKE}/{policy['id']}", {"ikepolicy": {name: "x"}})
    assert response.status_code == 400
    assert response.json()["NeutronError"]["message"] == f"Cannot update read-only attribute {name}"


def test_the_endpoints_of_a_group_cannot_be_changed(api: Api) -> None:
    group = api.group("cidr", "10.0.0.0/24")
    expected = (400, "HTTPBadRequest")
    assert api.refused("PUT", f"{GROUPS}/{group['id']}", {"endpoint_group": {"endpoints": ["10.1.0.0/24"]}}) == expected
    assert api.update(f"{GROUPS}/{group['id']}", "endpoint_group", name="new")["name"] == "new"


def test_the_endpoints_of_a_group_are_shown_as_written(api: Api) -> None:
    assert api.group("cidr", "10.2.0.1/24", "10.1.0.0/24")["endpoints"] == ["10.2.0.1/24", "10.1.0.0/24"]
    group = api.create(GROUPS, "endpoint_group", type="cidr", endpoints="10.3.0.0/24")
    assert group["endpoints"] == ["10.3.0.0/24"]
    assert api.group("vlan", "100")["endpoints"] == ["100"]
    assert api.group("network", UNKNOWN)["type"] == "network"


def test_json_is_accepted_with_other_content_types(api: Api) -> None:
    response = api.send("POST", IKE, content=b'{"ikepolicy": {}}', headers={"content-type": "text/plain"})
    assert response.status_code == 201


def test_text_that_looks_like_a_key_is_accepted(api: Api) -> None:
    text = '", "name": "x\\'
    policy = api.create(IKE, "ikepolicy", name=text, description=':"a":"b"')
    assert (policy["name"], policy["description"]) == (text, ':"a":"b"')


# --- projects and roles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["project_id", "tenant_id"])
def test_an_admin_creates_for_others(api: Api, name: str) -> None:
    policy = api.as_("admin").ike(**{name: BLUE})
    assert (policy["project_id"], policy["tenant_id"]) == (BLUE, BLUE)
    assert api.get(f"{IKE}/{policy['id']}")["ikepolicy"] == policy


@pytest.mark.parametrize("name", ["project_id", "tenant_id"])
def test_a_member_cannot_create_for_others(api: Api, name: str) -> None:
    assert api.refused("POST", IKE, {"ikepolicy": {name: RED}}) == (400, "HTTPBadRequest")
    assert api.ike(**{name: BLUE})["project_id"] == BLUE


def test_tenant_and_project_must_agree(api: Api) -> None:
    body = {"ikepolicy": {"project_id": BLUE, "tenant_id": RED}}
    assert api.as_("admin").refused("POST", IKE, body) == (400, "HTTPBadRequest")


def test_another_projects_object_does_not_exist(api: Api) -> None:
    policy = api.ike()
    bob = api.as_("bob")
    path = f"{IKE}/{policy['id']}"
    for method, body in (("GET", None), ("PUT", {"ikepolicy": {"name": "x"}}), ("DELETE", None)):
        foreign, unknown = bob.send(method, path, body), bob.send(method, f"{IKE}/{UNKNOWN}", body)
        assert foreign.status_code == 404
        assert foreign.content == unknown.content.replace(UNKNOWN.encode(), policy["id"].encode())
    assert bob.get(IKE) == {"ikepolicies": []}
    assert bob.get(f"{IKE}?project_id={BLUE}") == {"ikepolicies": []}
    assert api.as_("admin").get(IKE) == {"ikepolicies": [policy]}
    assert api.as_("admin").get(f"{IKE}?tenant_id={ADMIN}") == {"ikepolicies": []}


def test_a_reader_can_only_read(api: Api) -> None:
    policy = api.ike()
    reader = api.as_("reader")
    path = f"{IKE}/{policy['id']}"
    assert reader.get(path) == {"ikepolicy": policy}
    assert reader.get(IKE) == {"ikepolicies": [policy]}
    assert reader.refused("POST", IKE, {"ikepolicy": {}}) == (403, "PolicyNotAuthorized")
    assert reader.refused("PUT", path, {"ikepolicy": {"name": "x"}}) == (403, "PolicyNotAuthorized")
    assert reader.refused("DELETE", path) == (403, "PolicyNotAuthorized")
    assert reader.refused("DELETE", f"{IKE}/{UNKNOWN}") == (404, "IKEPolicyNotFound")
    message = reader.send("POST", IKE, {"ikepolicy": {}}).json()["NeutronError"]["message"]
    assert message == "rule:create_ikepolicy is disallowed by policy"


def test_a_user_with_an_unknown_role_is_refused(api: Api) -> None:
    policy = api.ike()
    auditor = api.as_("auditor")
    for method, path in (("GET", IKE), ("GET", f"{IKE}/{policy['id']}"), ("DELETE", f"{IKE}/{policy['id']}")):
        assert auditor.refused(method, path) == (403, "PolicyNotAuthorized")


# --- paths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{IKE}.json", "/ikepolicies", "/ikepolicies.json", f"{IKE}/"])
def test_short_paths_and_suffixes_are_accepted(api: Api, path: str) -> None:
    policy = api.ike()
    assert api.get(path) == {"ikepolicies": [policy]}


def test_a_suffix_on_a_member(api: Api) -> None:
    policy = api.ike()
    assert api.get(f"{IKE}/{policy['id']}.json") == {"ikepolicy": policy}


@pytest.mark.parametrize("resource", [IKE_POLICY, IPSEC_POLICY, ENDPOINT_GROUP])
def test_a_name_in_place_of_an_id_is_not_found(api: Api, resource: Any) -> None:
    assert api.refused("GET", f"/{resource.path}/office") == (404, resource.not_found)


@pytest.mark.parametrize(
    "values",
    [
        {"encryption_algorithm": "aes-128-gcm-16"},
        {"encryption_algorithm": "aes-256-ccm-8"},
        {"encryption_algorithm": "aes-192-ctr"},
        {"auth_algorithm": "aes-xcbc"},
        {"auth_algorithm": "aes-cmac"},
    ],
)
def test_algorithms_that_need_ikev2_are_refused_for_ikev1(api: Api, values: dict[str, Any]) -> None:
    (name, value), *_ = values.items()
    refusal = api.send("POST", IKE, {"ikepolicy": {"name": "x", "ike_version": "v1"} | values})
    assert refusal.status_code == 400
    error = refusal.json()["NeutronError"]
    assert error["type"] == "HTTPBadRequest"
    assert error["message"].startswith(f"Invalid input for {name}. Reason: {value} in phase 1 needs IKEv2")
    modern = api.ike(**values)
    path = f"{IKE}/{modern['id']}"
    assert api.refused("PUT", path, {"ikepolicy": {"ike_version": "v1"}}) == (400, "HTTPBadRequest")
    old = api.ike(ike_version="v1")
    assert api.refused("PUT", f"{IKE}/{old['id']}", {"ikepolicy": values}) == (400, "HTTPBadRequest")
    assert api.update(f"{IKE}/{old['id']}", "ikepolicy", ike_version="v2", **values)[name] == value
    assert api.ipsec(**values)[name] == value, "phase 2 has no such restriction"


def test_a_policy_of_ah_esp_is_accepted(api: Api) -> None:
    """The reference implementation accepts it too; a connection that uses it reads ERROR with the reason."""
    assert api.ipsec(transform_protocol="ah-esp")["transform_protocol"] == "ah-esp"
