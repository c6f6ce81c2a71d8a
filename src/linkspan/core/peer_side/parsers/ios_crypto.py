"""IKE and IPsec of Cisco IOS-XE: proposals, policies, profiles, keyrings and transform sets, with their defaults."""

from __future__ import annotations

import functools
import ipaddress
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from linkspan.core.addresses import Network
from linkspan.core.ipsec.algorithms import GROUPS
from linkspan.core.peer_side.parsers import proposals
from linkspan.core.peer_side.parsers.ios_lines import Command, CommandBlock
from linkspan.core.peer_side.parsers.reading import MOST_CONNECTIONS, MOST_VALUES, Unreadable, shown
from linkspan.core.peer_side.site_config import Suite
from linkspan.core.secret import Secret

Fields = tuple[dict[str, Any], dict[str, int]]
_CIPHERS: Final[Mapping[str, str]] = {
    "3des": "3des",
    "des": "des",
    **{f"aes-cbc-{bits}": f"aes-{bits}" for bits in (128, 192, 256)},
    **{f"aes-gcm-{bits}": f"aes-{bits}-gcm-16" for bits in (128, 192, 256)},
}
_HASHES: Final[Mapping[str, str]] = {"sha": "sha1", "sha1": "sha1", "md5": "md5"} | {
    name: name for name in ("sha256", "sha384", "sha512")
}
_ESP_HASHES: Final[Mapping[str, str]] = {f"{name}-hmac": hash_ for name, hash_ in _HASHES.items()}
_DEFAULT_IKEV2: Final = (("aes-256",), ("sha512", "sha384"), ("group19", "group14", "group21", "group5"))
_DAY: Final = 86_400
_HOUR: Final = 3600
_KILOBYTES: Final = 4_608_000
_START: Final = 5
"""Words at the start of a command by which blocks are found."""


class _Key(NamedTuple):
    """A key for the addresses of a network."""

    network: Network
    key: Secret
    line: int


class IosDevice:
    """A configuration's blocks, and those of interfaces and access lists by name, in lower case.

    What all connections share is read once: `keys` of ISAKMP, and keyrings in `ring`.
    """

    def __init__(self, blocks: Sequence[CommandBlock]) -> None:
        self.blocks = blocks
        self.interfaces: dict[str, CommandBlock] = {}
        self.access_lists: dict[str, list[Command]] = {}
        self.on_interfaces: dict[str, CommandBlock] = {}
        self._by_start: dict[tuple[str, ...], list[CommandBlock]] = {}
        self._rings: dict[str, list[_Key]] = {}
        for block in blocks:
            for count in range(1, min(len(block.head.words), _START) + 1):
                self._by_start.setdefault(block.head.words[:count], []).append(block)
            match block.head.words:
                case ("interface", *name):
                    self.interfaces["".join(name)] = block
                    if used := block.find("crypto", "map"):
                        self.on_interfaces.setdefault(" ".join(used[1][:1]), block)
                case ("ip", "access-list", "extended", name):
                    self.access_lists.setdefault(name, []).extend(block.inner)
                case ("ipv6", "access-list", name):
                    self.access_lists.setdefault(name, []).extend(block.inner)
                case ("access-list", name, *_):
                    self.access_lists.setdefault(name, []).append(block.head)

    def block(self, *head: str, line: int) -> CommandBlock:
        """The block with this head. Raises Unreadable if it is missing."""
        found = self._by_start.get(head)
        if not found:
            raise Unreadable(line, f"there should be '{shown(' '.join(head))}': paste that too")
        return found[0]

    def all(self, *start: str) -> list[CommandBlock]:
        """The blocks whose heads begin with these words, at most five. Raises Unreadable for too many."""
        found = self._by_start.get(start, [])
        if len(found) > MOST_CONNECTIONS:
            line = found[-1].head.line
            raise Unreadable(line, f"{MOST_CONNECTIONS} of '{' '.join(start)}' are read at most")
        return found

    def ring(self, name: str, command: Command) -> list[_Key]:
        """The keys of a keyring of IKEv2."""
        if name not in self._rings:
            self._rings[name] = _keys_of_ring(self.block("crypto", "ikev2", "keyring", name, line=command.line))
        return self._rings[name]

    @functools.cached_property
    def keys(self) -> list[_Key]:
        """The keys of ISAKMP for addresses, those in keyrings too."""
        stated = [(block.head, 3) for block in self.all("crypto", "isakmp", "key")]
        rings = self.all("crypto", "keyring")
        inner = [command for block in rings for command in block.inner if command.after("pre-shared-key", "address")]
        if len(inner) > MOST_CONNECTIONS:
            raise Unreadable(inner[-1].line, f"{MOST_CONNECTIONS} keys are read at most")
        found = []
        for command, start in [*stated, *((command, 1) for command in inner)]:
            words = command.words
            # `crypto isakmp key KEY address A [MASK]`, or `pre-shared-key address A [MASK] key KEY`.
            at = words.index("address", start) if "address" in words[start:] else len(words)
            last = words.index("key", at) if start == 1 and "key" in words[at:] else len(words)
            network = _as_network(words[at + 1 : last])
            key = _plain(command.raw[last + 1 :] if start == 1 else command.raw[start:at])
            if network and key:
                found.append(_Key(network, key, command.line))
        return found

    @functools.cached_property
    def ikev2_suites(self) -> tuple[tuple[Suite, ...], int]:
        """The suites of all policies of IKEv2."""
        return _ikev2_suites(self)

    @functools.cached_property
    def isakmp_policies(self) -> Fields:
        """The fields of all policies of ISAKMP."""
        return _isakmp_policies(self)


