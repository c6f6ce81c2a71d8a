"""libreswan's ipsec.conf, with the defaults of its pluto (ipsec.conf(5)); ipsec.secrets beside it.

Keywords and defaults differ from strongSwan's: `ikev2`, `phase2alg`, `pfs`, a default of certificates, an identity that
needs an `@`, and times of 8 hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from linkspan.core.ipsec.algorithms import GROUPS
from linkspan.core.peer_side.parsers import ipsec_file, proposals, values
from linkspan.core.peer_side.parsers.ipsec_file import ConnSettings
from linkspan.core.peer_side.parsers.reading import MOST_VALUES, Candidate, Reading, StatedValue, Unreadable, shown
from linkspan.core.peer_side.site_config import SiteConfig, Suite

_VERSIONS: Final[dict[str, tuple[Literal["v1", "v2"], ...]]] = {
    **dict.fromkeys(("insist", "yes", "propose", "ikev2", "ike"), ("v2",)),
    **dict.fromkeys(("no", "never", "permit", "ikev1"), ("v1",)),
}
"""Values of `ikev2`, and of `keyexchange` as of libreswan 5."""
_AUTO: Final = ("ignore", "add", "ondemand", "route", "start", "up", "keep")
_DPD: Final[dict[str, Literal["hold", "clear", "restart"]]] = {
    "hold": "hold",
    "clear": "clear",
    "restart": "restart",
    "restart_by_peer": "restart",
}
_CIPHER: Final = re.compile(
    r"(3des|aes|camellia|chacha20_poly1305|null)(?:_?(cbc|ctr|gcm|ccm))?(?:_?(a|b|c|8|12|16))?(?:[_-]?(128|192|256))?"
)
_HASHES: Final = {
    **dict.fromkeys(("sha1", "sha", "hmac_sha1"), "sha1"),
    **dict.fromkeys(("sha2", "sha256", "sha2_256", "hmac_sha2_256"), "sha256"),
    **dict.fromkeys(("sha384", "sha2_384", "hmac_sha2_384"), "sha384"),
    **dict.fromkeys(("sha512", "sha2_512", "hmac_sha2_512"), "sha512"),
    **dict.fromkeys(("aes_xcbc", "aesxcbc", "aes_xcbc_96"), "aes-xcbc"),
    **dict.fromkeys(("aes_cmac", "aescmac", "aes_cmac_96"), "aes-cmac"),
    **dict.fromkeys(("md5", "hmac_md5"), "md5"),
}
_ICV: Final = {"a": "8", "b": "12", "c": "16", "": "16"}
_BY_KEYWORD: Final = {
    **{keyword: name for name, keyword in GROUPS.items()},
    **{name.replace("group", "dh"): name for name in GROUPS},
    **{f"ecp_{bits}": f"group{number}" for bits, number in ((256, 19), (384, 20), (521, 21))},
    "x25519": "group31",
    "none": "",
    "null": "",
    "dh0": "",
}
_GROUPS: Final = ("group14", "group15", "group16", "group18", "group19", "group20", "group21", "group31")
_GROUPS_V1: Final = ("group14", "group5", "group19", "group20", "group21")
_AES: Final = ("aes-256", "aes-128")
_DAY_THIRD: Final = "8h"


def read(text: str) -> Reading:
    """The connections of a file. Raises Unreadable."""
    file = ipsec_file.parse(text, identity)
    chosen = ipsec_file.loaded(file, lambda settings: ipsec_file.get(settings, "auto", "ignore").text)
    candidates = (_connection(name, settings) for name, settings in chosen.items())
    return Reading(
        format="libreswan",
        candidates=ipsec_file.merged(candidates),
        keys=tuple(file.keys),
        ignored=tuple(file.ignored),
    )


def identity(text: str) -> str:
    """An identity as pluto reads it, in the API's text; empty if the text does not say it."""
    text = text.strip()
    if text.startswith("%"):
        return ""
    if text.startswith("@["):
        return f"keyid:{text[2:].rstrip(']')}"
    return values.charon_identity(text)


