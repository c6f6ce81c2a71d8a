"""VyOS (1.3 to 1.5): `vpn ipsec`, whose daemon is strongSwan. Its groups have defaults of their own.

In 1.3 the name of a peer is its address and has its key; since 1.4 a peer has `remote-address`, and keys are in
`authentication psk`, by identities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from linkspan.core.ipsec.algorithms import GROUPS
from linkspan.core.peer_side.parsers import command_tree, proposals, values
from linkspan.core.peer_side.parsers.command_tree import CommandNode
from linkspan.core.peer_side.parsers.reading import (
    MOST_CONNECTIONS,
    MOST_PAIRS,
    MOST_VALUES,
    Candidate,
    Reading,
    StatedKey,
    StatedValue,
    Unreadable,
    shown,
)
from linkspan.core.peer_side.site_config import SiteConfig, Suite
from linkspan.core.secret import Secret

_ACTIONS: Final[dict[str, Literal["hold", "clear", "restart"]]] = {
    "hold": "hold",
    "trap": "hold",
    "clear": "clear",
    "restart": "restart",
}
_CONNECTION_TYPES: Final = ("initiate", "respond", "none", "trap")
_PSK_MODES: Final = ("pre-shared-secret", "psk")


def read(text: str) -> Reading:
    """The peers of a configuration. Raises Unreadable."""
    ipsec = command_tree.parse(text).at("vpn", "ipsec")
    peers = ipsec.at("site-to-site", "peer").below
    if not peers:
        raise Unreadable(0, "there should be 'vpn ipsec site-to-site peer NAME …'")
    if len(peers) > MOST_CONNECTIONS:
        raise Unreadable(0, f"{MOST_CONNECTIONS} peers are read at most, this has {len(peers)}")
    candidates = tuple(Candidate(name=name, config=_peer(name, peer, ipsec)) for name, peer in peers.items())
    return Reading(format="vyos", candidates=candidates, keys=tuple(_keys(ipsec)))


def _keys(ipsec: CommandNode) -> Iterator[StatedKey]:
    """The keys of 1.4 and later. Those of 1.3 are with their peers."""
    for node in ipsec.at("authentication", "psk").below.values():
        secret = node.value("secret")
        if secret.line:
            owners = (values.charon_identity(owner.text) for owner in node.values("id"))
            is_base64 = node.value("secret-type").text == "base64"
            key = values.key(StatedValue(f"0s{secret.text}", secret.line)) if is_base64 else Secret(secret.text)
            yield StatedKey(tuple(filter(None, owners)), key, secret.line)


def _peer(name: str, peer: CommandNode, ipsec: CommandNode) -> SiteConfig:
    is_named = peer.has("remote-address")
    remote = peer.value("remote-address", default=name)
    ike = _group(ipsec, "ike-group", peer.value("ike-group"))
    tunnels = [node for node in peer.at("tunnel").below.values() if not node.has("disable")]
    esp_name = next((node.value("esp-group") for node in (*tunnels, peer.at("vti")) if node.has("esp-group")), None)
    esp = _group(ipsec, "esp-group", esp_name or peer.value("default-esp-group"))
    ike_suites = _ike(ike)
    key = peer.value("authentication", "pre-shared-secret")
    dpd = ike.at("dead-peer-detection")
    return SiteConfig(
        name=name,
        versions=_versions(ike.value("key-exchange"), is_named),
        mode="aggressive" if ike.value("mode").text == "aggressive" else "main",
        local_address=_address(peer.value("local-address")),
        remote_address=_address(remote),
        local_id=values.charon_identity((peer.value("authentication", "local-id")).text or _id(peer)),
        remote_id=values.charon_identity(
            peer.value("authentication", "remote-id").text or ("" if is_named else remote.text)
        ),
        auth_mode="psk" if _mode(peer) in _PSK_MODES else "certs",
        psk=Secret(key.text) if key.line else None,
        ike=ike_suites,
        ike_lifetime=values.number(ike.value("lifetime", default="28800")),
        protocol="esp",
        encapsulation="transport" if esp.value("mode").text == "transport" else "tunnel",
        child=_child(esp, ike_suites),
        child_lifetime=values.number(esp.value("lifetime", default="3600")),
        pairs=tuple(_pairs(peer, tunnels)),
        dpd_action=_dpd(dpd),
        dpd_interval=values.number(dpd.value("interval", default="30")) if dpd.line else None,
        initiates=_kind(peer, is_named) != "respond" and _kind(peer, is_named) != "none",
        lines=_lines(peer, ike, esp, key),
    )


def _id(peer: CommandNode) -> str:
    """The identity of 1.3, `authentication id`."""
    return peer.value("authentication", "id").text


def _mode(peer: CommandNode) -> str:
    return peer.value("authentication", "mode", default="pre-shared-secret").text


def _kind(peer: CommandNode, is_named: bool) -> str:
    default = "none" if is_named else "initiate"
    return values.chosen(peer.value("connection-type", default=default), _CONNECTION_TYPES)


def _group(ipsec: CommandNode, kind: str, name: StatedValue) -> CommandNode:
    node = ipsec.at(kind, name.text)
    if not node.line:
        raise Unreadable(name.line, f"there should be '{kind} {shown(name.text or 'NAME')}': paste that too")
    return node


def _versions(stated: StatedValue, is_named: bool) -> tuple[Literal["v1", "v2"], ...]:
    if not stated.line:
        # strongSwan's own default since 1.4; before that IKEv1.
        return ("v2", "v1") if is_named else ("v1",)
    return ("v1",) if values.chosen(stated, ("ikev1", "ikev2")) == "ikev1" else ("v2",)


def _address(value: StatedValue) -> str:
    return "" if value.text in ("", "any") or value.text.startswith("@") else values.addresses([value])


def _dpd(dpd: CommandNode) -> Literal["hold", "clear", "restart", "disabled"]:
    return _ACTIONS[values.chosen(dpd.value("action", default="clear"), _ACTIONS)] if dpd.line else "disabled"


def _ike(group: CommandNode) -> tuple[Suite, ...]:
    found: dict[Suite, None] = {}
    for node in _proposals(group):
        number = _dh_group(node.value("dh-group", default="2"))
        words = [node.value("encryption", default="aes128").text, node.value("hash", default="sha1").text, number]
        prf = node.value("prf").text
        found |= dict.fromkeys(proposals.of_words([*words, *([prf] if prf else [])], "ike", node.line))
    return tuple(found)


def _proposals(group: CommandNode) -> list[CommandNode]:
    nodes = list(group.at("proposal").below.values())
    if len(nodes) > MOST_VALUES:
        raise Unreadable(nodes[-1].line, f"a group has {MOST_VALUES} proposals at most")
    return nodes


def _dh_group(value: StatedValue) -> str:
    """strongSwan's keyword of a group, by its number."""
    number = value.text.removeprefix("dh-group")
    if number == "1":
        return "modp768"
    if f"group{number}" not in GROUPS:
        raise Unreadable(
            value.line, f"'{shown(value.text)}' should be the number of a Diffie-Hellman group, such as 14"
        )
    return GROUPS[f"group{number}"]


