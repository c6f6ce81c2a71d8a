"""The tables: one per resource, generated from the registry, and those for nodes, revisions, accounts and keys.

Times of leases, grace periods and deletions are on the lease clock, others are wall-clock time
(`store.database.clock`); JSON is text, returned exactly as written. Services and connections are
deleted softly: `deleted_at` is set until `holder_id`, the node that still carries them, confirms. The database itself
refuses a live reference to a deleted row: a `live_…` column is the reference while its row lives, and the foreign key
is on it. Small tables are WITHOUT ROWID: one descent per look-up instead of two.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

from linkspan.core.schema import configurations
from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    GATEWAY_PORT,
    IKE_POLICY,
    INTERFACE_PORT,
    IPSEC_POLICY,
    NETWORK,
    PORT,
    RESOURCES,
    ROUTER,
    SERVICE,
    STANDARD_ATTRIBUTES,
    SUBNET,
    TRUST_ANCHOR,
    Attribute,
    Resource,
)

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# Bytewise order and comparison, the same on both databases whatever the server's locale.
WORDS: Final = Text().with_variant(Text(collation="C"), "postgresql")

SOFT: Final = frozenset({SERVICE.name, CONNECTION.name})
"""Nouns that are deleted softly."""

IS_GATEWAY_PORT: Final[ColumnElement[str]] = literal_column(f"'{GATEWAY_PORT}'")
"""The `device_owner` of gateway ports as a literal in a statement: with a bound value SQLite would plan anew at each
run, because the index is partial."""
IS_INTERFACE_PORT: Final[ColumnElement[str]] = literal_column(f"'{INTERFACE_PORT}'")
"""The same of a router's interfaces: SQLite would plan anew for them too, to see whether that index serves."""

_TYPES: Final[dict[str, Any]] = {"text": WORDS, "integer": Integer, "boolean": Boolean, "json": Text}
_STANDARD_TYPES: Final[dict[str, Any]] = {"revision_number": Integer}
_NULLABLE: Final = {(CONNECTION.name, "psk"), (SUBNET.name, "gateway_ip")}
_ADDED: Final[dict[str, tuple[str, ...]]] = {
    SUBNET.name: ("dns_nameservers", "host_routes", "tags"),
    **{resource.name: ("tags",) for resource in (NETWORK, ROUTER, PORT)},
    CONNECTION.name: (
        "psk_written_at",
        "local_certificate_id",
        "trust_anchor_id",
        "peer_certificates",
        "ppk_id",
        "ppk_required",
        "ppk",
        "ppk_key_id",
        "ppk_ref",
        "ppk_written_at",
        "configured_revision",
        "configured_at",
        "configured_by",
    ),
}
"""Columns that later versions of the database added: they are the last ones, and take null."""
_INDEXED: Final = {
    (SUBNET.name, "network_id"),
    (PORT.name, "device_id"),
    (PORT.name, "network_id"),
    (CERTIFICATE.name, "issuer_id"),
}
_SORTED: Final = {CONNECTION.name: ("peer_address", "peer_id", "created_at", "updated_at")}
"""Columns by which long lists are filtered or sorted across projects, besides the name."""
_REFERENCES: Final[dict[str, dict[str, str]]] = {
    CONNECTION.name: {
        "vpnservice_id": SERVICE.name,
        "ikepolicy_id": IKE_POLICY.name,
        "ipsecpolicy_id": IPSEC_POLICY.name,
        "local_ep_group_id": ENDPOINT_GROUP.name,
        "peer_ep_group_id": ENDPOINT_GROUP.name,
    },
    SERVICE.name: {"router_id": ROUTER.name, "subnet_id": SUBNET.name},
    SUBNET.name: {"network_id": NETWORK.name},
    PORT.name: {"network_id": NETWORK.name},
    CERTIFICATE.name: {"issuer_id": TRUST_ANCHOR.name},
}
_RELEASED: Final[dict[str, dict[str, str]]] = {
    CONNECTION.name: {"local_certificate_id": CERTIFICATE.name, "trust_anchor_id": TRUST_ANCHOR.name},
}
"""References that a soft deletion empties, so that they need no `live_` column."""
_RARE: Final = frozenset({ENDPOINT_GROUP.name, CERTIFICATE.name, TRUST_ANCHOR.name})
"""Resources that few connections reference: the others have no place in the indexes of these references."""
RELEASED: Final = {name: tuple(references) for name, references in _RELEASED.items()}