def _connection(name: str, settings: ConnSettings) -> Candidate:
    versions = _VERSIONS[values.chosen(ipsec_file.get(settings, "ikev2", "insist", "keyexchange"), _VERSIONS)]
    ike = _ike(ipsec_file.get(settings, "ike"), versions)
    protocol, child = _child(settings, ike)
    delay = values.seconds(ipsec_file.get(settings, "dpddelay", "0"))
    life_bytes = values.volume(ipsec_file.get(settings, "ipsec-max-bytes", "0"))
    kind = values.chosen(
        ipsec_file.get(settings, "type", "tunnel"), ("tunnel", "transport", "passthrough", "drop", "reject")
    )
    config = SiteConfig(
        name=name,
        versions=versions,
        mode="aggressive" if values.truth(ipsec_file.get(settings, "aggressive", "no", "aggrmode")) else "main",
        local_address=_address(settings, "left"),
        remote_address=_address(settings, "right"),
        local_id=_identity(settings, "left"),
        remote_id=_identity(settings, "right"),
        auth_mode=_authentication(settings),
        ike=ike,
        ike_lifetime=values.seconds(ipsec_file.get(settings, "ikelifetime", _DAY_THIRD)),
        protocol=protocol,
        encapsulation="transport" if kind == "transport" else "tunnel",
        child=child,
        child_lifetime=values.seconds(
            ipsec_file.get(settings, "salifetime", _DAY_THIRD, "ipsec-lifetime", "keylife", "lifetime")
        ),
        child_kilobytes=life_bytes // 1024 or None,
        pairs=tuple(_pairs(settings)),
        dpd_action=_DPD[values.chosen(ipsec_file.get(settings, "dpdaction", "hold"), _DPD)] if delay else "disabled",
        dpd_interval=delay or None,
        dpd_timeout=values.seconds(settings["dpdtimeout"]) if "dpdtimeout" in settings else None,
        initiates=values.chosen(ipsec_file.get(settings, "auto", "ignore"), _AUTO) not in ("ignore", "add", "keep"),
        mtu=values.number(settings["mtu"]) if "mtu" in settings else None,
        lines=_lines(settings),
    )
    return Candidate(name=name, config=config, either_end=True)


def _lines(settings: ConnSettings) -> dict[str, int]:
    return ipsec_file.lines(
        settings,
        versions=("ikev2", "keyexchange"),
        mode=("aggressive", "aggrmode"),
        local_address=("left",),
        remote_address=("right",),
        local_id=("leftid", "left"),
        remote_id=("rightid", "right"),
        auth_mode=("leftauth", "rightauth", "authby"),
        ike=("ike",),
        ike_lifetime=("ikelifetime",),
        protocol=("phase2", "ah", "esp", "phase2alg"),
        encapsulation=("type",),
        child=("esp", "phase2alg", "ah", "pfs", "ike"),
        child_lifetime=("salifetime", "ipsec-lifetime", "keylife", "lifetime"),
        child_kilobytes=("ipsec-max-bytes",),
        pairs=("leftsubnet", "leftsubnets", "rightsubnet", "rightsubnets"),
        dpd_action=("dpdaction", "dpddelay"),
        dpd_interval=("dpddelay",),
        initiates=("auto",),
        mtu=("mtu",),
    )


def _address(settings: ConnSettings, side: str) -> str:
    stated = ipsec_file.get(settings, side, "%any")
    return "" if stated.text.startswith("%") else values.addresses([stated])


def _identity(settings: ConnSettings, side: str) -> str:
    stated = ipsec_file.get(settings, f"{side}id")
    if stated.text or f"{side}cert" in settings:
        return identity(stated.text)
    return values.charon_identity(_address(settings, side))


def _authentication(settings: ConnSettings) -> Literal["psk", "certs"]:
    both = ipsec_file.get(settings, "authby", "rsasig")
    methods = [ipsec_file.get(settings, f"{side}auth", both.text).text.lower() for side in ("left", "right")]
    return "psk" if all(word in ("secret", "psk") for method in methods for word in [method.split(",")[0]]) else "certs"


# --- algorithms ---------------------------------------------------------------------------------------------------


def _ike(value: StatedValue, versions: tuple[str, ...]) -> tuple[Suite, ...]:
    groups = _GROUPS_V1 if versions == ("v1",) else _GROUPS
    if not value.text:
        gcm = (
            ()
            if versions == ("v1",)
            else proposals.product(("aes-256-gcm-16", "aes-128-gcm-16"), ("sha512", "sha256"), groups)
        )
        hashes = ("sha256", "sha512", "sha1") if versions == ("v1",) else ("sha512", "sha256")
        return (*gcm, *proposals.product(_AES, hashes, groups))
    return _suites(value, ("sha256", "sha512"), groups, is_ike=True)


