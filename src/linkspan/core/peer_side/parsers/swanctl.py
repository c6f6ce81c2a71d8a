"""swanctl.conf (swanctl.conf(5)): connections, their children, and the keys of `secrets`.

A connection whose children differ in more than their networks is a candidate for each of them, `connection/child`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from linkspan.core.peer_side.parsers import proposals, settings_file, values
from linkspan.core.peer_side.parsers.reading import (
    MOST_CONNECTIONS,
    MOST_PAIRS,
    Candidate,
    Reading,
    StatedKey,
    StatedValue,
    Unreadable,
    shown,
)
from linkspan.core.peer_side.parsers.settings_file import Section
from linkspan.core.peer_side.site_config import SiteConfig, Suite

_REKEY: Final = "4h"
_CHILD_REKEY: Final = "1h"
_ACTIONS: Final[dict[str, Literal["hold", "clear", "restart"]]] = {
    "clear": "clear",
    "none": "clear",
    "trap": "hold",
    "hold": "hold",
    "restart": "restart",
    "start": "restart",
}
_MODES: Final = ("tunnel", "transport", "transport_proxy", "beet", "pass", "drop")


def read(text: str) -> Reading:
    """The connections of a file. Raises Unreadable."""
    root, ignored = settings_file.parse(text)
    connections = root.sections.get("connections", Section(0)).sections
    if not connections:
        raise Unreadable(0, "there should be a section 'connections { … }' with a connection in it")
    if len(connections) > MOST_CONNECTIONS:
        raise Unreadable(0, f"{MOST_CONNECTIONS} connections are read at most, this has {len(connections)}")
    candidates = [found for name, section in connections.items() for found in _connection(name, section)]
    keys = _keys(root.sections.get("secrets", Section(0)))
    return Reading(format="swanctl", candidates=tuple(candidates), keys=tuple(keys), ignored=tuple(ignored))


def _keys(secrets: Section) -> Iterator[StatedKey]:
    for name, section in secrets.sections.items():
        if name.startswith("ike") and "secret" in section.values:
            secret = section.values["secret"]
            owners = (value.text for key, value in section.values.items() if key.startswith("id"))
            yield StatedKey(tuple(filter(None, map(values.charon_identity, owners))), values.key(secret), secret.line)


def _connection(name: str, section: Section) -> Iterator[Candidate]:
    common, lines = _ike(section)
    children = section.sections.get("children", Section(section.line)).sections
    if not children:
        yield Candidate(name=name, config=SiteConfig(**common, name=name, lines=lines))
        return
    kinds: dict[bytes, list[tuple[str, dict[str, Any], dict[str, int]]]] = {}
    for child, inner in children.items():
        config, stated = _child(inner, section.get("dpd_delay", "0"))
        alike = msgspec.json.encode({key: value for key, value in config.items() if key != "pairs"})
        kinds.setdefault(alike, []).append((child, config, stated))
    for group in kinds.values():
        child, config, stated = group[0]
        pairs = dict.fromkeys(pair for _, other, _ in group for pair in other["pairs"])
        if len(pairs) > MOST_PAIRS:
            raise Unreadable(section.line, f"a connection has {MOST_PAIRS} pairs of networks at most")
        whole = name if len(kinds) == 1 else f"{name}/{child}"
        all_of_it = common | config | {"pairs": tuple(pairs)}
        yield Candidate(name=whole, config=SiteConfig(**all_of_it, name=whole, lines=lines | stated))


def _ike(section: Section) -> tuple[dict[str, Any], dict[str, int]]:
    """The fields of the IKE SA, and their lines."""
    local, remote = _end(section, "local"), _end(section, "remote")
    version = values.chosen(section.get("version", "0"), ("0", "1", "2"))
    rekey = values.seconds(section.get("rekey_time", "0" if "reauth_time" in section.values else _REKEY))
    longest = max(rekey, values.seconds(section.get("reauth_time", "0")))
    over = values.seconds(section.values["over_time"]) if "over_time" in section.values else longest // 10
    fields: dict[str, Any] = {
        "versions": {"0": ("v2", "v1"), "1": ("v1",), "2": ("v2",)}[version],
        "mode": "aggressive" if values.truth(section.get("aggressive", "no")) else "main",
        "local_address": values.addresses(values.listed(section.get("local_addrs"))),
        "remote_address": values.addresses(values.listed(section.get("remote_addrs"))),
        "local_id": values.charon_identity(local.get("id").text),
        "remote_id": values.charon_identity(remote.get("id").text),
        "auth_mode": _authentication(local.get("auth", "pubkey"), remote.get("auth", "pubkey")),
        "ike": proposals.suites(section.get("proposals", "default"), "ike"),
        "ike_lifetime": longest + over if longest else None,
        "dpd_interval": values.seconds(section.get("dpd_delay", "0")),
        "dpd_timeout": values.seconds(section.values["dpd_timeout"]) if "dpd_timeout" in section.values else None,
    }
    lines = _lines(
        section,
        versions=("version",),
        mode=("aggressive",),
        local_address=("local_addrs",),
        remote_address=("remote_addrs",),
        ike=("proposals",),
        ike_lifetime=("rekey_time", "reauth_time", "over_time"),
        dpd_interval=("dpd_delay",),
        dpd_timeout=("dpd_timeout",),
    )
    lines |= _lines(local, local_id=("id",), auth_mode=("auth",)) | _lines(remote, remote_id=("id",))
    return fields, lines


def _end(section: Section, side: str) -> Section:
    """The first round of authentication of a side."""
    names = sorted(name for name in section.sections if name == side or name.startswith((f"{side}-", f"{side}_")))
    return section.sections[names[0]] if names else Section(section.line)


def _authentication(*methods: StatedValue) -> Literal["psk", "certs"]:
    words = [method.text.strip().lower().partition(":")[0] for method in methods]
    for method, word in zip(methods, words, strict=True):
        if not word.startswith(("psk", "pubkey", "rsa", "ecdsa", "bliss", "ed25519", "ed448", "any", "eap", "xauth")):
            raise Unreadable(method.line, f"'{shown(method.text)}' should be psk or pubkey")
    return "psk" if words == ["psk", "psk"] else "certs"


def _child(section: Section, dpd_delay: StatedValue) -> tuple[dict[str, Any], dict[str, int]]:
    """The fields of a child, and their lines."""
    mode = values.chosen(section.get("mode", "tunnel"), _MODES)
    rekey = values.seconds(section.get("rekey_time", _CHILD_REKEY))
    life = values.seconds(section.values["life_time"]) if "life_time" in section.values else rekey + rekey // 10
    life_bytes = _volume(section)
    action = values.chosen(section.get("dpd_action", "clear"), _ACTIONS)
    start = values.listed(section.get("start_action", "none"), "|")
    protocol, suites = _protocol(section)
    fields: dict[str, Any] = {
        "protocol": protocol,
        "encapsulation": "transport" if mode.startswith("transport") else "tunnel",
        "child": suites,
        "child_lifetime": life or None,
        "child_kilobytes": life_bytes // 1024 if life_bytes else None,
        "pairs": tuple(_pairs(section)),
        "dpd_action": _ACTIONS[action] if values.seconds(dpd_delay) else "disabled",
        "initiates": any(word.text.lower() in ("start", "trap", "hold", "route") for word in start),
    }
    lines = _lines(
        section,
        protocol=("ah_proposals", "esp_proposals"),
        encapsulation=("mode",),
        child=("esp_proposals", "ah_proposals"),
        child_lifetime=("life_time", "rekey_time"),
        child_kilobytes=("life_bytes", "rekey_bytes"),
        pairs=("local_ts", "remote_ts"),
        dpd_action=("dpd_action",),
        initiates=("start_action",),
    )
    return fields, lines


def _volume(section: Section) -> int:
    """The bytes after which a child ends, 0 for no limit."""
    rekey = values.volume(section.get("rekey_bytes", "0"))
    return values.volume(section.values["life_bytes"]) if "life_bytes" in section.values else rekey + rekey // 10


def _protocol(section: Section) -> tuple[Literal["esp", "ah"], tuple[Suite, ...]]:
    """AH if only that has proposals: charon offers both otherwise, ESP first."""
    if "ah_proposals" in section.values and not section.get("esp_proposals").text:
        return "ah", proposals.suites(section.values["ah_proposals"], "ah")
    return "esp", proposals.suites(section.get("esp_proposals", "default"), "esp")


def _pairs(section: Section) -> Iterator[tuple[str, str]]:
    """Every local network with every remote one of the same version of IP."""
    sides = [
        [values.network(value) for value in values.listed(section.get(key, values.DYNAMIC))]
        for key in ("local_ts", "remote_ts")
    ]
    return values.products(*sides)


def _lines(section: Section, **keys: tuple[str, ...]) -> dict[str, int]:
    """The line of each field that a key states: of the first such key."""
    stated = {field: next((key for key in names if key in section.values), "") for field, names in keys.items()}
    return {field: section.values[key].line for field, key in stated.items() if key}
