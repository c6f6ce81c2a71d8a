"""The store's interface: one transaction over rows. All that API and admin may know of the database is here.

A `Row` is a plain dict with the stored attributes of the registry plus `revision_number`, `created_at`, `updated_at`
(aware datetimes, UTC, whole seconds). Secrets come out as `Secret`. Rows of services and connections also carry `facts`
(`core.state.status.StatusInputs`); services `external_v4_ip` and `external_v6_ip`; networks `subnets`; routers
`external_gateway_info`: all from the same statement. What the methods do is in the modules beside this one.

It refuses to judge: it knows no project rules beyond "only this project's rows", and no validation. It raises
`Conflict` when another transaction got there first; whoever runs the request starts it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from sqlalchemy import Engine

from linkspan.core.schema.list_query import EVERYTHING, Query
from linkspan.core.schema.resources import PORT, Resource
from linkspan.core.state.desired import Connection, Delta, Peer
from linkspan.core.state.observed import Hello, Report
from linkspan.store import revisions
from linkspan.store.database.clock import Clock
from linkspan.store.database.engine import reader, writer
from linkspan.store.database.errors import Conflict, Unavailable, translated
from linkspan.store.envelopes import Keyring
from linkspan.store.identity import credentials, tokens
from linkspan.store.identity import users as identity_users
from linkspan.store.nodes import assignment, connection_state, delta, reports, tombstones
from linkspan.store.rows import connection_references, dependencies, encryption_keys, ports, quotas, reading, writing
from linkspan.store.rows.connection_references import ConnectionReferences
from linkspan.store.transaction import Row, Transaction

__all__ = ["LEASE", "Conflict", "Row", "Store", "Tx", "Unavailable"]

LEASE: Final = 40.0
"""Seconds for which a node that said something counts as alive (a setting)."""


def _nobody(revisions: dict[str, int]) -> None:
    """Nobody waits for commits."""


class Store:
    """A database and its keys. Thread-safe; `on_commit` gets {node id: new revision} after each commit that touched
    nodes, in the thread that committed."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        on_commit: Callable[[dict[str, int]], None] = _nobody,
        *,
        lease: float = LEASE,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`lease` in seconds. `clock`: another clock than the database's (tests)."""
        self.lease = lease
        self.one_writer = engine.dialect.name == "sqlite"
        """Whether writes wait for each other here: then more than one thread for them gains nothing."""
        self._engine = engine
        self._keyring = keyring
        self._on_commit = on_commit
        self._clock = Clock(server=engine.dialect.name != "sqlite", other=clock)
        self._dbapi = engine.dialect.loaded_dbapi
        self._reader = reader(engine)
        self._writer = writer(engine)
        # SQLite has one writer: wait for it here, in order, and not in its busy handler that sleeps.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.one_writer else nullcontext()
        with self._writing() as work:
            encryption_keys.register(work)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """One read transaction: everything it reads is of one moment."""
        with translated(self._dbapi), self._reader.connect() as connection, connection.begin():
            yield Tx(Transaction(connection, self._keyring, self._clock, self.lease))

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """One write transaction: commits at the end, rolls back on an exception; then tells `on_commit`.

        Raises `Conflict` if another transaction got there first.
        """
        with self._writing() as work:
            yield Tx(work)
        if work.revisions:
            self._on_commit(dict(work.revisions))

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with translated(self._dbapi), self._turn, self._writer.connect() as connection, connection.begin():
            work = Transaction(connection, self._keyring, self._clock, self.lease)
            yield work
            revisions.flush(work)

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()