def _child(settings: ConnSettings, ike: tuple[Suite, ...]) -> tuple[Literal["esp", "ah"], tuple[Suite, ...]]:
    """The proposals of child SAs. With `pfs`, which is the default, they have the group of the IKE SA without one of
    their own."""
    is_ah = "ah" in settings or ipsec_file.get(settings, "phase2").text.lower() == "ah"
    value = ipsec_file.get(settings, "phase2alg", "", "esp", "ah")
    pfs = values.truth(ipsec_file.get(settings, "pfs", "yes"))
    groups = tuple(dict.fromkeys(suite.group for suite in ike)) if pfs else ("",)
    if group := ipsec_file.get(settings, "pfsgroup").text.lower():
        groups = (_group(group, settings["pfsgroup"].line),)
    if is_ah:
        words = StatedValue(",".join(f"null-{part.text}" for part in values.listed(value)), value.line)
        stated = (
            _suites(words, (), groups, is_ike=False)
            if value.text
            else proposals.product(("null",), ("sha512", "sha256"), groups)
        )
        return "ah", tuple(Suite("", suite.integrity, suite.group if pfs else "") for suite in stated)
    if not value.text:
        gcm = proposals.product(("aes-256-gcm-16", "aes-128-gcm-16"), ("",), groups)
        return "esp", (*gcm, *proposals.product(_AES, ("sha512", "sha256"), groups))
    stated = _suites(value, ("sha512", "sha256", "sha1"), groups, is_ike=False)
    return "esp", stated if pfs else tuple(dict.fromkeys(Suite(s.encryption, s.integrity, "") for s in stated))


def _suites(value: StatedValue, hashes: tuple[str, ...], groups: tuple[str, ...], *, is_ike: bool) -> tuple[Suite, ...]:
    """The suites of proposals such as `aes256-sha2_256+sha2_512-dh14` or `aes256-sha2;modp2048`."""
    found: dict[Suite, None] = {}
    for proposal in values.listed(StatedValue(value.text.replace(" ", ""), value.line)):
        # A key length may have a hyphen of its own.
        words = re.sub(r"(aes|gcm|ccm|ctr|cbc|camellia)-(128|192|256)(?![0-9])", r"\1_\2", proposal.text.lower())
        first, *rest = [part.split("+") for part in re.split(r"[-;]", words) if part]
        if len(rest) > 4 or max(map(len, (first, *rest))) > MOST_VALUES:
            raise Unreadable(value.line, f"'{shown(proposal.text)}' should be a proposal such as aes256-sha2_256-dh14")
        encryption = [name for word in first for name in _ciphers(word, value.line)]
        kinds = [_kind(word, value.line) for words in rest for word in words]
        stated_groups = tuple(name for kind, name in kinds if kind == "group") or groups
        stated_hashes = tuple(name for kind, name in kinds if kind == "hash")
        for cipher in encryption:
            aead = proposals.is_aead(cipher)
            chosen = stated_hashes or hashes if is_ike or not aead else ("",)
            proposals.check_count(len(found) + len(chosen) * len(stated_groups), value.line)
            found |= dict.fromkeys(proposals.product((cipher,), chosen, stated_groups))
    return tuple(found)


def _ciphers(word: str, line: int) -> tuple[str, ...]:
    match = _CIPHER.fullmatch(word)
    if match is None:
        raise Unreadable(line, f"'{shown(word)}' should be an encryption algorithm, as in aes256-sha2_256-dh14")
    name, mode, icv, bits = match[1], match[2] or "", match[3] or "", match[4]
    if name != "aes":
        return (name if name == "3des" else word,)
    tail = {"": "", "cbc": "", "ctr": "-ctr"}.get(mode, f"-{mode}-{_ICV.get(icv, icv)}")
    return tuple(f"aes-{size}{tail}" for size in ((bits,) if bits else ("256", "128")))


def _kind(word: str, line: int) -> tuple[Literal["hash", "group"], str]:
    if word in _HASHES:
        return "hash", _HASHES[word]
    return "group", _group(word, line)


def _group(word: str, line: int) -> str:
    if word not in _BY_KEYWORD:
        raise Unreadable(line, f"'{shown(word)}' should be a hash or a group, as in aes256-sha2_256-dh14")
    return _BY_KEYWORD[word]


# --- networks -----------------------------------------------------------------------------------------------------


def _pairs(settings: ConnSettings) -> Iterator[tuple[str, str]]:
    sides: list[list[str]] = []
    for side in ("left", "right"):
        many = settings.get(f"{side}subnets")
        if many is not None:
            text = many.text.strip().strip("{}").replace(" ", ",")
            networks = [values.network(part) for part in values.listed(StatedValue(text, many.line))]
        else:
            networks = [values.network(ipsec_file.get(settings, f"{side}subnet", values.DYNAMIC))]
        limit = ipsec_file.get(settings, f"{side}protoport", "").text
        sides.append([f"{network}[{limit}]" if limit else network for network in networks])
    return values.products(*sides)
