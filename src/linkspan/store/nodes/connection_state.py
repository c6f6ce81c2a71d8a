"""Rows -> connections as a node needs them: references followed, selectors computed, keys out of their envelopes.

One statement whatever the number of connections: a row each with all that it references. What only a write can get
wrong (a group of the wrong type) is not refused here.
"""

from __future__ import annotations

import functools
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, FromClause, and_, bindparam, case, func, literal_column, select

from linkspan.core.addresses import as_network
from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    PORT,
    SERVICE,
    SUBNET,
)
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import Certificates, LocalCertificate, PreviousKey, TrustAnchor
from linkspan.core.state.desired import Connection, Dpd, IkePolicy, IpsecPolicy, Peer
from linkspan.store.database.statements import (
    Statement,
    chunks,
    fill_slots,
    in_slots,
    json_rows,
    json_texts,
    slot_count,
    statement,
    struct_columns,
)
from linkspan.store.database.tables import ADDRESS, CHANGE, IS_GATEWAY_PORT, IS_INTERFACE_PORT, PREVIOUS_KEY, TABLES
from linkspan.store.nodes import connection_credentials, previous_keys
from linkspan.store.revisions import join_changes
from linkspan.store.rows.mapping import outside_addresses
from linkspan.store.transaction import Transaction

_decode: Final = msgspec.json.Decoder().decode
_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]
_ike = TABLES[IKE_POLICY.name]
_ipsec = TABLES[IPSEC_POLICY.name]
_subnet = TABLES[SUBNET.name]
_outside = TABLES[PORT.name].alias("outside")
_local = TABLES[ENDPOINT_GROUP.name].alias("local_group")
_peer = TABLES[ENDPOINT_GROUP.name].alias("peer_group")


class _ConnectionRow(msgspec.Struct):
    """A row for `connections`."""

    id: str
    name: str
    created_at: float
    service_id: str
    project_id: str
    router_id: str
    admin_state_up: bool
    service_admin_state_up: bool
    local_id: str
    peer_address: str
    peer_id: str
    peer_cidrs: str
    mtu: int
    initiator: Any
    dpd: str
    auth_mode: Any
    psk: bytes | None
    psk_key_id: str
    psk_ref: str | None
    psk_written_at: float | None
    previous_psk: bytes | None
    previous_psk_key_id: str | None
    previous_psk_ref: str | None
    local_certificate_id: str | None
    trust_anchor_id: str | None
    peer_certificates: str | None
    ppk: bytes | None
    ppk_key_id: str | None
    ppk_ref: str | None
    ppk_id: str | None
    ppk_required: bool | None
    cidr: str | None
    local_endpoints: str | None
    local_subnets: str | None
    peer_endpoints: str | None
    outside_fixed_ips: str | None
    ike_version: Any
    ike_mode: Any
    ike_encryption: str
    ike_integrity: str
    ike_group: str
    ike_lifetime: str
    ipsec_protocol: Any
    ipsec_mode: Any
    ipsec_encryption: str
    ipsec_integrity: str
    ipsec_group: str
    ipsec_lifetime: str
    revision: int


def _subnets_of_group() -> ColumnElement[Any]:
    """The subnets of a local endpoint group of that type, as JSON: [id, CIDR] of each."""
    member = _subnet.alias("member")
    named = member.c.id.in_(select(json_texts(_local.c.endpoints)))
    members = select(json_rows(member.c.id, member.c.cidr)).where(named)
    return case((_local.c.type == literal_column("'subnet'"), members.correlate(_local).scalar_subquery()))


