"""Changes of a peer that fits, each with what a comparison has to say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from linkspan.core.peer_side.differences import DifferenceField, DifferenceSeverity
from linkspan.core.state.desired import Connection
from tests.core.peer_side.fitting import Peer


class Mutation(msgspec.Struct, frozen=True):
    """A change, and the difference that is right. `applies`: to connections that have what it changes;
    `not_in`: dialects that cannot say it."""

    name: str
    change: Callable[[Peer], dict[str, Any]]
    field: DifferenceField
    severity: DifferenceSeverity
    code: str
    applies: Callable[[Connection], bool] = lambda _ours: True
    not_in: tuple[str, ...] = ()

    def peer(self, peer: Peer) -> Peer:
        """The peer after the change."""
        return msgspec.structs.replace(peer, **self.change(peer))


def _is_v1(ours: Connection) -> bool:
    return ours.ike.ike_version == "v1"


def _is_v2(ours: Connection) -> bool:
    return ours.ike.ike_version == "v2"


def _is_psk(ours: Connection) -> bool:
    return ours.auth_mode == "psk"


def _is_aead(ours: Connection) -> bool:
    return "gcm" in ours.ike.encryption_algorithm


def _is_classic(ours: Connection) -> bool:
    return not _is_aead(ours)


def _is_esp(ours: Connection) -> bool:
    return ours.ipsec.transform_protocol == "esp"


def _is_classic_esp(ours: Connection) -> bool:
    return _is_classic(ours) and _is_esp(ours)


def _has_several(ours: Connection) -> bool:
    return len(ours.local_cidrs) > 1


def _words(proposal: str, **positions: str) -> str:
    """A proposal with other words: `first`, `second`, `last`."""
    words = proposal.split("-")
    places = {"first": 0, "second": 1, "last": -1}
    for name, word in positions.items():
        words[places[name]] = word
    return "-".join(words)


def _another_family(peer: Peer) -> tuple[str, ...]:
    return ("fd00:77::/64",) if ":" in peer.local_networks[0] else ("10.77.0.0/24",)


def _halves(peer: Peer) -> tuple[str, ...]:
    network, _, length = peer.local_networks[0].partition("/")
    return (f"{network}/{int(length) + 1}", *peer.local_networks[1:])


MUTATIONS = (
    Mutation("version", lambda peer: {"version": 3 - peer.version}, "ike_version", "cannot", "IKE_VERSION_MISMATCH"),
    Mutation(
        "mode",
        lambda peer: {"aggressive": not peer.aggressive},
        "phase1_negotiation_mode",
        "cannot",
        "EXCHANGE_MODE_MISMATCH",
        _is_v1,
    ),
    Mutation(
        "own address",
        lambda peer: {"local_address": "2001:db8::77" if ":" in peer.local_address else "203.0.113.77"},
        "peer_address",
        "cannot",
        "UNKNOWN_SOURCE",
    ),
    Mutation(
        "our address",
        lambda peer: {"remote_address": "2001:db8::77" if ":" in peer.local_address else "203.0.113.77"},
        "external_ip",
        "cannot",
        "IKE_REFUSED",
    ),
    Mutation("own identity", lambda _: {"local_id": "@stranger.example.org"}, "peer_id", "cannot", "PEER_ID_MISMATCH"),
    Mutation("own key id", lambda _: {"local_id": "keyid:branch"}, "peer_id", "cannot", "PEER_ID_MISMATCH"),
    Mutation("our identity", lambda _: {"remote_id": "@other.example.org"}, "local_id", "cannot", "LOCAL_ID_REFUSED"),
    Mutation("key", lambda peer: {"psk": f"{peer.psk}!"}, "psk", "cannot", "PSK_MISMATCH", _is_psk),
    Mutation("key, case", lambda peer: {"psk": peer.psk.upper()}, "psk", "cannot", "PSK_MISMATCH", _is_psk),
    Mutation(
        "authentication",
        lambda peer: {"auth": "pubkey" if peer.auth == "psk" else "psk"},
        "auth_mode",
        "cannot",
        "AUTH_METHOD_MISMATCH",
    ),
    Mutation(
        "IKE encryption",
        lambda peer: {"ike": _words(peer.ike, first="aes192")},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
        _is_classic,
    ),
    Mutation(
        "IKE AEAD",
        lambda peer: {"ike": _words(peer.ike, first="aes128gcm16")},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
        _is_aead,
    ),
    Mutation(
        "IKE integrity",
        lambda peer: {"ike": _words(peer.ike, second="sha512")},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH_INTEGRITY",
        _is_classic,
    ),
    Mutation(
        "IKE PRF",
        lambda peer: {"ike": peer.ike.replace("-", "-prfsha512-", 1)},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH_PRF",
        lambda ours: _is_v2(ours) and _is_classic(ours),
        ("libreswan",),
    ),
    Mutation(
        "IKE PRF of an AEAD",
        lambda peer: {"ike": _words(peer.ike, second="prfsha256")},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH_PRF",
        _is_aead,
    ),
    Mutation(
        "IKE group",
        lambda peer: {"ike": _words(peer.ike, last="ecp521")},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH_DH",
    ),
    Mutation(
        "all of IKE",
        lambda _: {"ike": "aes192-sha512-ecp521,aes192-sha512-modp8192"},
        "ikepolicy",
        "cannot",
        "IKE_PROPOSAL_MISMATCH",
        _is_classic,
    ),
    Mutation(
        "ESP encryption",
        lambda peer: {"child": _words(peer.child, first="aes192")},
        "ipsecpolicy",
        "cannot",
        "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
        _is_classic_esp,
    ),
    Mutation(
        "ESP AEAD",
        lambda peer: {"child": _words(peer.child, first="aes256gcm8")},
        "ipsecpolicy",
        "cannot",
        "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
        _is_aead,
    ),
    Mutation(
        "ESP integrity",
        lambda peer: {"child": _words(peer.child, second="sha512")},
        "ipsecpolicy",
        "cannot",
        "ESP_PROPOSAL_MISMATCH_INTEGRITY",
        _is_classic_esp,
    ),
    Mutation(
        "AH integrity",
        lambda peer: {"child": _words(peer.child, first="sha512")},
        "ipsecpolicy",
        "cannot",
        "ESP_PROPOSAL_MISMATCH_INTEGRITY",
        lambda ours: not _is_esp(ours),
    ),
    Mutation(
        "all of ESP",
        lambda _: {"child": "aes192-sha512-ecp521"},
        "ipsecpolicy",
        "cannot",
        "ESP_PROPOSAL_MISMATCH",
        _is_classic_esp,
    ),
    Mutation(
        "protocol",
        lambda peer: (
            {"protocol": "ah" if peer.protocol == "esp" else "esp", "child": "sha256-modp2048"}
            if peer.protocol == "esp"
            else {"protocol": "esp", "child": "aes128-sha256-modp2048"}
        ),
        "transform_protocol",
        "cannot",
        "ESP_PROPOSAL_MISMATCH_PROTOCOL",
    ),
    Mutation(
        "PFS, IKEv2",
        lambda peer: {"child": _words(peer.child, last="ecp521")},
        "ipsecpolicy.pfs",
        "impaired",
        "PFS_MISMATCH",
        _is_v2,
    ),
    Mutation(
        "no PFS, IKEv2",
        lambda peer: {"child": peer.child.rpartition("-")[0]},
        "ipsecpolicy.pfs",
        "impaired",
        "PFS_MISMATCH",
        _is_v2,
    ),
    Mutation(
        "PFS, IKEv1",
        lambda peer: {"child": _words(peer.child, last="ecp521")},
        "ipsecpolicy.pfs",
        "cannot",
        "PFS_MISMATCH",
        _is_v1,
    ),
    Mutation(
        "transport mode",
        lambda _: {"mode": "transport"},
        "encapsulation_mode",
        "cannot",
        "ENCAPSULATION_MODE_MISMATCH",
    ),
    Mutation(
        "own networks",
        lambda peer: {"local_networks": _another_family(peer)},
        "cidrs",
        "cannot",
        "SELECTORS_UNACCEPTABLE",
    ),
    Mutation(
        "our networks",
        lambda peer: {"remote_networks": _another_family(peer)},
        "cidrs",
        "cannot",
        "SELECTORS_UNACCEPTABLE",
    ),
    Mutation(
        "half of a network, IKEv2",
        lambda peer: {"local_networks": _halves(peer)},
        "cidrs",
        "impaired",
        "SELECTORS_NARROWED",
        _is_v2,
    ),
    Mutation(
        "half of a network, IKEv1",
        lambda peer: {"local_networks": _halves(peer)},
        "cidrs",
        "impaired",
        "SELECTORS_NARROWED",
        _is_v1,
        ("libreswan",),
    ),
    Mutation(
        "half of a network, IKEv1, not narrowed",
        lambda peer: {"local_networks": _halves(peer)},
        "cidrs",
        "cannot",
        "SELECTORS_UNACCEPTABLE",
        _is_v1,
        ("swanctl", "ipsec.conf"),
    ),
    Mutation(
        "one of several networks",
        lambda peer: {"remote_networks": peer.remote_networks[:1]},
        "cidrs",
        "impaired",
        "SELECTORS_NARROWED",
        _has_several,
    ),
    Mutation(
        "one network more",
        lambda peer: {"local_networks": (*peer.local_networks, *_another_family(peer))},
        "cidrs",
        "differs",
        "",
    ),
    Mutation(
        "nobody initiates",
        lambda _: {"start": "none"},
        "initiator",
        "cannot",
        "BOTH_RESPONSE_ONLY",
        lambda ours: ours.initiator == "response-only",
    ),
    Mutation("IKE lifetime", lambda _: {"ike_seconds": 600}, "ikepolicy.lifetime", "differs", ""),
    Mutation("ESP lifetime", lambda _: {"child_seconds": 600}, "ipsecpolicy.lifetime", "differs", ""),
    Mutation("DPD action", lambda _: {"dpd_action": "clear"}, "dpd", "differs", ""),
    Mutation("DPD interval", lambda _: {"dpd_interval": 55}, "dpd", "differs", ""),
)


def cases(connections: Mapping[str, Connection], dialects: Iterable[str]) -> Iterator[tuple[str, str, Mutation]]:
    """Every mutation of every connection that it applies to, in every dialect that can say it."""
    for dialect in dialects:
        for name, ours in connections.items():
            for mutation in MUTATIONS:
                if mutation.applies(ours) and dialect not in mutation.not_in:
                    yield dialect, name, mutation
