"""Certificates of gateways, and trust anchors for those of peers.

charon checks almost nothing when it loads them, so what the peer or charon would refuse is refused here. A key that is
made here leaves only to the node of a gateway that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509

from linkspan.api.attributes import Attributes
from linkspan.api.http.caller import Caller
from linkspan.api.resources.collection import Hooks, change, find_live
from linkspan.api.resources.connection_credentials import check_users
from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.core.secret import Secret
from linkspan.core.state import certificate_status
from linkspan.pki import authority, chains, crls, keys, names, pem, requests
from linkspan.pki.errors import PkiError
from linkspan.store.rows import dependencies, reading, writing
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

BULK: Final = 10
"""The most certificates or anchors of one POST: a key of RSA takes a second, for which SQLite's one writer is busy."""


@contextmanager
def refusing(attribute: str) -> Iterator[None]:
    """Makes the 400 of an attribute of a `PkiError`."""
    try:
        yield
    except PkiError as error:
        raise invalid(attribute, str(error)) from None


def _refuse_given(values: Mapping[str, Any], attributes: tuple[str, ...], reason: str) -> None:
    for attribute in attributes:
        if values.get(attribute):
            raise invalid(attribute, reason)


class CertificateAttributes(Attributes):
    """The attributes of certificates. A key and a request are made before the transaction, which is short then."""

    def for_create(self, raw: Mapping[str, Any], caller: Caller) -> Values:
        values = super().for_create(raw, caller)
        source = values["source"]
        if source == "imported":
            _refuse_given(values, ("issuer_id",), "only a generated certificate has an issuer")
            _refuse_given(raw, ("subject", "subject_alt_names"), "an imported certificate has its own")
            for attribute in ("certificate", "private_key"):
                if not values[attribute] or (attribute == "private_key" and not values[attribute].reveal()):
                    raise invalid(attribute, "it is required of an imported certificate")
            return values
        _refuse_given(values, ("private_key",), f"the key is made here: source {source} takes none")
        if source == "csr":
            _refuse_given(values, ("issuer_id",), "only a generated certificate has an issuer")
            _refuse_given(values, ("certificate",), "the request comes first: set the certificate that answers it")
        else:
            _refuse_given(values, ("certificate",), "the project's own CA issues it: source generated takes none")
            if values["issuer_id"] is None:
                raise invalid("issuer_id", "it is required of a generated certificate: a trust anchor with a CA")
        with refusing("subject_alt_names"):
            requests.alternative_names(values["subject_alt_names"])
        with refusing("subject"):
            values["subject"] = names.text_of(requests.subject_of(values["subject"], values["subject_alt_names"]))
            key = keys.generate(values["key_algorithm"])
            values["csr"] = requests.make(key, values["subject"], values["subject_alt_names"])
        return values | {"private_key": keys.seal(key), "key_identifier": keys.key_id(key.public_key())}