_COLUMNS: Final[dict[str, ColumnElement[Any]]] = {
    "id": _connection.c.id,
    "name": _connection.c.name,
    "created_at": _connection.c.created_at,
    "service_id": _connection.c.vpnservice_id,
    "project_id": _connection.c.project_id,
    "router_id": _service.c.router_id,
    "admin_state_up": _connection.c.admin_state_up,
    "service_admin_state_up": _service.c.admin_state_up,
    "local_id": _connection.c.local_id,
    "peer_address": _connection.c.peer_address,
    "peer_id": _connection.c.peer_id,
    "peer_cidrs": _connection.c.peer_cidrs,
    "mtu": _connection.c.mtu,
    "initiator": _connection.c.initiator,
    "dpd": _connection.c.dpd,
    "auth_mode": _connection.c.auth_mode,
    "psk": _connection.c.psk,
    "psk_key_id": _connection.c.psk_key_id,
    "psk_ref": _connection.c.psk_ref,
    "psk_written_at": _connection.c.psk_written_at,
    "previous_psk": PREVIOUS_KEY.c.previous_psk,
    "previous_psk_key_id": PREVIOUS_KEY.c.previous_psk_key_id,
    "previous_psk_ref": PREVIOUS_KEY.c.previous_psk_ref,
    "local_certificate_id": _connection.c.local_certificate_id,
    "trust_anchor_id": _connection.c.trust_anchor_id,
    "peer_certificates": _connection.c.peer_certificates,
    "ppk": _connection.c.ppk,
    "ppk_key_id": _connection.c.ppk_key_id,
    "ppk_ref": _connection.c.ppk_ref,
    "ppk_id": _connection.c.ppk_id,
    "ppk_required": _connection.c.ppk_required,
    "cidr": _subnet.c.cidr,
    "local_endpoints": _local.c.endpoints,
    "local_subnets": _subnets_of_group(),
    "peer_endpoints": _peer.c.endpoints,
    "outside_fixed_ips": _outside.c.fixed_ips,
    "ike_version": _ike.c.ike_version,
    "ike_mode": _ike.c.phase1_negotiation_mode,
    "ike_encryption": _ike.c.encryption_algorithm,
    "ike_integrity": _ike.c.auth_algorithm,
    "ike_group": _ike.c.pfs,
    "ike_lifetime": _ike.c.lifetime,
    "ipsec_protocol": _ipsec.c.transform_protocol,
    "ipsec_mode": _ipsec.c.encapsulation_mode,
    "ipsec_encryption": _ipsec.c.encryption_algorithm,
    "ipsec_integrity": _ipsec.c.auth_algorithm,
    "ipsec_group": _ipsec.c.pfs,
    "ipsec_lifetime": _ipsec.c.lifetime,
}


def _with_references() -> FromClause:
    """Live connections, and everything that has one value for each of them."""
    source: Any = _connection.join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    source = source.join(_ike, _ike.c.id == _connection.c.ikepolicy_id)
    source = source.join(_ipsec, _ipsec.c.id == _connection.c.ipsecpolicy_id)
    source = source.outerjoin(_subnet, _subnet.c.id == _service.c.subnet_id)
    source = source.outerjoin(PREVIOUS_KEY, PREVIOUS_KEY.c.id == _connection.c.id)
    source = source.outerjoin(_local, _local.c.id == _connection.c.local_ep_group_id)
    source = source.outerjoin(_peer, _peer.c.id == _connection.c.peer_ep_group_id)
    joined: FromClause = source.outerjoin(
        _outside,
        and_(_outside.c.device_id == _service.c.router_id, _outside.c.device_owner == IS_GATEWAY_PORT),
    )
    return joined


_SOURCE: Final = _with_references()
connection_rows: Final = Statement(
    select(*struct_columns(_ConnectionRow, **_COLUMNS, revision=CHANGE.c.revision))
    .select_from(join_changes("connection", _SOURCE, _connection.c.id))
    .order_by(_connection.c.id)
)
"""Rows for `connections`: what `node` has to take up after `since`."""


@statement
def _rows_by_id(count: int) -> Statement:
    """Rows for `connections`: live connections by so many ids, without a revision."""
    columns = struct_columns(_ConnectionRow, **_COLUMNS, revision=literal_column("0"))
    query = select(*columns).select_from(_SOURCE).where(in_slots(_connection.c.id, "id", count))
    return Statement(query.order_by(_connection.c.id))


def connections(tx: Transaction, rows: Sequence[Any]) -> tuple[Connection, ...]:
    """The connections of rows of `connection_rows`."""
    parsed = [_ConnectionRow(*row) for row in rows]
    known = _credentials(tx, [row for row in parsed if row.auth_mode == "certs"])
    return tuple(_resolved(tx, row, known) for row in parsed)


class _Credentials(NamedTuple):
    """What connections with certificates reference, by id."""

    certificates: dict[str, LocalCertificate | str]
    anchors: dict[str, TrustAnchor]


def _credentials(tx: Transaction, rows: list[_ConnectionRow]) -> _Credentials:
    certificates = {row.local_certificate_id for row in rows if row.local_certificate_id}
    anchors = {row.trust_anchor_id for row in rows if row.trust_anchor_id}
    return _Credentials(
        connection_credentials.local_certificates(tx, certificates), connection_credentials.trust_anchors(tx, anchors)
    )


def _certificates(row: _ConnectionRow, known: _Credentials) -> tuple[Certificates | None, str]:
    """The certificates of a connection; or None, and why it cannot use them if it needs any."""
    if row.auth_mode != "certs":
        return None, ""
    local = known.certificates.get(row.local_certificate_id or "", "the connection has no certificate: set one")
    anchor = known.anchors.get(row.trust_anchor_id or "")
    if isinstance(local, str):
        return None, local
    if anchor is None:
        return None, "the connection has no trust anchor: set one"
    pins = tuple(_decode(row.peer_certificates or "[]"))
    return Certificates(local=local, anchor=anchor, peer_certificates=pins), ""


