"""Hooks of the five VPN resources: they read what a rule needs, and `core.checks.cross_resource` checks it.

References are looked up as the caller sees them, so a connection cannot name an object that its owner does not see.
Changes stamp the nodes that run what they affect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from msgspec.structs import replace

from linkspan.api.attributes import Attributes
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.api.resources import connection_credentials, expiry_notices
from linkspan.api.resources.both_ends import join_ends
from linkspan.api.resources.collection import (
    Hooks,
    change,
    find,
    find_live,
    not_found,
    read_again,
    require_live,
    visible,
)
from linkspan.api.resources.quotas import lock_quota, require_room
from linkspan.core.authorization import policy
from linkspan.core.checks import attached_networks, cross_resource, quota, weak_algorithms
from linkspan.core.checks.cross_resource import ConnectionContext, GroupMembers, Limits
from linkspan.core.checks.weak_algorithms import WeakChoices
from linkspan.core.errors import ApiError
from linkspan.core.ipsec import crypto_profiles, succession
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    INTERFACE_PORT,
    IPSEC_POLICY,
    ROUTER,
    SERVICE,
    SUBNET,
    Resource,
)
from linkspan.core.secret import SHORTEST, Secret
from linkspan.core.state import status
from linkspan.core.state.desired import Connection, Peer
from linkspan.store import revisions
from linkspan.store.nodes import assignment, connection_state, previous_keys, tombstones
from linkspan.store.rows import connection_references, dependencies, ports, reading, writing
from linkspan.store.rows.connection_references import ConnectionReferences
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

STATIC = {"route_mode": "static"}

_log = structlog.get_logger()


def _interface_subnets(tx: Transaction, router_id: str) -> set[str]:
    """The ids of the subnets on which a router has an interface."""
    return {
        fixed["subnet_id"]
        for port in ports.ports_of(tx, router_id)
        if port["device_owner"] == INTERFACE_PORT
        for fixed in port["fixed_ips"]
    }


class Services(Hooks):
    """VPN services: a router becomes a gateway with its first one, and ceases to be one with its last."""

    def __init__(self) -> None:
        super().__init__(SERVICE)

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        if values["flavor_id"] is not None:
            raise ApiError("FlavorNotFound", f"Flavor {values['flavor_id']} could not be found.")
        router = find_live(tx, ROUTER, values["router_id"], caller, lock=True)
        subnet_id = values["subnet_id"]
        on_router = _interface_subnets(tx, router["id"]) if subnet_id is not None else set()
        cross_resource.check_service(router["id"], router["external_gateway_info"] is not None, subnet_id, on_router)
        service = writing.insert(tx, SERVICE, values)
        assignment.ensure_gateway(tx, router["id"])
        return read_again(tx, SERVICE, service["id"])

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        if not row.is_deleted and dependencies.connections_using(tx, service=row["id"]):
            raise ApiError("VPNServiceInUse", f"VPNService {row['id']} is still in use")
        router_id: str = row["router_id"]
        # With the last service goes the gateway, and the node says so under the router's id.
        return None if tombstones.soft_delete(tx, SERVICE, row["id"]) else router_id


class _PolicyAttributes(Attributes):
    """The attributes of a policy, which may name a crypto profile in place of its algorithms."""

    def for_create(self, raw: Mapping[str, Any], caller: Caller) -> Values:
        return super().for_create(crypto_profiles.expanded(self.resource.name, raw), caller)

    def for_update(self, raw: Mapping[str, Any], row: Row) -> Values:
        return super().for_update(crypto_profiles.expanded(self.resource.name, raw), row)


class Policies(Hooks):
    """IKE and IPsec policies: an edit reaches every connection that uses them."""

    def __init__(self, resource: Resource, choices: WeakChoices) -> None:
        super().__init__(resource)
        self.attributes = _PolicyAttributes(
            resource, special=(crypto_profiles.ATTRIBUTE,), defaults=choices.defaults_of(resource)
        )
        self._choices = choices
        self._by = "ike_policy" if resource is IKE_POLICY else "ipsec_policy"

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        if self.resource is IKE_POLICY:
            cross_resource.check_ike_policy(values)
        weak_algorithms.check_weak_choices(self._choices, self.resource, None, values)
        return super().create(tx, caller, values, raw)

    def rewrite(self, tx: Transaction, row: Row, values: Values) -> Row:
        """Changes a policy by itself. How it fits the connections with it is for the caller to check."""
        if self.resource is IKE_POLICY:
            cross_resource.check_ike_policy(row | values)
        weak_algorithms.check_weak_choices(self._choices, self.resource, row, row | values)
        return change(tx, self.resource, row, values)

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        changed = self.rewrite(tx, row, values)
        if values.keys() & _NEGOTIATED:
            self._check_pairs(tx, changed)
            if self.resource is IKE_POLICY:
                _check_conflicts(tx, row)
                if "ike_version" in values:
                    connection_credentials.check_policy(tx, changed)
        return changed

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        for row in rows:
            row[crypto_profiles.ATTRIBUTE] = crypto_profiles.name_of(self.resource.name, row)

    def _check_pairs(self, tx: Transaction, policy: Row) -> None:
        """Raises ApiError if a pair of policies that connections use with this one cannot be negotiated."""
        for other in dependencies.policies_used_with(tx, self.resource, policy["id"]):
            ike, ipsec = (policy, other) if self.resource is IKE_POLICY else (other, policy)
            cross_resource.check_policy_pair(ike, ipsec)

    def after_commit(self, request: Request, rows: list[Row], before: Row | None) -> None:
        for row in rows:
            if weak := weak_algorithms.newly_weak(self.resource, before, row):
                _log.warning(
                    "weak choices in a policy",
                    request_id=request.request_id,
                    resource=self.resource.name,
                    id=row["id"],
                    project_id=row["project_id"],
                    choices=weak,
                )

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        if dependencies.connections_using(tx, **{self._by: row["id"]}):
            message = (
                f"{self.resource.label} {row['id']} is in use by existing IPsecSiteConnection and can't be updated "
                "or deleted"
            )
            raise ApiError(f"{self.resource.label}InUse", message)
        return super().delete(tx, caller, row)


_NEGOTIATED = frozenset(
    {"ike_version", "phase1_negotiation_mode", "transform_protocol", "encryption_algorithm", "auth_algorithm"}
)
"""Attributes of a policy that can conflict with those of another."""
_PHASE1 = ("ike_version", "phase1_negotiation_mode")
"""Attributes of an IKE policy by which charon can distinguish connections."""


def _check_conflicts(tx: Transaction, before: Row) -> None:
    """Raises ApiError if connections with this IKE policy cannot be distinguished from others on their gateways.

    `before`: the policy as it was.
    """
    routers = connection_state.peers_beside_users(tx, before["id"])
    similar = [id for peers, users in routers.values() for id in cross_resource.similar_connections(peers, users)]
    on_router: dict[str, list[Connection]] = {}
    for connection in connection_state.live_connections(tx, similar):
        on_router.setdefault(connection.gateway_id, []).append(connection)
    phase1 = {name: before[name] for name in _PHASE1}
    for router_id, connections in sorted(on_router.items()):
        users = routers[router_id].users
        earlier = {
            connection.id: replace(connection, ike=replace(connection.ike, **phase1))
            for connection in connections
            if connection.id in users
        }
        cross_resource.check_conflicts(connections, users, earlier)


def check_distinguishable(
    tx: Transaction,
    gateway: list[Peer],
    changed: list[str],
    before: Callable[[Connection], Connection] | None = None,
) -> list[Connection]:
    """Checks that the changed connections of a gateway can be distinguished from all others. Raises ApiError.

    `before` returns a changed connection as it was; without it they are new. Returns the changed connections and all
    that are similar, nothing if there are none.
    """
    if similar := cross_resource.similar_connections(gateway, changed):
        connections = connection_state.live_connections(tx, similar)
        earlier = {entry.id: before(entry) for entry in connections if entry.id in changed} if before else {}
        cross_resource.check_conflicts(connections, changed, earlier)
        return connections
    return []


class EndpointGroups(Hooks):
    """Endpoint groups. Their members cannot change; whether they fit is checked for each connection."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(ENDPOINT_GROUP)
        self._limits = limits

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        endpoints: list[str] = values["endpoints"]
        cross_resource.check_endpoint_group(values["type"], endpoints, values["name"], self._limits)
        if values["type"] == "subnet":
            seen = visible(tx, SUBNET, Query(filters={"id": tuple(endpoints)}), caller)
            cross_resource.check_subnets_exist(endpoints, {row["id"]: row for row in seen})
        return writing.insert(tx, ENDPOINT_GROUP, values)

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        if dependencies.connections_using(tx, endpoint_group=row["id"]):
            raise ApiError("EndpointGroupInUse", f"Endpoint group {row['id']} is in use and cannot be deleted")
        return super().delete(tx, caller, row)


