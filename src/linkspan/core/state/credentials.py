"""The credentials of a connection beside its pre-shared key: certificates, trust anchors, post-quantum keys, and the
pre-shared key that it had before.

They are part of the desired state, so they have the forms that charon takes: PEM, one certificate in each text.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from linkspan.core.secret import Secret
from linkspan.core.state.bounds import ObjectId, ShortText

Revocation = Literal["strict", "if_available", "none"]
OnePem = Annotated[str, Meta(max_length=64 * 1024)]
"""One certificate or CRL. A VICI message has at most 65,535 bytes in a value."""
KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}\Z")]


PSK_GRACE: Final = 3600.0
"""Default of `api.psk_grace`: seconds for which a node also takes the pre-shared key that a connection had before."""


class LocalCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """Our certificate. `id`: its uuid; `chain`: the leaf, then the intermediate certificates, without a root.

    `private_key`: PKCS #8 in PEM, not encrypted. `key_id`: SHA-1 of the bits of the public key in lower-case hex
    (RFC 5280, section 4.2.1.2), by which charon names the private key. `not_before`, `not_after`: seconds since 1970.
    """

    id: ObjectId
    chain: tuple[OnePem, ...]
    private_key: Secret
    key_id: KeyId
    not_before: int
    not_after: int


class TrustAnchor(msgspec.Struct, frozen=True, kw_only=True):
    """What the certificate of a peer has to lead to. `roots`: self-signed certificates, which charon needs to know.

    `issuers`: the CA certificates one of which must be in the peer's chain: the intermediate ones where the anchor has
    any, else the roots. `crl_urls`: where the node fetches revocation lists; `crls`: those that it is given.
    `not_after`: seconds since 1970, of the first certificate to expire.
    """

    id: ObjectId
    name: ShortText
    roots: tuple[OnePem, ...]
    issuers: tuple[OnePem, ...]
    revocation: Revocation
    crl_urls: tuple[str, ...] = ()
    crls: tuple[OnePem, ...] = ()
    not_after: int


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates of a connection. `peer_certificates`: whole certificates, exactly one of which the peer must
    have; empty: every one that the anchor admits and that has the peer's identity."""

    local: LocalCertificate
    anchor: TrustAnchor
    peer_certificates: tuple[OnePem, ...] = ()


class PostQuantumKey(msgspec.Struct, frozen=True, kw_only=True):
    """A post-quantum preshared key (RFC 8784). `id`: a text or an e-mail address, the same at both ends.

    `required`: whether a peer without it is refused. `ref`: changes with the key, as `Connection.psk_ref` does.
    """

    id: ShortText
    key: Secret
    required: bool
    ref: ShortText = ""


class PreviousKey(msgspec.Struct, frozen=True):
    """The pre-shared key that a connection had before, while the peer may still have it. `ref`: as in `psk_ref`."""

    key: Secret
    ref: ShortText
