"""strongSwan's ipsec.conf, with the defaults of its stroke plugin (ipsec.conf(5)); ipsec.secrets beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from linkspan.core.peer_side.parsers import ipsec_file, proposals, values
from linkspan.core.peer_side.parsers.ipsec_file import ConnSettings
from linkspan.core.peer_side.parsers.reading import Candidate, Reading, StatedValue, Unreadable, shown
from linkspan.core.peer_side.site_config import SiteConfig, Suite

_AUTO: Final = ("ignore", "add", "route", "start")
_TYPES: Final = ("tunnel", "transport", "transport_proxy", "passthrough", "pass", "drop")
_VERSIONS: Final[dict[str, tuple[Literal["v1", "v2"], ...]]] = {
    "ike": ("v2", "v1"),
    "ikev1": ("v1",),
    "ikev2": ("v2",),
}
_DPD: Final[dict[str, Literal["hold", "clear", "restart", "disabled"]]] = {
    "none": "disabled",
    "clear": "clear",
    "hold": "hold",
    "restart": "restart",
}


def read(text: str) -> Reading:
    """The connections of a file. Raises Unreadable."""
    file = ipsec_file.parse(text, values.charon_identity)
    chosen = ipsec_file.loaded(file, lambda settings: ipsec_file.get(settings, "auto", "ignore").text)
    candidates = (_connection(name, settings) for name, settings in chosen.items())
    return Reading(
        format="ipsec.conf",
        candidates=ipsec_file.merged(candidates),
        keys=tuple(file.keys),
        ignored=tuple(file.ignored),
    )


def _connection(name: str, settings: ConnSettings) -> Candidate:
    versions = _VERSIONS[values.chosen(ipsec_file.get(settings, "keyexchange", "ike"), _VERSIONS)]
    kind = values.chosen(ipsec_file.get(settings, "type", "tunnel"), _TYPES)
    protocol, child = _child(settings)
    life_bytes = values.volume(ipsec_file.get(settings, "lifebytes", "0"))
    dpd = _DPD[values.chosen(ipsec_file.get(settings, "dpdaction", "none"), _DPD)]
    config = SiteConfig(
        name=name,
        versions=versions,
        mode="aggressive" if values.truth(ipsec_file.get(settings, "aggressive", "no")) else "main",
        local_address=_address(settings, "left"),
        remote_address=_address(settings, "right"),
        local_id=_identity(settings, "left"),
        remote_id=_identity(settings, "right"),
        auth_mode=_authentication(settings),
        ike=_strict(ipsec_file.get(settings, "ike"), "ike"),
        ike_lifetime=values.seconds(ipsec_file.get(settings, "ikelifetime", "3h")),
        protocol=protocol,
        encapsulation="transport" if kind.startswith("transport") else "tunnel",
        child=child,
        child_lifetime=values.seconds(ipsec_file.get(settings, "lifetime", "1h", "keylife")),
        child_kilobytes=life_bytes // 1024 or None,
        pairs=tuple(_pairs(settings, versions)),
        dpd_action=dpd,
        dpd_interval=values.seconds(ipsec_file.get(settings, "dpddelay", "30s")),
        dpd_timeout=values.seconds(ipsec_file.get(settings, "dpdtimeout", "150s")),
        initiates=values.chosen(ipsec_file.get(settings, "auto", "ignore"), _AUTO) in ("start", "route"),
        lines=_lines(settings),
    )
    return Candidate(name=name, config=config, either_end=True)


def _lines(settings: ConnSettings) -> dict[str, int]:
    return ipsec_file.lines(
        settings,
        versions=("keyexchange",),
        mode=("aggressive",),
        local_address=("left",),
        remote_address=("right",),
        local_id=("leftid", "left"),
        remote_id=("rightid", "right"),
        auth_mode=("leftauth", "rightauth", "authby"),
        ike=("ike",),
        ike_lifetime=("ikelifetime",),
        protocol=("ah", "esp"),
        encapsulation=("type",),
        child=("esp", "ah"),
        child_lifetime=("lifetime", "keylife"),
        child_kilobytes=("lifebytes",),
        pairs=("leftsubnet", "rightsubnet"),
        dpd_action=("dpdaction",),
        dpd_interval=("dpddelay",),
        initiates=("auto",),
    )


def _address(settings: ConnSettings, side: str) -> str:
    stated = values.listed(ipsec_file.get(settings, side, "%any"))
    # A '%' before an address has it preferred, and takes any.
    return values.addresses(stated) if not any(part.text.startswith("%") for part in stated) else ""


def _identity(settings: ConnSettings, side: str) -> str:
    """The identity of a side: without one its address; of a certificate its subject, which the file does not say."""
    stated = ipsec_file.get(settings, f"{side}id")
    if stated.text:
        # A '%' before it admits other identities in the certificate.
        return values.charon_identity(stated.text if stated.text.startswith("%any") else stated.text.lstrip("%"))
    address = _address(settings, side)
    return "" if f"{side}cert" in settings or "," in address or "/" in address else values.charon_identity(address)


def _authentication(settings: ConnSettings) -> Literal["psk", "certs"]:
    both = ipsec_file.get(settings, "authby", "pubkey", "auth")
    methods = [ipsec_file.get(settings, f"{side}auth", both.text) for side in ("left", "right")]
    words = ["psk" if method.text.lower() in ("psk", "secret", "xauthpsk") else "certs" for method in methods]
    return "psk" if words == ["psk", "psk"] else "certs"


def _strict(value: StatedValue, protocol: proposals.Protocol) -> tuple[Suite, ...]:
    """Proposals. Without `!` at their end, strongSwan adds its defaults."""
    text = value.text.replace(" ", "")
    stated = proposals.suites(StatedValue(text.rstrip("!"), value.line), protocol) if text else ()
    return stated if text.endswith("!") else (*stated, *(s for s in proposals.defaults(protocol) if s not in stated))


def _child(settings: ConnSettings) -> tuple[Literal["esp", "ah"], tuple[Suite, ...]]:
    if "ah" in settings and "esp" in settings:
        raise Unreadable(settings["ah"].line, f"there should be esp= or ah=, not both: {shown('ah')}")
    if "ah" in settings:
        return "ah", _strict(settings["ah"], "ah")
    return "esp", _strict(ipsec_file.get(settings, "esp"), "esp")


def _pairs(settings: ConnSettings, versions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The pairs of networks. IKEv1 takes the first one of a list only."""
    sides: list[list[str]] = []
    for side in ("left", "right"):
        stated = ipsec_file.get(settings, f"{side}subnet", values.DYNAMIC)
        limit = ipsec_file.get(settings, f"{side}protoport", "").text
        networks = [values.network(part) for part in values.listed(stated)]
        found = networks[:1] if versions == ("v1",) else networks
        sides.append([f"{network}[{limit}]" if limit and "[" not in network else network for network in found])
    return values.products(*sides)
