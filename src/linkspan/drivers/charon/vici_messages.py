"""Translates the core's configuration into VICI messages. Pure.

The agent decides, so charon's own actions are disabled: no start, close or trap action, no MOBIKE, no uniqueness
policy that would delete a tunnel, no `updown` script. `unique` is `no` and not `never`, with which charon would neither
send nor obey INITIAL_CONTACT (RFC 7296 2.4): an end that has lost its IKE SAs would leave them at the other one.
"""

from __future__ import annotations

from typing import Final

from linkspan.core.ipsec.config import ChildConfig, IkeConfig, SharedKey
from linkspan.drivers.charon.vici_packets import ViciMessage

PROBE: Final = "probe"
"""The name of the connection, and of its child, that shows which versions of IKE charon has."""


def load_conn(config: IkeConfig) -> ViciMessage:
    """Return the message of `load-conn` (strongSwan: src/libcharon/plugins/vici/README.md, swanctl.conf(5))."""
    section: ViciMessage = {
        "version": str(config.version),
        "local_addrs": [config.local_address],
        "remote_addrs": [config.remote_address],
        "proposals": list(config.proposals),
        "mobike": "no",
        "unique": "no",
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


def load_probe(version: int) -> ViciMessage:
    """Return the message of `load-conn` for a connection that can only be initiated, to nobody."""
    ends = {"local_addrs": ["127.0.0.1"], "remote_addrs": ["127.0.0.1"]}
    return {
        PROBE: {
            "version": str(version),
            **ends,
            "local": {"auth": "psk"},
            "remote": {"auth": "psk"},
            "children": {PROBE: {}},
        }
    }


def load_shared(key: SharedKey) -> ViciMessage:
    """Return the message of `load-shared`, the only way in which a pre-shared key reaches charon."""
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
    return f"keyid:#{value.encode().hex()}"


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