# --- IKEv2 --------------------------------------------------------------------------------------------------------


def ikev2(device: IosDevice, profile: CommandBlock, remote: str) -> Fields:
    """The fields of IKEv2: of a profile, its keyring, and the proposals of all policies."""
    fields: dict[str, Any] = {"versions": ("v2",), "ike_lifetime": _DAY, "dpd_action": "disabled"}
    lines = {"versions": profile.head.line}
    fields["ike"], lines["ike"] = device.ikev2_suites
    fields["remote_id"], line = _matched(profile)
    lines |= {"remote_id": line} if line else {}
    own = profile.find("identity", "local")
    fields["local_id"] = _identity(own[0].raw[2:]) if own else ""
    lines |= {"local_id": own[0].line} if own else {}
    methods = [found for side in ("remote", "local") if (found := profile.find("authentication", side))]
    is_psk = bool(methods) and all(rest[:1] == ("pre-share",) for _, rest in methods)
    fields["auth_mode"] = "psk" if is_psk else "certs"
    lines |= {"auth_mode": methods[0][0].line} if methods else {}
    if lifetime := profile.find("lifetime"):
        fields["ike_lifetime"], lines["ike_lifetime"] = _number(lifetime[1], lifetime[0]), lifetime[0].line
    if dpd := profile.find("dpd"):
        fields |= {"dpd_action": None, "dpd_interval": _number(dpd[1], dpd[0])}
        lines["dpd_action"] = dpd[0].line
    keyring = profile.find("keyring", "local")
    if is_psk and keyring and (key := _key_for(device.ring(keyring[1][0] if keyring[1] else "", keyring[0]), remote)):
        fields["psk"], lines["psk"] = key.key, key.line
    return fields, {field: line for field, line in lines.items() if line}


def _ikev2_suites(device: IosDevice) -> tuple[tuple[Suite, ...], int]:
    """The suites of the proposals that policies name; IOS takes the first policy that fits, so all may be."""
    names = {
        rest[0]
        for block in device.all("crypto", "ikev2", "policy")
        for c in block.inner
        if (rest := c.after("proposal"))
    }
    found: dict[Suite, None] = {}
    line = 0
    for block in device.all("crypto", "ikev2", "proposal"):
        if block.head.words[3:4] and block.head.words[3] in names:
            found |= dict.fromkeys(_ikev2_proposal(block))
            line = line or block.head.line
    return (tuple(found), line) if found else (proposals.product(*_DEFAULT_IKEV2), 0)


def _ikev2_proposal(block: CommandBlock) -> tuple[Suite, ...]:
    encryption = _several(block, "encryption", _CIPHERS)
    integrity, prfs = _several(block, "integrity", _HASHES), _several(block, "prf", _HASHES)
    groups = [_group(number, command) for command, rest in _found(block, "group") for number in rest]
    aead = any(proposals.is_aead(name) for name in encryption)
    if aead:
        hashes = prfs or integrity
    elif prfs:
        hashes = [name if name == prf else proposals.with_prf(name, prf) for name in integrity for prf in prfs]
    else:
        hashes = integrity
    return proposals.product(encryption, hashes, groups)


def _found(block: CommandBlock, *start: str) -> list[tuple[Command, tuple[str, ...]]]:
    found = block.find(*start)
    if found and len(found[1]) > MOST_VALUES:
        raise Unreadable(found[0].line, f"a list has {MOST_VALUES} values at most")
    return [found] if found else []


