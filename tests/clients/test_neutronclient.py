"""python-neutronclient's bindings against our API, as Horizon, Heat and Rally use them: bodies in, bodies out."""

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
    """A resource as the bindings call it; `values` of a new one may need the ids of what was made before it."""

    name: str
    plural: str
    values: Callable[[Topology, Ids], dict[str, Any]]
    changes: dict[str, Any]


RESOURCES = (
    ClientResource(
        "endpoint_group",
        "endpoint_groups",
        lambda ground, ids: {"type": "cidr", "endpoints": ["10.9.0.0/24"]},
        {"description": "theirs"},
    ),
    ClientResource(
        "ikepolicy",
        "ikepolicies",
        lambda ground, ids: {"encryption_algorithm": "aes-256", "lifetime": {"units": "seconds", "value": 7200}},
        {"lifetime": {"units": "seconds", "value": 14400}},
    ),
    ClientResource(
        "ipsecpolicy",
        "ipsecpolicies",
        lambda ground, ids: {"transform_protocol": "esp", "pfs": "group19"},
        {"pfs": "group20"},
    ),
    ClientResource(
        "vpnservice",
        "vpnservices",
        lambda ground, ids: {"router_id": ground.router, "subnet_id": ground.subnet, "admin_state_up": True},
        {"admin_state_up": False},
    ),
    ClientResource(
        "ipsec_site_connection",
        "ipsec_site_connections",
        lambda ground, ids: {
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
def client(service: Served, way: AuthMethod) -> Iterator[Client]:
    """The bindings, as alice."""
    cloud = way.cloud(service.url, "alice")
    plugin: BaseAuthPlugin = loading.get_plugin_loader(cloud["auth_type"]).load_from_options(**cloud["auth"])
    http = session.Session(auth=plugin)
    yield Client(session=http)
    http.session.close()


@pytest.fixture
def place(connect: Connect) -> Topology:
    return create_topology(connect("admin"), connect("alice"))


def call(client: Client, verb: str, noun: str, *arguments: Any, **more: Any) -> Any:
    """A method of the bindings."""
    return getattr(client, f"{verb}_{noun}")(*arguments, **more)


def create(client: Client, place: Topology) -> Ids:
    """One of each kind; each attribute comes back as it was sent."""
    ids: Ids = {}
    for kind in RESOURCES:
        values = kind.values(place, ids) | {"name": f"the {kind.name}"}
        made = call(client, "create", kind.name, {kind.name: values})[kind.name]
        assert {name: made[name] for name in values} == values
        ids[kind.name] = made["id"]
    return ids


def test_the_five_resources(client: Client, place: Topology) -> None:
    ids = create(client, place)
    for kind in RESOURCES:
        id, name = ids[kind.name], f"the {kind.name}"
        shown = call(client, "show", kind.name, id)[kind.name]
        assert (shown["id"], shown["name"]) == (id, name)
        assert call(client, "list", kind.plural, name=name)[kind.plural] == [shown]
        assert call(client, "list", kind.plural, name="nothing")[kind.plural] == []
        assert call(client, "list", kind.plural, id=id, fields=["name"])[kind.plural] == [{"name": name}]
        changed = call(client, "update", kind.name, id, {kind.name: kind.changes})[kind.name]
        assert {name: changed[name] for name in kind.changes} == kind.changes
        assert call(client, "show", kind.name, id)[kind.name] == changed
    for kind in reversed(RESOURCES):
        call(client, "delete", kind.name, ids[kind.name])
        with pytest.raises(exceptions.NotFound):
            call(client, "show", kind.name, ids[kind.name])


def test_pages(client: Client) -> None:
    """Forward and backward, and all at once."""
    names = ["0", "1", "2", "3", "4"]
    for name in names:
        client.create_ikepolicy({"ikepolicy": {"name": name}})
    for reverse in (False, True):
        pages = [
            [each["name"] for each in page["ikepolicies"]]
            for page in client.list_ikepolicies(retrieve_all=False, limit=2, page_reverse=reverse)
        ]
        assert [len(page) for page in pages][:3] == [2, 2, 1]
        assert sorted(name for page in pages for name in page) == names
    assert sorted(each["name"] for each in client.list_ikepolicies(limit=2)["ikepolicies"]) == names


def test_refusals(client: Client, place: Topology) -> None:
    """The bindings have an exception for each code, and our sentence is its text."""
    ids = create(client, place)
    nobody = str(uuid.uuid4())
    for kind in RESOURCES:
        for verb, more in (("show", ()), ("update", ({kind.name: {"name": "nobody"}},)), ("delete", ())):
            with pytest.raises(exceptions.NotFound, match=f"{nobody} (could not be|not) found"):
                call(client, verb, kind.name, nobody, *more)
        with pytest.raises(exceptions.BadRequest, match="exceeds maximum length of 255"):
            call(client, "update", kind.name, ids[kind.name], {kind.name: {"name": "n" * 256}})
        with pytest.raises(exceptions.BadRequest, match="colour"):
            call(client, "update", kind.name, ids[kind.name], {kind.name: {"colour": "blue"}})
    for name in ("ikepolicy", "ipsecpolicy", "vpnservice"):
        with pytest.raises(exceptions.Conflict, match="in use") as refused:
            call(client, "delete", name, ids[name])
        assert refused.value.status_code == 409
        assert refused.value.request_ids[0].startswith("req-")
