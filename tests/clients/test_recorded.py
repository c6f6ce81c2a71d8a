"""Replays the requests of clients in Go: each gets the answer that the client's code expects, and reads what it wrote.

`recorded` has the requests as they were sent; docs/clients.md says how they were recorded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from linkspan.core.schema.resources import RESOURCES
from tests.api.serving import Served, wait_for
from tests.clients.auth_methods import STATIC, AuthMethod
from tests.clients.conftest import SDK_WARNINGS, Connect
from tests.clients.topology import create_topology, obedient_node

pytestmark = [pytest.mark.clients, SDK_WARNINGS]

RECORDED: Final = Path(__file__).with_name("recorded")
FIELDS: Final[dict[str, dict[str, str]]] = yaml.safe_load((RECORDED / "fields.yaml").read_text())
TYPES: Final = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
SINGULAR: Final = {resource.plural: resource.singular for resource in RESOURCES}
_NAME: Final = re.compile(r"\{([a-z_]+-\d+|internet)\}")


class Replay:
    """The requests of one client. `ids`: objects by kind and number; `written`: what the client wrote, by path."""

    def __init__(self, client: httpx.Client, internet: str) -> None:
        self.client = client
        self.ids = {"internet": internet}
        self.written: dict[str, dict[str, Any]] = {}

    def send(self, method: str, path: str, status: int, body: Any = None) -> None:
        """Send a request, and check its answer."""
        path, body = self._filled(path), self._filled(body)
        answer = self.client.request(method, path, json=body)
        if status == 404:
            # The client asks until the object is gone.
            wait_for(lambda: self.client.get(path).status_code == 404)
            return
        assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
        if status == 204:
            return
        reply = answer.json()
        for kind, value in reply.items():
            for item in value if isinstance(value, list) else [value]:
                check_types(SINGULAR.get(kind, kind), item)
        if path.endswith("_router_interface"):
            if path.endswith("/add_router_interface"):
                self._name("interface", reply["port_id"])
        elif body:
            (kind,) = body
            if method == "POST":
                self._name(kind, reply[kind]["id"])
                path = f"{path}/{reply[kind]['id']}"
            self.written[path] = merged(self.written.get(path, {}), body[kind])
            check_written(path, self.written[path], reply[kind])
        elif path in self.written:
            ((_, item),) = reply.items()
            check_written(path, self.written[path], item)

    def _name(self, kind: str, id: str) -> None:
        self.ids[f"{kind}-{1 + sum(name.rpartition('-')[0] == kind for name in self.ids)}"] = id

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return _NAME.sub(lambda name: self.ids[name[1]], value)
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return {key: self._filled(item) for key, item in value.items()} if isinstance(value, dict) else value


def check_types(kind: str, item: Any) -> None:
    """Check that every field has the type that the client reads."""
    for name, type_ in FIELDS.get(kind, {}).items():
        value = item.get(name)
        # An id may not be absent either: nothing else could be done with the object.
        assert value is not None or name != "id", item
        integer_for_boolean = type_ == "integer" and isinstance(value, bool)
        assert value is None or (isinstance(value, TYPES[type_]) and not integer_for_boolean), (kind, name, value)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what was written by both; objects in it are merged."""
    objects = {key: old[key] | new[key] for key in new if isinstance(new[key], dict) and isinstance(old.get(key), dict)}
    return old | new | objects


def check_written(path: str, written: dict[str, Any], read: dict[str, Any]) -> None:
    """Check that an object reads as it was written: a difference would be a change that Terraform plans each time."""
    for name, value in written.items():
        shown = read[name]
        if isinstance(value, dict):
            shown = {key: shown[key] for key in value}
        assert shown == value, f"{path}: {name} was written as {value} and reads {shown}"


@pytest.mark.parametrize("auth_method", [STATIC], ids=["admin_token"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("client", ["gophercloud", "terraform"])
def test_requests_are_answered_as_their_client_expects(
    client: str, service: Served, connect: Connect, auth_method: AuthMethod
) -> None:
    create_topology(connect("admin"), connect("alice"))
    internet = connect("admin").network.find_network("internet", ignore_missing=False).id
    token = auth_method.cloud(service.url, "admin")["auth"]["token"]
    requests = yaml.safe_load((RECORDED / f"{client}.yaml").read_text())
    with obedient_node(service), httpx.Client(base_url=service.url, headers={"X-Auth-Token": token}) as session:
        replay = Replay(session, internet)
        for request in requests:
            replay.send(*request)
    assert len(replay.ids) > 5


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"mtu": 1400}, {"mtu": 1500}),
        ({"mtu": 1400}, {"mtu": "1400"}),
        ({"dpd": {"action": "hold"}}, {"dpd": {"action": "clear", "interval": 30}}),
        ({"peer_cidrs": ["10.0.0.0/24", "10.1.0.0/24"]}, {"peer_cidrs": ["10.1.0.0/24", "10.0.0.0/24"]}),
        ({"description": "words"}, {"description": None}),
    ],
)
def test_a_difference_to_what_was_written_is_noticed(written: dict[str, Any], read: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="was written as"):
        check_written("path", written, read)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("ipsec_site_connection", {"id": "1", "mtu": "1400"}),
        ("ipsec_site_connection", {"id": "1", "mtu": True}),
        ("ikepolicy", {"id": "1", "lifetime": 3600}),
        ("endpoint_group", {"id": "1", "endpoints": "10.0.0.0/24"}),
        ("router", {"id": None}),
    ],
)
def test_a_type_that_the_client_cannot_read_is_noticed(kind: str, item: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_types(kind, item)
