"""The permission matrix: every role on every route of the application, with own objects and with foreign ones.

The rows come from the schema's resources and are compared with the application's route table. `EXPECTED` has the
expected results, independently of the rules. A request for another project's object gets the same bytes as one for an
object that does not exist. Two wrong policies verify that the matrix can fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec
import pytest

from linkspan.api.http.dispatcher import Dispatcher
from linkspan.core.authorization.default_rules import RULES
from linkspan.core.authorization.policy import Policy, policy_of
from linkspan.core.schema import examples
from linkspan.core.schema.resources import INVENTORY, RESOURCES, Resource
from linkspan.store import timeline
from tests.api.conftest import OpenApi
from tests.api.world import ADMIN, BLUE, CONNECTIONS, RED, USERS, Api, LocalSite

UNKNOWN: Final = "12345678-0000-4000-8000-000000000000"
KEY: Final = "correct horse"

CALLERS: Final = {"admin": "admin", "member": "alice", "reader": "reader", "unknown role": "auditor"}
"""Role -> user with that role. The owner of foreign objects is bob."""
OWNERS: Final = {"admin": "admin", "member": "alice", "reader": "alice", "unknown role": "alice"}
"""Role -> user who creates the objects of the caller's own project."""

Result = int | str
"""A status, or `seen` or `unseen` for lists."""
EXPECTED: Final[dict[str, dict[str, tuple[Result, Result]]]] = {
    # action: role -> (with an own object, with a foreign one)
    "list": {
        "admin": ("seen", "seen"),
        "member": ("seen", "unseen"),
        "reader": ("seen", "unseen"),
        "unknown role": (403, 403),
    },
    "show": {"admin": (200, 200), "member": (200, 404), "reader": (200, 404), "unknown role": (403, 403)},
    "create": {"admin": (201, 201), "member": (201, 400), "reader": (403, 403), "unknown role": (403, 403)},
    "update": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "delete": {"admin": (204, 204), "member": (204, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "add": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "remove": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "diagnose": {"admin": (200, 200), "member": (200, 404), "reader": (200, 404), "unknown role": (403, 403)},
    "newest traffic": {
        "admin": ("seen", "seen"),
        "member": ("seen", "unseen"),
        "reader": ("seen", "unseen"),
        "unknown role": (403, 403),
    },
    "compare": {"admin": (200, 200), "member": (200, 404), "reader": (200, 404), "unknown role": (403, 403)},
    "export": {"admin": (200, 200), "member": (200, 404), "reader": (200, 404), "unknown role": (403, 403)},
    "probe": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "rollback": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "issue": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "revoke": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    "crl": dict.fromkeys(("admin", "member", "reader", "unknown role"), (404, 404)),
    # 200 stands for every code of success
    "tag_read": {"admin": (200, 200), "member": (200, 404), "reader": (200, 404), "unknown role": (403, 403)},
    "tag_write": {"admin": (200, 200), "member": (200, 404), "reader": (403, 404), "unknown role": (403, 403)},
    # without an object, so both columns are equal
    "collection": {"admin": (404, 404), "member": (404, 404), "reader": (404, 404), "unknown role": (404, 404)},
    "user": {"admin": (200, 200), "member": (200, 200), "reader": (200, 200), "unknown role": (200, 200)},
    "public": {"admin": (200, 200), "member": (200, 200), "reader": (200, 200), "unknown role": (200, 200)},
    "admin": {"admin": (200, 200), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    # entries, or events, of the owner's project
    "audit": {
        "admin": ("seen", "seen"),
        "member": ("seen", "unseen"),
        "reader": ("seen", "unseen"),
        "unknown role": (403, 403),
    },
    "all events": {
        "admin": ("seen", "seen"),
        "member": ("seen", "unseen"),
        "reader": ("seen", "unseen"),
        "unknown role": (403, 403),
    },
    "every quota": {"admin": (200, 200), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    # quotas of the owner's project
    "quota": {"admin": (200, 200), "member": (200, 403), "reader": (200, 403), "unknown role": (403, 403)},
    "set quota": {"admin": (200, 200), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    "reset quota": {"admin": (204, 204), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    # without a node, so that admins read that there is none
    "show node": {"admin": (404, 404), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    "change node": {"admin": (404, 404), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    "show agent": {"admin": (404, 404), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    # of what there is none
    "absent": {"admin": (404, 404), "member": (404, 404), "reader": (404, 404), "unknown role": (404, 404)},
    "create absent": {"admin": (400, 400), "member": (400, 400), "reader": (400, 400), "unknown role": (400, 400)},
    "invite node": {"admin": (201, 201), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    # of an API without users of its own, and without a session
    "log in": dict.fromkeys(("admin", "member", "reader", "unknown role"), (400, 400)),
    "choose project": dict.fromkeys(("admin", "member", "reader", "unknown role"), (401, 401)),
    "log out": dict.fromkeys(("admin", "member", "reader", "unknown role"), (204, 204)),
    "agent": {"admin": (401, 401), "member": (401, 401), "reader": (401, 401), "unknown role": (401, 401)},
}
OPEN: Final = ("public", "agent", "crl", "log in", "choose project", "log out")
"""Actions that need no user."""
NO_LIMIT: Final = ("router", "network", "subnet", "vpnservice", "certificate", "trust_anchor")
SEES_KEYS: Final = ("admin", "member")

Exceptions = Mapping[tuple[str, str], dict[str, tuple[Result, Result]]]
"""(Action, resource) -> as in `EXPECTED`, for policies other than the default."""


ABSENT_LISTS: Final = ("floatingips", "security-groups", "security-group-rules", "availability_zones")


class Row(msgspec.Struct, frozen=True):
    """A route, with the action and the resource."""

    method: str
    path: str
    action: str
    resource: str = ""


def rows() -> Iterator[Row]:
    """Yields a row for each expected route."""
    for resource in RESOURCES:
        for path in {f"/v2.0/{resource.path}", f"/v2.0/{resource.path.split('/')[-1]}"}:
            yield Row("GET", path, "list", resource.name)
            yield Row("GET", f"{path}/{{id}}", "show", resource.name)
            if resource in INVENTORY:
                for tags in (f"{path}/{{id}}/tags", f"{path}/{{id}}/tags/{{id}}"):
                    yield Row("GET", tags, "tag_read", resource.name)
                    yield Row("PUT", tags, "tag_write", resource.name)
                    yield Row("DELETE", tags, "tag_write", resource.name)
                yield Row("POST", f"{path}/{{id}}/tags", "tag_write", resource.name)
            if resource.name == "port":
                continue
            yield Row("POST", path, "create", resource.name)
            yield Row("PUT", f"{path}/{{id}}", "update", resource.name)
            yield Row("DELETE", f"{path}/{{id}}", "delete", resource.name)
            yield Row("PUT", path, "collection", resource.name)
            yield Row("DELETE", path, "collection", resource.name)
    yield Row("PUT", "/v2.0/routers/{id}/add_router_interface", "add", "router")
    yield Row("PUT", "/v2.0/routers/{id}/remove_router_interface", "remove", "router")
    yield Row("POST", "/v2.0/vpn/trust-anchors/{id}/issue", "issue", "trust_anchor")
    yield Row("PUT", "/v2.0/vpn/trust-anchors/{id}/revoke", "revoke", "trust_anchor")
    yield Row("GET", "/v2.0/vpn/trust-anchors/{id}/crl", "crl")
    for path in ("/", "/v2.0", "/healthz", "/openapi.json"):
        yield Row("GET", path, "public")
    for path in ("/console", "/console/session"):
        yield Row("GET", path, "public")
    for path in ("/console/{id}", "/console/assets/{id}"):
        yield Row("GET", path, "crl")
    for method, action in (("POST", "log in"), ("PUT", "choose project"), ("DELETE", "log out")):
        yield Row(method, "/console/session", action)
    yield Row("GET", "/v2.0/vpn/ipsec-site-connections/{id}/diagnosis", "diagnose", "connection")
    yield Row("GET", "/v2.0/vpn/ipsec-site-connections/{id}/peer-config", "export", "connection")
    yield Row("POST", "/v2.0/vpn/ipsec-site-connections/{id}/probe", "probe", "connection")
    yield Row("GET", "/v2.0/vpn/ipsec-site-connections/{id}/events", "diagnose", "connection")
    yield Row("GET", "/v2.0/vpn/ipsec-site-connections/{id}/traffic", "diagnose", "connection")
    yield Row("GET", "/v2.0/linkspan/traffic", "newest traffic", "connection")
    yield Row("POST", "/v2.0/vpn/ipsec-site-connections/{id}/compare", "compare", "connection")
    yield Row("GET", "/v2.0/vpn/ipsec-site-connections/{id}/revisions", "diagnose", "connection")
    yield Row("POST", "/v2.0/vpn/ipsec-site-connections/{id}/rollback", "rollback", "connection")
    profiles = ("vpn/crypto-profiles", "vpn/crypto-profiles/{id}")
    for path in ("extensions", "extensions/{id}", "service-providers", "quotas/tenant", *profiles, *ABSENT_LISTS):
        yield Row("GET", f"/v2.0/{path}", "user")
    yield Row("GET", "/v2.0/linkspan/nodes", "admin")
    yield Row("GET", "/v2.0/linkspan/nodes/{id}", "show node")
    yield Row("POST", "/v2.0/linkspan/nodes", "invite node")
    for action in ("rotate", "revoke"):
        yield Row("PUT", f"/v2.0/linkspan/nodes/{{id}}/{action}", "change node")
    yield Row("DELETE", "/v2.0/linkspan/nodes/{id}", "change node")
    yield Row("GET", "/v2.0/agents", "admin")
    yield Row("GET", "/v2.0/agents/{id}", "show agent")
    for absent in ("floatingips", "security-groups", "security-group-rules"):
        yield Row("POST", f"/v2.0/{absent}", "create absent")
        yield Row("GET", f"/v2.0/{absent}/{{id}}", "absent")
    yield Row("GET", "/v2.0/linkspan/audit", "audit")
    yield Row("GET", "/v2.0/linkspan/events", "all events")
    yield Row("GET", "/v2.0/quotas", "every quota")
    for path in ("/v2.0/quotas/{id}", "/v2.0/quotas/{id}/default", "/v2.0/quotas/{id}/details"):
        yield Row("GET", path, "quota")
    yield Row("PUT", "/v2.0/quotas/{id}", "set quota")
    yield Row("DELETE", "/v2.0/quotas/{id}", "reset quota")
    yield Row("POST", "/agent/v1/hello", "agent")
    yield Row("POST", "/agent/v1/reports", "agent")
    yield Row("POST", "/agent/v1/answers/{id}", "agent")
    yield Row("POST", "/agent/v1/join", "agent")
    yield Row("POST", "/agent/v1/certificate", "agent")
    for path in ("desired", "hints"):
        yield Row("GET", f"/agent/v1/{path}", "agent")
    yield Row("GET", "/agent/v1/authorities", "public")


ROWS: Final = tuple(rows())
BY_NAME: Final = {resource.name: resource for resource in RESOURCES}


def test_every_route_of_the_application_has_a_row(api: Api) -> None:
    dispatcher = api.client.app.dispatcher  # type: ignore[attr-defined] # the test client's application
    assert isinstance(dispatcher, Dispatcher)
    routes = [(route.method, route.path) for route in dispatcher.routes]
    assert len(routes) == len(set(routes))
    assert set(routes) == {(row.method, row.path) for row in ROWS}
    public = {(route.method, route.path) for route in dispatcher.routes if route.public}
    assert public == {(row.method, row.path) for row in ROWS if row.action in OPEN}


def test_every_rule_has_a_route_and_every_restricted_route_has_a_rule() -> None:
    """The short path of a route counts as the same route."""
    covered = {request for rule in RULES for request in rule.requests}
    restricted = {
        f"{row.method} {row.path}"
        for row in ROWS
        if row.action not in (*OPEN, "user", "collection", "absent", "create absent")
    }
    assert covered <= restricted
    short = {f"/v2.0/{resource.path.split('/')[-1]}" for resource in RESOURCES if "/" in resource.path}
    assert {
        request for request in restricted - covered if request.split()[1].removesuffix("/{id}") not in short
    } == set()


# --- one role -----------------------------------------------------------------------------------------------------


class MatrixColumn:
    """The cells of one role: requests to objects of one owner, which are created anew for each request."""

    def __init__(
        self,
        api: Api,
        role: str,
        *,
        own: bool,
        exceptions: Exceptions | None = None,
        sees_keys: Sequence[str] = SEES_KEYS,
    ) -> None:
        self.role = role
        self._exceptions = exceptions or {}
        self._key_seen = KEY if role in sees_keys else None
        self.caller = api.as_(CALLERS[role])
        self.owner = api.as_(OWNERS[role] if own else "bob")
        self.project = USERS[self.owner.user].project_id
        # Each row creates objects, in total more than the default quotas allow.
        api.as_("admin").update(f"/quotas/{self.project}", "quota", **dict.fromkeys(NO_LIMIT, -1))
        self.site = LocalSite(self.owner)
        self.own = own
        self._number = itertools.count(1)
        self._with_tags: dict[str, dict[str, Any]] = {}

    def make(self, resource: Resource) -> dict[str, Any]:
        """Creates an object of the owner that nothing references."""
        if resource.name == "port":
            port: dict[str, Any] = self.owner.get(f"/ports?device_id={self.site.router['id']}")["ports"][0]
            return port
        return self.owner.create(f"/{resource.path}", resource.singular, **self.values(resource))

    def values(self, resource: Resource) -> dict[str, Any]:
        """Returns values with which the owner can create an object."""
        number = next(self._number)
        name = f"{resource.name}-{number}"
        more: dict[str, Callable[[], dict[str, Any]]] = {
            "connection": lambda: self.site.values(psk=KEY, peer_id=name),
            "service": lambda: {"router_id": self.site.router["id"]},
            "certificate": lambda: {"subject": "CN=gw"},
            "trust_anchor": lambda: {"source": "generated"},
            "endpoint_group": lambda: {"type": "cidr", "endpoints": ["10.0.0.0/24"]},
            "subnet": lambda: {
                "network_id": self.owner.create("/networks", "network")["id"],
                "cidr": f"10.66.{number % 256}.0/24",
            },
        }
        return more.get(resource.name, dict)() | {"name": name}

    def faults(self) -> list[tuple[Row, str]]:
        """Returns the deviations from `EXPECTED` in all rows."""
        return [(row, fault) for row in ROWS for fault in self.cell(row)]

    def cell(self, row: Row) -> Iterator[str]:
        """Yields the deviations from `EXPECTED` in a row."""
        expected = self._expected(row.action, row.resource)[0 if self.own else 1]
        if row.resource:
            check = getattr(self, f"_{row.action.replace(' ', '_')}")
            yield from check(row, BY_NAME[row.resource], expected)
            return
        if row.action in ("audit", "all events"):
            yield from (self._audit if row.action == "audit" else self._events)(row, expected)
            return
        ids = {"quotas": self.project, "crypto-profiles": "cnsa1"}
        path = row.path.replace("{id}", next((id for part, id in ids.items() if f"/{part}/" in row.path), "vpnaas"))
        bodies = {"set quota": {"quota": {"ikepolicy": 100}}, "invite node": {"node": {"name": "edge-1"}}}
        response = self.caller.send(row.method, f"/{path}", bodies.get(row.action))
        if response.status_code != expected:
            yield f"{response.status_code}, not {expected}"
        if row.action == "agent" and response.content:
            yield f"a response to a caller that is no node: {response.text}"

    def _expected(self, action: str, resource: str) -> tuple[Result, Result]:
        return (EXPECTED[action] | self._exceptions.get((action, resource), {}))[self.role]

    def _list(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("GET", f"/{row.path}?id={created['id']}")
        yield from self._filtered(response, resource, created, expected)
        whole = self.caller.send("GET", f"/{row.path}")
        yield from self._filtered(whole, resource, created, expected)
        links = self.caller.send("GET", f"/{row.path}?limit=1000&id={created['id']}")
        yield from self._filtered(links, resource, created, expected)

    def _filtered(
        self, response: httpx.Response, resource: Resource, created: dict[str, Any], expected: Result
    ) -> Iterator[str]:
        if isinstance(expected, int) or response.status_code != 200:
            yield from self._status(response, expected if isinstance(expected, int) else 200)
            return
        shown = [item for item in response.json()[resource.plural] if item["id"] == created["id"]]
        if bool(shown) != (expected == "seen"):
            yield f"{'seen' if shown else 'unseen'}, not {expected}"
        yield from (fault for item in shown for fault in self._key(resource, item))
        if self._expected("list", resource.name)[1] == "unseen":
            for item in response.json()[resource.plural]:
                if item["project_id"] != USERS[self.caller.user].project_id and not item.get("router:external"):
                    yield f"another project's {item['id']} in the list"

    def _key(self, resource: Resource, shown: dict[str, Any]) -> Iterator[str]:
        if resource.name == "connection" and shown["psk"] != self._key_seen:
            yield f"the key reads {shown['psk']}"

    def _show(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("GET", f"/{row.path.format(id=created['id'])}")
        yield from self._status(response, expected)
        if response.status_code == 200:
            yield from self._key(resource, response.json()[resource.singular])
        yield from self._as_unknown(row, created, response, None)

    def _diagnose(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("GET", f"/{row.path.format(id=created['id'])}")
        yield from self._status(response, expected)
        yield from self._as_unknown(row, created, response, None)

    def _newest_traffic(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("GET", f"/{row.path}?connection_id={created['id']}")
        if isinstance(expected, int) or response.status_code != 200:
            yield from self._status(response, expected if isinstance(expected, int) else 200)
            return
        ids = [traffic["connection_id"] for traffic in response.json()["traffic"]]
        if (created["id"] in ids) != (expected == "seen"):
            yield f"{ids}, not {expected}"

    def _export(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("GET", f"/{row.path.format(id=created['id'])}")
        yield from self._status(response, expected)
        if KEY in response.text:
            yield "the key is in an export without it"
        yield from self._as_unknown(row, created, response, None)
        if response.status_code == 200:
            response = self.caller.send("GET", f"/{row.path.format(id=created['id'])}?secret=true")
            if (KEY in response.text) != (self._key_seen is not None):
                yield f"an export with the key: {response.status_code}"

    def _create(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        values = self.values(resource) | ({} if self.own else {"project_id": RED})
        response = self.caller.send("POST", f"/{row.path}", {resource.singular: values})
        yield from self._status(response, expected)
        objects = self.owner.get(f"/{resource.path}?name={values['name']}")[resource.plural]
        if len(objects) != (expected == 201):
            yield f"{len(objects)} were created"
        if any(item["project_id"] != USERS[self.owner.user].project_id for item in objects):
            yield "created in the wrong project"

    def _update(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        body = {resource.singular: {"description": "new"}}
        response = self.caller.send("PUT", f"/{row.path.format(id=created['id'])}", body)
        yield from self._status(response, expected)
        if response.status_code == 200:
            yield from self._key(resource, response.json()[resource.singular])
        updated = self.owner.get(f"/{resource.path}/{created['id']}")[resource.singular]
        if (updated["description"] == "new") != (expected == 200):
            yield f"its description is '{updated['description']}'"
        yield from self._as_unknown(row, created, response, body)

    def _delete(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("DELETE", f"/{row.path.format(id=created['id'])}")
        yield from self._status(response, expected)
        gone = self.owner.send("GET", f"/{resource.path}/{created['id']}").status_code == 404
        if gone != (expected == 204):
            yield "the object is deleted" if gone else "the object still exists"
        yield from self._as_unknown(row, created, response, None)

    def _probe(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        body: dict[str, Any] = {"probe": {}}
        response = self.caller.send("POST", f"/{row.path.format(id=created['id'])}", body)
        yield from self._status(response, expected)
        yield from self._as_unknown(row, created, response, body)

    def _compare(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("POST", f"/{row.path.format(id=created['id'])}", examples.COMPARE)
        yield from self._status(response, expected)
        yield from self._as_unknown(row, created, response, examples.COMPARE)

    def _rollback(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        path = f"/{resource.path}/{created['id']}"
        assert self.owner.send("PUT", path, {resource.singular: {"mtu": 1400}}).status_code == 200
        body = {"revision": 1}
        response = self.caller.send("POST", f"/{row.path.format(id=created['id'])}", body)
        yield from self._status(response, expected)
        if response.status_code == 200:
            yield from self._key(resource, response.json()[resource.singular])
        mtu = self.owner.get(path)[resource.singular]["mtu"]
        if (mtu == 1500) != (expected == 200):
            yield f"its mtu is {mtu}"
        yield from self._as_unknown(row, created, response, body)

    def _issue(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        response = self.caller.send("POST", f"/{row.path.format(id=created['id'])}", examples.REQUEST)
        yield from self._status(response, expected)
        yield from self._as_unknown(row, created, response, examples.REQUEST)

    def _revoke(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self.make(resource)
        issued = self.owner.send("POST", f"/{resource.path}/{created['id']}/issue", examples.REQUEST).json()
        body = {"certificate": issued["certificate"]}
        response = self.caller.send("PUT", f"/{row.path.format(id=created['id'])}", body)
        yield from self._status(response, expected)
        shown = self.owner.get(f"/{resource.path}/{created['id']}")[resource.singular]
        if (shown["crl"] != created["crl"]) != (expected == 200):
            yield "the list has changed" if shown["crl"] != created["crl"] else "the list is as it was"
        yield from self._as_unknown(row, created, response, body)

    def _add(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created, subnet = self.make(resource), self.make(BY_NAME["subnet"])
        body = {"subnet_id": subnet["id"]}
        response = self.caller.send("PUT", f"/{row.path.format(id=created['id'])}", body)
        yield from self._status(response, expected)
        if self._interfaces(created) != (expected == 200):
            yield f"{self._interfaces(created)} interfaces"
        yield from self._as_unknown(row, created, response, body)

    def _remove(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created, subnet = self.make(resource), self.make(BY_NAME["subnet"])
        self.owner.plug(created, subnet)
        body = {"subnet_id": subnet["id"]}
        response = self.caller.send("PUT", f"/{row.path.format(id=created['id'])}", body)
        yield from self._status(response, expected)
        if self._interfaces(created) != (expected != 200):
            yield f"{self._interfaces(created)} interfaces"
        yield from self._as_unknown(row, created, response, body)

    def _tag_read(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self._tagged(resource)
        response = self.caller.send("GET", f"/{row.path.format(id=created['id'])}")
        yield from self._status(response, _any_success(response, expected))
        yield from self._as_unknown(row, created, response, None)

    def _tag_write(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        created = self._tagged(resource)
        path = row.path.format(id=created["id"])
        removes, several = row.method == "DELETE", row.path.endswith("/tags") and row.method != "DELETE"
        if not removes:
            # The tag is not there yet.
            self.owner.delete(f"/{resource.path}/{created['id']}/tags")
        body = {"tags": [created["id"]]} if several else None
        response = self.caller.send(row.method, f"/{path}", body)
        yield from self._status(response, _any_success(response, expected))
        tags = self.owner.get(f"/{resource.path}/{created['id']}/tags")["tags"]
        if (created["id"] in tags) == (removes == (expected == 200)):
            yield f"its tags are {tags}"
        yield from self._as_unknown(row, created, response, body)

    def _tagged(self, resource: Resource) -> dict[str, Any]:
        """Returns an object that has its own id as a tag, the same one for each row."""
        created = self._with_tags.get(resource.name) or self.make(resource)
        self._with_tags[resource.name] = created
        tagged = self.owner.send("PUT", f"/{resource.path}/{created['id']}/tags/{created['id']}")
        assert tagged.status_code == 201, tagged.text
        return created

    def _interfaces(self, router: dict[str, Any]) -> int:
        return len(self.owner.get(f"/ports?device_id={router['id']}")["ports"])

    def _audit(self, row: Row, expected: Result) -> Iterator[str]:
        created = self.make(BY_NAME["ike_policy"])
        response = self.caller.send("GET", f"/{row.path}")
        if isinstance(expected, int) or response.status_code != 200:
            yield from self._status(response, expected if isinstance(expected, int) else 200)
            return
        entries = response.json()["audit"]
        if (created["id"] in {entry["object_id"] for entry in entries}) != (expected == "seen"):
            yield f"not {expected}"
        if self.role != "admin":
            if {entry["project_id"] for entry in entries} - {USERS[self.caller.user].project_id}:
                yield "another project's entry"
            if any(entry["source"] for entry in entries):
                yield "an address of a client"

    def _events(self, row: Row, expected: Result) -> Iterator[str]:
        created = self.make(BY_NAME["connection"])
        with self.caller.store.write() as tx:
            timeline.order(tx, 1000)
        response = self.caller.send("GET", f"/{row.path}")
        if isinstance(expected, int) or response.status_code != 200:
            yield from self._status(response, expected if isinstance(expected, int) else 200)
            return
        events = response.json()["events"]
        if (created["id"] in {event["connection_id"] for event in events}) != (expected == "seen"):
            yield f"not {expected}"
        if self.role != "admin" and {event["project_id"] for event in events} - {USERS[self.caller.user].project_id}:
            yield "another project's event"

    def _collection(self, row: Row, resource: Resource, expected: Result) -> Iterator[str]:
        response = self.caller.send(row.method, f"/{row.path}", {} if row.method == "PUT" else None)
        yield from self._status(response, expected)

    def _status(self, response: httpx.Response, expected: Result) -> Iterator[str]:
        if response.status_code != expected:
            yield f"{response.status_code}, not {expected}: {response.text}"
        elif expected == 403:
            fault = response.json()["NeutronError"]
            if fault["type"] != "PolicyNotAuthorized" or not fault["message"].endswith(" is disallowed by policy"):
                yield f"not in Neutron's words: {fault}"

    def _as_unknown(self, row: Row, created: dict[str, Any], response: httpx.Response, body: Any) -> Iterator[str]:
        """Compares a 404 with that of an unknown id: body, status and headers."""
        if response.status_code != 404 or not self._exists(row, created):
            return
        unknown = self.caller.send(row.method, f"/{row.path.format(id=UNKNOWN)}", body)
        if response.content != unknown.content.replace(UNKNOWN.encode(), created["id"].encode()):
            yield f"{response.text} and of an unknown id {unknown.text}"
        if [response.status_code, *headers(response)] != [unknown.status_code, *headers(unknown)]:
            yield f"{headers(response)} and of an unknown id {headers(unknown)}"

    def _exists(self, row: Row, created: dict[str, Any]) -> bool:
        resource = BY_NAME[row.resource]
        return self.owner.send("GET", f"/{resource.path}/{created['id']}").status_code == 200


def _any_success(response: httpx.Response, expected: Result) -> Result:
    """Returns the code of a response where any success is expected."""
    return response.status_code if expected == 200 and response.is_success else expected


def headers(response: httpx.Response) -> list[tuple[str, str]]:
    """Returns the headers of a response without the request id, which is always new."""
    return sorted((name, value) for name, value in response.headers.items() if name != "x-openstack-request-id")


# --- the matrix ---------------------------------------------------------------------------------------------------


@pytest.mark.security(
    "10",
    tried="every role on every route, on its own and another project's objects",
    control="test_the_matrix_detects_a_policy_that_allows_everything",
)
@pytest.mark.parametrize("whose", ["own", "foreign"])
@pytest.mark.parametrize("role", CALLERS)
def test_the_matrix(api: Api, role: str, whose: str) -> None:
    assert MatrixColumn(api, role, own=whose == "own").faults() == []


def test_without_credentials_nothing_is_answered(api: Api) -> None:
    for row in ROWS:
        if row.action in OPEN:
            continue
        body: dict[str, Any] | None = {} if row.method in ("PUT", "POST") else None
        response = api.client.request(row.method, row.path.format(id=UNKNOWN), json=body)
        assert response.status_code == 401, row
        assert set(response.json()) == {"error"}, row


def deviating_actions(open_api: OpenApi, policy: Policy, role: str, *, own: bool) -> set[str]:
    """Returns the actions of the rows that deviate under a policy."""
    with open_api(policy=policy) as api:
        return {row.action for row, _fault in MatrixColumn(api, role, own=own).faults()}


PROJECT_RULES: Final = {
    *("list", "show", "create", "update", "delete", "add", "remove", "tag_write"),
    *("issue", "revoke", "probe", "rollback"),
}
"""Actions whose rules depend on the object's project."""


def test_the_matrix_detects_a_policy_that_allows_everything(open_api: OpenApi) -> None:
    """The negative control: rows of every kind deviate."""
    everything = policy_of({rule.name: "@" for rule in RULES})
    assert deviating_actions(open_api, everything, "reader", own=True) >= PROJECT_RULES | {"admin"}
    assert deviating_actions(open_api, everything, "unknown role", own=True) >= PROJECT_RULES | {"admin", "tag_read"}
    assert deviating_actions(open_api, everything, "member", own=False) >= PROJECT_RULES | {"admin", "tag_read"}


def test_the_matrix_detects_a_policy_that_forbids_reading(open_api: OpenApi) -> None:
    assert deviating_actions(open_api, policy_of({"reader_role": "rule:member_role"}), "reader", own=True) == {
        "list",
        "show",
        "diagnose",
        "newest traffic",
        "compare",
        "export",
        "tag_read",
        "quota",
        "audit",
        "all events",
    }


# --- an operator's policy file ------------------------------------------------------------------------------------

OPERATORS: Final = {
    "get_ipsec_site_connection": "rule:admin_or_project_reader or role:auditor",
    "get_ipsec_site_connection:psk": "rule:admin_only",
    "update_ikepolicy": "rule:admin_only",
    "delete_router": "rule:admin_only",
    "add_router_interface": "rule:admin_or_project_reader",
    "remove_router_interface": "rule:admin_only",
    "get_node": "rule:admin_only or role:reader",
    "get_agent": "rule:admin_only or role:reader",
}
"""Auditors see every project's connections, only admins see keys, readers add interfaces."""
OPERATORS_EXPECT: Final[Exceptions] = {
    ("list", "connection"): {"unknown role": ("seen", "seen")},
    ("show", "connection"): {"unknown role": (200, 200)},
    ("diagnose", "connection"): {"unknown role": (200, 200)},
    ("newest traffic", "connection"): {"unknown role": ("seen", "seen")},
    ("compare", "connection"): {"unknown role": (200, 200)},
    ("export", "connection"): {"unknown role": (200, 200)},
    ("update", "ike_policy"): {"member": (403, 404)},
    ("delete", "router"): {"member": (403, 404)},
    # Visible, but of another project: a 403 instead of a 404.
    ("update", "connection"): {"unknown role": (403, 403)},
    ("probe", "connection"): {"unknown role": (403, 403)},
    ("rollback", "connection"): {"unknown role": (403, 403)},
    ("add", "router"): {"reader": (200, 404)},
    ("remove", "router"): {"member": (403, 404)},
    ("admin", ""): {"reader": (200, 200)},
    ("show node", ""): {"reader": (404, 404)},
    ("show agent", ""): {"reader": (404, 404)},
}


@pytest.mark.parametrize("whose", ["own", "foreign"])
@pytest.mark.parametrize(
    "role", [role if role == "member" else pytest.param(role, marks=pytest.mark.slow) for role in CALLERS]
)
def test_the_matrix_of_an_operators_policy_file(open_api: OpenApi, role: str, whose: str) -> None:
    with open_api(policy=policy_of(OPERATORS)) as api:
        column = MatrixColumn(api, role, own=whose == "own", exceptions=OPERATORS_EXPECT, sees_keys=["admin"])
        assert column.faults() == []


def test_the_matrix_detects_a_missing_policy_file(open_api: OpenApi) -> None:
    """The negative control: under the default rules the operator's matrix fails."""
    with open_api() as api:
        faults = MatrixColumn(api, "member", own=True, exceptions=OPERATORS_EXPECT, sees_keys=["admin"]).faults()
    assert {(row.action, row.resource) for row, _fault in faults} >= {("update", "ike_policy"), ("show", "connection")}


HIDDEN: Final = {
    "get_ikepolicy": "rule:admin_only or rule:project_reader and not 'hidden':%(description)s",
    "get_ipsec_site_connection:psk": "rule:project_member and 'open':%(description)s",
}
IKE: Final = "/vpn/ikepolicies"


def test_lists_filtered_by_a_row_rule_have_full_pages(open_api: OpenApi) -> None:
    with open_api(policy=policy_of(HIDDEN)) as api:
        for number in range(7):
            api.ike(name=f"p{number}", description="hidden" if number in (1, 2, 5) else "")
        seen: list[str] = []
        response = api.get(f"{IKE}?limit=2&sort_key=name&sort_dir=asc")
        while response["ikepolicies"]:
            assert len(response["ikepolicies"]) == 2
            seen += [policy["name"] for policy in response["ikepolicies"]]
            following = [link["href"] for link in response["ikepolicies_links"] if link["rel"] == "next"]
            response = api.get(following[0].partition("/v2.0")[2])
        assert seen == ["p0", "p3", "p4", "p6"]
        assert api.get(f"{IKE}?name=p1") == {"ikepolicies": []}
        assert len(api.as_("admin").get(IKE)["ikepolicies"]) == 7


def test_an_object_hidden_by_a_row_rule_does_not_exist(open_api: OpenApi) -> None:
    with open_api(policy=policy_of(HIDDEN)) as api:
        site = LocalSite(api)
        hidden = api.as_("admin").create(IKE, "ikepolicy", description="hidden", project_id=BLUE)
        unknown = api.send("GET", f"{IKE}/{UNKNOWN}")
        for method, body in (("GET", None), ("PUT", {"ikepolicy": {"name": "x"}}), ("DELETE", None)):
            response = api.send(method, f"{IKE}/{hidden['id']}", body)
            assert response.status_code == 404
            assert response.content == unknown.content.replace(UNKNOWN.encode(), hidden["id"].encode())
        assert site.refused(ikepolicy_id=hidden["id"]) == (404, "IKEPolicyNotFound")


def test_a_row_rule_decides_about_each_key(open_api: OpenApi) -> None:
    with open_api(policy=policy_of(HIDDEN)) as api:
        site = LocalSite(api)
        for name in ("open", "closed"):
            created = site.connection(name=name, description=name, peer_id=name)
            assert created["psk"] == (KEY if name == "open" else None)
        expected = {"open": KEY, "closed": None}
        connections = api.get(CONNECTIONS)["ipsec_site_connections"]
        assert {shown["name"]: shown["psk"] for shown in connections} == expected
        for listed in connections:
            path = f"{CONNECTIONS}/{listed['id']}"
            assert api.get(path)["ipsec_site_connection"]["psk"] == expected[listed["name"]]
        for user in ("admin", "reader"):
            shown = api.as_(user).get(CONNECTIONS)["ipsec_site_connections"]
            assert [connection["psk"] for connection in shown] == [None, None]


def test_a_rule_decides_about_shared_and_external_networks(open_api: OpenApi) -> None:
    """The default rule covers shared and external networks besides the project's own; a policy file can change that."""
    for rule, seen in (
        ("rule:admin_or_project_reader", False),
        ("rule:admin_or_project_reader or rule:external", True),
    ):
        with open_api(policy=policy_of({"get_network": rule})) as api:
            outside = api.outside()
            assert outside["project_id"] == ADMIN
            path = f"/networks/{outside['id']}"
            assert api.send("GET", path).status_code == (200 if seen else 404)
            assert [network["id"] for network in api.get(f"/networks?id={outside['id']}")["networks"]] == [
                outside["id"]
            ] * seen
            router = {"router": {"external_gateway_info": {"network_id": outside["id"]}}}
            assert api.send("POST", "/routers", router).status_code == (201 if seen else 404)


SEEN_NOT_OWNED: Final[Exceptions] = {
    (action, resource): {"member": (EXPECTED[action]["member"][0], 403)}
    for action, resource in (
        ("update", "connection"),
        ("probe", "connection"),
        ("rollback", "connection"),
        ("delete", "connection"),
        ("update", "router"),
        ("delete", "router"),
        ("add", "router"),
        ("remove", "router"),
        ("tag_write", "router"),
    )
}


def test_a_visible_object_of_another_project_cannot_be_changed(open_api: OpenApi) -> None:
    """Members see every project's connections and routers: writes get a 403, and keys stay hidden."""
    see = {f"get_{noun}": "rule:admin_only or rule:member_role" for noun in ("ipsec_site_connection", "router")}
    exceptions = {**SEEN_NOT_OWNED} | {
        (action, resource): {"member": (response, response)}
        for action, response in (
            ("list", "seen"),
            ("show", 200),
            ("diagnose", 200),
            ("newest traffic", "seen"),
            ("compare", 200),
            ("export", 200),
            ("tag_read", 200),
        )
        for resource in ("connection", "router")
    }
    with open_api(policy=policy_of(see)) as api:
        assert MatrixColumn(api, "member", own=False, exceptions=exceptions, sees_keys=["admin"]).faults() == []


@pytest.mark.parametrize("flag", ["shared", "router:external"])
def test_shared_and_external_networks_are_visible_but_read_only(api: Api, flag: str) -> None:
    network = api.as_("admin").create("/networks", "network", name="for all", **{flag: True})
    path = f"/networks/{network['id']}"
    for user in ("alice", "reader", "bob"):
        caller = api.as_(user)
        assert caller.get(path)["network"] == network
        assert caller.get("/networks?name=for%20all")["networks"] == [network]
        for method, body in (("PUT", {"network": {"name": "mine"}}), ("DELETE", None)):
            assert caller.refused(method, path, body) == (403, "PolicyNotAuthorized")
    assert api.as_("auditor").refused("GET", path) == (403, "PolicyNotAuthorized")
    assert api.get(path)["network"] == network


@pytest.mark.parametrize("flag", ["shared", "router:external"])
@pytest.mark.parametrize(("user", "expected"), [("admin", 201), ("alice", 403), ("reader", 403), ("auditor", 403)])
def test_only_an_admin_creates_shared_and_external_networks(api: Api, user: str, expected: int, flag: str) -> None:
    response = api.as_(user).send("POST", "/networks", {"network": {"name": "for all", flag: True}})
    assert response.status_code == expected
    assert len(api.as_("admin").get("/networks?name=for%20all")["networks"]) == (expected == 201)


def test_a_create_rule_sees_the_new_object(open_api: OpenApi) -> None:
    rules = {"create_ikepolicy": "rule:owner and not 'group5':%(pfs)s", "create_ipsecpolicy": "rule:admin_or_owner"}
    with open_api(policy=policy_of(rules)) as api:
        admin = api.as_("admin")
        for caller in (api, admin):
            assert caller.ike(pfs="group19")["pfs"] == "group19"
            for values in ({"pfs": "group5"}, {"pfs": "group19", "project_id": RED}):
                if caller is admin or "project_id" not in values:
                    assert caller.refused("POST", IKE, {"ikepolicy": values}) == (403, "PolicyNotAuthorized")
        assert admin.ipsec(project_id=RED)["project_id"] == RED
        assert len(admin.get(IKE)["ikepolicies"]) == 2


def test_a_rule_decides_about_the_value_of_an_attribute(open_api: OpenApi) -> None:
    rules = {"create_network:shared": "rule:project_member", "update_network:shared": "!"}
    with open_api(policy=policy_of(rules)) as api:
        network = api.create("/networks", "network", shared=True)
        assert api.as_("bob").get(f"/networks/{network['id']}")["network"] == network
        body = {"network": {"shared": False}}
        assert api.send("PUT", f"/networks/{network['id']}", body).status_code == 200
        response = api.as_("admin").send("PUT", f"/networks/{network['id']}", {"network": {"shared": True}})
        assert response.status_code == 403
        message = response.json()["NeutronError"]["message"]
        assert message == "(rule:update_network and rule:update_network:shared) is disallowed by policy"


def test_a_group_cannot_reference_a_subnet_that_its_owner_cannot_see(open_api: OpenApi) -> None:
    for rule, expected in (("rule:admin_or_project_reader", 400), ("rule:reader_role", 201)):
        with open_api(policy=policy_of({"get_subnet": rule})) as api:
            foreign = api.as_("bob").inside("10.88.0.0/24")
            body = {"endpoint_group": {"type": "subnet", "endpoints": [foreign["id"]]}}
            response = api.send("POST", "/vpn/endpoint-groups", body)
            assert response.status_code == expected
            if expected == 400:
                assert response.json()["NeutronError"]["type"] == "NonExistingSubnetInEndpointGroup"


def test_a_rule_decides_about_subnets_on_another_projects_network(open_api: OpenApi) -> None:
    with open_api() as api:
        shared = api.as_("admin").create("/networks", "network", shared=True)
        body = {"subnet": {"network_id": shared["id"], "cidr": "10.77.0.0/24"}}
        assert api.refused("POST", "/subnets", body) == (403, "PolicyNotAuthorized")
    with open_api(policy=policy_of({"create_subnet": "rule:admin_or_project_member"})) as api:
        assert api.send("POST", "/subnets", body).status_code == 201
