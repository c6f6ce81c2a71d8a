"""The names of one gateway's peers: asks for them, and puts addresses in their place in what is desired.

It belongs to the gateway's worker, which alone calls it; answers come in as messages. What to make of them is decided
in `core.tunnel.peer_names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection, Gateway
from linkspan.core.tunnel import peer_names
from linkspan.core.tunnel.peer_names import PeerName, Resolution
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import Resolver

Tunnels = Mapping[str, Tunnel]


class PeerNames:
    """`deliver` gets the answers, from any thread; `clock` is the gateway's, in seconds."""

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
        self._held: dict[str, str] = {}
        self._placed: dict[str, tuple[Connection, str, tuple[str, ...], Connection]] = {}

    def adopt(self, loaded: Mapping[str, Iterable[str]], remotes: Mapping[str, str]) -> None:
        """charon runs already and was told these addresses: they are good until a name server says otherwise."""
        for ike_name, children in loaded.items():
            for child in children if ike_name in remotes else ():
                self._held[ipsec_config.owner_of(child)] = remotes[ike_name]

    def place(self, connections: Mapping[str, Connection], gateway: Gateway, lives: Tunnels) -> dict[str, Connection]:
        """What is desired, with an address wherever a peer's name has one. The same in, the same objects out.

        A connection that runs waits with an edit that names another peer until something is known of that name.
        """
        own = gateway.outside.addresses
        users: dict[str, list[str]] = {}
        for id, connection in connections.items():
            if connection.enabled and (text := peer_names.peer_name_of(connection)):
                users.setdefault(text, []).append(id)
        self._names = {text: self._name(text, ids, own) for text, ids in users.items()}
        self._users = users
        return {id: self._one(connection, own, lives.get(id)) for id, connection in connections.items()}

    def unresolved(self) -> dict[str, str]:
        """Connections that have no address for their peer, and why."""
        return {
            id: name.unresolved for text, name in self._names.items() if not name.address for id in self._users[text]
        }

    def hear(self, answer: Resolution) -> bool:
        """Take an answer; whether it is news."""
        before = self._names.get(answer.name)
        if before is None:
            return False
        after = self._names[answer.name] = peer_names.with_resolution(before, answer)
        if answer.error and before.error != answer.error:
            self._log.warning("a peer's name cannot be resolved", name=answer.name, error=answer.error)
        return (before.answered, before.error, {*before.found}) != (after.answered, after.error, {*after.found})

    def due_at(self, lives: Tunnels) -> float | None:
        """When the next name is to be asked for."""
        return min(
            (peer_names.next_query_at(name, self._calm(text, lives)) for text, name in self._names.items()),
            default=None,
        )

    def ask(self, lives: Tunnels) -> None:
        """Ask for every name whose time has come."""
        now = self._clock()
        for text, name in list(self._names.items()):
            if peer_names.next_query_at(name, self._calm(text, lives)) <= now:
                self._resolver.resolve(self._gateway_id, text, self._deliver)
                self._names[text] = peer_names.query_sent(name, now)

    def _calm(self, text: str, lives: Tunnels) -> bool:
        return all(id in lives and lives[id].up for id in self._users[text])

    def _name(self, text: str, ids: Iterable[str], own: tuple[str, ...]) -> PeerName:
        known = self._names.get(text)
        if known is None:
            known = PeerName(text=text, address=next((self._held.pop(id) for id in ids if id in self._held), ""))
        name = peer_names.choose_address(known, own)
        if name.address != known.address:
            self._log.info("a peer's name has an address", name=text, address=name.address, before=known.address)
        return name

    def _one(self, connection: Connection, own: tuple[str, ...], life: Tunnel | None) -> Connection:
        name = self._names.get(peer_names.peer_name_of(connection)) if connection.enabled else None
        if name is None:
            return connection
        if not name.address:
            return life.connection if life and life.config and not name.answered else connection
        made = self._placed.get(connection.id)
        if made is None or made[0] is not connection or made[1:3] != (name.address, own):
            made = (connection, name.address, own, peer_names.with_address(connection, name.address, own))
            self._placed[connection.id] = made
        return made[3]
