"""Translates the core's configuration into VICI messages. Pure.

The agent decides, so charon's own actions are disabled: no start, close or trap action, no MOBIKE, no uniqueness
policy that would delete a tunnel, no `updown` script.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.ipsec.config import ChildConfig, IkeConfig, SharedKey
from linkspan.drivers.ports import DriverError

_MAX_LENGTH: Final = 511
"""Characters of a string that charon keeps (strongSwan: BUF_LEN)."""

ViciMessage = dict[str, Any]


def load_conn(config: IkeConfig) -> ViciMessage:
    """Return the message of `load-conn` (strongSwan: src/libcharon/plugins/vici/README.md, swanctl.conf(5)).

    Raises DriverError if an identity is longer than charon supports.
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
    """Return the message of `load-shared`, the only way in which a pre-shared key reaches charon.

    Raises DriverError if an identity is longer than charon supports.
    """
    return {
        "id": key.id,
        "type": "IKE",
        "data": key.key.reveal().encode(),
        "owners": [_identity(owner) for owner in key.owners],
    }


def _identity(text: str) -> str:
    """Return the identity as given, but a non-ASCII key id in hexadecimal, since VICI strings are printable ASCII."""
    kind, _, value = text.partition(":")
    if kind != "keyid" or value.isascii():
        return text
    digits = f"keyid:#{value.encode().hex()}"
    if len(digits) > _MAX_LENGTH:
        # charon would truncate it silently, and two identities could become equal.
        raise DriverError("charon supports a non-ASCII key id of at most 252 bytes: choose a shorter one")
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
    # For times and volumes left out, charon's defaults are relative: the hard limit 10 % above the rekey time, and up
    # to 10 % of random time.
    numbers = {
        "rekey_time": config.rekey_time,
        "life_time": config.life_time,
        "rekey_bytes": config.rekey_bytes,
        "life_bytes": config.life_bytes,
    }
    section |= {name: str(value) for name, value in numbers.items() if value}
    return section
