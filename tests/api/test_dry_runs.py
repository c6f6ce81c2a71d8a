"""Dry runs: they answer as the request itself would, say which connections feel it, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Engine, select

from linkspan.core.checks.cross_resource import Limits
from linkspan.store.database.tables import METADATA
from linkspan.store.nodes.gateways_touched import MOST
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite, Node

Snapshot = dict[str, list[str]]
DRY = "?dry_run=true"
IKE, IPSEC, GROUPS = "/vpn/ikepolicies", "/vpn/ipsecpolicies", "/vpn/endpoint-groups"
SERVICES, CERTIFICATES, ANCHORS = "/vpn/vpnservices", "/vpn/certificates", "/vpn/trust-anchors"


def snapshot(database: Engine) -> Snapshot:
    """Every row of every table."""
    with database.connect() as connection:
        return {
            table.name: sorted(repr(tuple(row)) for row in connection.execute(select(table)))
            for table in METADATA.sorted_tables
        }


class Case(msgspec.Struct, frozen=True):
    """A request: `path` and `body` may name what `Scene.ids` has, in braces. `status`: of the request itself."""

    method: str
    path: str
    body: Any = None
    status: int = 200
    user: str = "alice"

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status} {self.body}"


class Scene:
    """A site whose node has applied everything, with a connection that is up, and objects that nothing uses."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.node: Node = api.node()
        self.site = LocalSite(api)
        self.connection = self.site.connection(name="one")
        anchor = api.create(ANCHORS, "trust_anchor", name="ca", source="generated")
        values = {"name": "gw", "issuer_id": anchor["id"], "source": "generated", "subject_alt_names": ["a.example"]}
        certificate = api.create(CERTIFICATES, "certificate", **values)
        spare = api.inside("10.8.0.0/24")
        lone = api.inside("10.13.0.0/24")
        router = api.create("/routers", "router", name="spare")
        self.node.apply_desired()
        self.ids = {
            "connection": self.connection["id"],
            "service": self.site.service["id"],
            "ike": self.site.ike["id"],
            "ipsec": self.site.ipsec["id"],
            "unused ike": api.ike(name="unused")["id"],
            "unused ipsec": api.ipsec(name="unused")["id"],
            "unused service": api.service(self.site.router, name="unused")["id"],
            "group": api.group("cidr", "10.9.0.0/24")["id"],
            "anchor": anchor["id"],
            "unused anchor": api.create(ANCHORS, "trust_anchor", name="unused", source="generated")["id"],
            "certificate": certificate["id"],
            "router": self.site.router["id"],
            "unused router": router["id"],
            "outside": self.site.outside["id"],
            "subnet": self.site.subnet["id"],
            "network": self.site.subnet["network_id"],
            "spare subnet": spare["id"],
            "spare network": spare["network_id"],
            "lone subnet": lone["id"],
            "lone network": lone["network_id"],
            "nothing": "00000000-0000-4000-8000-000000000000",
        }

    def send(self, case: Case, query: str = "") -> Any:
        """Sends the request of a case."""
        body = _filled(case.body, self.ids)
        return self.api.as_(case.user).send(case.method, case.path.format(**self.ids) + query, body)


def _filled(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, ids) for item in value]
    return value.format(**ids) if isinstance(value, str) else value


def new(**more: Any) -> dict[str, Any]:
    """A valid new connection."""
    values = {"name": "two", "vpnservice_id": "{service}", "ikepolicy_id": "{ike}", "ipsecpolicy_id": "{ipsec}"}
    values |= {"peer_address": "203.0.113.10", "peer_id": "203.0.113.10", "psk": "correct horse battery"}
    return values | {"peer_cidrs": ["10.10.0.0/24"]} | more