def _resolved(tx: Transaction, row: _ConnectionRow, known: _Credentials) -> Connection:
    local, peer = _selectors(row)
    certificates, fault = _certificates(row, known)
    ppk, unreadable = connection_credentials.post_quantum_key(
        tx,
        row.project_id,
        row.id,
        (row.ppk, row.ppk_key_id, row.ppk_ref),
        row.ppk_id or "",
        bool(row.ppk_required),
    )
    fault = fault or unreadable
    secret = Secret("")
    has_psk = row.psk is not None and row.auth_mode == "psk"
    if row.psk is not None and has_psk:
        opened, unreadable = tx.keyring.try_open(row.psk_key_id, bytes(row.psk), row.project_id, row.id, "psk")
        fault = fault or unreadable
        # Nobody can know the key of a connection without one, also not where it is loaded by mistake.
        secret = opened or Secret(secrets.token_hex(32))
    return Connection(
        id=row.id,
        name=row.name,
        service_id=row.service_id,
        created_at=row.created_at,
        gateway_id=row.router_id,
        revision=row.revision,
        enabled=bool(row.admin_state_up and row.service_admin_state_up),
        local_address=local_address(row.peer_address, *outside_addresses(row.outside_fixed_ips)),
        local_id=row.local_id,
        peer_address=row.peer_address,
        peer_id=row.peer_id,
        local_cidrs=_masked(local),
        peer_cidrs=_masked(peer),
        mtu=row.mtu,
        initiator=row.initiator,
        dpd=_dpd(row.dpd),
        auth_mode=row.auth_mode,
        psk=secret,
        psk_ref=(row.psk_ref or "") if has_psk else "",
        psk_written_at=(row.psk_written_at or 0.0) if has_psk else 0.0,
        previous_psk=_previous_key(tx, row) if has_psk else None,
        certificates=certificates,
        ppk=ppk,
        fault=fault,
        ike=_ike_policy(
            row.ike_version,
            row.ike_mode,
            row.ike_encryption,
            row.ike_integrity,
            row.ike_group,
            row.ike_lifetime,
        ),
        ipsec=_ipsec_policy(
            row.ipsec_protocol,
            row.ipsec_mode,
            row.ipsec_encryption,
            row.ipsec_integrity,
            row.ipsec_group,
            row.ipsec_lifetime,
        ),
    )


def _previous_key(tx: Transaction, row: _ConnectionRow) -> PreviousKey | None:
    columns = row.previous_psk, row.previous_psk_key_id, row.previous_psk_ref
    return previous_keys.opened(tx, row.project_id, row.id, *columns)


def _selectors(row: _ConnectionRow) -> tuple[list[str], list[str]]:
    """The local and the peer's CIDRs: of the service's subnet and `peer_cidrs`, or of endpoint groups."""
    if row.cidr is not None:
        return [row.cidr], _decode(row.peer_cidrs)
    endpoints = _decode(row.local_endpoints) if row.local_endpoints else []
    if row.local_subnets is not None:
        subnets = dict(_decode(row.local_subnets))
        endpoints = [subnets[id] for id in endpoints if id in subnets]
    return endpoints, _decode(row.peer_endpoints) if row.peer_endpoints else []


# Policies and DPD are few and shared by many connections.
@functools.lru_cache(maxsize=4096)
def _ike_policy(version: Any, mode: Any, cipher: str, auth: str, pfs: str, lifetime: str) -> IkePolicy:
    return IkePolicy(version, mode, cipher, auth, pfs, _decode(lifetime)["value"])


@functools.lru_cache(maxsize=4096)
def _ipsec_policy(protocol: Any, mode: Any, cipher: str, auth: str, pfs: str, lifetime: str) -> IpsecPolicy:
    length = _decode(lifetime)
    return IpsecPolicy(protocol, mode, cipher, auth, pfs, length["units"], length["value"])


@functools.lru_cache(maxsize=4096)
def _dpd(text: str) -> Dpd:
    return Dpd(**_decode(text))


@functools.lru_cache(maxsize=65_536)
def local_address(peer_address: str, v4: str | None, v6: str | None) -> str:
    """Our end towards a peer: of the peer's IP version; towards a name the IPv4 one if there is one. "" if none."""
    try:
        version = ipaddress.ip_address(peer_address).version
    except ValueError:
        return v4 or v6 or ""
    return (v4 if version == 4 else v6) or ""