class GatewayCertificates(Hooks):
    """Certificates of gateways."""

    bulk = BULK

    def __init__(self) -> None:
        super().__init__(CERTIFICATE)
        self.attributes = CertificateAttributes(CERTIFICATE)

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        if values["source"] == "imported":
            with refusing("private_key"):
                key = keys.load(values["private_key"].reveal())
            values |= self._issued(tx, values["project_id"], values["certificate"], key.public_key())
            values["private_key"] = keys.seal(key)
        elif values["source"] == "generated":
            values |= self._generated(tx, caller, values)
        return writing.insert(tx, CERTIFICATE, values)

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        key: Secret | None = values.pop("private_key", None)
        if key is not None:
            if row["source"] != "imported":
                raise invalid("private_key", f"the key is made here: source {row['source']} takes none")
            if values.get("certificate") is None:
                raise invalid("certificate", "a new private key needs its certificate in the same request")
        if "certificate" not in values:
            return change(tx, CERTIFICATE, row, values)
        if values["certificate"] is None:
            raise invalid("certificate", "it cannot be removed, only renewed: delete the object instead")
        if row["source"] == "generated":
            raise invalid("certificate", "the project's own CA issues it: source generated takes none")
        if key is None:
            public = self._public_key(row)
        else:
            with refusing("private_key"):
                loaded = keys.load(key.reveal())
            public, values["private_key"] = loaded.public_key(), keys.seal(loaded)
        values |= self._issued(tx, row["project_id"], values["certificate"], public)
        changed = change(tx, CERTIFICATE, row, values)
        check_users(tx, dependencies.connections_using(tx, certificate=row["id"]))
        return changed

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        if users := dependencies.connections_using(tx, certificate=row["id"]):
            message = f"VPNCertificate {row['id']} is in use by ipsec_site_connection {users[0]}"
            raise ApiError("VPNCertificateInUse", message)
        return super().delete(tx, caller, row)

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        for row in rows:
            row["status"] = certificate_status.of_certificate(row, tx.wall)

    def _public_key(self, row: Row) -> Any:
        """The public key of a stored certificate or, before it has one, of its request."""
        return pem.certificates(row["certificate"])[0].public_key() if row["certificate"] else _request_key(row)

    def _issued(self, tx: Transaction, project: str, text: str, public: Any) -> Values:
        """The attributes that follow from a certificate that is given for a key. Raises ApiError."""
        anchors = anchors_of(tx, project)
        roots = [root for anchor in anchors for root in chains.split_bundle(anchor["ca_bundle"]).roots]
        with refusing("certificate"):
            leaf, chain = chains.check_chain(text, roots, tx.wall)
            algorithm = keys.algorithm_of(leaf.public_key())
            keys.require_own(algorithm)
            if keys.key_id(leaf.public_key()) != keys.key_id(public):
                raise PkiError(f"{chains.title(leaf)} is about another key than the private key")
        return described(tx, project, leaf, chain) | {"certificate": pem.text_of(*chain), "key_algorithm": algorithm}

    def _generated(self, tx: Transaction, caller: Caller, values: Values) -> Values:
        """A certificate by the CA of a trust anchor. Raises ApiError."""
        anchor = find_live(tx, TRUST_ANCHOR, values["issuer_id"], caller)
        if anchor["project_id"] != values["project_id"]:
            raise invalid("issuer_id", "the trust anchor is of another project")
        if anchor["source"] != "generated":
            raise invalid("issuer_id", f"trust anchor {anchor['id']} has no CA of its own: its source is imported")
        return issued_by(tx, anchor, values)


def issued_by(tx: Transaction, anchor: Row, values: Values) -> Values:
    """The attributes of a certificate that the CA of a trust anchor issues now for the key, subject and names of
    another one's attributes. Raises ApiError, and KeyFileError if the CA's key cannot be read."""
    (root,) = chains.split_bundle(anchor["ca_bundle"]).roots
    key = open_key(tx, anchor)
    with refusing("issuer_id"):
        chains.check_validity(root, tx.wall)
    with refusing("subject_alt_names"):
        public = pem.request(values["csr"]).public_key()
        leaf = authority.issue(root, key, public, values["subject"], values["subject_alt_names"], tx.wall)
    return described(tx, values["project_id"], leaf, [leaf]) | {"certificate": pem.text_of(leaf)}


def _request_key(row: Row) -> Any:
    return pem.request(row["csr"]).public_key()


def described(tx: Transaction, project: str, leaf: x509.Certificate, chain: list[x509.Certificate]) -> Values:
    """The attributes of a certificate that it says itself, and whether a revocation list of the project has it."""
    start, end = chains.lifetime(chain)
    return {
        "subject": names.text_of(leaf.subject),
        "subject_alt_names": names.alternatives(leaf),
        "not_before": moment(start),
        "not_after": moment(end),
        "fingerprint": keys.fingerprint(leaf),
        "key_identifier": keys.key_id(leaf.public_key()),
        "revoked_at": _revoked_at(leaf, anchors_of(tx, project)),
    }


def anchors_of(tx: Transaction, project: str) -> list[Row]:
    """The trust anchors of a project."""
    return reading.find(tx, TRUST_ANCHOR, Query(), project)


def _revoked_at(leaf: x509.Certificate, anchors: list[Row]) -> str | None:
    for anchor in anchors:
        if anchor["crl"] is None:
            continue
        issuers = chains.split_bundle(anchor["ca_bundle"]).certificates
        at = crls.revoked_at(leaf, pem.crls(anchor["crl"]), issuers)
        if at is not None:
            return moment(at)
    return None