class Connections(Hooks):
    """IPsec site connections."""

    def __init__(self, limits: Limits, psk_grace: float) -> None:
        super().__init__(CONNECTION)
        self.attributes = Attributes(CONNECTION, always=STATIC)
        self._limits = limits
        self._psk_grace = psk_grace

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        connection_credentials.check_values(tx, caller, values, values)
        cross_resource.limit_members("peer_cidrs", values["peer_cidrs"], self._limits)
        references = _references(tx, caller, values)
        service = require_live(references.service, SERVICE, values["vpnservice_id"])
        ike = require_live(references.ike, IKE_POLICY, values["ikepolicy_id"])
        ipsec = require_live(references.ipsec, IPSEC_POLICY, values["ipsecpolicy_id"])
        cross_resource.check_policy_pair(ike, ipsec)
        groups = {"local": references.local_group, "peer": references.peer_group}
        context = _context(tx, service, references.subnet_cidr, values, groups)
        cross_resource.check_connection(values, context)
        row = writing.insert(tx, CONNECTION, values)
        row.peer_networks = _peer_networks(values, context)
        row.status_inputs = _new_status_inputs(service, row, tx.now)
        row.router_id = service.router_id
        return row

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        join_ends(tx, rows)
        expiry_notices.add(tx, rows)

    def after_create(self, tx: Transaction, rows: list[Row], quotas: Mapping[str, int]) -> None:
        on_router: dict[str, list[Row]] = {}
        for row in rows:
            on_router.setdefault(row.router_id or "", []).append(row)
        first, *others = sorted({row["project_id"] for row in rows})
        limit = lock_quota(tx, CONNECTION, first, quotas)
        # Counted only under a limit: the count reads every connection of the project.
        counted = "" if limit == quota.UNLIMITED else first
        connection_credentials.check_connections(tx, rows)
        for router_id, new in on_router.items():
            ids, networks = [row["id"] for row in new], [cidr for row in new for cidr in row.peer_networks]
            used, similar = self._check_gateway(tx, router_id, ids, networks, counted)
            quota.check_room(CONNECTION.singular, limit, used)
            for row in new if similar else ():
                _note_succession(row, similar)
        require_room(tx, CONNECTION, others, quotas)
        revisions.touch(tx, connections=[row["id"] for row in rows])

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        if values.keys() <= {"name", "description", "admin_state_up"}:
            return change(tx, CONNECTION, row, values)
        return self.rewrite(tx, caller, row, values)

    def rewrite(
        self, tx: Transaction, caller: Caller, row: Row, values: Values, former_ike: Mapping[str, Any] | None = None
    ) -> Row:
        """Changes a connection, with all checks. `former_ike`: its IKE policy before, if its policies have changed in
        this transaction; `values` may name other policies then."""
        service = reading.get(tx, SERVICE, row["vpnservice_id"])
        if service is None:
            raise not_found(CONNECTION, row["id"])
        cross_resource.limit_members("peer_cidrs", values.get("peer_cidrs", []), self._limits)
        changed: Values = row | values
        connection_credentials.check_values(tx, caller, changed, values)
        values |= {name: changed[name] for name in values}
        groups = {
            side: find(tx, ENDPOINT_GROUP, id, caller)
            for side in ("local", "peer")
            if (id := changed[f"{side}_ep_group_id"]) is not None
        }
        context = _context(tx, service, _subnet_cidr(tx, service), changed, groups)
        cross_resource.check_connection(changed, context)
        reading.get(tx, ROUTER, service["router_id"], lock=True)
        if "psk" in values:
            self._keep_key(tx, row, changed)
        changed = change(tx, CONNECTION, row, values)
        connection_credentials.check_connections(tx, [changed], values if former_ike is None else {*values, "ppk"})
        ends = {name: row[name] for name in ("local_id", "peer_address", "peer_id")}
        phase1 = {name: former_ike[name] for name in _PHASE1} if former_ike else {}
        networks = _peer_networks(changed, context)
        self._check_gateway(
            tx,
            service["router_id"],
            [row["id"]],
            networks,
            before=lambda entry: replace(entry, **ends, ike=replace(entry.ike, **phase1)),
        )
        return changed

    def _keep_key(self, tx: Transaction, row: Row, changed: Values) -> None:
        """Keeps the pre-shared key that is changed, since the peer has it until it is changed there too."""
        before: Secret | None = row["psk"]
        if before is not None and changed["psk"] != before:
            grace = self._psk_grace if row["auth_mode"] == changed["auth_mode"] == "psk" else 0.0
            previous_keys.keep(tx, row["id"], row["project_id"], before, grace)

    def after_commit(self, request: Request, rows: list[Row], before: Row | None) -> None:
        for row in rows:
            key = row["psk"]
            if key is not None and len(key.reveal()) < SHORTEST and (before is None or before["psk"] != key):
                _log.warning(
                    "a pre-shared key is short",
                    request_id=request.request_id,
                    id=row["id"],
                    project_id=row["project_id"],
                    recommended=SHORTEST,
                )

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        id: str = row["id"]
        return None if tombstones.soft_delete(tx, CONNECTION, id) else id

    def _check_gateway(
        self,
        tx: Transaction,
        router_id: str,
        changed: list[str],
        peer_networks: Iterable[str],
        project: str = "",
        before: Callable[[Connection], Connection] | None = None,
    ) -> tuple[int, list[Connection]]:
        """Checks that a gateway has room and can distinguish its connections, and that no attached network holds one of
        these peer networks. Returns how many connections the project has, and those that are similar to the changed
        ones. `before`: see `check_distinguishable`."""
        gateway, attached, used = connection_state.connections_of_router(tx, router_id, project)
        cross_resource.check_gateway_limit(len(gateway), self._limits)
        attached_networks.check_peer_networks(peer_networks, attached)
        return used, check_distinguishable(tx, gateway, changed, before)


