"""Quotas: paths, permissions to read and change them, and enforcement, also with concurrent requests."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.core.checks import quota
from linkspan.core.schema.resources import RESOURCES, Resource
from linkspan.store.rows import quotas, reading
from linkspan.store.transaction import Transaction
from tests.api.conftest import OpenApi
from tests.api.resources.test_bulk import bodies
from tests.api.resources.test_races import AT_ONCE, together
from tests.api.world import ADMIN, BLUE, RED, Api, LocalSite

IKE = "/vpn/ikepolicies"
OVER = (409, "OverQuota")
DENIED = (403, "PolicyNotAuthorized")


def set_quotas(api: Api, **limits: Any) -> dict[str, Any]:
    """Sets quotas of alice's project."""
    return api.as_("admin").update(f"/quotas/{BLUE}", "quota", **limits)


# --- paths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"/quotas/{BLUE}", f"/quotas/{BLUE}.json", f"/quotas/{BLUE}/default"])
def test_without_quotas_of_its_own_a_project_has_the_defaults(api: Api, path: str) -> None:
    for user in ("alice", "reader", "admin"):
        assert api.as_(user).get(path) == {"quota": quota.DEFAULTS}
    for user in ("bob", "auditor"):
        assert api.as_(user).refused("GET", path) == DENIED


def test_the_defaults_are_a_setting(open_api: OpenApi) -> None:
    with open_api(quotas=quota.DEFAULTS | {"ikepolicy": 1}) as api:
        assert api.get(f"/quotas/{BLUE}")["quota"]["ikepolicy"] == 1
        api.ike()
        assert api.refused("POST", IKE, {"ikepolicy": {}}) == OVER


def test_an_admin_changes_and_resets_them(api: Api) -> None:
    admin, path = api.as_("admin"), f"/quotas/{BLUE}"
    mine = quota.DEFAULTS | {"ikepolicy": 3, "router": -1}
    assert set_quotas(api, ikepolicy=3, router="-1") == mine
    assert api.get(path) == {"quota": mine}
    assert api.get(f"{path}/default") == {"quota": quota.DEFAULTS}
    assert set_quotas(api, ikepolicy=4)["router"] == -1, "other attributes keep their values"
    own = {**mine, "ikepolicy": 4, "project_id": BLUE, "tenant_id": BLUE}
    assert admin.get("/quotas") == {"quotas": [own]}
    admin.delete(path)
    assert api.get(path) == {"quota": quota.DEFAULTS}
    assert admin.get("/quotas") == {"quotas": []}
    assert admin.refused("DELETE", path) == (404, "TenantQuotaNotFound")


def test_other_roles_cannot_change_quotas(api: Api) -> None:
    for user in ("alice", "reader", "bob", "auditor"):
        who = api.as_(user)
        assert who.refused("GET", "/quotas") == DENIED
        assert who.refused("PUT", f"/quotas/{BLUE}", {"quota": {"router": 1}}) == DENIED
        assert who.refused("DELETE", f"/quotas/{BLUE}") == DENIED
    assert api.get(f"/quotas/{BLUE}") == {"quota": quota.DEFAULTS}


@pytest.mark.parametrize(
    "body",
    [
        {"quota": {"router": "many"}},
        {"quota": {"router": -2}},
        {"quota": {"colour": 1}},
        {"quota": {"port": 1}},
        {"quota": []},
        {"quotas": {"router": 1}},
        {},
    ],
)
def test_invalid_quotas_are_refused(api: Api, body: Any) -> None:
    assert api.as_("admin").refused("PUT", f"/quotas/{BLUE}", body) == (400, "HTTPBadRequest")
    assert api.as_("admin").refused("PUT", "/quotas/a%00b", {"quota": {"router": 1}}) == (400, "HTTPBadRequest")
    assert api.as_("admin").get("/quotas") == {"quotas": []}


def test_a_client_can_ask_for_its_own_project(api: Api) -> None:
    assert api.get("/quotas/tenant") == {"tenant": {"tenant_id": BLUE}}
    assert api.as_("admin").get("/quotas/tenant.json") == {"tenant": {"tenant_id": ADMIN}}


