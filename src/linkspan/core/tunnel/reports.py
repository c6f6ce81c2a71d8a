"""The report of a tunnel for the API: its state, and the cause if it is not as desired."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.diagnosis.codes import NOTHING, Code, Details
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, pairs_of
from linkspan.core.state.observed import ConnectionReport
from linkspan.core.tunnel import flapping, key_rotation, peer_refusals, pfs_check
from linkspan.core.tunnel.traffic import Traffic
from linkspan.core.tunnel.tunnel import Previous, Tunnel, has_other_key, may_initiate, running_children

NAMED_PAIRS = 4
"""Missing pairs that a reason names."""

_OF_FLAPS: Final[frozenset[Code | None]] = frozenset(
    {"PEER_DELETED", "DPD_TIMEOUT", "HARD_EXPIRY", "NEGOTIATING", "WAITING_FOR_PEER", "UNKNOWN"}
)
"""The causes of a single time that flapping says more than."""

_set = msgspec.structs.replace


class StatedCause(NamedTuple):
    """A cause in one sentence, with its code; empty if there is none."""

    text: str = ""
    code: Code | None = None
    details: Details = NOTHING


def report(tunnel: Tunnel, generation: int) -> ConnectionReport | None:
    """The report for the API; None until the revision is applied, and while a takeover is under way."""
    plain = _report(tunnel, generation) if tunnel.applied and not _is_under_way(tunnel) else None
    if plain is None or plain.state not in ("up", "down"):
        return plain
    own = "" if tunnel.conflict.held else plain.reason
    notes = (_key_note(tunnel), _rotation_note(tunnel), _ppk_note(tunnel))
    parts = (own, tunnel.conflict.text, *notes, tunnel.connection.succession)
    code = plain.code
    if tunnel.conflict.held:
        code = "PREFIX_CONFLICT"
    elif not code and _key_note(tunnel):
        code = "KEY_OF_ANOTHER_CONNECTION"
    return _set(plain, reason="; ".join(text for text in parts if text), code=code)


def _is_under_way(tunnel: Tunnel) -> bool:
    """True for a successor that has come up and has not taken over yet: whoever reads that it is up deletes the
    connection that still goes on."""
    return tunnel.taking_over and bool(tunnel.up) and (not tunnel.missing or tunnel.partial_until is not None)


def _key_note(tunnel: Tunnel) -> str:
    """The sentence about a key that is in use instead of the connection's own; empty without one."""
    if not tunnel.connection.psk_from:
        return ""
    return (
        f"the psk of connection {tunnel.connection.psk_from}, which was changed later, is in use for both: "
        "change the psk of this connection too"
    )


def _rotation_note(tunnel: Tunnel) -> str:
    """The sentence about a key that is being changed; empty without one."""
    previous_up = has_other_key(tunnel) and bool(tunnel.previous and tunnel.previous.up)
    return key_rotation.note(tunnel.key_rotation, up=bool(running_children(tunnel)), previous_up=previous_up)


def _ppk_note(tunnel: Tunnel) -> str:
    """The sentence about a post-quantum key that is not in use; empty without one."""
    return "without a PPK: the peer has none" if tunnel.without_ppk and running_children(tunnel) else ""


def _report(tunnel: Tunnel, generation: int) -> ConnectionReport:
    connection = tunnel.connection
    base = ConnectionReport(connection.id, generation, connection.revision, "down")
    if tunnel.previous and tunnel.previous.up:
        if _differs_in_key_only(tunnel, tunnel.previous):
            admin = connection.admin_reason
            return _with(_set(base, state="up"), _disabled(admin) if admin else StatedCause())
        return _with(_set(base, state="up", revision=tunnel.previous.revision), _previous_in_use(tunnel))
    if tunnel.error:
        return _with(_set(base, state="error"), StatedCause(tunnel.error, tunnel.error_code))
    if not connection.enabled:
        return _with(_set(base, state="disabled"), _disabled(connection.admin_reason))
    if tunnel.config and tunnel.up:
        return _with(_set(base, state="up"), current(tunnel))
    # While the previous version may come back, its successor is not reported: the API takes no step back.
    revision = tunnel.previous.revision if tunnel.previous else connection.revision
    return _with(_set(base, revision=revision), current(tunnel))


def _differs_in_key_only(tunnel: Tunnel, previous: Previous) -> bool:
    """True if the previous version is what the user wants but for a key that is kept beside the new one."""
    is_kept = has_other_key(tunnel) and key_rotation.is_active(tunnel.key_rotation)
    return is_kept and tunnel.config is not None and ipsec_config.same_but_names(tunnel.config, previous.config)


def _with(report: ConnectionReport, reason: StatedCause) -> ConnectionReport:
    return _set(report, reason=reason.text, code=reason.code or "")


def _disabled(reason: str) -> StatedCause:
    return StatedCause(reason or causes.sentence("ADMIN_DISABLED"), "ADMIN_DISABLED")


