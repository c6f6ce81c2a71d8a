"""The names of one gateway's peers: queries the resolver, and replaces names by addresses in the desired connections.

The decisions are in `core.tunnel.peer_names`. Used only on the thread of the gateway's worker; the resolver's answers
arrive as messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection, Gateway
from linkspan.core.tunnel import peer_names
from linkspan.core.tunnel.peer_names import PeerName, Resolution
from linkspan.core.tunnel.tunnel import Tunnel, Tunnels
from linkspan.drivers.ports import LoadedConnection, Resolver


class _Addressed(msgspec.Struct, frozen=True):
    """A connection with an address for its peer's name, and what it was made from."""

    desired: Connection
    address: str
    own: tuple[str, ...]
    result: Connection


class PeerNames:
    """`deliver` takes the resolver's answers, on any thread; `clock` is the gateway's, in seconds."""

    def __init__(
        self, gateway_id: str, resolver: Resolver, deliver: Callable[[Resolution], None], clock: Callable[[], float]
    ) -> None:
        self._gateway_id = gateway_id
        self._resolver = resolver
        self._deliver = deliver
        self._clock = clock
        self._log = structlog.get_logger("agent.peer_names").bind(gateway=gateway_id)
        self._names: dict[str, PeerName] = {}
        self._users: dict[str, list[str]] = {}
        self._adopted: dict[str, str] = {}
        self._addressed: dict[str, _Addressed] = {}

    def adopt(self, loaded: Iterable[LoadedConnection]) -> None:
        """Use the addresses that a running charon is configured with, until the resolver answers otherwise."""
        for connection in loaded:
            for child in connection.children if connection.peer_address else ():
                self._adopted[ipsec_config.owner_of(child)] = connection.peer_address

    def replace_names(
        self, connections: Mapping[str, Connection], gateway: Gateway, tunnels: Tunnels
    ) -> dict[str, Connection]:
        """The desired connections, with an address wherever the peer's name has one.

        A call with the same objects returns the same objects. A tunnel whose edit names another peer stays
        as it is until the resolver has answered for that name.
        """
        own = gateway.outside.addresses
        users: dict[str, list[str]] = {}
        for id, connection in connections.items():
            if connection.enabled and (text := peer_names.peer_name_of(connection)):
                users.setdefault(text, []).append(id)
        self._names = {text: self._with_address(text, ids, own) for text, ids in users.items()}
        self._users = users
        return {id: self._replace_name(connection, own, tunnels.get(id)) for id, connection in connections.items()}

    def unresolved(self) -> dict[str, str]:
        """Why connections have no address for their peer's name, by the connections' uuids."""
        return {
            id: name.unresolved for text, name in self._names.items() if not name.address for id in self._users[text]
        }

    def accept(self, resolution: Resolution) -> bool:
        """Store an answer of the resolver. Returns whether it differs from the previous one."""
        before = self._names.get(resolution.name)
        if before is None:
            return False
        after = self._names[resolution.name] = peer_names.with_resolution(before, resolution)
        if resolution.error and before.error != resolution.error:
            self._log.warning("a peer's name cannot be resolved", name=resolution.name, error=resolution.error)
        return (before.answered, before.error, {*before.record}) != (after.answered, after.error, {*after.record})

    def next_query_at(self, tunnels: Tunnels) -> float | None:
        """The time of the next `query`, None if no connection has a name for its peer."""
        return min(
            (peer_names.next_query_at(name, self._all_up(text, tunnels)) for text, name in self._names.items()),
            default=None,
        )

    def query(self, tunnels: Tunnels) -> None:
        """Query the resolver for every name that is due."""
        now = self._clock()
        for text, name in list(self._names.items()):
            if peer_names.next_query_at(name, self._all_up(text, tunnels)) <= now:
                self._resolver.resolve(self._gateway_id, text, self._deliver)
                self._names[text] = peer_names.query_sent(name, now)

    def _all_up(self, text: str, tunnels: Tunnels) -> bool:
        return all(id in tunnels and tunnels[id].up for id in self._users[text])

    def _with_address(self, text: str, ids: Iterable[str], own: tuple[str, ...]) -> PeerName:
        known = self._names.get(text)
        if known is None:
            known = PeerName(text=text, address=next((self._adopted.pop(id) for id in ids if id in self._adopted), ""))
        name = peer_names.choose_address(known, own)
        if name.address != known.address:
            self._log.info("a peer's name has an address", name=text, address=name.address, before=known.address)
        return name

    def _replace_name(self, connection: Connection, own: tuple[str, ...], tunnel: Tunnel | None) -> Connection:
        name = self._names.get(peer_names.peer_name_of(connection)) if connection.enabled else None
        if name is None:
            return connection
        if not name.address:
            return tunnel.connection if tunnel and tunnel.config and not name.answered else connection
        known = self._addressed.get(connection.id)
        if known is None or known.desired is not connection or (known.address, known.own) != (name.address, own):
            result = peer_names.with_address(connection, name.address, own)
            known = self._addressed[connection.id] = _Addressed(connection, name.address, own, result)
        return known.result