def moment(seconds: float) -> str:
    """A time as clients read it: 2026-11-23T01:41:31Z."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def open_key(tx: Transaction, anchor: Row) -> keys.PrivateKey:
    """The key of a generated CA. Raises KeyFileError if it cannot be read."""
    return keys.load(reading.secret(tx, TRUST_ANCHOR, anchor["id"], "private_key").reveal())


class TrustAnchors(Hooks):
    """Trust anchors."""

    bulk = BULK

    def __init__(self) -> None:
        super().__init__(TRUST_ANCHOR)

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        if values["source"] == "generated":
            _refuse_given(values, ("ca_bundle", "crl", "crl_urls"), "the CA is made here: source generated takes none")
            with refusing("subject"):
                key = keys.generate("ecdsa-p256")
                subject = values["subject"] or f"CN={_common_name(values['name'])}"
                root = authority.new_root(key, subject, tx.wall)
            crl = pem.text_of(authority.sign_crl(root, key, {}, tx.wall))
            values |= {"private_key": keys.seal(key), "ca_bundle": pem.text_of(root), "subject": subject, "crl": crl}
        else:
            _refuse_given(values, ("subject",), "only a generated CA takes one")
            if values["ca_bundle"] is None:
                raise invalid("ca_bundle", "it is required, unless source is generated")
        values |= self._checked(tx, values, None)
        row = writing.insert(tx, TRUST_ANCHOR, values)
        mark_revoked(tx, row)
        return row

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        if row["source"] == "generated":
            _refuse_given(values, ("ca_bundle", "crl", "crl_urls"), "the CA is made here: source generated takes none")
        if "ca_bundle" in values and values["ca_bundle"] is None:
            raise invalid("ca_bundle", "it cannot be removed: delete the object instead")
        if values.keys().isdisjoint({"ca_bundle", "crl", "revocation", "crl_urls"}):
            return change(tx, TRUST_ANCHOR, row, values)
        values |= self._checked(tx, row | values, row, values)
        changed = change(tx, TRUST_ANCHOR, row, values)
        if "ca_bundle" in values:
            users = dependencies.connections_using(tx, trust_anchor=row["id"])
            check_users(tx, users, chains.split_bundle(changed["ca_bundle"]))
        if not values.keys().isdisjoint({"ca_bundle", "crl"}):
            mark_revoked(tx, changed)
        return changed

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        if users := dependencies.connections_using(tx, trust_anchor=row["id"]):
            message = f"TrustAnchor {row['id']} is in use by ipsec_site_connection {users[0]}"
            raise ApiError("TrustAnchorInUse", message)
        issued = reading.find(tx, CERTIFICATE, Query(filters={"issuer_id": (row["id"],)}, limit=1))
        if issued:
            raise ApiError("TrustAnchorInUse", f"TrustAnchor {row['id']} has issued VPNCertificate {issued[0]['id']}")
        return super().delete(tx, caller, row)

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        for row in rows:
            row["status"] = certificate_status.of_anchor(row, tx.wall)

    def _checked(self, tx: Transaction, values: Values, before: Row | None, given: Values | None = None) -> Values:
        """The attributes of an anchor whose PEM texts are checked and uniform. Raises ApiError."""
        given = values if given is None else given
        checked: Values = {}
        bundle = chains.split_bundle(before["ca_bundle"]) if before is not None else None
        if bundle is None or "ca_bundle" in given:
            with refusing("ca_bundle"):
                bundle = chains.check_bundle(values["ca_bundle"], tx.wall)
            checked["ca_bundle"] = pem.text_of(*bundle.certificates)
            checked["expires_at"] = moment(chains.lifetime(bundle.certificates)[1])
        if values["crl"] is not None and not given.keys().isdisjoint({"ca_bundle", "crl"}):
            earlier = pem.crls(before["crl"]) if before is not None and before["crl"] and "crl" in given else []
            with refusing("crl"):
                found = crls.check_crls(values["crl"], bundle.certificates, earlier, tx.wall)
            checked["crl"] = pem.text_of(*found)
        if values["revocation"] == "strict" and values["crl"] is None and not values["crl_urls"]:
            raise invalid("revocation", "strict admits nobody without a revocation list: set crl or crl_urls")
        return checked


def mark_revoked(tx: Transaction, anchor: Row) -> None:
    """Says of each certificate of a trust anchor's project whether the revocation lists have it."""
    anchors = anchors_of(tx, anchor["project_id"])
    for row in reading.find(tx, CERTIFICATE, Query(), anchor["project_id"]):
        if row["certificate"] is None:
            continue
        at = _revoked_at(pem.certificates(row["certificate"])[0], anchors)
        if at != row["revoked_at"]:
            writing.update(tx, CERTIFICATE, row["id"], {"revoked_at": at})


def _common_name(name: str) -> str:
    kept = "".join(char for char in name if char.isalnum() or char in " ._-").strip()
    return kept[:64].strip() or "Linkspan CA"


def hooks() -> list[Hooks]:
    """The hooks of certificates and trust anchors."""
    return [GatewayCertificates(), TrustAnchors()]