class Tx:
    """One transaction. Not for more than one thread, and not beyond its `with` block."""

    def __init__(self, work: Transaction) -> None:
        self._work = work

    @property
    def now(self) -> float:
        """The database's clock, seconds; read once per transaction."""
        return self._work.now

    @property
    def statements(self) -> int:
        """How many statements this transaction has sent so far."""
        return self._work.statements

    # --- rows ---------------------------------------------------------------------------------------------------

    def get(self, resource: Resource, id: str, project: str | None = None, lock: bool = False) -> Row | None:
        """One row, or None if it is not there or (with `project`) is another project's.

        PENDING_DELETE rows count (`facts.deleted`): show them, but build nothing on them.
        `lock`: nobody else changes it until this transaction ends; lock what a write depends on.
        """
        return reading.get(self._work, resource, id, project, lock)

    def find(self, resource: Resource, query: Query = EVERYTHING, project: str | None = None) -> list[Row]:
        """The rows that a query asks for, in one statement. `project` None: everybody's.

        Networks that are shared or external are visible to every project. An unknown marker gives []. `fields` is
        left to the caller, but a row without `psk` in `fields` does not carry the key.
        """
        return reading.find(self._work, resource, query, project)

    def each(self, resource: Resource, query: Query = EVERYTHING, project: str | None = None) -> Iterator[Row]:
        """The same, one after the other while they are read: for answers of any length. Use them up, or leave the
        transaction."""
        return reading.each(self._work, resource, query, project)

    def count(self, resource: Resource, project: str) -> int:
        """How many live rows a project has, for quotas."""
        return reading.count(self._work, resource, project)

    def insert(self, resource: Resource, values: Row) -> Row:
        """Adds a row and returns it as `get` would, without facts. The id is made if absent."""
        return writing.add(self._work, resource, values)

    def update(self, resource: Resource, id: str, values: Row) -> Row:
        """Changes the given attributes, bumps `revision_number` and `updated_at`; returns the row as `get` would.

        Raises KeyError if it is not there.
        """
        return writing.change(self._work, resource, id, values)

    def remove(self, resource: Resource, id: str) -> None:
        """Removes a row at once. Raises `Conflict` while something live refers to it."""
        writing.remove(self._work, resource, id)

    def soft_delete(self, resource: Resource, id: str) -> bool:
        """Deletes a connection or service and stamps the tombstone; nothing else has to be touched or released.

        True: it is gone at once (no live node holds it). False: it reads PENDING_DELETE until its node confirms, or
        the node's lease ends. The last service of a router takes the gateway with it. Raises `Conflict` while the
        service has live connections.
        """
        return tombstones.soft_delete(self._work, resource, id)

    def is_present(self, resource: Resource, id: str) -> bool:
        """Whether `get` would find it, PENDING_DELETE included."""
        return reading.is_present(self._work, resource, id)

    def footing(self, values: Row, project: str | None = None) -> ConnectionReferences:
        """What a connection with these attributes stands on, as `get` would give it, in one statement; its router is
        locked."""
        return connection_references.read(self._work, values, project)

    # --- what depends on what -----------------------------------------------------------------------------------

    def connections_using(
        self,
        *,
        service: str | None = None,
        ike_policy: str | None = None,
        ipsec_policy: str | None = None,
        endpoint_group: str | None = None,
    ) -> list[str]:
        """Ids of the live connections that name any of these."""
        return dependencies.connections_using(
            self._work,
            vpnservice_id=service,
            ikepolicy_id=ike_policy,
            ipsecpolicy_id=ipsec_policy,
            local_ep_group_id=endpoint_group,
            peer_ep_group_id=endpoint_group,
        )

    def services_on(self, *, router: str | None = None, subnet: str | None = None) -> list[Row]:
        """Live services on this router and (if both are given) this subnet."""
        return dependencies.services_on(self._work, router, subnet)

    def endpoint_groups_with(self, subnet: str) -> list[Row]:
        """Endpoint groups of type subnet that hold this subnet."""
        return dependencies.endpoint_groups_with(self._work, subnet)

    def peers(self, gateway_router_id: str, project: str = "") -> tuple[list[Peer], int]:
        """With whom the live connections of one router are, no key is opened; and how many a project has in all."""
        return connection_state.peers(self._work, gateway_router_id, project)

    def siblings(self, gateway_router_id: str, ids: Iterable[str] | None = None) -> list[Connection]:
        """All live connections of one router (or of these `ids`), resolved as its node would see them, for the
        conflict rule."""
        return connection_state.siblings(self._work, gateway_router_id, ids)

    def affected_by(self, resource: Resource, id: str) -> tuple[list[str], list[str]]:
        """(connections, gateways) to `touch` when this object changes. Ask before a removal, after an update."""
        return dependencies.affected_by(self._work, resource, id)

    # --- inventory ----------------------------------------------------------------------------------------------

    def ports_of(self, router_id: str) -> list[Row]:
        """The ports of a router, the gateway port first."""
        return ports.ports_of(self._work, router_id)

    def add_port(self, values: Row) -> Row:
        """Adds a port and takes its addresses (`fixed_ips`). Raises `Conflict` if one is taken."""
        return writing.add(self._work, PORT, values)

    def remove_port(self, id: str) -> None:
        """Removes a port and frees its addresses."""
        writing.remove(self._work, PORT, id)

    def subnets_of(self, ids: Iterable[str], router_id: str) -> dict[str, tuple[str, bool]]:
        """Subnet -> its CIDR, and whether the router has a leg on it; those that are not there are absent."""
        return ports.subnets_of(self._work, ids, router_id)

    def used_addresses(self, subnet_id: str) -> set[str]:
        """Addresses of a subnet that ports have."""
        return ports.used_addresses(self._work, subnet_id)

    # --- revisions ----------------------------------------------------------------------------------------------

    def touch(self, *, connections: Iterable[str] = (), gateways: Iterable[str] = ()) -> None:
        """Says that the nodes of these live objects have to take them up anew (gateways by router id).

        Each node's revision goes up once per transaction. Unassigned gateways are stamped when they are assigned.
        """
        revisions.touch(self._work, connections, gateways)

    def ensure_gateway(self, router_id: str) -> None:
        """Makes sure that a router with a service has a gateway; call it after inserting the service.

        It goes to the live node with the fewest gateways; without one it waits for a node's hello.
        """
        assignment.ensure(self._work, router_id)

    def release_gateway(self, router_id: str) -> None:
        """Takes the gateway away once no live service is on the router; `soft_delete` does it by itself."""
        assignment.release(self._work, router_id)

    # --- nodes --------------------------------------------------------------------------------------------------

    def add_node(self, name: str, token_hash: str) -> Row:
        """A node that may say hello; `token_hash` is the SHA-256 hex digest of its token."""
        return reports.add(self._work, name, token_hash)

    def nodes(self) -> list[Row]:
        """Every node: id, name, revision, lease_until, backend, agent_version, charon_version, gateways (count)."""
        return reports.all(self._work)

    def node_by_token(self, token_hash: str) -> Row | None:
        """The node with this token."""
        return reports.by_token(self._work, token_hash)

    def hello(self, node_id: str, hello: Hello) -> int:
        """Takes down what the node says of itself, renews its lease, assigns waiting gateways; its revision."""
        return reports.hello(self._work, node_id, hello)

    def desired(self, node_id: str, since: int) -> Delta:
        """What the node has to take up after `since`; 0, unknown or newer than its revision: everything."""
        return delta.delta_since(self._work, node_id, since)

    def gateway_state(self, node_id: str, gateway_id: str) -> Delta | None:
        """One gateway and its connections; None if it is not this node's."""
        return delta.one_gateway(self._work, node_id, gateway_id)

    def report(self, node_id: str, report: Report) -> None:
        """Takes down what a node observed, renews its lease, lets go what it confirms as gone.

        Reports about what is not (or no longer) assigned to the node at that generation are dropped.
        """
        reports.report(self._work, node_id, report)

    # --- people -------------------------------------------------------------------------------------------------

    def add_project(self, name: str, id: str | None = None, description: str = "") -> Row:
        """Adds a project. Raises `Conflict` if the name is taken."""
        return identity_users.add_project(self._work, name, id, description)

    def projects(self) -> list[Row]:
        """All projects (id, name, description), by name."""
        return identity_users.projects(self._work)

    def project(self, id: str | None = None, name: str | None = None) -> Row | None:
        """One project, by id or name."""
        by, value = ("id", id) if id is not None else ("name", name or "")
        return next(iter(identity_users.projects(self._work, by, value)), None)

    def remove_project(self, id: str) -> None:
        """Removes a project with its users' roles in it; its objects stay."""
        identity_users.remove_project(self._work, id)

    def add_user(self, name: str, password_hash: str, project_id: str, roles: Iterable[str] = ("member",)) -> Row:
        """Adds a user with a default project and roles in it. Raises `Conflict` if the name is taken."""
        return identity_users.add_user(self._work, name, password_hash, project_id, roles)

    def users(self) -> list[Row]:
        """All users, as `user_by_name` gives them, by name."""
        return identity_users.users(self._work)

    def user_by_name(self, name: str) -> Row | None:
        """id, name, password_hash, project_id (default), project_name, roles (there), grants {project: roles}."""
        return next(iter(identity_users.users(self._work, "name", name)), None)

    def user(self, id: str) -> Row | None:
        """The same, by id."""
        return next(iter(identity_users.users(self._work, "id", id)), None)

    def set_password(self, user_id: str, password_hash: str) -> None:
        """Gives a user another password; tokens that were got by the one before end, static ones do not."""
        identity_users.set_password(self._work, user_id, password_hash)
        tokens.remove_issued(self._work, user_id)

    def set_roles(self, user_id: str, project_id: str, roles: Iterable[str]) -> None:
        """Makes these the user's roles in a project; none: takes them away."""
        identity_users.set_roles(self._work, user_id, project_id, roles)

    def remove_user(self, id: str) -> None:
        """Removes a user with roles, tokens and application credentials."""
        identity_users.remove_user(self._work, id)

    def add_token(
        self,
        token_hash: str,
        user_id: str,
        project_id: str | None,
        name: str = "",
        expires_at: float | None = None,
        *,
        methods: tuple[str, ...] = (),
        credential_id: str | None = None,
    ) -> Row:
        """A token of a user, known by its SHA-256 hex digest; without a project it says only who somebody is.

        `expires_at` is on the database's clock. `methods`: how it was got from the embedded Keystone; none: it is
        static. It ends with the application credential `credential_id`.
        """
        return tokens.add(
            self._work,
            token_hash,
            user_id,
            project_id,
            name=name,
            methods=methods,
            expires_at=expires_at,
            credential_id=credential_id,
        )

    def token(self, token_hash: str) -> Row | None:
        """id, user_id, user_name, project_id, project_name, roles, name, methods, issued_at, expires_at, credential
        (None, or id, name, roles, unrestricted); None if unknown or expired. One statement."""
        return tokens.find(self._work, token_hash)

    def static_tokens(self) -> list[Row]:
        """All static tokens, the expired ones too, by user and name; without roles."""
        return tokens.static(self._work)

    def remove_token(self, token_hash: str) -> None:
        """Ends a token."""
        tokens.remove(self._work, token_hash)

    def remove_static_token(self, id: str) -> bool:
        """Ends a static token; whether there was one."""
        return tokens.remove_static(self._work, id)

    def sweep_tokens(self) -> int:
        """Removes the expired tokens; how many."""
        return tokens.sweep(self._work)

    def add_credential(self, values: Row) -> Row:
        """An application credential: user_id, project_id, name, secret_hash, roles, and perhaps id, description,
        unrestricted, expires_at. Raises `Conflict` if the user has one of that name."""
        return credentials.add(self._work, values)

    def credentials(self, user_id: str) -> list[Row]:
        """The application credentials of a user, by name, with user_name and project_name."""
        return credentials.find(self._work, user_id=user_id)

    def credential(self, id: str) -> Row | None:
        """One application credential."""
        return next(iter(credentials.find(self._work, id=id)), None)

    def remove_credential(self, id: str) -> None:
        """Removes an application credential with the tokens that were got by it."""
        credentials.remove(self._work, id)

    # --- quotas -------------------------------------------------------------------------------------------------

    def claim(self, resource: Resource, project_id: str) -> int | None:
        """The project's own quota of a resource, None if it has none; and the only turn to count what it has, from
        now until this transaction ends. Everybody who makes such objects counts after making them."""
        return quotas.claim(self._work, resource, project_id)

    def quotas(self, project_id: str) -> dict[str, int]:
        """The project's own quotas, by resource name; what is absent has the default."""
        return quotas.of_project(self._work, project_id)

    def all_quotas(self) -> dict[str, dict[str, int]]:
        """The own quotas of every project that has any, by project, then by resource name."""
        return quotas.all_(self._work)

    def set_quotas(self, project_id: str, limits: dict[str, int]) -> None:
        """Sets these quotas (-1: unlimited), by resource name."""
        quotas.change(self._work, project_id, limits)

    def reset_quotas(self, project_id: str) -> bool:
        """Back to the defaults; whether there was anything to reset."""
        return quotas.reset(self._work, project_id)
