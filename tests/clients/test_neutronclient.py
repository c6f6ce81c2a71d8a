"""python-neutronclient's bindings against the API, as Horizon, Heat and Rally use them: bodies in, bodies out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from keystoneauth1 import loading, session
from keystoneauth1.plugin import BaseAuthPlugin
from neutronclient.common import exceptions  # type: ignore[import-untyped]
from neutronclient.v2_0.client import Client  # type: ignore[import-untyped]

from tests.api.serving import Served
from tests.clients.auth_methods import AuthMethod
from tests.clients.conftest import SDK_WARNINGS, Connect
from tests.clients.topology import Topology, create_topology

pytestmark = [pytest.mark.clients, SDK_WARNINGS]

Ids = dict[str, str]


class ClientResource(msgspec.Struct, frozen=True):
    """A resource under its name in the bindings; `values` for a new object may refer to ids of earlier objects."""

    name: str
    plural: str
    values: Callable[[Topology, Ids], dict[str, Any]]
    changes: dict[str, Any]


RESOURCES = (
    ClientResource(
        "endpoint_group",
        "endpoint_groups",
        lambda topology, ids: {"type": "cidr", "endpoints": ["10.9.0.0/24"]},
        {"description": "theirs"},
    ),
    ClientResource(
        "ikepolicy",
        "ikepolicies",
        lambda topology, ids: {"encryption_algorithm": "aes-256", "lifetime": {"units": "seconds", "value": 7200}},
        {"lifetime": {"units": "seconds", "value": 14400}},
    ),
    ClientResource(
        "ipsecpolicy",
        "ipsecpolicies",
        lambda topology, ids: {"transform_protocol": "esp", "pfs": "group19"},
        {"pfs": "group20"},
    ),
    ClientResource(
        "vpnservice",
        "vpnservices",
        lambda topology, ids: {"router_id": topology.router, "subnet_id": topology.subnet, "admin_state_up": True},
        {"admin_state_up": False},
    ),
    ClientResource(
        "ipsec_site_connection",
        "ipsec_site_connections",
        lambda topology, ids: {
            "vpnservice_id": ids["vpnservice"],
            "ikepolicy_id": ids["ikepolicy"],
            "ipsecpolicy_id": ids["ipsecpolicy"],
            "peer_address": "203.0.113.9",
            "peer_id": "203.0.113.9",
            "peer_cidrs": ["10.9.0.0/24"],
            "psk": "correct horse",
            "dpd": {"action": "hold", "interval": 30, "timeout": 120},
        },
        {"dpd": {"action": "restart", "interval": 5, "timeout": 20}, "psk": "battery staple"},
    ),
)


@pytest.fixture
def client(service: Served, auth_method: AuthMethod) -> Iterator[Client]:
    """The bindings, as alice."""
    cloud = auth_method.cloud(service.url, "alice")
    plugin: BaseAuthPlugin = loading.get_plugin_loader(cloud["auth_type"]).load_from_options(**cloud["auth"])
    http = session.Session(auth=plugin)
    yield Client(session=http)
    http.session.close()


@pytest.fixture
def topology(connect: Connect) -> Topology:
    return create_topology(connect("admin"), connect("alice"))


def call(client: Client, verb: str, noun: str, *arguments: Any, **more: Any) -> Any:
    """Calls a method of the bindings."""
    return getattr(client, f"{verb}_{noun}")(*arguments, **more)


def create(client: Client, topology: Topology) -> Ids:
    """Creates one object of each resource; checks that each attribute is returned as sent."""
    ids: Ids = {}
    for resource in RESOURCES:
        values = resource.values(topology, ids) | {"name": f"the {resource.name}"}
        created = call(client, "create", resource.name, {resource.name: values})[resource.name]
        assert {name: created[name] for name in values} == values
        ids[resource.name] = created["id"]
    return ids


def test_the_five_resources(client: Client, topology: Topology) -> None:
    ids = create(client, topology)
    for resource in RESOURCES:
        id, name = ids[resource.name], f"the {resource.name}"
        shown = call(client, "show", resource.name, id)[resource.name]
        assert (shown["id"], shown["name"]) == (id, name)
        assert call(client, "list", resource.plural, name=name)[resource.plural] == [shown]
        assert call(client, "list", resource.plural, name="nothing")[resource.plural] == []
        assert call(client, "list", resource.plural, id=id, fields=["name"])[resource.plural] == [{"name": name}]
        changed = call(client, "update", resource.name, id, {resource.name: resource.changes})[resource.name]
        assert {name: changed[name] for name in resource.changes} == resource.changes
        assert call(client, "show", resource.name, id)[resource.name] == changed
    for resource in reversed(RESOURCES):
        call(client, "delete", resource.name, ids[resource.name])
        with pytest.raises(exceptions.NotFound):
            call(client, "show", resource.name, ids[resource.name])


def test_pages(client: Client) -> None:
    """Pages forward, backward, and followed by the client itself."""
    names = ["0", "1", "2", "3", "4"]
    for name in names:
        client.create_ikepolicy({"ikepolicy": {"name": name}})
    for reverse in (False, True):
        pages = [
            [policy["name"] for policy in page["ikepolicies"]]
            for page in client.list_ikepolicies(retrieve_all=False, limit=2, page_reverse=reverse)
        ]
        assert [len(page) for page in pages][:3] == [2, 2, 1]
        assert sorted(name for page in pages for name in page) == names
    assert sorted(policy["name"] for policy in client.list_ikepolicies(limit=2)["ikepolicies"]) == names


def test_refusals(client: Client, topology: Topology) -> None:
    """Each status code is an exception of the bindings, with the API's message as its text."""
    ids = create(client, topology)
    missing_id = str(uuid.uuid4())
    for resource in RESOURCES:
        for verb, more in (("show", ()), ("update", ({resource.name: {"name": "missing"}},)), ("delete", ())):
            with pytest.raises(exceptions.NotFound, match=f"{missing_id} (could not be|not) found"):
                call(client, verb, resource.name, missing_id, *more)
        with pytest.raises(exceptions.BadRequest, match="exceeds maximum length of 255"):
            call(client, "update", resource.name, ids[resource.name], {resource.name: {"name": "n" * 256}})
        with pytest.raises(exceptions.BadRequest, match="colour"):
            call(client, "update", resource.name, ids[resource.name], {resource.name: {"colour": "blue"}})
    for name in ("ikepolicy", "ipsecpolicy", "vpnservice"):
        with pytest.raises(exceptions.Conflict, match="in use") as refused:
            call(client, "delete", name, ids[name])
        assert refused.value.status_code == 409
        assert refused.value.request_ids[0].startswith("req-")