def _references(tx: Transaction, caller: Caller, values: Values) -> ConnectionReferences:
    """Everything that a new connection references, as the caller sees it; the gateway is locked from here on."""
    scopes = {policy.scope(caller, "get", resource) for resource in (SERVICE, IKE_POLICY, IPSEC_POLICY, ENDPOINT_GROUP)}
    if scopes in ({"own"}, {"all"}):
        return connection_references.read(tx, values, caller.project_id if scopes == {"own"} else None)
    # Rules of an operator's policy file, which one statement cannot evaluate.
    rows = {
        attribute: find(tx, resource, values[attribute], caller)
        for resource, attribute in (
            (SERVICE, "vpnservice_id"),
            (IKE_POLICY, "ikepolicy_id"),
            (IPSEC_POLICY, "ipsecpolicy_id"),
            (ENDPOINT_GROUP, "local_ep_group_id"),
            (ENDPOINT_GROUP, "peer_ep_group_id"),
        )
        if values[attribute] is not None
    }
    service = rows["vpnservice_id"]
    if service is None:
        return ConnectionReferences()
    reading.get(tx, ROUTER, service["router_id"], lock=True)
    return ConnectionReferences(
        service,
        _subnet_cidr(tx, service),
        rows["ikepolicy_id"],
        rows["ipsecpolicy_id"],
        rows.get("local_ep_group_id"),
        rows.get("peer_ep_group_id"),
    )


