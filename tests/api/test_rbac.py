"""Who may do what, as a matrix: every role on every route of the application, with own objects and another project's.

The rows are made from the registry and compared with the routes that the application really has; what has to come out
stands in `EXPECTED`, a table of this file that knows nothing of rules. An object of another project is answered byte
for byte as one that does not exist. Two wrong policies show that the matrix can fail.
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
from linkspan.core.schema.resources import RESOURCES, Resource
from tests.api.conftest import OpenApi
from tests.api.world import ADMIN, BLUE, CONNECTIONS, RED, USERS, Api, LocalSite

UNKNOWN: Final = "12345678-0000-4000-8000-000000000000"
KEY: Final = "correct horse"

CALLERS: Final = {"admin": "admin", "member": "alice", "reader": "reader", "unknown role": "auditor"}
"""role -> who has it; the owner of what is foreign to all of them is bob."""
OWNERS: Final = {"admin": "admin", "member": "alice", "reader": "alice", "unknown role": "alice"}
"""role -> who makes the objects of that caller's own project."""

Answer = int | str
"""A status, or `seen` and `unseen` in a list, or the status and type of an error."""
EXPECTED: Final[dict[str, dict[str, tuple[Answer, Answer]]]] = {
    # what is done: role -> with an own object, with another project's
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
    # without an object: whose it is makes no difference
    "collection": {"admin": (404, 404), "member": (404, 404), "reader": (404, 404), "unknown role": (404, 404)},
    "user": {"admin": (200, 200), "member": (200, 200), "reader": (200, 200), "unknown role": (200, 200)},
    "public": {"admin": (200, 200), "member": (200, 200), "reader": (200, 200), "unknown role": (200, 200)},
    "admin": {"admin": (200, 200), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    "every quota": {"admin": (200, 200), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    # of the owner's project
    "quota": {"admin": (200, 200), "member": (200, 403), "reader": (200, 403), "unknown role": (403, 403)},
    "set quota": {"admin": (200, 200), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    "reset quota": {"admin": (204, 204), "member": (403, 403), "reader": (403, 403), "unknown role": (403, 403)},
    "agent": {"admin": (401, 401), "member": (401, 401), "reader": (401, 401), "unknown role": (401, 401)},
}
SEES_KEYS: Final = ("admin", "member")

Exceptions = Mapping[tuple[str, str], dict[str, tuple[Answer, Answer]]]
"""(what is done, resource) -> as in `EXPECTED`, for another policy than the one without a file."""


class Row(msgspec.Struct, frozen=True):
    """One route: what is done, and to which resource."""

    method: str
    path: str
    does: str
    resource: str = ""


def rows() -> Iterator[Row]:
    """A row for each route that there has to be."""
    for resource in RESOURCES:
        for path in {f"/v2.0/{resource.path}", f"/v2.0/{resource.path.split('/')[-1]}"}:
            yield Row("GET", path, "list", resource.name)
            yield Row("GET", f"{path}/{{id}}", "show", resource.name)
            if resource.name == "port":
                continue
            yield Row("POST", path, "create", resource.name)
            yield Row("PUT", f"{path}/{{id}}", "update", resource.name)
            yield Row("DELETE", f"{path}/{{id}}", "delete", resource.name)
            yield Row("PUT", path, "collection", resource.name)
            yield Row("DELETE", path, "collection", resource.name)
    yield Row("PUT", "/v2.0/routers/{id}/add_router_interface", "add", "router")
    yield Row("PUT", "/v2.0/routers/{id}/remove_router_interface", "remove", "router")
    for path in ("/", "/v2.0", "/healthz", "/openapi.json"):
        yield Row("GET", path, "public")
    for path in ("extensions", "extensions/{id}", "service-providers", "quotas/tenant"):
        yield Row("GET", f"/v2.0/{path}", "user")
    yield Row("GET", "/v2.0/linkspan/nodes", "admin")
    yield Row("GET", "/v2.0/quotas", "every quota")
    for path in ("/v2.0/quotas/{id}", "/v2.0/quotas/{id}/default", "/v2.0/quotas/{id}/details"):
        yield Row("GET", path, "quota")
    yield Row("PUT", "/v2.0/quotas/{id}", "set quota")
    yield Row("DELETE", "/v2.0/quotas/{id}", "reset quota")
    yield Row("POST", "/agent/v1/hello", "agent")
    yield Row("POST", "/agent/v1/reports", "agent")
    for path in ("desired", "hints"):
        yield Row("GET", f"/agent/v1/{path}", "agent")


ROWS: Final = tuple(rows())
BY_NAME: Final = {resource.name: resource for resource in RESOURCES}


def test_every_route_of_the_application_has_a_row(api: Api) -> None:
    dispatcher = api.client.app.dispatcher  # type: ignore[attr-defined] # the test client's application
    assert isinstance(dispatcher, Dispatcher)
    there = [(route.method, route.path) for route in dispatcher.routes]
    assert len(there) == len(set(there))
    assert set(there) == {(row.method, row.path) for row in ROWS}
    public = {(route.method, route.path) for route in dispatcher.routes if route.public}
    assert public == {(row.method, row.path) for row in ROWS if row.does in ("public", "agent")}


def test_every_rule_is_asked_on_a_route_and_every_ruled_route_has_a_rule() -> None:
    """Of the routes, the other prefix of each is the same one."""
    asked = {request for rule in RULES for request in rule.requests}
    ruled = {f"{row.method} {row.path}" for row in ROWS if row.does not in ("public", "agent", "user", "collection")}
    assert asked <= ruled
    short = {f"/v2.0/{resource.path.split('/')[-1]}" for resource in RESOURCES if "/" in resource.path}
    assert {each for each in ruled - asked if each.split()[1].removesuffix("/{id}") not in short} == set()


# --- one cell -----------------------------------------------------------------------------------------------------


class MatrixColumn:
    """Where one caller's requests go: objects of one owner, made anew for each request that needs one."""

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
        # Each row makes objects of its own, more than a project may have.
        api.as_("admin").update(f"/quotas/{self.project}", "quota", router=-1, network=-1, subnet=-1)
        self.site = LocalSite(self.owner)
        self.own = own
        self._number = itertools.count(1)

    def make(self, resource: Resource) -> dict[str, Any]:
        """An object of the owner's, on which nothing stands."""
        if resource.name == "port":
            found: dict[str, Any] = self.owner.get(f"/ports?device_id={self.site.router['id']}")["ports"][0]
            return found
        return self.owner.create(f"/{resource.path}", resource.singular, **self.values(resource))

    def values(self, resource: Resource) -> dict[str, Any]:
        """What an owner writes to get one."""
        number = next(self._number)
        name = f"{resource.name}-{number}"
        more: dict[str, Callable[[], dict[str, Any]]] = {
            "connection": lambda: self.site.values(psk=KEY, peer_id=name),
            "service": lambda: {"router_id": self.site.router["id"]},
            "endpoint_group": lambda: {"type": "cidr", "endpoints": ["10.0.0.0/24"]},
            "subnet": lambda: {
                "network_id": self.owner.create("/networks", "network")["id"],
                "cidr": f"10.66.{number % 256}.0/24",
            },
        }
        return more.get(resource.name, dict)() | {"name": name}

    def faults(self) -> list[tuple[Row, str]]:
        """What is not as the table says, over all rows."""
        return [(row, fault) for row in ROWS for fault in self.cell(row)]

    def cell(self, row: Row) -> Iterator[str]:
        """What is not as the table says, of one row."""
        expected = self._answers(row.does, row.resource)[0 if self.own else 1]
        if row.resource:
            yield from getattr(self, f"_{row.does}")(row, BY_NAME[row.resource], expected)
            return
        path = row.path.replace("{id}", self.project if "/quotas/" in row.path else "vpnaas")
        answer = self.caller.send(
            row.method, f"/{path}", {"quota": {"ikepolicy": 100}} if row.method == "PUT" else None
        )
        if answer.status_code != expected:
            yield f"{answer.status_code}, not {expected}"
        if row.does == "agent" and answer.content:
            yield f"an answer to who is no node: {answer.text}"

    def _answers(self, does: str, resource: str) -> tuple[Answer, Answer]:
        return (EXPECTED[does] | self._exceptions.get((does, resource), {}))[self.role]

    def _list(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        made = self.make(resource)
        answer = self.caller.send("GET", f"/{row.path}?id={made['id']}")
        yield from self._filtered(answer, resource, made, expected)
        whole = self.caller.send("GET", f"/{row.path}")
        yield from self._filtered(whole, resource, made, expected)
        links = self.caller.send("GET", f"/{row.path}?limit=1000&id={made['id']}")
        yield from self._filtered(links, resource, made, expected)

    def _filtered(
        self, answer: httpx.Response, resource: Resource, made: dict[str, Any], expected: Answer
    ) -> Iterator[str]:
        if isinstance(expected, int) or answer.status_code != 200:
            yield from self._status(answer, expected if isinstance(expected, int) else 200)
            return
        found = [each for each in answer.json()[resource.plural] if each["id"] == made["id"]]
        if bool(found) != (expected == "seen"):
            yield f"{'seen' if found else 'unseen'}, not {expected}"
        yield from (fault for each in found for fault in self._key(resource, each))
        if self._answers("list", resource.name)[1] == "unseen":
            for each in answer.json()[resource.plural]:
                if each["project_id"] != USERS[self.caller.user].project_id and not each.get("router:external"):
                    yield f"another project's {each['id']} in the list"

    def _key(self, resource: Resource, shown: dict[str, Any]) -> Iterator[str]:
        if resource.name == "connection" and shown["psk"] != self._key_seen:
            yield f"the key reads {shown['psk']}"

    def _show(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        made = self.make(resource)
        answer = self.caller.send("GET", f"/{row.path.format(id=made['id'])}")
        yield from self._status(answer, expected)
        if answer.status_code == 200:
            yield from self._key(resource, answer.json()[resource.singular])
        yield from self._as_unknown(row, made, answer, None)

    def _create(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        values = self.values(resource) | ({} if self.own else {"project_id": RED})
        answer = self.caller.send("POST", f"/{row.path}", {resource.singular: values})
        yield from self._status(answer, expected)
        there = self.owner.get(f"/{resource.path}?name={values['name']}")[resource.plural]
        if len(there) != (expected == 201):
            yield f"{len(there)} were made"
        if any(each["project_id"] != USERS[self.owner.user].project_id for each in there):
            yield "made in the wrong project"

    def _update(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        made = self.make(resource)
        body = {resource.singular: {"description": "new"}}
        answer = self.caller.send("PUT", f"/{row.path.format(id=made['id'])}", body)
        yield from self._status(answer, expected)
        if answer.status_code == 200:
            yield from self._key(resource, answer.json()[resource.singular])
        now = self.owner.get(f"/{resource.path}/{made['id']}")[resource.singular]
        if (now["description"] == "new") != (expected == 200):
            yield f"its description is '{now['description']}'"
        yield from self._as_unknown(row, made, answer, body)

    def _delete(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        made = self.make(resource)
        answer = self.caller.send("DELETE", f"/{row.path.format(id=made['id'])}")
        yield from self._status(answer, expected)
        gone = self.owner.send("GET", f"/{resource.path}/{made['id']}").status_code == 404
        if gone != (expected == 204):
            yield "it is gone" if gone else "it is still there"
        yield from self._as_unknown(row, made, answer, None)

    def _add(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        made, subnet = self.make(resource), self.make(BY_NAME["subnet"])
        body = {"subnet_id": subnet["id"]}
        answer = self.caller.send("PUT", f"/{row.path.format(id=made['id'])}", body)
        yield from self._status(answer, expected)
        if self._legs(made) != (expected == 200):
            yield f"{self._legs(made)} legs"
        yield from self._as_unknown(row, made, answer, body)

    def _remove(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        made, subnet = self.make(resource), self.make(BY_NAME["subnet"])
        self.owner.plug(made, subnet)
        body = {"subnet_id": subnet["id"]}
        answer = self.caller.send("PUT", f"/{row.path.format(id=made['id'])}", body)
        yield from self._status(answer, expected)
        if self._legs(made) != (expected != 200):
            yield f"{self._legs(made)} legs"
        yield from self._as_unknown(row, made, answer, body)

    def _legs(self, router: dict[str, Any]) -> int:
        return len(self.owner.get(f"/ports?device_id={router['id']}")["ports"])

    def _collection(self, row: Row, resource: Resource, expected: Answer) -> Iterator[str]:
        answer = self.caller.send(row.method, f"/{row.path}", {} if row.method == "PUT" else None)
        yield from self._status(answer, expected)

    def _status(self, answer: httpx.Response, expected: Answer) -> Iterator[str]:
        if answer.status_code != expected:
            yield f"{answer.status_code}, not {expected}: {answer.text}"
        elif expected == 403:
            fault = answer.json()["NeutronError"]
            if fault["type"] != "PolicyNotAuthorized" or not fault["message"].endswith(" is disallowed by policy"):
                yield f"not in Neutron's words: {fault}"

    def _as_unknown(self, row: Row, made: dict[str, Any], answer: httpx.Response, body: Any) -> Iterator[str]:
        """A 404 is that of an id that does not exist: in its bytes, its status and its headers."""
        if answer.status_code != 404 or not self._is_there(row, made):
            return
        unknown = self.caller.send(row.method, f"/{row.path.format(id=UNKNOWN)}", body)
        if answer.content != unknown.content.replace(UNKNOWN.encode(), made["id"].encode()):
            yield f"{answer.text} and of an unknown id {unknown.text}"
        if [answer.status_code, *headers(answer)] != [unknown.status_code, *headers(unknown)]:
            yield f"{headers(answer)} and of an unknown id {headers(unknown)}"

    def _is_there(self, row: Row, made: dict[str, Any]) -> bool:
        resource = BY_NAME[row.resource]
        return self.owner.send("GET", f"/{resource.path}/{made['id']}").status_code == 200


def headers(answer: httpx.Response) -> list[tuple[str, str]]:
    """The headers of an answer but for the request's id, which is new each time."""
    return sorted((name, value) for name, value in answer.headers.items() if name != "x-openstack-request-id")


# --- the matrix ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["own", "foreign"])
@pytest.mark.parametrize("role", CALLERS)
def test_the_matrix(api: Api, role: str, whose: str) -> None:
    assert MatrixColumn(api, role, own=whose == "own").faults() == []


def test_without_credentials_nothing_is_answered(api: Api) -> None:
    for row in ROWS:
        if row.does in ("public", "agent"):
            continue
        body: dict[str, Any] | None = {} if row.method in ("PUT", "POST") else None
        answer = api.client.request(row.method, row.path.format(id=UNKNOWN), json=body)
        assert answer.status_code == 401, row
        assert set(answer.json()) == {"error"}, row


def wrong(open_api: OpenApi, policy: Policy, role: str, *, own: bool) -> set[str]:
    """What is done in the rows that notice a policy."""
    with open_api(policy=policy) as api:
        return {row.does for row, _fault in MatrixColumn(api, role, own=own).faults()}


RULED: Final = {"list", "show", "create", "update", "delete", "add", "remove"}
"""What rules decide about by project."""


def test_a_policy_that_allows_everything_does_not_pass(open_api: OpenApi) -> None:
    """The negative control: each kind of row notices it."""
    everything = policy_of({rule.name: "@" for rule in RULES})
    assert wrong(open_api, everything, "reader", own=True) >= RULED | {"admin"}
    assert wrong(open_api, everything, "unknown role", own=True) >= RULED | {"admin"}
    assert wrong(open_api, everything, "member", own=False) >= RULED | {"admin"}


def test_a_policy_that_takes_something_away_does_not_pass(open_api: OpenApi) -> None:
    assert wrong(open_api, policy_of({"reader_role": "rule:member_role"}), "reader", own=True) == {
        "list",
        "show",
        "quota",
    }


# --- a file of an operator's own ----------------------------------------------------------------------------------

OPERATORS: Final = {
    "get_ipsec_site_connection": "rule:admin_or_project_reader or role:auditor",
    "get_ipsec_site_connection:psk": "rule:admin_only",
    "update_ikepolicy": "rule:admin_only",
    "delete_router": "rule:admin_only",
    "add_router_interface": "rule:admin_or_project_reader",
    "remove_router_interface": "rule:admin_only",
    "get_node": "rule:admin_only or role:reader",
}
"""An auditor sees every project's connections, nobody but admins a key; readers plug; policies are for admins."""
OPERATORS_EXPECT: Final[Exceptions] = {
    ("list", "connection"): {"unknown role": ("seen", "seen")},
    ("show", "connection"): {"unknown role": (200, 200)},
    ("update", "ike_policy"): {"member": (403, 404)},
    ("delete", "router"): {"member": (403, 404)},
    # Seen and not theirs: no longer a 404.
    ("update", "connection"): {"unknown role": (403, 403)},
    ("add", "router"): {"reader": (200, 404)},
    ("remove", "router"): {"member": (403, 404)},
    ("admin", ""): {"reader": (200, 200)},
}


@pytest.mark.parametrize("whose", ["own", "foreign"])
@pytest.mark.parametrize("role", CALLERS)
def test_the_matrix_of_an_operators_file(open_api: OpenApi, role: str, whose: str) -> None:
    with open_api(policy=policy_of(OPERATORS)) as api:
        world = MatrixColumn(api, role, own=whose == "own", exceptions=OPERATORS_EXPECT, sees_keys=["admin"])
        assert world.faults() == []


def test_the_operators_file_is_noticed(open_api: OpenApi) -> None:
    """The negative control: under the rules without a file the operator's matrix fails."""
    with open_api() as api:
        found = MatrixColumn(api, "member", own=True, exceptions=OPERATORS_EXPECT, sees_keys=["admin"]).faults()
    assert {(row.does, row.resource) for row, _fault in found} >= {("update", "ike_policy"), ("show", "connection")}


HIDDEN: Final = {
    "get_ikepolicy": "rule:admin_only or rule:project_reader and not 'hidden':%(description)s",
    "get_ipsec_site_connection:psk": "rule:project_member and 'open':%(description)s",
}
IKE: Final = "/vpn/ikepolicies"


def test_what_is_judged_by_row_is_listed_in_whole_pages(open_api: OpenApi) -> None:
    with open_api(policy=policy_of(HIDDEN)) as api:
        for number in range(7):
            api.ike(name=f"p{number}", description="hidden" if number in (1, 2, 5) else "")
        seen: list[str] = []
        answer = api.get(f"{IKE}?limit=2&sort_key=name&sort_dir=asc")
        while answer["ikepolicies"]:
            assert len(answer["ikepolicies"]) == 2
            seen += [each["name"] for each in answer["ikepolicies"]]
            following = [link["href"] for link in answer["ikepolicies_links"] if link["rel"] == "next"]
            answer = api.get(following[0].partition("/v2.0")[2])
        assert seen == ["p0", "p3", "p4", "p6"]
        assert api.get(f"{IKE}?name=p1") == {"ikepolicies": []}
        assert len(api.as_("admin").get(IKE)["ikepolicies"]) == 7


def test_what_is_judged_by_row_does_not_exist_for_others(open_api: OpenApi) -> None:
    with open_api(policy=policy_of(HIDDEN)) as api:
        site = LocalSite(api)
        hidden = api.as_("admin").create(IKE, "ikepolicy", description="hidden", project_id=BLUE)
        unknown = api.send("GET", f"{IKE}/{UNKNOWN}")
        for method, body in (("GET", None), ("PUT", {"ikepolicy": {"name": "x"}}), ("DELETE", None)):
            answer = api.send(method, f"{IKE}/{hidden['id']}", body)
            assert answer.status_code == 404
            assert answer.content == unknown.content.replace(UNKNOWN.encode(), hidden["id"].encode())
        assert site.refused(ikepolicy_id=hidden["id"]) == (404, "IKEPolicyNotFound")


def test_keys_are_judged_by_row(open_api: OpenApi) -> None:
    with open_api(policy=policy_of(HIDDEN)) as api:
        site = LocalSite(api)
        for name in ("open", "closed"):
            made = site.connection(name=name, description=name, peer_id=name)
            assert made["psk"] == (KEY if name == "open" else None)
        expected = {"open": KEY, "closed": None}
        found = api.get(CONNECTIONS)["ipsec_site_connections"]
        assert {each["name"]: each["psk"] for each in found} == expected
        for each in found:
            assert api.get(f"{CONNECTIONS}/{each['id']}")["ipsec_site_connection"]["psk"] == expected[each["name"]]
        for user in ("admin", "reader"):
            shown = api.as_(user).get(CONNECTIONS)["ipsec_site_connections"]
            assert [each["psk"] for each in shown] == [None, None]


def test_networks_for_everybody_are_a_rule_too(open_api: OpenApi) -> None:
    """The store selects a project's networks with those that are for everybody; a file may say otherwise."""
    for rule, seen in (
        ("rule:admin_or_project_reader", False),
        ("rule:admin_or_project_reader or rule:external", True),
    ):
        with open_api(policy=policy_of({"get_network": rule})) as api:
            outside = api.outside()
            assert outside["project_id"] == ADMIN
            path = f"/networks/{outside['id']}"
            assert api.send("GET", path).status_code == (200 if seen else 404)
            assert [each["id"] for each in api.get(f"/networks?id={outside['id']}")["networks"]] == [
                outside["id"]
            ] * seen
            router = {"router": {"external_gateway_info": {"network_id": outside["id"]}}}
            assert api.send("POST", "/routers", router).status_code == (201 if seen else 404)


SEEN_NOT_OWNED: Final[Exceptions] = {
    (does, resource): {"member": (EXPECTED[does]["member"][0], 403)}
    for does, resource in (
        ("update", "connection"),
        ("delete", "connection"),
        ("update", "router"),
        ("delete", "router"),
        ("add", "router"),
        ("remove", "router"),
    )
}


def test_what_is_seen_and_anothers_is_not_changed(open_api: OpenApi) -> None:
    """Members who see every project's connections and routers: a 403 now, and still no key."""
    see = {f"get_{noun}": "rule:admin_only or rule:member_role" for noun in ("ipsec_site_connection", "router")}
    exceptions = {**SEEN_NOT_OWNED} | {
        (does, resource): {"member": (answer, answer)}
        for does, answer in (("list", "seen"), ("show", 200))
        for resource in ("connection", "router")
    }
    with open_api(policy=policy_of(see)) as api:
        assert MatrixColumn(api, "member", own=False, exceptions=exceptions, sees_keys=["admin"]).faults() == []


@pytest.mark.parametrize("flag", ["shared", "router:external"])
def test_a_network_for_everybody_is_seen_and_not_changed(api: Api, flag: str) -> None:
    made = api.as_("admin").create("/networks", "network", name="for all", **{flag: True})
    path = f"/networks/{made['id']}"
    for user in ("alice", "reader", "bob"):
        caller = api.as_(user)
        assert caller.get(path)["network"] == made
        assert caller.get("/networks?name=for%20all")["networks"] == [made]
        for method, body in (("PUT", {"network": {"name": "mine"}}), ("DELETE", None)):
            assert caller.refused(method, path, body) == (403, "PolicyNotAuthorized")
    assert api.as_("auditor").refused("GET", path) == (403, "PolicyNotAuthorized")
    assert api.get(path)["network"] == made


@pytest.mark.parametrize("flag", ["shared", "router:external"])
@pytest.mark.parametrize(("user", "expected"), [("admin", 201), ("alice", 403), ("reader", 403), ("auditor", 403)])
def test_who_makes_a_network_for_everybody(api: Api, user: str, expected: int, flag: str) -> None:
    answer = api.as_(user).send("POST", "/networks", {"network": {"name": "for all", flag: True}})
    assert answer.status_code == expected
    assert len(api.as_("admin").get("/networks?name=for%20all")["networks"]) == (expected == 201)


def test_a_rule_may_look_at_what_is_to_be_made(open_api: OpenApi) -> None:
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


def test_what_an_attribute_may_be_is_a_rule_too(open_api: OpenApi) -> None:
    rules = {"create_network:shared": "rule:project_member", "update_network:shared": "!"}
    with open_api(policy=policy_of(rules)) as api:
        made = api.create("/networks", "network", shared=True)
        assert api.as_("bob").get(f"/networks/{made['id']}")["network"] == made
        body = {"network": {"shared": False}}
        assert api.send("PUT", f"/networks/{made['id']}", body).status_code == 200
        answer = api.as_("admin").send("PUT", f"/networks/{made['id']}", {"network": {"shared": True}})
        assert answer.status_code == 403
        message = answer.json()["NeutronError"]["message"]
        assert message == "(rule:update_network and rule:update_network:shared) is disallowed by policy"


def test_a_group_cannot_name_what_its_owner_cannot_see(open_api: OpenApi) -> None:
    for rule, expected in (("rule:admin_or_project_reader", 400), ("rule:reader_role", 201)):
        with open_api(policy=policy_of({"get_subnet": rule})) as api:
            foreign = api.as_("bob").inside("10.88.0.0/24")
            body = {"endpoint_group": {"type": "subnet", "endpoints": [foreign["id"]]}}
            answer = api.send("POST", "/vpn/endpoint-groups", body)
            assert answer.status_code == expected
            if expected == 400:
                assert answer.json()["NeutronError"]["type"] == "NonExistingSubnetInEndpointGroup"


def test_who_may_make_a_subnet_on_anothers_network(open_api: OpenApi) -> None:
    with open_api() as api:
        shared = api.as_("admin").create("/networks", "network", shared=True)
        body = {"subnet": {"network_id": shared["id"], "cidr": "10.77.0.0/24"}}
        assert api.refused("POST", "/subnets", body) == (403, "PolicyNotAuthorized")
    with open_api(policy=policy_of({"create_subnet": "rule:admin_or_project_member"})) as api:
        assert api.send("POST", "/subnets", body).status_code == 201