CONNECTION, ROUTER = "ipsec_site_connection", "router"
CASES = [
    Case("POST", CONNECTIONS, {CONNECTION: new()}, 201),
    Case("POST", CONNECTIONS, {"ipsec_site_connections": [new(), new(name="three", peer_cidrs=["10.11.0.0/24"])]}, 201),
    Case("POST", CONNECTIONS, {CONNECTION: new(peer_address="203.0.113.9", peer_id="203.0.113.9")}, 409),
    Case("POST", CONNECTIONS, {CONNECTION: new(ikepolicy_id="{nothing}")}, 404),
    Case("POST", CONNECTIONS, {CONNECTION: new(mtu=1)}, 400),
    Case("PUT", CONNECTIONS + "/{connection}", {CONNECTION: {"name": "other"}}),
    Case("PUT", CONNECTIONS + "/{connection}", {CONNECTION: {"psk": "another key of it"}}),
    Case("PUT", CONNECTIONS + "/{connection}", {CONNECTION: {"admin_state_up": False}}),
    Case("PUT", CONNECTIONS + "/{connection}", {CONNECTION: {"mtu": 1}}, 400),
    Case("PUT", CONNECTIONS + "/{nothing}", {CONNECTION: {"mtu": 1400}}, 404),
    Case("PUT", CONNECTIONS + "/{connection}", {CONNECTION: {"mtu": 1400}}, 403, "reader"),
    Case("PUT", CONNECTIONS + "/{connection}", {CONNECTION: {"mtu": 1400}}, 404, "bob"),
    Case("DELETE", CONNECTIONS + "/{connection}", None, 204),
    Case("DELETE", CONNECTIONS + "/{nothing}", None, 404),
    Case("POST", IKE, {"ikepolicy": {"encryption_algorithm": "3des"}}, 201),
    Case("PUT", IKE + "/{ike}", {"ikepolicy": {"pfs": "group19"}}),
    Case("PUT", IKE + "/{ike}", {"ikepolicy": {"pfs": "group99"}}, 400),
    Case("DELETE", IKE + "/{ike}", None, 409),
    Case("DELETE", IKE + "/{unused ike}", None, 204),
    Case("POST", IPSEC, {"ipsecpolicy": {"name": "new"}}, 201),
    Case("PUT", IPSEC + "/{ipsec}", {"ipsecpolicy": {"lifetime": {"value": 7200}}}),
    Case("DELETE", IPSEC + "/{ipsec}", None, 409),
    Case("DELETE", IPSEC + "/{unused ipsec}", None, 204),
    Case("POST", SERVICES, {"vpnservice": {"router_id": "{router}", "name": "new"}}, 201),
    Case("POST", SERVICES, {"vpnservice": {"router_id": "{unused router}", "name": "new"}}, 400),
    Case("PUT", SERVICES + "/{service}", {"vpnservice": {"admin_state_up": False}}),
    Case("DELETE", SERVICES + "/{service}", None, 409),
    Case("DELETE", SERVICES + "/{unused service}", None, 204),
    Case("POST", GROUPS, {"endpoint_group": {"type": "cidr", "endpoints": ["10.9.0.0/24"]}}, 201),
    Case("POST", GROUPS, {"endpoint_group": {"type": "cidr", "endpoints": ["10.9.0.0/99"]}}, 400),
    Case("PUT", GROUPS + "/{group}", {"endpoint_group": {"name": "other"}}),
    Case("DELETE", GROUPS + "/{group}", None, 204),
    Case("POST", ANCHORS, {"trust_anchor": {"source": "generated"}}, 201),
    Case("PUT", ANCHORS + "/{anchor}", {"trust_anchor": {"revocation": "strict"}}),
    Case("DELETE", ANCHORS + "/{anchor}", None, 409),
    Case("DELETE", ANCHORS + "/{unused anchor}", None, 204),
    Case("POST", CERTIFICATES, {"certificate": {"subject_alt_names": ["b.example"]}}, 201),
    Case("PUT", CERTIFICATES + "/{certificate}", {"certificate": {"name": "other"}}),
    Case("DELETE", CERTIFICATES + "/{certificate}", None, 204),
    Case("POST", "/networks", {"network": {"name": "new"}}, 201),
    Case("PUT", "/networks/{network}", {"network": {"admin_state_up": False}}),
    Case("PUT", "/networks/{outside}", {"network": {"admin_state_up": False}}, 200, "admin"),
    Case("PUT", "/networks/{outside}", {"network": {"admin_state_up": False}}, 403),
    Case("DELETE", "/networks/{network}", None, 409),
    Case("POST", "/subnets", {"subnet": {"network_id": "{spare network}", "cidr": "10.12.0.0/24"}}, 201),
    Case("POST", "/subnets", {"subnet": {"network_id": "{spare network}", "cidr": "10.8.0.0/25"}}, 400),
    Case("PUT", "/subnets/{spare subnet}", {"subnet": {"name": "other"}}),
    Case("DELETE", "/subnets/{subnet}", None, 409),
    Case("DELETE", "/subnets/{lone subnet}", None, 204),
    Case("DELETE", "/networks/{lone network}", None, 204),
    Case("POST", "/routers", {ROUTER: {"external_gateway_info": {"network_id": "{outside}"}}}, 201),
    Case("PUT", "/routers/{router}", {ROUTER: {"admin_state_up": False}}),
    Case("PUT", "/routers/{router}", {ROUTER: {"external_gateway_info": None}}, 409),
    Case("PUT", "/routers/{unused router}", {ROUTER: {"external_gateway_info": {"network_id": "{outside}"}}}),
    Case("DELETE", "/routers/{router}", None, 409),
    Case("DELETE", "/routers/{unused router}", None, 204),
    Case("PUT", "/routers/{router}/add_router_interface", {"subnet_id": "{spare subnet}"}),
    Case("PUT", "/routers/{router}/add_router_interface", {"subnet_id": "{nothing}"}, 404),
    Case("PUT", "/routers/{router}/remove_router_interface", {"subnet_id": "{subnet}"}, 409),
]
REAL = [case for case in CASES if case.status < 400]