def current(tunnel: Tunnel) -> StatedCause:
    """The cause that a tunnel, which is enabled and has no error, is not as desired."""
    if tunnel.config and tunnel.up:
        incomplete = _incomplete(tunnel, tunnel.config)
        admin = tunnel.connection.admin_reason
        if incomplete.text or admin:
            return incomplete if incomplete.text else _disabled(admin)
        if tunnel.traffic.one_way:
            return _one_way(tunnel.traffic)
        if flapping.is_flapping(tunnel.downs):
            return StatedCause(flapping.sentence(tunnel.downs, ""), "FLAPPING")
        return StatedCause()
    connection = tunnel.connection
    if connection.peer_address == connection.local_address:
        # charon talks to itself, and blames what it says.
        text = causes.sentence("PEER_ADDRESS_IS_OURS", peer=connection.peer_address)
        details = Details(ours=connection.local_address, peer=connection.peer_address)
        return StatedCause(text, "PEER_ADDRESS_IS_OURS", details)
    found = _cause(tunnel) if tunnel.reason or tunnel.failed_attempt else _waiting(tunnel)
    if flapping.is_flapping(tunnel.downs) and found.code in _OF_FLAPS:
        return StatedCause(flapping.sentence(tunnel.downs, tunnel.reason), "FLAPPING", found.details)
    return found


def _one_way(seen: Traffic) -> StatedCause:
    """The cause of a tunnel that carries packets in one direction only."""
    assert seen.one_way
    text = causes.sentence(seen.one_way, packets=f"{seen.packets} packets", time=f"{seen.seconds} s")
    return StatedCause(text, seen.one_way)


def _incomplete(tunnel: Tunnel, config: IkeConfig) -> StatedCause:
    """The reason of a tunnel that is up: missing pairs, or a peer that refuses pfs; empty without one."""
    found = StatedCause()
    if tunnel.missing:
        found = StatedCause(_missing(tunnel, len(pairs_of(config))), "SELECTORS_NARROWED")
    elif tunnel.pfs_check.refused:
        group = tunnel.connection.ipsec.pfs
        found = StatedCause(pfs_check.reason(group, may_initiate(tunnel)), "PFS_MISMATCH", Details(ours=group))
    cause = _cause(tunnel)
    return found._replace(text=f"{found.text}: {cause.text}") if found.text and cause.text else found


def _missing(tunnel: Tunnel, wanted: int) -> str:
    """The pairs that are not carried, a few of them by name."""
    names = [
        f"{missing.pair.local} - {missing.pair.remote}" + (f" (only {missing.part})" if missing.part else "")
        for missing in tunnel.missing[:NAMED_PAIRS]
    ]
    if len(tunnel.missing) > NAMED_PAIRS:
        names.append(f"{len(tunnel.missing) - NAMED_PAIRS} more")
    text = f"{wanted - len(tunnel.missing)} of {wanted} pairs of networks are up; missing: {', '.join(names)}"
    if tunnel.by_pairs and wanted > tunnel.max_children:
        text += f"; the peer takes one pair a child SA, and the node makes {tunnel.max_children} at most"
    return text


def _previous_in_use(tunnel: Tunnel) -> StatedCause:
    """The reason why the previous version is still in use."""
    old, new = tunnel.previous.revision if tunnel.previous else 0, tunnel.connection.revision
    cause = _cause(tunnel)
    if old == new:
        return cause
    if tunnel.error:
        text = f"revision {new} cannot be used: {tunnel.error}; revision {old} in use"
        return StatedCause(text, tunnel.error_code)
    if cause.text:
        return cause._replace(text=f"revision {new} refused by the peer: {cause.text}; revision {old} in use")
    return StatedCause(f"revision {new} waits for the peer; revision {old} in use", "EDIT_RENEGOTIATES")


def _cause(tunnel: Tunnel) -> StatedCause:
    """The reason with the peer's failed attempt, empty without both. The code is that of the surer one."""
    failed, own = tunnel.failed_attempt, StatedCause(tunnel.reason, tunnel.code, tunnel.details)
    if failed is None:
        return own
    text = peer_refusals.reason(failed, tunnel.reason)
    if own.code and CAUSES[own.code].confidence >= CAUSES[failed.code].confidence:
        return own._replace(text=text)
    return StatedCause(text, failed.code, failed.details)


def _waiting(tunnel: Tunnel) -> StatedCause:
    if tunnel.attempt_ends_at is not None:
        return StatedCause(causes.sentence("NEGOTIATING", peer=tunnel.connection.peer_address), "NEGOTIATING")
    if tunnel.connection.initiator == "response-only":
        return StatedCause(causes.sentence("WAITING_FOR_PEER"), "WAITING_FOR_PEER")
    return StatedCause("", "UNKNOWN" if tunnel.failures else "NEGOTIATING")