def _child(group: CommandNode, ike: tuple[Suite, ...]) -> tuple[Suite, ...]:
    """The suites of an ESP group. `pfs enable`, the default, takes the group of the IKE SA."""
    pfs = group.value("pfs", default="enable")
    if pfs.text == "enable":
        groups = [GROUPS.get(suite.group, suite.group) for suite in ike]
    else:
        groups = [] if pfs.text == "disable" else [_dh_group(pfs)]
    found: dict[Suite, None] = {}
    for node in _proposals(group):
        words = [node.value("encryption", default="aes128").text, node.value("hash", default="sha1").text, *groups]
        found |= dict.fromkeys(proposals.of_words(words, "esp", node.line))
    return tuple(found)


def _pairs(peer: CommandNode, tunnels: list[CommandNode]) -> list[tuple[str, str]]:
    if peer.has("vti"):
        return [("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0")]
    found: dict[tuple[str, str], None] = {}
    for node in tunnels:
        sides = [
            [values.network(value) for value in node.values(side, "prefix")] or [values.DYNAMIC]
            for side in ("local", "remote")
        ]
        found |= dict.fromkeys(values.products(*sides))
        if len(found) > MOST_PAIRS:
            raise Unreadable(node.line, f"a peer has {MOST_PAIRS} pairs of networks at most")
    return list(found)


def _lines(peer: CommandNode, ike: CommandNode, esp: CommandNode, key: StatedValue) -> dict[str, int]:
    places = {
        "versions": ike.at("key-exchange"),
        "mode": ike.at("mode"),
        "local_address": peer.at("local-address"),
        "remote_address": peer.at("remote-address") if peer.has("remote-address") else peer,
        "local_id": next((peer.at("authentication", name) for name in ("local-id", "id")), peer),
        "remote_id": peer.at("authentication", "remote-id"),
        "auth_mode": peer.at("authentication", "mode"),
        "ike": ike.at("proposal"),
        "ike_lifetime": ike.at("lifetime"),
        "encapsulation": esp.at("mode"),
        "child": esp.at("proposal"),
        "child_lifetime": esp.at("lifetime"),
        "pairs": peer.at("tunnel"),
        "dpd_action": ike.at("dead-peer-detection"),
        "initiates": peer.at("connection-type"),
    }
    found = {field: node.line for field, node in places.items() if node.line}
    return found | ({"psk": key.line} if key.line else {})