def test_every_operation_leaves_nothing_behind(api: Api, database: Engine) -> None:
    """Also those that are refused, which answer as the requests themselves do."""
    scene = Scene(api)
    before = snapshot(database)
    hinted = hints(api)
    for case in CASES:
        answer = scene.send(case, DRY)
        assert answer.status_code == (200 if case.status < 400 else case.status), (str(case), answer.text)
        assert snapshot(database) == before, str(case)
        if case.status >= 400:
            refused = scene.send(case)
            assert (refused.status_code, refused.json()) == (case.status, answer.json()), str(case)
    assert hinted == [], "nodes were told"


def hints(api: Api) -> list[dict[str, int]]:
    """The hints to nodes from now on."""
    sent: list[dict[str, int]] = []
    publish: Callable[[dict[str, int]], None] = api.store._on_commit

    def told(revisions: dict[str, int]) -> None:
        sent.append(revisions)
        publish(revisions)

    api.store._on_commit = told
    return sent


def test_the_same_requests_without_it_change_the_database(api: Api, database: Engine) -> None:
    """The control: each request that is not refused changes what the snapshot shows."""
    scene = Scene(api)
    for case in REAL:
        before = snapshot(database)
        answer = scene.send(case)
        assert answer.status_code == case.status, (str(case), answer.text)
        assert snapshot(database) != before, str(case)


# --- what is answered ---------------------------------------------------------------------------------------------


def foretold(api: Api, method: str, path: str, body: Any = None) -> Any:
    """Returns the answer to a dry run; asserts 200."""
    answer = api.send(method, path + DRY, body)
    assert answer.status_code == 200, answer.text
    return answer.json()["dry_run"]


def effects(api: Api, method: str, path: str, body: Any = None) -> dict[str, str]:
    """Returns the effects by the names of the connections."""
    return {each["name"]: each["effect"] for each in foretold(api, method, path, body)["connections"]}


def up(scene: Scene) -> None:
    """The node has applied everything, and all connections are up."""
    scene.node.apply_desired()