@functools.lru_cache(maxsize=65_536)
def _mask(cidr: str) -> str | None:
    network = as_network(cidr)
    return None if network is None else str(network)


def _masked(cidrs: Iterable[str]) -> tuple[str, ...]:
    return tuple(masked for masked in map(_mask, cidrs) if masked is not None)


def live_connections(tx: Transaction, ids: Iterable[str]) -> list[Connection]:
    """These live connections by id, resolved as their nodes would see them, with their keys: for the conflict rule."""
    resolved: list[Connection] = []
    for some in chunks(sorted(ids)):
        resolved += connections(tx, tx.rows(_rows_by_id(slot_count(some)), **fill_slots("id", some)))
    return resolved


_counted = TABLES[CONNECTION.name].alias("counted")
_used = select(func.count()).where(_counted.c.project_id == bindparam("project"), _counted.c.deleted_at.is_(None))
_interface = TABLES[PORT.name].alias("interface")
_attached = (
    select(json_rows(_subnet.c.id, _subnet.c.cidr))
    .join(ADDRESS, ADDRESS.c.subnet_id == _subnet.c.id)
    .join(_interface, _interface.c.id == ADDRESS.c.port_id)
    .where(_interface.c.device_id == bindparam("gateway"), _interface.c.device_owner == IS_INTERFACE_PORT)
)
_of_router: Final = Statement(
    # One text for all of them: a row each would cost as much again as to find it.
    select(
        json_rows(_connection.c.id, _connection.c.peer_address, _connection.c.peer_id),
        _attached.scalar_subquery(),
        _used.scalar_subquery(),
    )
    .select_from(_connection)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .where(_service.c.live_router_id == bindparam("gateway"))
)
_decode_peers: Final = msgspec.json.Decoder(list[Peer]).decode
_decode_subnets: Final = msgspec.json.Decoder(list[tuple[str, str]]).decode


class RouterConnections(NamedTuple):
    """The peers of the live connections of one router, without their keys; the CIDRs of the subnets on its interfaces,
    by id; and how many connections a project has."""

    peers: list[Peer]
    attached: dict[str, str]
    used: int


def connections_of_router(tx: Transaction, router_id: str, project: str = "") -> RouterConnections:
    """What the checks of one router's connections need. It reads what others have committed once the router is
    locked."""
    peers, attached, used = tx.first(_of_router, gateway=router_id, project=project)
    return RouterConnections(_decode_peers(peers), dict(_decode_subnets(attached)), used)


_networks_of_peers: Final = Statement(
    select(_connection.c.id, _connection.c.peer_cidrs, _peer.c.endpoints)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .outerjoin(_peer, _peer.c.id == _connection.c.peer_ep_group_id)
    .where(_service.c.live_router_id == bindparam("gateway"))
    .order_by(_connection.c.id)
)


def peer_networks_of_router(tx: Transaction, router_id: str) -> dict[str, list[str]]:
    """The CIDRs of the peers of one router's live connections, by the connections' ids."""
    rows = tx.rows(_networks_of_peers, gateway=router_id)
    return {id: _decode(cidrs) if endpoints is None else _decode(endpoints) for id, cidrs, endpoints in rows}


class RouterPeers(NamedTuple):
    """The peers of a router's live connections, and the ids of those that use the policy in question."""

    peers: list[Peer]
    users: list[str]


def _beside_users() -> Statement:
    user, its_service = _connection.alias("user"), _service.alias("its_service")
    routers = select(its_service.c.live_router_id).select_from(
        user.join(its_service, its_service.c.id == user.c.live_vpnservice_id)
    )
    return Statement(
        select(
            _service.c.live_router_id,
            _connection.c.id,
            _connection.c.peer_address,
            _connection.c.peer_id,
            _connection.c.ikepolicy_id == bindparam("policy"),
        )
        .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
        .where(_service.c.live_router_id.in_(routers.where(user.c.live_ikepolicy_id == bindparam("policy"))))
        .order_by(_connection.c.id)
    )


_peers_beside_users: Final = _beside_users()


def peers_beside_users(tx: Transaction, ike_policy_id: str) -> dict[str, RouterPeers]:
    """The peers of each router that has a connection with this IKE policy, by router id, in one statement."""
    routers: dict[str, RouterPeers] = {}
    for router, id, address, identity, is_user in tx.rows(_peers_beside_users, policy=ike_policy_id):
        peers, users = routers.setdefault(router, RouterPeers([], []))
        peers.append(Peer(id, address, identity))
        if is_user:
            users.append(id)
    return routers
