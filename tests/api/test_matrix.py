"""Who may do what, generated: every role on every path, with objects of the own project and of another one."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core import access
from linkspan.core.resources import RESOURCES, Resource
from tests.api.world import PEOPLE, Api, Site

ACTIONS: dict[str, access.Action] = {"GET": "get", "PUT": "update", "DELETE": "delete"}


def objects(site: Site) -> dict[str, dict[str, Any]]:
    """One object of every resource, which nothing else stands on where that is possible."""
    api = site.api
    port = api.get(f"/ports?device_id={site.router['id']}")["ports"][0]
    return {
        "connection": site.connection(),
        "service": api.service(site.router, name="unused"),
        "ike_policy": api.ike(),
        "ipsec_policy": api.ipsec(),
        "endpoint_group": api.group("cidr", "10.0.0.0/24"),
        "network": api.create("/networks", "network", name="unused"),
        "subnet": api.inside("10.66.0.0/24"),
        "router": api.create("/routers", "router", name="unused"),
        "port": port,
    }


@pytest.mark.parametrize("user", PEOPLE)
def test_members(site: Site, user: str) -> None:
    """GET, PUT and DELETE of one object."""
    who = PEOPLE[user]
    for resource in RESOURCES:
        made = objects(site)[resource.name]
        path = f"/{resource.path}/{made['id']}"
        own = access.is_admin(who.roles) or who.project_id == made["project_id"]
        for method, action in ACTIONS.items():
            if action != "get" and not resource.writable:
                continue
            body = {resource.singular: {"name": "new"}} if method == "PUT" else None
            answer = site.api.as_(user).send(method, path, body)
            if access.rank(who.roles) == 0:
                expected = {403}
            elif not own:
                expected = {404}
            elif access.allows(who.roles, action, resource):
                expected = {200, 204}
            else:
                expected = {403}
            assert answer.status_code in expected, (user, method, resource.name, answer.text)
        if not access.allows(who.roles, "delete", resource) or not own:
            assert site.api.get(path)[resource.singular]["name"] == made["name"]
        clear(site, resource, made)


def clear(site: Site, resource: Resource, made: dict[str, Any]) -> None:
    """Nothing is left of one round for the next one to conflict with."""
    for path in ("/vpn/ipsec-site-connections", "/vpn/vpnservices"):
        answer = site.api.get(path)
        for each in next(iter(answer.values())):
            if each["id"] != site.service["id"]:
                site.api.delete(f"{path}/{each['id']}")


@pytest.mark.parametrize("user", PEOPLE)
def test_lists(site: Site, user: str) -> None:
    """Lists hold what the project owns and what is for everybody, nothing else."""
    objects(site)
    who = PEOPLE[user]
    for resource in RESOURCES:
        answer = site.api.as_(user).send("GET", f"/{resource.path}")
        if access.rank(who.roles) == 0:
            assert answer.status_code == 403
            continue
        found = answer.json()[resource.plural]
        foreign = [each for each in found if each["project_id"] != who.project_id]
        if access.is_admin(who.roles):
            assert foreign
        else:
            assert all(each.get("shared") or each.get("router:external") for each in foreign), resource.name
        if who.project_id == PEOPLE["alice"].project_id:
            assert len(found) > len(foreign), resource.name


@pytest.mark.parametrize("user", PEOPLE)
def test_creation(api: Api, user: str) -> None:
    """POST of what needs nothing else."""
    bodies: dict[str, dict[str, Any]] = {
        "ike_policy": {},
        "ipsec_policy": {},
        "endpoint_group": {"type": "cidr", "endpoints": ["10.0.0.0/24"]},
        "network": {},
        "router": {},
        "service": {},
        "connection": {},
        "subnet": {},
    }
    who = PEOPLE[user]
    for resource in RESOURCES:
        if not resource.writable:
            continue
        values = bodies[resource.name]
        answer = api.as_(user).send("POST", f"/{resource.path}", {resource.singular: values})
        if not access.allows(who.roles, "create", resource):
            assert answer.status_code == 403
        elif any(attribute.required and attribute.name not in values for attribute in resource.attributes):
            assert answer.status_code == 400
        else:
            assert answer.status_code == 201
            assert answer.json()[resource.singular]["project_id"] == who.project_id
