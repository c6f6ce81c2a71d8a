"""The CA of a project: certificates for other gateways by their requests, and revocation.

The revocation list is in the trust anchor, so the nodes of its connections read it with their desired state. Others
fetch it without credentials, signed anew: theirs has to end soon, so that they fetch it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from linkspan.api.http import body
from linkspan.api.http.messages import Handler, Request, Response, ok
from linkspan.api.http.operation import closed
from linkspan.api.http.route import Route
from linkspan.api.resources.certificates import mark_revoked, open_key, refusing
from linkspan.api.resources.collection import Collection, change, not_found
from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema import examples
from linkspan.core.schema.attribute_types import is_uuid
from linkspan.core.schema.certificate_types import PemText
from linkspan.core.schema.operations import ResourceOperation
from linkspan.core.schema.resources import TRUST_ANCHOR
from linkspan.pki import authority, chains, keys, names, pem
from linkspan.pki.errors import PkiError
from linkspan.store.rows import reading
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

PUBLIC_DAYS: Final = 7
"""Days for which a revocation list that others fetch is good."""
KEPT: Final = 3600.0
"""Seconds for which it is given out again, before the next one is signed."""
MOST: Final = 1000
"""Lists that a process keeps."""
CRL_TYPE: Final = ((b"content-type", b"application/pkix-crl"),)
_PEM: Final = PemText()
_CSR: Final = {
    "type": "object",
    "properties": {"csr": _PEM.schema()},
    "required": ["csr"],
    "additionalProperties": False,
}
_ISSUED: Final = closed(certificate={"type": "string", "format": "pem"}, ca_bundle={"type": "string", "format": "pem"})
_REVOKED: Final = {
    "type": "object",
    "properties": {"certificate": _PEM.schema()},
    "required": ["certificate"],
    "additionalProperties": False,
}


class TrustAnchorCollection(Collection):
    """Trust anchors with the actions of their own CAs."""

    _lists: dict[tuple[str, int], tuple[float, bytes]]

    def routes(self) -> list[Route]:
        self._lists = {}
        self._lock = threading.Lock()
        made, crud = super().routes(), self.crud()
        path = f"/v2.0/{TRUST_ANCHOR.path}/{{id}}"
        actions: tuple[tuple[str, ResourceOperation, Handler, str, Any, Any, Any], ...] = (
            (
                "POST",
                "issue",
                self.issue,
                "issue a certificate for a request by the project's own CA",
                _CSR,
                examples.REQUEST,
                _ISSUED,
            ),
            (
                "PUT",
                "revoke",
                self.revoke,
                "revoke a certificate of the project's own CA",
                _REVOKED,
                examples.REVOKED,
                crud.show().answer,
            ),
        )
        for method, verb, handler, summary, wanted, example, answer in actions:
            operation = crud.action(verb, summary, wanted, example, answer)
            made.append(Route(method, f"{path}/{verb}", handler, operation=operation))
        made.append(Route("GET", f"{path}/crl", self.crl, public=True, bodiless=True))
        return made

    def issue(self, request: Request) -> Response:
        """A certificate about the key of a request, with its names."""
        text = self._text(request, "csr")
        with self._store.write() as tx:
            anchor = self._own(tx, request)
            with refusing("csr"):
                asked = pem.request(text)
                keys.algorithm_of(asked.public_key())
                root = _root(anchor, tx.wall)
                key = open_key(tx, anchor)
                subject = names.text_of(asked.subject) if asked.subject.rdns else ""
                leaf = authority.issue(root, key, asked.public_key(), subject, names.alternatives(asked), tx.wall)
            self._audit(tx, request, "issue", anchor, ["certificate"])
        return ok({"certificate": pem.text_of(leaf), "ca_bundle": anchor["ca_bundle"]})

    def revoke(self, request: Request) -> Response:
        """Puts a certificate on the revocation list, which all connections of the trust anchor then have."""
        text = self._text(request, "certificate")
        with self._store.write() as tx:
            anchor = self._own(tx, request)
            with refusing("certificate"):
                leaf = pem.certificates(text)[0]
                root = _root(anchor, tx.wall)
                if chains.way_to_root(leaf, (), [root])[-1] != root:
                    raise PkiError(f"{chains.title(leaf)} is of another CA")
            revoked = authority.revoked_in(pem.crls(anchor["crl"])[0]) | {leaf.serial_number: tx.wall}
            crl = authority.sign_crl(root, open_key(tx, anchor), revoked, tx.wall)
            changed = change(tx, TRUST_ANCHOR, anchor, {"crl": pem.text_of(crl)})
            mark_revoked(tx, changed)
            self._audit(tx, request, "update", changed, ["crl"])
            self.hooks.complete(tx, [changed])
            now = tx.now
        return ok({TRUST_ANCHOR.singular: self._view(changed, request.caller, now)})

    def crl(self, request: Request) -> Response:
        """The revocation list of a generated CA in DER (RFC 2585), for everybody."""
        if not is_uuid(request.id):
            raise not_found(TRUST_ANCHOR, request.id)
        with self._store.read() as tx:
            anchor = reading.get(tx, TRUST_ANCHOR, request.id.lower())
            if anchor is None or anchor["source"] != "generated":
                raise not_found(TRUST_ANCHOR, request.id)
            return Response(200, self._public_list(tx, anchor), CRL_TYPE)

    def _public_list(self, tx: Transaction, anchor: Row) -> bytes:
        place, now = (anchor["id"], anchor["revision_number"]), time.monotonic()
        with self._lock:
            signed_at, der = self._lists.get(place, (now - 2 * KEPT, b""))
            if now - signed_at < KEPT:
                return der
            revoked = authority.revoked_in(pem.crls(anchor["crl"])[0])
            root = _root(anchor, tx.wall)
            crl = authority.sign_crl(root, open_key(tx, anchor), revoked, tx.wall, days=PUBLIC_DAYS)
            if len(self._lists) >= MOST:
                self._lists.clear()
            self._lists[place] = now, crl.public_bytes(serialization.Encoding.DER)
            return self._lists[place][1]

    def _own(self, tx: Transaction, request: Request) -> Row:
        """The trust anchor of a request, if the caller may change it and it has a CA of its own."""
        anchor = self._owned(tx, request, "update")
        if anchor["source"] != "generated":
            raise ApiError("BadRequest", f"Trust anchor {anchor['id']} has no CA of its own: its source is imported")
        return anchor

    def _text(self, request: Request, name: str) -> str:
        self._require_any(request, "update")
        raw: Mapping[str, Any] = body.json_object(request.body)
        if extra := sorted(set(raw) - {name}):
            raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
        text = _PEM.convert(name, raw.get(name))
        if text is None:
            raise invalid(name, "it is required")
        return text


def _root(anchor: Row, now: float) -> x509.Certificate:
    (root,) = chains.split_bundle(anchor["ca_bundle"]).roots
    chains.check_validity(root, now)
    return root
