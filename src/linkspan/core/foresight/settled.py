"""The tunnels of a gateway in the state that they settle in, computed from the desired state alone. Pure.

The API knows which connections are up, but neither the SAs nor the timers of a gateway. So a change is foretold as one
of a gateway that has done everything that it was told before.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping

import msgspec

from linkspan.core.foresight.effects import GatewayState, Running
from linkspan.core.state import admin_state
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import peer_names, reconcile
from linkspan.core.tunnel.reconcile import LoadedChildren, Plan
from linkspan.core.tunnel.takeover import Seen
from linkspan.core.tunnel.tunnel import Tunnel

_set = msgspec.structs.replace


def effective(state: GatewayState) -> dict[str, Connection]:
    """The connections as the gateway's admin states let them be, with addresses in place of their peers' names."""
    connections: Mapping[str, Connection] = state.connections
    if state.gateway is not None:
        connections = admin_state.effective(connections, state.gateway, {})
    return {id: _with_address(connection) for id, connection in connections.items()}


def settled(state: GatewayState, running: Running) -> tuple[dict[str, Tunnel], Plan]:
    """The tunnels of a gateway, those of `running.up` with all of their children; and the plan that has led there."""
    plan = reconcile.reconcile({}, effective(state), (), {}, running.backend, running.capabilities)
    return {id: _settled(tunnel, id in running.up) for id, tunnel in plan.tunnels.items()}, plan


def after(
    state: GatewayState, gone: frozenset[str], before: Mapping[str, Tunnel], plan: Plan, running: Running
) -> Plan:
    """The plan of a gateway when its desired state changes. `before`, `plan`: as `settled` returns them; `gone`: uuids
    of the connections that it loses."""
    seen = Seen(configs={config.name: config for config in plan.wanted})
    node = running.backend, running.capabilities
    return reconcile.reconcile(before, effective(state), gone, _loaded(plan), *node, seen=seen)


def _settled(tunnel: Tunnel, is_up: bool) -> Tunnel:
    if tunnel.config is None or not is_up:
        return _set(tunnel, applied=True)
    return _set(tunnel, applied=True, up=frozenset(child.name for child in tunnel.config.children))


def _loaded(plan: Plan) -> LoadedChildren:
    return {config.name: frozenset(child.name for child in config.children) for config in plan.wanted}


def _with_address(connection: Connection) -> Connection:
    """The connection with an address that stands for its peer's name, which only its node can resolve."""
    name = peer_names.peer_name_of(connection)
    if not name:
        return connection
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16])
    # Addresses that no peer can have (RFC 1112, section 4; RFC 6666).
    v6 = ipaddress.IPv6Address((0x100 << 112) | (digest & ((1 << 64) - 1)))
    v4 = ipaddress.IPv4Address((0xF0 << 24) | (digest & 0xFFFFFF))
    address = v6 if ":" in connection.local_address else v4
    return _set(connection, peer_address=str(address), peer_name=connection.peer_address)
