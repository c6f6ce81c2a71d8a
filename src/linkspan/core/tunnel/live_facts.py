"""What charon lists of the SAs of one connection, as the facts that are shown to people. Pure.

`core.tunnel.sas` has what decisions need of a listing; this has all of it, for the moments when somebody asks. Text
from a peer, such as its identity, is bounded and printable.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from linkspan.core import printable
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.live_facts import MOST_SAS, LiveChild, LiveFacts, LiveIkeSa
from linkspan.core.tunnel.phase import phase_of
from linkspan.core.tunnel.reports import StatedCause, current
from linkspan.core.tunnel.sas import vici_integer, vici_text
from linkspan.core.tunnel.tunnel import Tunnel, configs

_LONGEST = 255


def facts_of(tunnel: Tunnel, messages: Iterable[dict[str, Any]], now: float) -> LiveFacts:
    """The facts of a tunnel. `messages`: the answer of VICI `list-sas`, of all IKE connections with its peer.

    `now`: as in `lifecycle.step`.
    """
    names = frozenset(config.name for config in configs(tunnel))
    found = [
        sa for message in messages for name, section in message.items() for sa in _of(tunnel, name, section, names)
    ]
    cause = StatedCause(tunnel.error, tunnel.error_code) if tunnel.error else current(tunnel)
    return LiveFacts(
        phase=phase_of(tunnel).value,
        cause=cause.code or "",
        reason=printable.bounded(cause.text, 1000),
        ours=printable.bounded(cause.details.ours, _LONGEST),
        peer=printable.bounded(cause.details.peer, _LONGEST),
        evidence=printable.bounded(cause.details.line, _LONGEST),
        failures=tunnel.failures,
        retry_in=-1 if tunnel.retry_at is None else max(0, round(tunnel.retry_at - now)),
        revision=tunnel.connection.revision,
        ike_sas=tuple(found[:MOST_SAS]),
    )


def _of(tunnel: Tunnel, name: str, section: dict[str, Any], names: Container[str]) -> list[LiveIkeSa]:
    """The IKE SA as far as it is the connection's: it has children of it, or none at all and its configuration."""
    children = list(section.get("child-sas", {}).values())
    own = [child for child in children if ipsec_config.owner_of(_text(child, "name")) == tunnel.connection.id]
    if not own and (children or name not in names):
        return []
    return [_ike_sa(section, own)]


def _ike_sa(section: dict[str, Any], children: list[dict[str, Any]]) -> LiveIkeSa:
    return LiveIkeSa(
        state=_word(section, "state"),
        version=vici_integer(section, "version"),
        initiator=_is_set(section, "initiator"),
        local_address=_text(section, "local-host"),
        local_port=vici_integer(section, "local-port"),
        local_identity=_text(section, "local-id"),
        remote_address=_text(section, "remote-host"),
        remote_port=vici_integer(section, "remote-port"),
        remote_identity=_text(section, "remote-id"),
        local_nat=_is_set(section, "nat-local"),
        remote_nat=_is_set(section, "nat-remote"),
        encryption=_word(section, "encr-alg"),
        encryption_bits=vici_integer(section, "encr-keysize"),
        integrity=_word(section, "integ-alg"),
        prf=_word(section, "prf-alg"),
        key_exchange=_word(section, "dh-group"),
        age=vici_integer(section, "established", -1),
        rekey_in=vici_integer(section, "rekey-time", -1),
        reauthenticates_in=vici_integer(section, "reauth-time", -1),
        children=tuple(map(_child, children[:MOST_SAS])),
    )


def _child(section: dict[str, Any]) -> LiveChild:
    return LiveChild(
        state=_word(section, "state"),
        protocol=_word(section, "protocol"),
        mode=_word(section, "mode"),
        is_encapsulated=_is_set(section, "encap"),
        spi_in=_word(section, "spi-in"),
        spi_out=_word(section, "spi-out"),
        encryption=_word(section, "encr-alg"),
        encryption_bits=vici_integer(section, "encr-keysize"),
        integrity=_word(section, "integ-alg"),
        key_exchange=_word(section, "dh-group"),
        local_selectors=tuple(map(vici_text, section.get("local-ts", ()))),
        remote_selectors=tuple(map(vici_text, section.get("remote-ts", ()))),
        bytes_in=vici_integer(section, "bytes-in"),
        packets_in=vici_integer(section, "packets-in"),
        idle_in=vici_integer(section, "use-in", -1),
        bytes_out=vici_integer(section, "bytes-out"),
        packets_out=vici_integer(section, "packets-out"),
        idle_out=vici_integer(section, "use-out", -1),
        age=vici_integer(section, "install-time", -1),
        rekey_in=vici_integer(section, "rekey-time", -1),
        expires_in=vici_integer(section, "life-time", -1),
    )


def _text(section: dict[str, Any], key: str) -> str:
    return printable.bounded(vici_text(section.get(key, b"")), _LONGEST)


def _word(section: dict[str, Any], key: str) -> str:
    return vici_text(section.get(key, b""))[:64]


def _is_set(section: dict[str, Any], key: str) -> bool:
    return vici_text(section.get(key, b"no")) == "yes"
