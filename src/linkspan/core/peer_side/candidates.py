"""The connection of a configuration that is the other end of one of ours, and its pre-shared key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from linkspan.core.peer_side.parsers.reading import Candidate, Reading, StatedKey, Unreadable, shown
from linkspan.core.peer_side.peer_values import as_address, has_address, is_identity
from linkspan.core.peer_side.site_config import SiteConfig
from linkspan.core.state.desired import Connection

_NAMED: Final = 20
"""Names of connections in an error."""
_MIRRORED: Final = {
    "local_address": "remote_address",
    "remote_address": "local_address",
    "local_id": "remote_id",
    "remote_id": "local_id",
}


def chosen(reading: Reading, ours: Connection, name: str = "") -> Candidate:
    """The candidate with a name; without one the only one, or the only one for our address. Its local end is the
    peer's. Raises Unreadable, with the names that there are."""
    candidates = [candidate for candidate in reading.candidates if name in ("", candidate.name)]
    if not candidates:
        raise Unreadable(0, f"there is no connection '{shown(name)}': there are {_names(reading.candidates)}")
    oriented = [_oriented(candidate, ours) for candidate in candidates]
    if len(oriented) > 1:
        to_us = [candidate for candidate in oriented if _is_to(candidate.config, ours)]
        if len(to_us) != 1:
            raise Unreadable(0, f"there are several connections: name one of {_names(to_us or oriented)}")
        oriented = to_us
    return oriented[0]


def _names(candidates: Iterable[Candidate]) -> str:
    names = [shown(candidate.name) for candidate in candidates]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _is_to(config: SiteConfig, ours: Connection) -> bool:
    return bool(config.remote_address) and has_address(config.remote_address, ours.local_address) == "yes"


def _oriented(candidate: Candidate, ours: Connection) -> Candidate:
    """The candidate with the peer's end as the local one. Of left and right either may be."""
    if not candidate.either_end:
        return candidate
    config, turned = candidate.config, mirrored(candidate.config)
    if _score(turned, ours) > _score(config, ours):
        return msgspec.structs.replace(candidate, config=turned)
    return candidate


def _score(config: SiteConfig, ours: Connection) -> int:
    pairs = ((config.local_address, ours.peer_address), (config.remote_address, ours.local_address))
    return sum(bool(stated) and has_address(stated, address) == "yes" for stated, address in pairs)


def mirrored(config: SiteConfig) -> SiteConfig:
    """The same with local and remote end exchanged."""
    return msgspec.structs.replace(
        config,
        local_address=config.remote_address,
        remote_address=config.local_address,
        local_id=config.remote_id,
        remote_id=config.local_id,
        pairs=tuple((remote, local) for local, remote in config.pairs),
        lines={_MIRRORED.get(field, field): line for field, line in config.lines.items()},
    )


def own_identity(config: SiteConfig, ours: Connection) -> str:
    """The identity that the peer uses: its own, or its address; empty if only its certificate says."""
    if config.local_id or config.auth_mode == "certs":
        return config.local_id
    return config.local_address if as_address(config.local_address) else ours.peer_address


def our_identity(ours: Connection) -> str:
    """The identity that this end uses."""
    return ours.local_id or ours.local_address


def key_of(keys: Iterable[StatedKey], config: SiteConfig, ours: Connection) -> StatedKey | None:
    """The key that the peer uses with us, as charon finds it: that with the best match of our identity, then of its
    own; None if there is none for either of them."""
    theirs = [own_identity(config, ours), config.local_address]
    us = [our_identity(ours), ours.local_address]
    best, found = (0, 0), None
    for stated in keys:
        rank = (_rank(stated.owners, us), _rank(stated.owners, theirs))
        if rank > best:
            best, found = rank, stated
    return found


def _rank(owners: tuple[str, ...], names: list[str]) -> int:
    if not owners:
        return 1
    return 2 * any(name and is_identity(owner, name) for owner in owners for name in names)
