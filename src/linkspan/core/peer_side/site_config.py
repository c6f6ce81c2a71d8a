"""The configuration of one end of a tunnel, whatever device it is: what configurations are written from and read into.

Algorithms have the API's names (`core.ipsec.algorithms`), identities the API's text (`core.ipsec.identities`). What a
configuration does not state is None or empty.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from linkspan.core.secret import Secret


class Suite(msgspec.Struct, frozen=True):
    """One proposal. `integrity` is empty with an AEAD cipher, `encryption` with AH, `group` without a key exchange.

    In a proposal of IKE, `integrity` is the hash and the PRF at once.
    """

    encryption: str
    integrity: str
    group: str


class SiteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a tunnel, seen from this end: `local` is its own. Times in seconds, volumes in kilobytes.

    `versions`: those of IKE that it takes; the first one is what it initiates. `remote_address`: empty if any peer is
    taken. `ike`, `child`: its proposals in their order. `pairs`: local and remote network of each pair of selectors.
    `initiates`: whether it initiates by itself. `lines`: by field, the line of the file that states it, from 1.
    """

    name: str = ""
    versions: tuple[Literal["v1", "v2"], ...] = ()
    mode: Literal["main", "aggressive"] | None = None
    local_address: str = ""
    remote_address: str = ""
    local_id: str = ""
    remote_id: str = ""
    auth_mode: Literal["psk", "certs"] | None = None
    psk: Secret | None = None
    ike: tuple[Suite, ...] = ()
    ike_lifetime: int | None = None
    protocol: Literal["esp", "ah", "ah-esp"] | None = None
    encapsulation: Literal["tunnel", "transport"] | None = None
    child: tuple[Suite, ...] = ()
    child_lifetime: int | None = None
    child_kilobytes: int | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    dpd_action: Literal["hold", "clear", "restart", "disabled"] | None = None
    dpd_interval: int | None = None
    dpd_timeout: int | None = None
    initiates: bool | None = None
    mtu: int | None = None
    lines: dict[str, int] = {}
