"""From the core's configuration to the messages that VICI takes. Pure.

Whatever charon could do by itself is switched off here, since the agent decides: nothing starts, restarts or trapped
by charon, no scripts, no moving to other addresses, no uniqueness policy that ends a tunnel. `updown` is never sent.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.ipsec.config import ChildConfig, IkeConfig, SharedKey
from linkspan.drivers.ports import DriverError

_LONGEST: Final = 511
"""Characters of a text that charon keeps (strongswan: BUF_LEN)."""

ViciMessage = dict[str, Any]


def load_conn(config: IkeConfig) -> ViciMessage:
    """The message of `load-conn` (strongswan: src/libcharon/plugins/vici/README.md, swanctl.conf(5)).

    Raises DriverError if an identity is more than charon can take; so does `shared`.
    """
    section: ViciMessage = {
        "version": str(config.version),
        "local_addrs": [config.local_address],
        "remote_addrs": [config.remote_address],
        "proposals": list(config.proposals),
        "mobike": "no",
        "unique": "never",
        "keyingtries": "1",
        "reauth_time": "0",
        "rekey_time": str(config.rekey_time),
        "over_time": str(config.over_time),
        "rand_time": str(config.rand_time),
        "local": {"auth": config.auth, "id": _identity(config.local_id)},
        "remote": {"auth": config.auth, "id": _identity(config.remote_id)},
        "children": {child.name: _child(child) for child in config.children},
    }
    if config.aggressive:
        section["aggressive"] = "yes"
    if config.dpd_delay:
        section["dpd_delay"] = str(config.dpd_delay)
    if config.dpd_delay and config.dpd_timeout:
        section["dpd_timeout"] = str(config.dpd_timeout)
    return {config.name: section}


def load_shared(key: SharedKey) -> ViciMessage:
    """The message of `load-shared`: the only way by which a pre-shared key reaches charon."""
    return {
        "id": key.id,
        "type": "IKE",
        "data": key.key.reveal().encode(),
        "owners": [_identity(one) for one in key.owners],
    }


def _identity(text: str) -> str:
    """As it is, but a key id beyond ASCII as its bytes in hexadecimal digits, since VICI takes printable ASCII only."""
    kind, _, value = text.partition(":")
    if kind != "keyid" or value.isascii():
        return text
    digits = f"keyid:#{value.encode().hex()}"
    if len(digits) > _LONGEST:
        # charon would cut it off without a word (SAW), and two peers could look like one.
        raise DriverError("charon takes a key id beyond ASCII of at most 252 bytes: choose a shorter one")
    return digits


def _child(config: ChildConfig) -> ViciMessage:
    section: ViciMessage = {
        "local_ts": list(config.local_ts),
        "remote_ts": list(config.remote_ts),
        "mode": config.mode,
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "clear",
    }
    lists = {"esp_proposals": config.esp_proposals, "ah_proposals": config.ah_proposals}
    section |= {name: list(value) for name, value in lists.items() if value}
    # charon's default for what is left out: a limit one tenth above, and a random tenth less, of what is given.
    numbers = {
        "rekey_time": config.rekey_time,
        "life_time": config.life_time,
        "rekey_bytes": config.rekey_bytes,
        "life_bytes": config.life_bytes,
    }
    section |= {name: str(value) for name, value in numbers.items() if value}
    return section
