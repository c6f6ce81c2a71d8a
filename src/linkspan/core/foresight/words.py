"""Why a change has its effect on a connection, in sentences for its user."""

from __future__ import annotations

from typing import Final

from linkspan.core.state.desired import Connection
from linkspan.core.tunnel.tunnel import Tunnel, may_initiate

DELETED: Final = "it is deleted"
WAS_DOWN: Final = "it carries nothing now"
NO_NODE: Final = "no node has its gateway: it comes up once one does"
RECHECKED: Final = (
    "the revocation list has grown, so that the peer is authenticated anew: one whose certificate is revoked goes down"
)
UNCHANGED: Final = "its gateway has nothing to change"

_NAMES: Final[dict[str, str]] = {
    "enabled": "admin_state_up",
    "local_address": "the gateway's address",
    "local_cidrs": "the local networks",
    "peer_cidrs": "the peer's networks",
    "psk_ref": "psk",
}
"""Names of the API for what differs in the state of a connection."""
_WITHOUT: Final = frozenset(
    {"id", "revision", "name", "gateway_id", "service_id", "created_at", "psk", "psk_written_at", "psk_from"}
    | {"previous_psk", "superseded", "succession", "admin_reason", "peer_name", "fault", "ike", "ipsec"}
)
"""Fields of a connection that are no attributes of their own."""


def differences(old: Connection, new: Connection) -> tuple[str, ...]:
    """The names of what differs between two states of a connection, as its user knows them."""
    found = [
        _NAMES.get(name, name)
        for name in Connection.__struct_fields__
        if name not in _WITHOUT and _differ(old, new, name)
    ]
    for policy, title in (("ike", "ikepolicy"), ("ipsec", "ipsecpolicy")):
        before, after = getattr(old, policy), getattr(new, policy)
        fields = (name for name in before.__struct_fields__ if _differ(before, after, name))
        found += (f"{title} {name}" for name in fields)
    return tuple(found)


def _differ(old: object, new: object, name: str) -> bool:
    return bool(getattr(old, name) != getattr(new, name))


def absence(tunnel: Tunnel) -> str:
    """Why a connection will not be loaded."""
    connection = tunnel.connection
    reason = tunnel.error or tunnel.conflict.text or connection.fault or connection.admin_reason
    return reason or "its admin_state_up, or that of its service, is false"


def at_once(changed: tuple[str, ...]) -> str:
    """Why a change leaves the SAs of a connection alone."""
    return f"{_list(changed)} {_verb(changed)} in effect at once, and its SAs stay" if changed else UNCHANGED


def attempt(new: Tunnel, old: Tunnel | None) -> str:
    """How a connection comes up that is not up."""
    how = "its gateway initiates at once" if may_initiate(new) else "its gateway waits for the peer to initiate"
    if old is not None and old.connection.superseded:
        return f"nothing supersedes it any more: {how}"
    return how


def part_closed(old: Tunnel, new: Tunnel) -> str:
    """Why a part of the traffic of a connection that stays up will not pass; empty if all will."""
    reason = new.connection.admin_reason
    return "" if reason == old.connection.admin_reason else reason and f"for a part of its traffic: {reason}"


def replacement(old: Tunnel, new: Tunnel, changed: tuple[str, ...], ends_at: float | None) -> str:
    """Why a connection is replaced without a gap."""
    what = f"{_list(changed)} {_verb(changed)} negotiated anew" if changed else "it is negotiated anew"
    if old.connection.psk_ref != new.connection.psk_ref and new.key_rotation.previous:
        return f"{what}; the psk before goes on until the peer has the new one, and for the time of api.psk_grace"
    waits = "" if may_initiate(new) else ", once the peer initiates"
    if ends_at is not None:
        return (
            f"{what}{waits}; what is up ends {ends_at:.0f} s later at the latest, as it may not admit its peer any more"
        )
    return f"{what}{waits}, and what is up goes on until then"


def interruption(changed: tuple[str, ...], elsewhere: bool, waits: bool) -> str:
    """Why a connection is interrupted. `elsewhere`: by other addresses or identities; `waits`: for its peer."""
    what = _list(changed) or "another connection's psk, which it shares,"
    why = "its SAs are for other addresses or identities" if elsewhere else "its SAs are for another key"
    until = "until the peer, with the same change, initiates" if waits else "until the peer has the same change"
    return f"after a change of {what} {why}: nothing passes {until}"


def _list(changed: tuple[str, ...]) -> str:
    return ", ".join(changed)


def _verb(changed: tuple[str, ...]) -> str:
    return "is" if len(changed) == 1 else "are"