def test_effects_on_a_connection_that_is_up(api: Api) -> None:
    scene = Scene(api)
    path = f"{CONNECTIONS}/{scene.ids['connection']}"
    for values, effect in (
        ({"name": "other"}, "nothing"),
        ({"mtu": 1400}, "nothing"),
        ({"initiator": "response-only"}, "nothing"),
        ({"psk": "another key of it"}, "make-before-break"),
        ({"peer_cidrs": ["10.99.0.0/24"]}, "make-before-break"),
        ({"peer_id": "somebody@example.org"}, "interruption"),
        ({"peer_address": "vpn.example.org"}, "interruption"),
        ({"admin_state_up": False}, "goes down"),
    ):
        (entry,) = foretold(api, "PUT", path, {CONNECTION: values})["connections"]
        assert (entry["id"], entry["effect"]) == (scene.ids["connection"], effect), (values, entry)
    assert effects(api, "DELETE", path) == {"one": "goes down"}
    assert effects(api, "PUT", f"{IKE}/{scene.ids['ike']}", {"ikepolicy": {"name": "x"}}) == {}
    assert effects(api, "PUT", f"{IKE}/{scene.ids['ike']}", {"ikepolicy": {"pfs": "group19"}}) == {
        "one": "make-before-break"
    }
    closed = {"network": {"admin_state_up": False}}
    assert effects(api, "PUT", f"/networks/{scene.ids['network']}", closed) == {"one": "goes down"}
    (entry,) = foretold(api, "PUT", f"/routers/{scene.ids['router']}", {ROUTER: {"admin_state_up": False}})[
        "connections"
    ]
    assert (entry["effect"], entry["reason"]) == ("goes down", "admin_state_up of the router is false")


def test_a_rollback_is_foretold(api: Api, database: Engine) -> None:
    """With the policies that it would bring back; nothing stays of them either."""
    scene = Scene(api)
    path = f"{CONNECTIONS}/{scene.ids['connection']}"
    assert api.refused("POST", f"{path}/rollback{DRY}", {}) == (404, "RevisionNotFound")
    assert api.send("PUT", f"{IKE}/{scene.ids['ike']}", {"ikepolicy": {"pfs": "group19"}}).status_code == 200
    up(scene)
    before = snapshot(database)
    assert effects(api, "POST", f"{path}/rollback", {}) == {"one": "make-before-break"}
    assert snapshot(database) == before
    assert api.send("POST", f"{path}/rollback", {}).status_code == 200
    assert snapshot(database) != before


def test_effects_of_new_connections(api: Api) -> None:
    scene = Scene(api)
    body = {CONNECTION: scene.site.values(name="two")}
    answer = foretold(api, "POST", CONNECTIONS, body)
    older, newer = answer["connections"]
    assert (older["name"], older["effect"], older["superseded_by"]) == ("one", "superseded", [newer["id"]])
    assert (newer["name"], newer["effect"]) == ("two", "comes up")
    created = api.create(CONNECTIONS, CONNECTION, **body[CONNECTION])
    assert created["id"] != newer["id"], "the id is not kept"
    up(scene)
    assert effects(api, "DELETE", f"{CONNECTIONS}/{created['id']}") == {"one": "comes up", "two": "goes down"}


def test_weak_choices_are_named(api: Api) -> None:
    scene = Scene(api)
    weak = {"encryption_algorithm": "3des"}
    assert foretold(api, "POST", IPSEC, {"ipsecpolicy": weak})["weak_choices"] == ["encryption_algorithm 3des"]
    answer = foretold(api, "PUT", f"{IKE}/{scene.ids['ike']}", {"ikepolicy": weak})
    assert answer["weak_choices"] == ["encryption_algorithm 3des"]
    (entry,) = answer["connections"]
    assert entry["weak_choices"] == ["ikepolicy encryption_algorithm 3des"]
    path = f"{CONNECTIONS}/{scene.ids['connection']}"
    (entry,) = foretold(api, "PUT", path, {CONNECTION: {"psk": "short"}})["connections"]
    assert entry["weak_choices"] == ["psk shorter than 12 characters"]


