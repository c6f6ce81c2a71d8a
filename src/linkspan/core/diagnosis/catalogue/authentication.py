"""The causes of authentication."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import Declared

AUTHENTICATION: Final = (
    Declared(
        code="AUTHENTICATION_REFUSED",
        layer="authentication",
        title="the peer refuses our authentication",
        sentence="the peer refused our authentication: compare the pre-shared key and the identities on both sides",
        variants={
            "identities": (
                "the peer refused our authentication: compare the identities, and phase1_negotiation_mode, on both "
                "sides (a wrong pre-shared key would show otherwise)"
            )
        },
        confidence=0.5,
        ours="compare psk, local_id and peer_id with the peer's",
        peers="see its log: it tells a wrong key from an unknown identity",
    ),
    Declared(
        code="ENCRYPTED_UNANSWERED",
        layer="authentication",
        title="the peer falls silent once messages are encrypted",
        sentence="the peer answers until messages are encrypted, and go by UDP 4500: compare the pre-shared key on "
        "both sides, and check that UDP 4500 passes",
        confidence=0.5,
        ours="compare psk with the peer's key, and let UDP 4500 pass",
        peers="see its log: it cannot decrypt our message, or has not got it",
    ),
    Declared(
        code="PSK_MISMATCH",
        layer="authentication",
        title="the pre-shared keys differ",
        sentence="the peer's authentication is wrong: compare the pre-shared key on both sides",
        variants={
            "decryption": "the peer's messages cannot be decrypted: compare the pre-shared key on both sides",
            "outdated": "the peer does not have the new psk, and the time of the previous one is over",
        },
        ours="set psk to the peer's key",
        peers="set the key to ours",
    ),
    Declared(
        code="PSK_MISSING",
        layer="authentication",
        title="no key for these identities",
        sentence="no pre-shared key for the identities that the peer uses: compare peer_id and local_id on both sides",
        ours="set peer_id and local_id to what the peer uses",
        peers="set the identities to ours",
    ),
    Declared(
        code="PSK_MISSING_AT_PEER",
        layer="authentication",
        title="the peer has no key for us",
        sentence="the peer has no pre-shared key for us: compare peer_id and local_id on both sides",
        side="peer",
        confidence=0.8,
        ours="compare local_id with what the peer expects",
        peers="give it a key for our address or identity",
    ),
    Declared(
        code="PEER_ID_MISMATCH",
        layer="authentication",
        title="the peer has another identity",
        sentence="the peer calls itself '{peer}', and peer_id here is '{ours}': set the same on both sides",
        variants={
            "bare": "the peer's identity is not the one configured: compare peer_id here with the peer's own identity"
        },
        ours="set peer_id to the identity that the peer uses",
        peers="set its own identity to our peer_id",
    ),
    Declared(
        code="LOCAL_ID_REFUSED",
        layer="authentication",
        title="the peer expects another identity of ours",
        sentence="the peer calls us '{peer}', and local_id here is '{ours}': set the same on both sides",
        ours="set local_id to what the peer calls us",
        peers="set the identity that it expects of us to our local_id",
    ),
    Declared(
        code="AUTH_METHOD_MISMATCH",
        layer="authentication",
        title="key meets certificate",
        sentence="the peer authenticates with {peer}, and auth_mode here is {ours}: use the same on both sides",
        ours="set auth_mode to what the peer uses",
        peers="use the method of our auth_mode",
    ),
    Declared(
        code="CERT_EXPIRED",
        layer="authentication",
        title="a certificate has expired",
        sentence="{whose} expired on {end}: it has to be renewed",
        side="peer",
        peers="renew the certificate",
    ),
    Declared(
        code="CERT_NOT_YET_VALID",
        layer="authentication",
        title="a certificate is not valid yet",
        sentence="{whose} is not valid before {start}: check the clocks of both sides",
        ours="check the clock of the node",
        peers="check its clock, and that of its CA",
    ),
    Declared(
        code="CERT_REVOKED",
        layer="authentication",
        title="the peer's certificate is revoked",
        sentence="the peer's certificate was revoked on {name}: the peer needs another one",
        side="peer",
        peers="get another certificate",
    ),
    Declared(
        code="CERT_NO_ISSUER",
        layer="authentication",
        title="the peer's CA is not known here",
        sentence="the CA of the peer's certificate is not known here: it is '{name}'. If it is below the trust anchor, "
        "let the peer send its certificate too, or add it to the anchor; if not, the anchor is that of another peer",
        ours="set trust_anchor_id to the anchor of the peer's CA",
        peers="send the certificates of intermediate CAs, or use one of the CA that we trust",
    ),
    Declared(
        code="CERT_UNTRUSTED_ROOT",
        layer="authentication",
        title="the peer's certificate is of another CA",
        sentence="the peer's certificate is from another CA than '{name}', which trust_anchor_id asks for: set the "
        "anchor of the peer's CA, or let the peer use a certificate from this one",
        variants={"anchor": "the peer has no certificate that the trust anchor admits now"},
        ours="set trust_anchor_id to the anchor of the peer's CA",
        peers="use a certificate of the CA that we trust",
    ),
    Declared(
        code="CERT_NOT_PINNED",
        layer="authentication",
        title="the peer has another certificate",
        sentence="the peer's certificate is none of peer_certificates: add the one that it has now",
        ours="add the peer's certificate to peer_certificates",
        peers="use the certificate that we know",
    ),
    Declared(
        code="CERT_POLICY",
        layer="authentication",
        title="a certificate breaks a rule",
        sentence="a certificate in the peer's chain is signed with {name}, which is too weak: it has to be issued "
        "again with SHA-256",
        variants={
            "hash": (
                "the peer signs with {name} and a hash that is not taken: SHA-256, SHA-384 and SHA-512 are, for "
                "RSA-PSS SHA-256 and SHA-512"
            ),
            "path": (
                "a CA above the peer's certificate may not issue certificates of CAs, or not so many levels of them"
            ),
        },
        side="peer",
        peers="have the certificate, or that of its CA, issued again",
    ),
    Declared(
        code="REVOCATION_UNREACHABLE",
        layer="authentication",
        title="no revocation list",
        sentence="revocation is strict, and there is no revocation list of the peer's CA: check crl_urls, or give the "
        "anchor a crl",
        variants={
            "stale": (
                "revocation is strict, and the newest revocation list of the peer's CA is out of date: check crl_urls, "
                "or give the anchor a newer crl"
            )
        },
        side="ours",
        ours="check crl_urls of the trust anchor, or give it a newer crl",
    ),
    Declared(
        code="LOCAL_CERT_MISSING",
        layer="authentication",
        title="no private key for our identity",
        sentence="there is no private key for our identity '{name}': set local_certificate_id to a certificate that "
        "carries it",
        side="ours",
        ours="set local_certificate_id to a certificate that carries local_id",
    ),
    Declared(
        code="ID_NOT_IN_CERT",
        layer="authentication",
        title="the peer's certificate lacks its identity",
        sentence="the peer's certificate does not carry its identity '{name}': it has to be the subject or an "
        "alternative name, and a common name alone is not enough",
        side="peer",
        ours="or set peer_id to an identity that the certificate carries",
        peers="get a certificate that carries its identity",
    ),
    Declared(
        code="CERT_KEY_MISMATCH",
        layer="authentication",
        title="the peer signs with another key",
        sentence="the peer's signature is of none of the certificates that carry its identity: its certificate carries "
        "another one, or is about another key",
        variants={
            "ppk": (
                "the peer's signature is of none of the certificates that carry its identity: its certificate carries "
                "another one, or is about another key, or the post-quantum keys differ: compare ppk"
            )
        },
        side="peer",
        ours="compare peer_id and peer_certificates with what the peer has now",
        peers="use the key of its certificate",
    ),
    Declared(
        code="PPK_REQUIRED",
        layer="authentication",
        title="the peer has no post-quantum key",
        sentence="the peer has no post-quantum key, and ppk_required is true: configure it there too",
        side="peer",
        ours="or set ppk_required to false",
        peers="configure the post-quantum key",
    ),
    Declared(
        code="PPK_MISMATCH",
        layer="authentication",
        title="the post-quantum keys differ",
        sentence="the peer names its post-quantum key '{name}': set ppk_id to the same on both sides",
        variants={"unloaded": "the post-quantum key is not loaded: set ppk again"},
        ours="set ppk_id and ppk to the peer's",
        peers="set name and key to ours",
    ),
)
