"""Sample connections and SAs for the tests of the core, with the changes of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from linkspan.core.errors import ApiError
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import Certificates, LocalCertificate, TrustAnchor
from linkspan.core.state.desired import (
    Connection,
    Dpd,
    Gateway,
    IkePolicy,
    InsideInterface,
    IpsecPolicy,
    OutsideInterface,
)
from linkspan.core.tunnel.sas import ChildSa, IkeSa

ID = "0d1c7c3e-6a55-4b8c-9a56-2f6f5a9f0b11"
GATEWAY_ID = "5c1f9f1c-0c8c-4a47-9a3b-7a3f1f0e2d22"

CONNECTION = Connection(
    id=ID,
    gateway_id=GATEWAY_ID,
    revision=1,
    enabled=True,
    local_address="198.51.100.1",
    local_id="",
    peer_address="198.51.100.2",
    peer_id="198.51.100.2",
    local_cidrs=("10.1.0.0/24",),
    peer_cidrs=("10.2.0.0/24",),
    mtu=1500,
    initiator="bi-directional",
    dpd=Dpd("restart", 10, 30),
    auth_mode="psk",
    psk=Secret("correct horse"),
    psk_ref="ref-1",
    ike=IkePolicy("v2", "main", "aes-128", "sha256", "group14", 3600),
    ipsec=IpsecPolicy("esp", "tunnel", "aes-128", "sha256", "group14", "seconds", 3600),
)

GATEWAY = Gateway(
    id=GATEWAY_ID,
    revision=1,
    generation=1,
    outside=OutsideInterface(
        "5f1a0000-0000-4000-8000-000000000000", "internet", ("198.51.100.1/24",), ("198.51.100.254",)
    ),
    inside=(InsideInterface("6f1a0000-0000-4000-8000-000000000000", ("10.1.0.1/24",)),),
)


CERTIFICATES = Certificates(
    local=LocalCertificate(
        id="7f1a0000-0000-4000-8000-000000000000",
        chain=("leaf", "between"),
        private_key=Secret("private"),
        key_id="a" * 40,
        not_before=0,
        not_after=2_000_000_000,
    ),
    anchor=TrustAnchor(
        id="8f1a0000-0000-4000-8000-000000000000",
        name="anchor",
        roots=("root",),
        issuers=("sub",),
        revocation="none",
        not_after=2_000_000_000,
    ),
)


def certified(**changes: Any) -> Connection:
    """The sample connection with certificates, with some attributes of these, or of their parts, changed."""
    replace = msgspec.structs.replace
    local = {key: changes.pop(key) for key in list(changes) if key in LocalCertificate.__struct_fields__[1:]}
    anchor = {key: changes.pop(key) for key in list(changes) if key in TrustAnchor.__struct_fields__[1:]}
    parts = {"local": replace(CERTIFICATES.local, **local), "anchor": replace(CERTIFICATES.anchor, **anchor)}
    certificates = replace(CERTIFICATES, **parts, **changes)
    return replace(CONNECTION, auth_mode="certs", psk=Secret(""), psk_ref="", certificates=certificates)


def connection(**changes: Any) -> Connection:
    """A valid connection with some attributes changed."""
    return msgspec.structs.replace(CONNECTION, **changes)


def child(name: str, *, idle: int = -1, state: str = "INSTALLED", number: int = 1, group: str = "MODP_2048") -> ChildSa:
    """A child SA of this name, with the sample connection's algorithms."""
    spis = ("c0ffee01", "c0ffee02")
    return ChildSa(name, number, state, *spis, 0, 0, 0, 0, idle, "AES_CBC", 128, "HMAC_SHA2_256_128", group)


def ikev1(**changes: Any) -> IkePolicy:
    """The sample connection's IKE policy for IKEv1, with some attributes changed."""
    return msgspec.structs.replace(CONNECTION.ike, ike_version="v1", **changes)


def sa(
    name: str,
    *children: ChildSa,
    unique_id: int = 1,
    state: str = "ESTABLISHED",
    initiator: bool = True,
    age: int = 3,
) -> IkeSa:
    """An IKE SA between the two addresses of the sample connection."""
    return IkeSa(name, unique_id, state, initiator, "198.51.100.1", "198.51.100.2", age, children)


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function; None if it raises an ApiError, whose status must be 400."""
    try:
        return function(*arguments)
    except ApiError as error:
        if error.status != 400:
            raise
        return None