def _several(block: CommandBlock, name: str, names: Mapping[str, str]) -> list[str]:
    return [_named(word, names, command) for command, rest in _found(block, name) for word in rest]


def _named(word: str, names: Mapping[str, str], command: Command) -> str:
    if word not in names:
        raise Unreadable(command.line, f"'{shown(word)}' should be one of {', '.join(names)}")
    return names[word]


def _group(number: str, command: Command) -> str:
    name = f"group{number.removeprefix('group')}"
    if name not in GROUPS and name != "group1":
        raise Unreadable(command.line, f"'{shown(number)}' should be the number of a Diffie-Hellman group, such as 14")
    return name


def _matched(profile: CommandBlock) -> tuple[str, int]:
    """The identity that a profile is for; empty if it is for several."""
    found = [command for command in profile.inner if command.after("match", "identity", "remote")]
    if len(found) != 1:
        return "", 0
    return _identity(found[0].raw[3:]), found[0].line


def _identity(words: Sequence[str]) -> str:
    """An identity in the API's text: of `address A [MASK]`, `fqdn NAME`, `email` or `key-id`; empty: any."""
    match [word.lower() for word in words[:1]], list(words[1:]):
        case ["address"], [address, *mask]:
            return address if not mask or mask[0] in ("255.255.255.255", "/128") else ""
        case ["fqdn"], [name] if name.lower() != "domain":
            return f"fqdn:{name}"
        case ["fqdn"], ["domain", name]:
            return f"fqdn:*.{name}"
        case ["email"], [name]:
            return f"email:{name}"
        case ["key-id"], [name]:
            return f"keyid:{name}"
    return ""


def _keys_of_ring(ring: CommandBlock) -> list[_Key]:
    """The keys of a keyring; the own one if both ends have their own."""
    found: list[_Key] = []
    network: Network | None = None
    for inner in ring.inner:
        if inner.words[0] == "peer":
            network = None
        elif inner.words[0] == "address":
            network = _as_network(inner.words[1:])
        elif network and inner.words[0] == "pre-shared-key" and (key := _plain(inner.raw[1:])) is not None:
            found.append(_Key(network, key, inner.line))
            network = None
    if len(found) > MOST_CONNECTIONS:
        raise Unreadable(ring.head.line, f"a keyring has {MOST_CONNECTIONS} keys at most")
    return found


def _key_for(keys: Sequence[_Key], remote: str) -> _Key | None:
    """The key for an address: of the smallest network."""
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return None
    fitting = [key for key in keys if key.network.version == address.version and address in key.network]
    return max(fitting, key=lambda key: key.network.prefixlen, default=None)


def _as_network(words: Sequence[str]) -> Network | None:
    try:
        return ipaddress.ip_network("/".join(words[:2]), strict=False)
    except ValueError:
        return None


def _plain(words: Sequence[str]) -> Secret | None:
    """A key that is not encrypted (type 6): the rest of its line."""
    rest = list(words)
    if rest and rest[0].lower() in ("local", "remote"):
        rest.pop(0)
    if len(rest) > 1 and rest[0] in ("0", "6"):
        kind = rest.pop(0)
        return Secret(" ".join(rest)) if kind == "0" else None
    return Secret(" ".join(rest)) if rest and rest[0].lower() != "hex" else None


# --- ISAKMP -------------------------------------------------------------------------------------------------------


def isakmp(device: IosDevice, ipsec: CommandBlock, remote: str) -> Fields:
    """The fields of IKEv1: of all ISAKMP policies, and the key for the peer's address."""
    common, stated = device.isakmp_policies
    fields = {"versions": ("v1",), "mode": None, "remote_id": remote, "ike_lifetime": _DAY, **common}
    lines = {"versions": ipsec.head.line, **stated}
    if key := _key_for(device.keys, remote):
        fields["psk"], lines["psk"] = key.key, key.line
    return fields, lines