def column_name(attribute: Attribute) -> str:
    """The column that keeps an attribute (`router:external` cannot be the name of a parameter)."""
    return attribute.name.replace(":", "_")


def _columns(resource: Resource) -> list[Column[Any]]:
    references = _REFERENCES.get(resource.name, {})
    soft = resource.name in SOFT
    columns: list[Column[Any]] = []
    for attribute in resource.attributes:
        if attribute.name == "id" or not attribute.stored:
            continue
        if attribute.secret:
            columns += [*_envelope(attribute.name), Column(f"{attribute.name}_written_at", Double)]
            continue
        name = column_name(attribute)
        target = references.get(name)
        optional = (
            (attribute.default is None and attribute.name not in _ALWAYS)
            or (resource.name, name) in _NULLABLE
            or name in _ADDED.get(resource.name, ())
        )
        released = _RELEASED.get(resource.name, {}).get(name)
        held = released if target is None or soft else target
        keys = () if held is None else (ForeignKey(f"{held}.id"),)
        indexed = (resource.name, name) in _INDEXED
        columns.append(Column(name, _TYPES[attribute.kind.column], *keys, nullable=optional, index=indexed or None))
    if resource is CONNECTION:
        columns += [
            # The revision that brought the effective configuration; when (null: at creation), and the user's name.
            Column("configured_revision", Integer, nullable=False, server_default=text("1")),
            Column("configured_at", Double),
            Column("configured_by", WORDS),
        ]
    if soft:
        columns += [
            Column("deleted_at", Double),
            Column("holder_id", WORDS, ForeignKey("node.id", ondelete="SET NULL")),
            *(_live(name, target) for name, target in references.items()),
        ]
    return columns


# The store or the API always fills these in.
_ALWAYS: Final = frozenset(
    {"project_id", "ip_version", "network_id", "device_id", "device_owner", "fixed_ips", "mac_address"}
)


def _envelope(name: str) -> list[Column[Any]]:
    return [
        Column(name, LargeBinary),
        Column(f"{name}_key_id", WORDS, ForeignKey("encryption_key.id")),
        Column(f"{name}_ref", WORDS),
    ]


def _live(name: str, target: str) -> Column[Any]:
    only = Computed(f"CASE WHEN deleted_at IS NULL THEN {name} END", persisted=True)
    is_rare = target in _RARE
    return Column(f"live_{name}", WORDS, only, ForeignKey(f"{target}.id"), index=None if is_rare else True)


def _partial(name: str, *columns: str, where: str, on_sqlite: str = "") -> Index:
    """An index of the few rows that a condition selects: what looks for them does not read the others. `on_sqlite`: the
    condition as SQLAlchemy writes it there."""
    return Index(name, *columns, sqlite_where=text(on_sqlite or where), postgresql_where=text(where))


def _noun(resource: Resource) -> Table:
    columns = {column.name: column for column in _columns(resource)}
    added = [columns.pop(name) for name in _ADDED.get(resource.name, ())]
    return Table(
        resource.name,
        METADATA,
        Column("id", WORDS, primary_key=True),
        *columns.values(),
        *(Column(name, _STANDARD_TYPES.get(name, Double), nullable=False) for name in STANDARD_ATTRIBUTES),
        *added,
        # The order of lists, within a project and for who sees every project.
        Index(f"ix_{resource.name}_project_id", "project_id", "name", "id"),
        Index(f"ix_{resource.name}_name", "name", "id"),
        *(Index(f"ix_{resource.name}_{name}", name, "id") for name in _SORTED.get(resource.name, ())),
        *(
            [_partial(f"ix_{resource.name}_deleted_at", "deleted_at", where="deleted_at IS NOT NULL")]
            if resource.name in SOFT
            else []
        ),
        *(_partial(f"ix_{resource.name}_{name}", name, where=f"{name} IS NOT NULL") for name in _rare(resource)),
    )


def _rare(resource: Resource) -> list[str]:
    """The columns with references that few rows have."""
    soft = [f"live_{name}" for name, target in _REFERENCES.get(resource.name, {}).items() if target in _RARE]
    released = [name for name, target in _RELEASED.get(resource.name, {}).items() if target in _RARE]
    return [*(soft if resource.name in SOFT else ()), *released]