def _subnet_cidr(tx: Transaction, service: Row) -> str | None:
    subnet = reading.get(tx, SUBNET, service["subnet_id"]) if service["subnet_id"] else None
    return subnet["cidr"] if subnet else None


def _context(
    tx: Transaction, service: Row, subnet_cidr: str | None, values: Values, groups: Mapping[str, Row | None]
) -> ConnectionContext:
    """The context of a connection of a service. `groups`: the endpoint groups that it references."""
    members: dict[str, GroupMembers | None] = {}
    for side in ("local", "peer"):
        id = values[f"{side}_ep_group_id"]
        row = None if id is None else require_live(groups[side], ENDPOINT_GROUP, id)
        members[side] = None if row is None else _members(tx, row, service["router_id"])
    addresses = (service["external_v4_ip"], service["external_v6_ip"])
    return ConnectionContext(
        router_id=service["router_id"],
        addresses=tuple(address for address in addresses if address),
        subnet_cidr=subnet_cidr,
        local=members["local"],
        peer=members["peer"],
    )


def _peer_networks(values: Values, context: ConnectionContext) -> tuple[str, ...]:
    """The CIDRs of a connection's peer: of its peer group, or its own."""
    return context.peer.cidrs if context.peer else tuple(values["peer_cidrs"])


def _members(tx: Transaction, row: Row, router_id: str) -> GroupMembers:
    endpoints: list[str] = row["endpoints"]
    if row["type"] != "subnet":
        return GroupMembers(row["id"], row["type"], tuple(endpoints))
    subnets = ports.subnets_of(tx, endpoints, router_id)
    return GroupMembers(
        row["id"],
        "subnet",
        tuple(subnets[id][0] for id in endpoints if id in subnets),
        tuple(id for id in endpoints if id not in subnets or not subnets[id][1]),
    )


def _note_succession(row: Row, similar: list[Connection]) -> None:
    """Say in the status of a new connection what it will supersede."""
    connection = next((entry for entry in similar if entry.id == row["id"]), None)
    if connection and row.status_inputs:
        row.status_inputs = replace(row.status_inputs, note=succession.supersedes(connection, similar))


def _new_status_inputs(service: Row, connection: Row, now: float) -> status.StatusInputs:
    """The status inputs of a connection that was created just now."""
    return status.StatusInputs(
        deleted=False,
        enabled=connection["admin_state_up"] and service["admin_state_up"],
        revision=1,
        changed_at=now,
        node=service.status_inputs.node if service.status_inputs else None,
        observed=None,
    )


def hooks(limits: Limits, choices: WeakChoices, psk_grace: float) -> list[Hooks]:
    """The hooks of all VPN resources. `psk_grace`: seconds for which a changed pre-shared key is kept."""
    return [
        Services(),
        Policies(IKE_POLICY, choices),
        Policies(IPSEC_POLICY, choices),
        EndpointGroups(limits),
        Connections(limits, psk_grace),
    ]
