"""A CA of a project's own, and connections through the API that certificates authenticate."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from tests.harness.authorities import Issued, new_key, request
from tests.harness.certified import THEM, US
from tests.harness.ours import VPN, Link, Ours
from tests.harness.peer import Peer


class OwnCa:
    """A CA of the project's own. `anchor`: its id; `certificate`: the gateway's id; `peer`: what it has issued for the
    peer's request, with a key of `peers_kind`."""

    def __init__(self, ours: Ours, kind: str = "ecdsa-p256", peers_kind: str = "ecdsa-p256") -> None:
        self.ours = ours
        self.anchor = ours.create("trust-anchors", name="ca", source="generated")
        self.certificate = ours.create(
            "certificates",
            name="gw",
            source="generated",
            issuer_id=self.anchor,
            key_algorithm=kind,
            subject_alt_names=[US],
        )
        self.peer = self.issue(THEM, kind=peers_kind)

    @property
    def pem(self) -> str:
        """The certificate of the CA."""
        shown = self.ours.user.request("GET", f"{VPN}/trust-anchors/{self.anchor}")
        bundle: str = shown["trust_anchor"]["ca_bundle"]
        return bundle

    def issue(self, *names: str, kind: str = "ecdsa-p256") -> Issued:
        """A certificate for another gateway."""
        key = new_key(kind)
        body = {"csr": request(key, *names)}
        answer = self.ours.user.request("POST", f"{VPN}/trust-anchors/{self.anchor}/issue", body)
        return Issued(x509.load_pem_x509_certificate(answer["certificate"].encode()), key, [])

    def revoke(self, issued: Issued) -> None:
        """Revoke a certificate."""
        body = {"certificate": issued.chain[0]}
        self.ours.user.request("PUT", f"{VPN}/trust-anchors/{self.anchor}/revoke", body)


def connect(ours: Ours, peer: Peer, certificate: str, anchor: str, **values: Any) -> Link:
    """A connection with certificates."""
    credentials = {"auth_mode": "certs", "local_certificate_id": certificate, "trust_anchor_id": anchor}
    return ours.connect(peer, local_id=US, peer_id=THEM, **credentials | values)


def load(ours: Ours, peer: Peer, issued: Issued, *authorities: str, **options: Any) -> None:
    """Load the peer's side."""
    ends = {"local": THEM, "remote": US}
    peer.load(ours.v4, ours.psk, issued=issued, authorities=authorities, **ends | options)
