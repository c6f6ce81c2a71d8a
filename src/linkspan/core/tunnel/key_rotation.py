"""The rotation of a pre-shared key: which of two keys is loaded while the peer may have either. Pure.

charon takes one key for two identities. So exactly one of the two is loaded, the new one first, and an end changes to
the other after an authentication that has failed: the end that initiated at once, the responder after two attempts of
its peer in a row. If both changed at the same failure, they would never have the same key.

What the previous key has authenticated goes on beside the new version, and while it does, an attempt that fails changes
nothing: the end that initiated goes on trying the new key. The rotation is over once the new key has authenticated the
peer, which then has it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.core.diagnosis.codes import Code

LATE: Final = 0.5
"""Seconds after the change to another key in which failures of the peer's attempts do not count: they have met the one
before."""
AGAIN: Final = 15.0
"""Seconds after which an end that may initiate tries the new key again, while the tunnel is up by the previous one."""
TOLERATED: Final = 1
"""Attempts of the peer in a row that may fail before a responder changes to the other key."""
OF_KEYS: Final[frozenset[Code]] = frozenset(
    {"AUTHENTICATION_REFUSED", "PSK_MISMATCH", "PSK_MISSING", "PSK_MISSING_AT_PEER"}
)
"""The codes of failures that another key may explain."""
PREVIOUS_IN_USE: Final = (
    "the previous psk is in use until the peer has the new one, and for the time of api.psk_grace: "
    "change it on the other side too"
)
_SILENT: Final[frozenset[Code | None]] = frozenset({None, "PEER_NO_REPLY", "ENCRYPTED_UNANSWERED"})
"""What an initiator knows of a failure in main mode, where what another key has encrypted is not answered."""

_set = msgspec.structs.replace


class KeyRotation(msgspec.Struct, frozen=True):
    """The keys that a connection may use, by their names. An empty `previous`: no key is being rotated. `is_over`: the
    previous one is not used any more.

    `uses_previous`: it is the one that is loaded. `refused`: attempts of the peer that failed since the last success or
    change, by the unique ids of their IKE SAs. `failed`: the newest one of this end that did; `has_failed`: it is the
    one in progress. `is_due`: the other key has to be loaded. `is_owed`: it has to be once nothing runs any more that
    an earlier authentication has made, since the loaded one has failed meanwhile. `has_turned`: it was loaded, since
    the last success.
    `counts_from`: when the next failure of the peer counts; `new_at`: when the new key is tried beside what the
    previous one has authenticated. Both in seconds on a monotonic clock.
    """

    current: str = ""
    previous: str = ""
    is_over: bool = False
    uses_previous: bool = False
    refused: frozenset[int] = frozenset()
    failed: int = 0
    has_failed: bool = False
    is_due: bool = False
    is_owed: bool = False
    has_turned: bool = False
    counts_from: float = 0.0
    new_at: float | None = None


def same_keys(one: KeyRotation, other: KeyRotation) -> bool:
    """True if two connections, or two states of one, have the same keys."""
    return (one.current, one.previous) == (other.current, other.previous)


def is_active(rotation: KeyRotation) -> bool:
    """True while the peer may have either key."""
    return bool(rotation.previous) and not rotation.is_over


def accepts(rotation: KeyRotation, key: str) -> bool:
    """True if what a key has authenticated may go on."""
    return bool(key) and (key == rotation.current or (is_active(rotation) and key == rotation.previous))


def goes_on(before: KeyRotation, after: KeyRotation, key: str) -> bool:
    """True if what a key has authenticated may go on, for a while at least, under new keys.

    Another key of the user's ends the earlier one, unless it is kept beside. The end of a rotation is none.
    """
    return accepts(after, key) or (accepts(before, key) and before.current == after.current)


def turned(rotation: KeyRotation) -> KeyRotation:
    """The rotation after the change to the other key."""
    turned = KeyRotation(rotation.current, rotation.previous, failed=rotation.failed, has_turned=True)
    return _set(turned, uses_previous=not rotation.uses_previous)


def settled(rotation: KeyRotation) -> KeyRotation:
    """The rotation after a success of the loaded key."""
    fresh = KeyRotation(rotation.current, rotation.previous, is_due=rotation.is_due and rotation.uses_previous)
    is_over = bool(rotation.previous) and not rotation.uses_previous
    return _set(fresh, uses_previous=rotation.uses_previous, is_over=is_over)


def key_loaded(rotation: KeyRotation, now: float) -> KeyRotation:
    """The rotation once charon has the key."""
    return _set(rotation, counts_from=now + LATE) if rotation.has_turned else rotation


def own_attempt_begins(rotation: KeyRotation) -> KeyRotation:
    """The rotation when this end initiates."""
    return _set(rotation, has_failed=False) if rotation.has_failed else rotation


def own_attempt_refused(rotation: KeyRotation, attempt: int) -> KeyRotation:
    """The rotation after an authentication that this end has initiated and the other key may explain. charon may say
    so more than once, and late."""
    if attempt and attempt == rotation.failed:
        return rotation
    return _set(rotation, failed=attempt, has_failed=True)


def own_attempt_over(rotation: KeyRotation, *, in_main_mode: bool, code: Code | None, is_alone: bool) -> KeyRotation:
    """The rotation after an attempt of this end that has failed. `code`: of its cause; `is_alone`: nothing runs that an
    earlier authentication has made."""
    is_of_key = is_active(rotation) and (rotation.has_failed or (in_main_mode and code in _SILENT))
    is_due = rotation.is_due or (is_of_key and is_alone)
    return _set(rotation, has_failed=False, is_due=is_due, is_owed=is_of_key and not is_alone)


def alone(rotation: KeyRotation) -> KeyRotation:
    """The rotation once nothing runs any more that an earlier authentication has made."""
    return _set(rotation, is_due=True, is_owed=False) if rotation.is_owed else rotation


def peers_attempt_refused(rotation: KeyRotation, attempt: int, now: float) -> KeyRotation:
    """The rotation after an attempt of the peer that the other key may explain. `attempt`: the unique id of its IKE
    SA."""
    if not is_active(rotation) or now < rotation.counts_from:
        return rotation
    refused = rotation.refused | {attempt}
    return _set(rotation, refused=refused, is_due=rotation.is_due or len(refused) > TOLERATED)


def while_up(rotation: KeyRotation, now: float, *, may_initiate: bool) -> KeyRotation:
    """The rotation while what the loaded key has authenticated is up: the previous key is not used for longer than it
    has to be, and its end finds the tunnel with the new one."""
    if not rotation.uses_previous or not may_initiate:
        return _set(rotation, new_at=None)
    if rotation.new_at is None:
        return _set(rotation, new_at=now + AGAIN)
    return _set(rotation, is_due=rotation.is_due or rotation.new_at <= now)


def note(rotation: KeyRotation, *, up: bool, previous_up: bool) -> str:
    """The sentence about a rotation; empty without one, or if the peer has the new key.

    `up`: what the loaded key has authenticated runs. `previous_up`: what the previous one has authenticated does.
    """
    if not is_active(rotation):
        return ""
    if previous_up or (up and rotation.uses_previous):
        return PREVIOUS_IN_USE
    return "" if up else "the psk was changed: the new and the previous one are tried in turn"