def test_connections_of_other_projects_are_not_named(api: Api) -> None:
    """A network of all projects: its admin sees each connection, and nobody else those of others."""
    scene = Scene(api)
    path, body = f"/networks/{scene.ids['outside']}", {"network": {"admin_state_up": False}}
    assert effects(api.as_("admin"), "PUT", path, body) == {"one": "goes down"}
    foreign = api.as_("admin").service(scene.site.router, scene.site.subnet, name="of the admin")
    policies = {"ikepolicy_id": api.as_("admin").ike()["id"], "ipsecpolicy_id": api.as_("admin").ipsec()["id"]}
    values = new(**policies, vpnservice_id=foreign["id"], name="hidden")
    api.as_("admin").create(CONNECTIONS, CONNECTION, **values)
    up(scene)
    router, down = f"/routers/{scene.ids['router']}", {ROUTER: {"admin_state_up": False}}
    assert effects(api, "PUT", router, down) == {"one": "goes down"}
    assert effects(api.as_("admin"), "PUT", router, down) == {"hidden": "goes down", "one": "goes down"}


def test_without_a_node_and_of_tunnels_that_are_down(api: Api) -> None:
    site = LocalSite(api)
    (entry,) = foretold(api, "POST", CONNECTIONS, {CONNECTION: site.values()})["connections"]
    assert (entry["effect"], entry["reason"]) == ("comes up", "no node has its gateway: it comes up once one does")
    site.connection()
    api.node()
    body = {"ikepolicy": {"pfs": "group19"}}
    assert effects(api, "PUT", f"{IKE}/{site.ike['id']}", body) == {"connection": "comes up"}


def test_values_of_the_parameter(api: Api, database: Engine) -> None:
    scene = Scene(api)
    path, body = f"{CONNECTIONS}/{scene.ids['connection']}", {CONNECTION: {"mtu": 1400}}
    before = snapshot(database)
    for query in ("?dry_run=maybe", "?dry_run=", "?dry_run=true&dry_run=false"):
        assert api.refused("PUT", path + query, body) == (400, "HTTPBadRequest")
    for query in ("?dry_run=True", "?dry_run=1", "?dry_run=yes"):
        assert "dry_run" in api.send("PUT", path + query, body).json()
    assert snapshot(database) == before
    assert api.refused("GET", f"{CONNECTIONS}{DRY}") == (400, "HTTPBadRequest")
    changed = api.send("PUT", path + "?dry_run=false", body)
    assert changed.json()[CONNECTION]["mtu"] == 1400


def test_requests_that_have_none_are_refused(api: Api, database: Engine) -> None:
    """They would be carried out otherwise, as unknown parameters of writes are ignored."""
    scene = Scene(api)
    before = snapshot(database)
    tag = f"/networks/{scene.ids['network']}/tags/north"
    assert api.refused("PUT", tag + DRY) == (400, "HTTPBadRequest")
    assert api.refused("POST", f"{ANCHORS}/{scene.ids['anchor']}/issue{DRY}", {"csr": ""}) == (400, "HTTPBadRequest")
    assert snapshot(database) == before
    assert api.send("PUT", tag).status_code == 201


def test_many_connections_are_counted(open_api: OpenApi) -> None:
    with open_api(limits=Limits(connections=2 * MOST)) as api:
        scene = Scene(api)
        many = [scene.site.values(name=str(number), peer_cidrs=[f"10.20.{number}.0/24"]) for number in range(MOST)]
        assert api.send("POST", CONNECTIONS, {"ipsec_site_connections": many}).status_code == 201
        up(scene)
        answer = foretold(api, "PUT", f"{IKE}/{scene.ids['ike']}", {"ikepolicy": {"pfs": "group19"}})
    assert [entry["effect"] for entry in answer["connections"]] == ["make-before-break"] * MOST
    assert answer["left_out"] == 1