ENCRYPTION_KEY: Final = Table(
    "encryption_key",
    METADATA,
    Column("id", WORDS, primary_key=True),
    # A known text under this key: tells at start whether the key file belongs to this database.
    Column("proof", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
)

NODE: Final = Table(
    "node",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("name", WORDS, nullable=False, unique=True),
    Column("token_hash", WORDS, nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("backend", WORDS, nullable=False),
    Column("agent_version", WORDS, nullable=False),
    Column("charon_version", WORDS, nullable=False),
    Column("created_at", Double, nullable=False),
    # `Capabilities` as JSON, null until a node has told them.
    Column("capabilities", WORDS),
    # The agent that holds the node, in its own words: `core.state.observed.HOLDER_HEADER`.
    Column("holder", WORDS),
    # The end of the token, null: none, so that it is accepted from the API's machine only; 0: the node has no token,
    # and `token_hash` is that of one that nobody knows.
    Column("token_expires_at", Double),
    sqlite_with_rowid=False,
)

NODE_CREDENTIAL: Final = Table(
    "node_credential",
    METADATA,
    # SHA-256 of a join token, or of a certificate (DER), in hexadecimal.
    Column("hash", WORDS, primary_key=True),
    Column("node_id", WORDS, ForeignKey("node.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", WORDS, nullable=False),
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    # True once the node has used the certificate: those before it end then.
    Column("confirmed", Boolean, nullable=False),
    # True if the node is to renew the certificate at once.
    Column("due", Boolean, nullable=False),
    CheckConstraint("kind IN ('join', 'certificate')", name="kind"),
    sqlite_with_rowid=False,
)

NODE_AUTHORITY: Final = Table(
    "node_authority",
    METADATA,
    # SHA-256 of the certificate (DER), in hexadecimal.
    Column("id", WORDS, primary_key=True),
    Column("certificate", Text, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
    Column("private_key_key_id", WORDS, ForeignKey("encryption_key.id"), nullable=False),
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

LEASE_CLOCK: Final = Table(
    "lease_clock",
    METADATA,
    # One row: `core.state.lease_clock.LeaseClock`.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("wall", Double, nullable=False),
    Column("amnesty", Double, nullable=False),
)

TABLES: Final[dict[str, Table]] = {resource.name: _noun(resource) for resource in RESOURCES}

Index(
    "uq_port_gateway",
    TABLES[PORT.name].c.device_id,
    unique=True,
    sqlite_where=text(f"device_owner = '{GATEWAY_PORT}'"),
    postgresql_where=text(f"device_owner = '{GATEWAY_PORT}'"),
)

Index(
    "ix_service_disabled",
    TABLES[SERVICE.name].c.id,
    sqlite_where=text("admin_state_up = 0"),
    postgresql_where=text("NOT admin_state_up"),
)

ADDRESS: Final = Table(
    "address",
    METADATA,
    Column("subnet_id", WORDS, ForeignKey("subnet.id"), primary_key=True),
    Column("ip_address", WORDS, primary_key=True),
    Column("port_id", WORDS, ForeignKey("port.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("network_id", WORDS, ForeignKey("network.id"), nullable=False),
    # On one wire an address has one owner, whatever its subnet.
    Index("uq_address_network_id", "network_id", "ip_address", unique=True),
    sqlite_with_rowid=False,
)

PREVIOUS_KEY: Final = Table(
    "previous_key",
    METADATA,
    # The connection's: it has the key that was its pre-shared one before.
    Column("id", WORDS, ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", WORDS, nullable=False),
    *_envelope("previous_psk"),
    Column("ends_at", Double, nullable=False, index=True),
)


def _part_columns(part: configurations.ReferencedPart) -> list[Column[Any]]:
    """The columns that keep an object which an earlier configuration referenced."""
    columns = [Column(f"{part.prefix}_{a.name}", _TYPES[a.kind.column]) for a in part.attributes]
    return [Column(f"{part.prefix}_name", WORDS), *columns]


CONNECTION_REVISION: Final = Table(
    "connection_revision",
    METADATA,
    # The connection's id, a colon and the number.
    Column("id", WORDS, primary_key=True),
    Column("connection_id", WORDS, ForeignKey("connection.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", WORDS, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("author", WORDS),
    Column("good", Boolean, nullable=False),
    *(Column(column_name(a), _TYPES[a.kind.column]) for a in configurations.OWN if not a.secret),
    *(column for a in configurations.OWN if a.secret for column in _envelope(a.name)),
    *(column for part in configurations.PARTS for column in _part_columns(part)),
    Index("uq_connection_revision_connection_id", "connection_id", "number", unique=True),
)

GATEWAY: Final = Table(
    "gateway",
    METADATA,
    # A router's row outlives its gateway, so that a generation never comes twice.
    Column("router_id", WORDS, primary_key=True),
    Column("node_id", WORDS, ForeignKey("node.id", ondelete="SET NULL"), index=True),
    Column("generation", BigInteger, nullable=False),
    Column("deleted_at", Double),
    _partial("ix_gateway_deleted_at", "deleted_at", where="deleted_at IS NOT NULL"),
    _partial("ix_gateway_waiting", "router_id", where="node_id IS NULL AND deleted_at IS NULL"),
    sqlite_with_rowid=False,
)

_KINDS = CheckConstraint("kind IN ('gateway', 'connection')", name="kind")

CHANGE: Final = Table(
    "change",
    METADATA,
    # The object first: it tells rows apart at the first comparison, node and kind hardly ever do.
    Column("object_id", WORDS, primary_key=True),
    Column("kind", WORDS, primary_key=True),
    Column("node_id", WORDS, ForeignKey("node.id", ondelete="CASCADE"), primary_key=True),
    # The router whose gateway it is or was in: a tombstone has nothing else to be found by.
    Column("gateway_id", WORDS, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("at", Double, nullable=False),
    # True: a tombstone, or its node reported this revision as working. Null: the object may not be ACTIVE.
    Column("settled", Boolean),
    _KINDS,
    Index("ix_change_node_id", "node_id", "revision"),
    _partial("ix_change_at", "at", where="deleted", on_sqlite="deleted = 1"),
    _partial("ix_change_unsettled", "kind", "object_id", where="settled IS NULL"),
    sqlite_with_rowid=False,
)

OBSERVED: Final = Table(
    "observed",
    METADATA,
    Column("object_id", WORDS, primary_key=True),
    Column("kind", WORDS, primary_key=True),
    Column("node_id", WORDS, ForeignKey("node.id", ondelete="CASCADE"), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("state", WORDS, nullable=False),
    Column("reason", Text, nullable=False),
    Column("applied_at", Double, nullable=False),
    Column("ready_at", Double),
    Column("effective_mtu", Integer),
    Column("code", WORDS),
    Column("code_at", Double),
    # Of a connection: the newest configuration (`configured_revision`) that was reported up.
    Column("good_revision", Integer),
    CheckConstraint("kind IN ('gateway', 'connection')", name="kind"),
    sqlite_with_rowid=False,
)

NODE_QUESTION: Final = Table(
    "node_question",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("node_id", WORDS, ForeignKey("node.id", ondelete="CASCADE"), nullable=False),
    Column("gateway_id", WORDS, nullable=False),
    Column("connection_id", WORDS, nullable=False),
    Column("asked_at", Double, nullable=False, index=True),
    # `core.state.live_facts.LiveAnswer` as JSON; null: open.
    Column("answer", Text),
    # `core.state.probes.ProbeRequest` or `core.state.traffic.TrafficRequest` as JSON; null: nothing is probed.
    Column("probe", Text),
    sqlite_with_rowid=False,
)

PROJECT: Final = Table(
    "project",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("name", WORDS, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    # When it was disabled; NULL: it is enabled.
    Column("disabled_at", Double),
)

USER: Final = Table(
    "account",  # "user" is a reserved word in PostgreSQL
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("name", WORDS, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("project_id", WORDS, ForeignKey("project.id", ondelete="SET NULL")),
    Column("disabled_at", Double),
    Column("description", Text),
    Column("email", Text),
)

GRANT: Final = Table(
    "account_role",
    METADATA,
    Column("user_id", WORDS, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", WORDS, ForeignKey("project.id", ondelete="CASCADE"), primary_key=True),
    Column("role", WORDS, primary_key=True),
    sqlite_with_rowid=False,
)

APPLICATION_CREDENTIAL: Final = Table(
    "application_credential",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("user_id", WORDS, ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", WORDS, ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("name", WORDS, nullable=False),
    Column("description", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("unrestricted", Boolean, nullable=False),
    Column("expires_at", Double),
    UniqueConstraint("user_id", "name"),
    sqlite_with_rowid=False,
)

TOKEN: Final = Table(
    "token",
    METADATA,
    Column("token_hash", WORDS, primary_key=True),
    # What may be shown of a token, and what it is deleted by.
    Column("id", WORDS, nullable=False, unique=True),
    Column("user_id", WORDS, ForeignKey("account.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("project_id", WORDS, ForeignKey("project.id", ondelete="CASCADE")),
    Column("credential_id", WORDS, ForeignKey("application_credential.id", ondelete="CASCADE"), index=True),
    Column("name", WORDS, nullable=False),
    # How it was got, separated by blanks; empty: it is static.
    Column("methods", WORDS, nullable=False),
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, index=True),
    sqlite_with_rowid=False,
)

QUOTA: Final = Table(
    "quota",
    METADATA,
    Column("project_id", WORDS, primary_key=True),
    Column("resource", WORDS, primary_key=True),
    Column("most", Integer, nullable=False),
)

COMMIT_MARKER: Final = Table(
    "commit_marker",
    METADATA,
    Column("id", WORDS, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    # False: written by a look-up, so that the transaction cannot commit any more.
    Column("committed", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    # Ordered by time: UUIDs of version 7.
    Column("id", WORDS, primary_key=True),
    # Null until the entry has its place in the chain.
    Column("number", BigInteger),
    Column("at", Double, nullable=False),
    Column("action", WORDS, nullable=False),
    Column("resource", WORDS, nullable=False),
    Column("object_id", WORDS, nullable=False),
    Column("project_id", WORDS, nullable=False),
    Column("user_id", WORDS, nullable=False),
    Column("user_name", WORDS, nullable=False),
    Column("user_project_id", WORDS, nullable=False),
    Column("request_id", WORDS, nullable=False),
    Column("source", WORDS, nullable=False),
    Column("fields", WORDS, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("hash", WORDS),
    Index("ix_audit_project_id", "project_id", "id"),
    Index("uq_audit_number", "number", unique=True),
    _partial("ix_audit_unsealed", "id", where="number IS NULL"),
    sqlite_with_rowid=False,
)

AUDIT_HEAD: Final = Table(
    "audit_head",
    METADATA,
    # One row: `core.audit.Head`, and its seal under a key of the key file.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("base", BigInteger, nullable=False),
    Column("base_hash", WORDS, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", WORDS, nullable=False),
    Column("key_id", WORDS, nullable=False),
    Column("seal", WORDS, nullable=False),
)

TIMELINE_QUEUE: Final = Table(
    "timeline_queue",
    METADATA,
    # Of whoever saw it, so that what is reported twice is there once.
    Column("key", WORDS, primary_key=True),
    Column("recorded_at", Double, nullable=False),
    Column("kind", WORDS, nullable=False),
    Column("at", Double, nullable=False),
    Column("code", WORDS, nullable=False),
    Column("reason", Text, nullable=False),
    Column("node", WORDS, nullable=False),
    # `core.state.timeline.Edit` as JSON.
    Column("revision", Text),
    # The connections that it happened to, as a JSON list of [id, project, name], and how many they are.
    Column("count", Integer, nullable=False),
    Column("connections", Text, nullable=False),
    sqlite_with_rowid=False,
)

TIMELINE: Final = Table(
    "timeline_event",
    METADATA,
    # First, so that events are written behind all others, and not among those of each connection.
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # No foreign key: what happened to a connection stays when it is deleted.
    Column("connection_id", WORDS, nullable=False),
    Column("key", WORDS, nullable=False),
    # Among the events of its connection.
    Column("place", BigInteger, nullable=False),
    Column("project_id", WORDS, nullable=False),
    Column("connection_name", WORDS, nullable=False),
    Column("kind", WORDS, nullable=False),
    Column("at", Double, nullable=False),
    Column("recorded_at", Double, nullable=False),
    Column("code", WORDS, nullable=False),
    Column("reason", Text, nullable=False),
    Column("node", WORDS, nullable=False),
    Column("revision", Text),
    Index("uq_timeline_event_key", "key", "connection_id", unique=True),
    Index("ix_timeline_event_place", "connection_id", "place"),
    Index("ix_timeline_event_project_id", "project_id", "number"),
    sqlite_with_rowid=False,
)

TIMELINE_HEAD: Final = Table(
    "timeline_head",
    METADATA,
    # One row: the newest number.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
