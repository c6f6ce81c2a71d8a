"""The resources of certificates: those of gateways, and the trust anchors for those of peers."""

from __future__ import annotations

from typing import Final

from linkspan.core.schema.attribute_types import Choice, Json, Text, Uuid
from linkspan.core.schema.certificate_types import (
    KEY_ALGORITHMS,
    LARGEST_KEY,
    AlternativeNames,
    CrlUrls,
    DistinguishedName,
    PemText,
)
from linkspan.core.schema.declarations import COMMON, Attribute, Resource, read_only

CERTIFICATE_STATUSES: Final = ("awaiting_certificate", "valid", "expiring", "expired", "revoked")
_TIME: Final = Text(format="date-time")
_IN_USE_BY: Final = read_only(
    "in_use_by", Json(items=Uuid().schema()), "ids of the connections that use it", stored=False
)

CERTIFICATE: Final = Resource(
    name="certificate",
    singular="certificate",
    plural="certificates",
    path="vpn/certificates",
    label="VPNCertificate",
    not_found="VPNCertificateNotFound",
    help="a gateway's certificate and its private key",
    table_columns=("name", "status", "subject", "subject_alt_names", "not_after"),
    attributes=(
        *COMMON,
        Attribute(
            name="source",
            kind=Choice(("csr", "generated", "imported")),
            help="csr: the key is made here, and a CA answers the request; generated: the certificate too, by the "
            "project's own CA; imported: both are given",
            put=False,
            default="csr",
        ),
        Attribute(
            name="key_algorithm",
            kind=Choice(KEY_ALGORITHMS),
            help="kind and size of the key; of an imported one: that of the certificate",
            put=False,
            default="ecdsa-p256",
        ),
        Attribute(
            name="subject",
            kind=DistinguishedName(),
            help="distinguished name, such as 'C=CH, O=Lab, CN=gw'; default: the first alternative name",
            put=False,
            default="",
        ),
        Attribute(
            name="subject_alt_names",
            kind=AlternativeNames(),
            help="DNS names, mail addresses and IP addresses: the identities that the gateway can have",
            put=False,
            default=[],
        ),
        Attribute(
            name="issuer_id",
            kind=Uuid(optional=True),
            help="trust anchor whose CA issues a generated certificate",
            put=False,
            default=None,
        ),
        read_only("csr", PemText(), "certificate signing request, for a CA"),
        Attribute(
            name="certificate",
            kind=PemText(),
            help="certificate in PEM, then intermediate ones; a new one of the same key renews it",
            default=None,
        ),
        Attribute(
            name="private_key",
            kind=Text(min_length=1, max_length=LARGEST_KEY, controls="lines"),
            help="private key of an imported certificate in PEM, not encrypted; it is never shown",
            default=None,
            secret=True,
            write_only=True,
            nullable=True,
        ),
        read_only("not_before", _TIME, "when the certificate begins to be valid", nullable=True),
        read_only("not_after", _TIME, "when the certificate expires", nullable=True),
        read_only("fingerprint", Text(), "SHA-256 of the certificate, in hexadecimal", nullable=True),
        read_only("key_identifier", Text(), "SHA-1 of the public key, in hexadecimal: its subject key identifier"),
        read_only("revoked_at", _TIME, "when its CA revoked it, as a revocation list says", nullable=True),
        read_only("status", Choice(CERTIFICATE_STATUSES), "state of the certificate", stored=False),
        _IN_USE_BY,
    ),
)

TRUST_ANCHOR: Final = Resource(
    name="trust_anchor",
    singular="trust_anchor",
    plural="trust_anchors",
    path="vpn/trust-anchors",
    label="TrustAnchor",
    not_found="TrustAnchorNotFound",
    help="CAs that certificates of peers have to lead to",
    table_columns=("name", "status", "source", "revocation", "expires_at"),
    attributes=(
        *COMMON,
        Attribute(
            name="source",
            kind=Choice(("imported", "generated")),
            help="imported: the CAs of ca_bundle; generated: a CA of the project's own, which issues certificates",
            put=False,
            default="imported",
        ),
        Attribute(
            name="subject",
            kind=DistinguishedName(),
            help="distinguished name of a generated CA; default: its name",
            put=False,
            default="",
        ),
        Attribute(
            name="ca_bundle",
            kind=PemText(),
            help="CA certificates in PEM with their root; an intermediate one restricts to what it has issued",
            default=None,
        ),
        Attribute(
            name="revocation",
            kind=Choice(("strict", "if_available", "none")),
            help="strict: a peer needs a revocation list that is good; if_available: it counts if there is one",
            default="if_available",
        ),
        Attribute(
            name="crl_urls",
            kind=CrlUrls(),
            help="http addresses from which nodes fetch revocation lists",
            default=[],
        ),
        Attribute(
            name="crl",
            kind=PemText(),
            help="certificate revocation lists in PEM, one a CA",
            default=None,
        ),
        read_only("private_key", Text(), "key of a generated CA; it is never shown", secret=True, write_only=True),
        read_only("expires_at", _TIME, "when the first of its certificates expires"),
        read_only("status", Choice(("valid", "expiring", "expired")), "state of its certificates", stored=False),
        _IN_USE_BY,
    ),
)
