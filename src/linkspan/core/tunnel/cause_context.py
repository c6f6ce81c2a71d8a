"""Causes in the context of the connection that they are about: its values beside those of the peer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import Code, Details
from linkspan.core.ipsec import identities
from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.state.desired import Connection, IkePolicy, IpsecPolicy
from linkspan.core.tunnel import certificate_causes
from linkspan.core.tunnel.charon_events import Cause, PeerRefused
from linkspan.core.tunnel.peer_attempts import bounded

VERSIONS: Final = {"v1": 1, "v2": 2}
_OF_THE_OTHER_METHOD: Final[Mapping[str, frozenset[Code]]] = {
    "certs": frozenset({"PSK_MISSING"}),
    "psk": certificate_causes.OF_PEERS,
}
"""Line of charon's log if the peer authenticates by the other method, by that of this end."""

_set = msgspec.structs.replace


def in_context(cause: Cause, connection: Connection) -> Cause:
    """The cause with the values of the connection, and refined by them."""
    if method := _other_method(cause, connection):
        return _named(cause, "AUTH_METHOD_MISMATCH", "", connection.auth_mode, method)
    details = cause.details
    match cause.code:
        case "IKE_REFUSED":
            return _named(cause, "IKE_REFUSED", "", ike_algorithms(connection.ike), "")
        case "ESP_PROPOSAL_MISMATCH" if not details.peer and "accepts none" in cause.text:
            return _named(cause, "ESP_PROPOSAL_MISMATCH", "offered", ipsec_algorithms(connection.ipsec), "")
        case "SELECTORS_UNACCEPTABLE" if "user-space" not in cause.text:
            variant = "" if details.peer else "ours"
            return _named(cause, "SELECTORS_UNACCEPTABLE", variant, selectors(connection), details.peer)
        case "PSK_MISSING" if details.peer and not is_called(connection.peer_id, details.peer):
            return _named(cause, "PEER_ID_MISMATCH", "", connection.peer_id, details.peer)
        case "UDP_4500_BLOCKED" if connection.certificates:
            # Certificates make a message that does not fit into one packet.
            return _named(cause, "IKE_FRAGMENTS_LOST", "certificates", "", "")
        case "PEER_ID_MISMATCH":
            return _set(cause, details=_set(details, ours=connection.peer_id))
        case "PSK_MISMATCH" | "PSK_MISSING" | "AUTHENTICATION_REFUSED" | "PEER_BROKE_OFF" | "CERT_KEY_MISMATCH":
            return _set(cause, text=_with_credentials(cause, connection))
    return cause


def _other_method(cause: Cause, connection: Connection) -> str:
    """Method by which the peer authenticates, if that is not the method of this end; else empty."""
    if cause.code in _OF_THE_OTHER_METHOD[connection.auth_mode]:
        return "a pre-shared key" if connection.auth_mode == "certs" else "a certificate"
    is_other = ("signature" in cause.details.peer) == (connection.auth_mode == "psk")
    return cause.details.peer if cause.code == "EXCHANGE_MODE_MISMATCH" and is_other else ""


def of_refusal(event: PeerRefused, connection: Connection) -> Cause:
    """The cause of a refused attempt of the peer, for a connection that it may have been meant for."""
    cause = Cause(connection.id, event.code, event.text, event.at, event.details)
    if event.code == "UNKNOWN_SOURCE":
        if connection.peer_address != event.address:
            return _set(cause, details=Details(connection.peer_address, event.address, event.details.line))
        if not event.version:
            return cause
        return _named(cause, "IKE_VERSION_MISMATCH", "", connection.ike.ike_version, f"IKEv{event.version}")
    if not event.calls_itself:
        return in_context(cause, connection)
    if not is_called(connection.peer_id, event.calls_itself):
        return _named(cause, "PEER_ID_MISMATCH", "", connection.peer_id, bounded(event.calls_itself))
    us = connection.local_id or connection.local_address
    if event.calls_us and not is_called(us, event.calls_us):
        return _named(cause, "LOCAL_ID_REFUSED", "", us, bounded(event.calls_us))
    return in_context(cause, connection)


def ike_algorithms(policy: IkePolicy) -> str:
    """The algorithms of an IKE policy, in the API's names, and the version of IKE."""
    names = f"{policy.encryption_algorithm}, {policy.auth_algorithm}, {policy.pfs}"
    return f"{names} by IKE{policy.ike_version}"


def ipsec_algorithms(policy: IpsecPolicy) -> str:
    """The algorithms of an IPsec policy, in the API's names."""
    parts = [policy.encryption_algorithm, policy.auth_algorithm, policy.pfs]
    if policy.transform_protocol == "ah":
        parts = parts[1:]
    elif is_aead(policy.encryption_algorithm):
        parts.pop(1)
    return f"{policy.transform_protocol}: {', '.join(parts)}"


def selectors(connection: Connection) -> str:
    """The networks of a connection, in charon's notation: ours first."""
    return f"{' '.join(connection.local_cidrs)} === {' '.join(connection.peer_cidrs)}"


def is_called(identity: str, name: str) -> bool:
    """True if charon's text of an identity is this one of ours. Case does not count in names (RFC 4343)."""
    return identities.stored(identity).text.lower() == name.lower()


def _named(cause: Cause, code: Code, variant: str, ours: str, peer: str) -> Cause:
    text = causes.sentence(code, variant, ours=ours, peer=peer)
    return _set(cause, code=code, text=text, details=Details(ours, peer, cause.details.line))


def _with_credentials(cause: Cause, connection: Connection) -> str:
    """The text for a connection with these credentials: the peer refuses others than a pre-shared key."""
    if cause.code == "CERT_KEY_MISMATCH" and connection.ppk:
        return causes.sentence("CERT_KEY_MISMATCH", "ppk")
    if "pre-shared key" not in cause.text or not (connection.certificates or connection.ppk):
        return cause.text
    if connection.certificates is None:
        return cause.text.replace("pre-shared key", "pre-shared key, the post-quantum key")
    quantum = ", and the post-quantum key" if connection.ppk else ""
    us = connection.local_id or connection.local_address
    return (
        "the peer refused our authentication: see its log, and compare the CA that it trusts with that of our "
        f"certificate, and its identity for us with '{us}'{quantum}"
    )