def test_details_show_what_is_used(site: LocalSite) -> None:
    site.connection()
    set_quotas(site.api, ipsec_site_connection=7)
    for path in (f"/quotas/{BLUE}/details", f"/quotas/{BLUE}/details.json"):
        details = site.api.get(path)["quota"]
        assert details["ipsec_site_connection"] == {"limit": 7, "used": 1, "reserved": 0}
        # The external network belongs to the admin's project.
        assert {name: quota["used"] for name, quota in details.items()} == {
            "vpnservice": 1,
            "ikepolicy": 1,
            "ipsecpolicy": 1,
            "ipsec_site_connection": 1,
            "endpoint_group": 0,
            "certificate": 0,
            "trust_anchor": 0,
            "network": 1,
            "subnet": 1,
            "router": 1,
        }


# --- enforcement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "resource", [resource for resource in RESOURCES if resource.writable], ids=lambda resource: resource.name
)
def test_quotas_apply_to_every_resource(site: LocalSite, resource: Resource) -> None:
    api, path = site.api, f"/{resource.path}"
    first, second = bodies(site, resource)
    used = api.get(f"/quotas/{BLUE}/details")["quota"][resource.singular]["used"]
    set_quotas(api, **{resource.singular: used + 1})
    created = api.create(path, resource.singular, **first)
    assert api.refused("POST", path, {resource.singular: second}) == OVER
    api.delete(f"{path}/{created['id']}")
    assert api.refused("POST", path, {resource.plural: [first, second]}) == OVER, "both or none"
    created = api.create(path, resource.singular, **second)
    set_quotas(api, **{resource.singular: 0})
    assert api.refused("POST", path, {resource.singular: first}) == OVER
    assert api.get(f"{path}/{created['id']}")[resource.singular] == created, "the existing object stays"


def test_the_owners_quota_applies(api: Api) -> None:
    set_quotas(api, ikepolicy=0)
    admin = api.as_("admin")
    assert admin.refused("POST", IKE, {"ikepolicy": {"project_id": BLUE}}) == OVER
    admin.ike()
    admin.ike(project_id=RED)
    mixed = {"ikepolicies": [{"project_id": RED}, {"project_id": BLUE}]}
    assert admin.refused("POST", IKE, mixed) == OVER
    assert len(admin.get(IKE)["ikepolicies"]) == 2


def test_a_quota_below_what_is_used(api: Api) -> None:
    api.ike()
    admin, path = api.as_("admin"), f"/quotas/{BLUE}"
    assert admin.refused("PUT", path, {"quota": {"ikepolicy": 0, "check_limit": True}}) == OVER
    assert admin.refused("PUT", path, {"quota": {"ikepolicy": 0, "check_limit": "maybe"}}) == (400, "InvalidInput")
    assert admin.update(path, "quota", ikepolicy=1, check_limit=True)["ikepolicy"] == 1
    assert admin.update(path, "quota", ikepolicy=0, force=True)["ikepolicy"] == 0


def test_concurrent_requests_cannot_exceed_a_quota(api: Api) -> None:
    set_quotas(api, ikepolicy=3)
    sent = together(lambda _: api.send("POST", IKE, {"ikepolicy": {}}).status_code)
    assert Counter(sent) == {201: 3, 409: AT_ONCE - 3}
    assert len(api.get(IKE)["ikepolicies"]) == 3


def test_without_the_lock_a_quota_is_exceeded(api: Api, database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above: concurrent transactions do not see each other's objects."""
    if database.dialect.name == "sqlite":
        pytest.skip("SQLite serializes writers itself")
    set_quotas(api, ikepolicy=1)
    counted, count = threading.Barrier(2, timeout=10), reading.count

    def slowly(tx: Transaction, resource: Resource, project: str) -> int:
        used = count(tx, resource, project)
        counted.wait()
        return used

    monkeypatch.setattr(reading, "count", slowly)
    unlocked = lambda tx, resource, project: quotas.of_project(tx, project).get(resource.name)  # noqa: E731
    monkeypatch.setattr(quotas, "lock_own_quota", unlocked)
    assert together(lambda _: api.send("POST", IKE, {"ikepolicy": {}}).status_code, 2) == [201, 201]