def _isakmp_policies(device: IosDevice) -> Fields:
    found: dict[Suite, None] = {}
    fields: dict[str, Any] = {}
    lines: dict[str, int] = {}
    methods = set()
    for block in device.all("crypto", "isakmp", "policy"):
        found[_isakmp_suite(block)] = None
        lines.setdefault("ike", block.head.line)
        method = block.find("authentication")
        methods.add("psk" if method and method[1] == ("pre-share",) else "certs")
        if lifetime := block.find("lifetime"):
            fields["ike_lifetime"], lines["ike_lifetime"] = _number(lifetime[1], lifetime[0]), lifetime[0].line
    if device.all("crypto", "isakmp", "aggressive-mode", "disable"):
        # Otherwise IOS answers in either mode.
        fields["mode"] = "main"
    fields |= {"ike": tuple(found), "auth_mode": methods.pop() if len(methods) == 1 else None}
    for block in device.all("crypto", "isakmp", "keepalive"):
        fields |= {"dpd_action": None, "dpd_interval": _number(block.head.words[3:], block.head)}
        lines["dpd_action"] = block.head.line
    return fields, lines


def _isakmp_suite(block: CommandBlock) -> Suite:
    """The suite of an ISAKMP policy, whose defaults are those of 1998."""
    cipher = block.find("encryption") or block.find("encr")
    words = cipher[1] if cipher else ("des",)
    encryption = f"aes-{words[1] if len(words) > 1 else 128}" if words[:1] == ("aes",) else "".join(words)
    hashed, group = block.find("hash"), block.find("group")
    integrity = _named(hashed[1][0] if hashed[1] else "", _HASHES, hashed[0]) if hashed else "sha1"
    number = _group(group[1][0] if group[1] else "", group[0]) if group else "group1"
    return Suite(encryption, integrity, number)


# --- IPsec --------------------------------------------------------------------------------------------------------


def child(device: IosDevice, ipsec: CommandBlock) -> Fields:
    """The fields of child SAs: of a crypto map's entry or an IPsec profile, and its transform sets."""
    used = ipsec.find("set", "transform-set")
    if used is None:
        raise Unreadable(ipsec.head.line, "there should be 'set transform-set NAME' below this")
    pfs = ipsec.find("set", "pfs")
    group = (_group(pfs[1][0], pfs[0]) if pfs[1] else "group1") if pfs else ""
    suites: dict[Suite, None] = {}
    protocols, modes = set(), set()
    for name in used[1][:MOST_VALUES]:
        block = device.block("crypto", "ipsec", "transform-set", name, line=used[0].line)
        protocol, suite = _transform(block, group)
        mode = block.find("mode")
        protocols.add(protocol)
        modes.add("transport" if mode and mode[1][:1] == ("transport",) else "tunnel")
        suites[suite] = None
    lines = {"child": used[0].line, "protocol": used[0].line, "encapsulation": used[0].line}
    fields: dict[str, Any] = {
        "protocol": protocols.pop() if len(protocols) == 1 else None,
        "encapsulation": modes.pop() if len(modes) == 1 else None,
        "child": tuple(suites),
        "child_lifetime": _HOUR,
        "child_kilobytes": _KILOBYTES,
    }
    for field, unit in (("child_lifetime", "seconds"), ("child_kilobytes", "kilobytes")):
        own = ipsec.find("set", "security-association", "lifetime", unit)
        everywhere = next(iter(device.all("crypto", "ipsec", "security-association", "lifetime", unit)), None)
        if own:
            fields[field], lines[field] = _number(own[1], own[0]), own[0].line
        elif everywhere:
            fields[field], lines[field] = _number(everywhere.head.words[5:], everywhere.head), everywhere.head.line
    return fields, lines


def _transform(block: CommandBlock, group: str) -> tuple[str, Suite]:
    """Protocol and suite of a transform set, `esp-aes 256 esp-sha256-hmac`."""
    encryption = integrity = ""
    protocol = "esp"
    words = [*block.head.words[4:], ""]
    for word, following in itertools.pairwise(words):
        kind, _, name = word.partition("-")
        if kind == "ah" and name in _ESP_HASHES:
            protocol, integrity = "ah", _ESP_HASHES[name]
        elif kind == "esp" and name in _ESP_HASHES:
            integrity = _ESP_HASHES[name]
        elif kind == "esp" and name in ("aes", "gcm", "gmac"):
            bits = following if following.isdigit() else "128"
            encryption = {"aes": f"aes-{bits}", "gcm": f"aes-{bits}-gcm-16"}.get(name, f"aes{bits}gmac")
        elif kind == "esp":
            encryption = name
        elif not word.isdigit():
            raise Unreadable(
                block.head.line, f"'{shown(word)}' should be a transform such as esp-aes or esp-sha256-hmac"
            )
    return protocol, Suite(encryption, integrity, group)


def _number(words: Sequence[str], command: Command) -> int:
    if not words or not words[0].isdigit() or len(words[0]) > 12:
        raise Unreadable(command.line, "there should be a number")
    return int(words[0])
