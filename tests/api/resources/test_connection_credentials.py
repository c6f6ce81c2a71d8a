"""Connections with certificates and post-quantum keys: what a node reads, and what is refused with which words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import Engine, text

from linkspan.core.schema.resources import CONNECTION
from linkspan.store.nodes import delta, registry
from linkspan.store.transaction import Transaction
from tests.api.world import CONNECTIONS, Api, LocalSite, Node
from tests.harness.authorities import DAY, Ca, key_pem, new_key, pem

CERTIFICATES, ANCHORS = "/vpn/certificates", "/vpn/trust-anchors"
KEY = "ipsec_site_connection"


class CertifiedSite(LocalSite):
    """A site with a CA, its trust anchor, and a certificate for gw.example.org."""

    def __init__(self, api: Api, *outside: str) -> None:
        super().__init__(api, *outside)
        self.ca = Ca()
        self.anchor = self.anchored(self.ca.pem)
        self.certificate = self.certified("gw.example.org", "198.51.100.2", "ops@example.org")

    def anchored(self, bundle: str, **more: Any) -> dict[str, Any]:
        """Creates a trust anchor."""
        return self.api.create(ANCHORS, "trust_anchor", ca_bundle=bundle, **more)

    def certified(self, *names: str, algorithm: str = "ecdsa-p256", ca: Ca | None = None, **more: Any) -> Any:
        """Creates a certificate with these names."""
        key = new_key(algorithm)
        text = pem((ca or self.ca).issue(*names, key=key, **more)) + (ca or self.ca).bundle
        values = {"source": "imported", "certificate": text, "private_key": key_pem(key)}
        return self.api.create(CERTIFICATES, "certificate", **values)

    def certs(self, **more: Any) -> dict[str, Any]:
        """Returns values of a valid connection with certificates; `...` leaves one out."""
        values = {
            "auth_mode": "certs",
            "psk": ...,
            "local_certificate_id": self.certificate["id"],
            "trust_anchor_id": self.anchor["id"],
            "local_id": "gw.example.org",
            "peer_id": "peer.example.org",
        }
        return self.values(**values | more)

    def connect(self, **more: Any) -> dict[str, Any]:
        """Creates a connection with certificates."""
        return self.api.create(CONNECTIONS, KEY, **self.certs(**more))

    def pin(self, *names: str, **more: Any) -> str:
        """Returns a certificate of the peer."""
        return pem(self.ca.issue(*names or ("peer.example.org",), **more))

    def words(self, **more: Any) -> str:
        """Returns the words of the 400 for a connection with certificates."""
        return words(self.api, "POST", CONNECTIONS, **self.certs(**more))


def words(api: Api, method: str, path: str, status: int = 400, /, **values: Any) -> str:
    """Returns the words of the refusal of a connection."""
    answer = api.send(method, path, {KEY: values})
    assert answer.status_code == status, answer.text
    return str(answer.json()["NeutronError"]["message"])


@pytest.fixture
def site(api: Api) -> CertifiedSite:
    """A site of alice."""
    return CertifiedSite(api)


def on_node(node: Node) -> Any:
    """Returns the only connection of a node."""
    (connection,) = node.desired()["connections"]
    return connection


# --- what the node reads ------------------------------------------------------------------------------------------


@pytest.mark.shows("connection.local_certificate_id", "connection.trust_anchor_id", "connection.peer_certificates")
def test_a_node_reads_certificates_with_the_key_and_no_psk(api: Api) -> None:
    node = api.node()
    site = CertifiedSite(api)
    sub = Ca("Sub", above=site.ca)
    lists, urls = [sub.crl(), site.ca.crl()], ["http://crl.example.org/x"]
    anchor = site.anchored(sub.bundle, name="branch", revocation="strict", crl="".join(lists), crl_urls=urls)
    key = new_key()
    chain = pem(sub.issue("gw.example.org", key=key))
    text, secret = chain + sub.bundle, key_pem(key)
    values = {"source": "imported", "certificate": text, "private_key": secret}
    certificate = api.create(CERTIFICATES, "certificate", **values)
    pin = pem(sub.issue("peer.example.org"))
    more = {"local_certificate_id": certificate["id"], "trust_anchor_id": anchor["id"], "peer_certificates": [pin]}
    site.connect(psk="kept, and used by nobody", **more)
    read = on_node(node)
    assert (read["auth_mode"], read["psk"], read["psk_ref"], read["fault"]) == ("certs", "", "", "")
    leaf = x509.load_pem_x509_certificate(chain.encode())
    ends = [sub.certificate, site.ca.certificate]
    assert read["certificates"] == {
        "local": {
            "id": certificate["id"],
            "chain": [chain, sub.pem],
            "private_key": secret,
            "key_id": certificate["key_identifier"],
            "not_before": int(max(c.not_valid_before_utc for c in (leaf, sub.certificate)).timestamp()),
            "not_after": int(min(c.not_valid_after_utc for c in (leaf, sub.certificate)).timestamp()),
        },
        "anchor": {
            "id": anchor["id"],
            "name": "branch",
            "roots": [site.ca.pem],
            "issuers": [sub.pem],
            "revocation": "strict",
            "crl_urls": urls,
            "crls": lists,
            "not_after": int(min(c.not_valid_after_utc for c in ends).timestamp()),
        },
        "peer_certificates": [pin],
    }


def test_a_connection_with_a_psk_has_no_certificates(site: CertifiedSite) -> None:
    node = site.api.node()
    site.connection(local_certificate_id=site.certificate["id"], trust_anchor_id=site.anchor["id"])
    read = on_node(node)
    assert (read["psk"], read["certificates"]) == ("correct horse", None)


@pytest.mark.shows("connection.auth_mode")
def test_a_connection_changes_from_keys_to_certificates_and_back(site: CertifiedSite) -> None:
    node = site.api.node()
    made = site.connection(local_id="gw.example.org", peer_id="peer.example.org")
    path = f"{CONNECTIONS}/{made['id']}"
    revision = node.desired()["revision"]
    references = {"local_certificate_id": site.certificate["id"], "trust_anchor_id": site.anchor["id"]}
    changed = site.api.update(path, KEY, auth_mode="certs", **references)
    assert (changed["auth_mode"], changed["psk"]) == ("certs", "correct horse")
    read = on_node(node)
    assert (read["auth_mode"], read["psk"], read["revision"] > revision) == ("certs", "", True)
    site.api.update(path, KEY, auth_mode="psk")
    assert (on_node(node)["psk"], on_node(node)["certificates"]) == ("correct horse", None)
    site.api.update(path, KEY, auth_mode="certs")
    assert on_node(node)["certificates"]["local"]["id"] == site.certificate["id"]


def test_two_connections_to_one_peer_change_one_after_the_other(site: CertifiedSite) -> None:
    ends = {"local_id": "gw.example.org", "peer_id": "peer.example.org"}
    references = {"local_certificate_id": site.certificate["id"], "trust_anchor_id": site.anchor["id"]}
    made = [site.connection(peer_cidrs=[f"10.9.{number}.0/24"], **ends)["id"] for number in range(2)]
    assert site.api.refused("POST", CONNECTIONS, {KEY: site.certs(peer_cidrs=["10.9.7.0/24"])})[0] == 409
    for id in made:
        site.api.update(f"{CONNECTIONS}/{id}", KEY, auth_mode="certs", **references)
        site.api.update(f"{CONNECTIONS}/{id}", KEY, mtu=1400)


@pytest.mark.shows("connection.ppk_id", "connection.ppk", "connection.ppk_required")
def test_a_post_quantum_key_reaches_the_node_and_nobody_else(site: CertifiedSite) -> None:
    node = site.api.node()
    made = site.connection(ppk_id="lab@example.org", ppk="a quantum of entropy", ppk_required=True)
    assert (made["ppk_id"], made["ppk"], made["ppk_required"]) == ("lab@example.org", None, True)
    first = on_node(node)["ppk"]
    assert first == {"id": "lab@example.org", "key": "a quantum of entropy", "required": True, "ref": first["ref"]}
    assert first["ref"]
    for user in ("alice", "admin", "reader"):
        assert "quantum" not in site.api.as_(user).send("GET", CONNECTIONS).text
    path, before = f"{CONNECTIONS}/{made['id']}", on_node(node)["revision"]
    site.api.update(path, KEY, ppk="a quantum of entropy")
    assert on_node(node)["revision"] == before
    site.api.update(path, KEY, ppk="another one", ppk_required=False)
    second = on_node(node)["ppk"]
    assert (second["id"], second["key"], second["required"]) == ("lab@example.org", "another one", False)
    assert second["ref"] != first["ref"]
    assert site.connect(peer_address="203.0.113.4", ppk_id="lab", ppk="x")["ppk_id"] == "lab"


def test_one_name_has_one_post_quantum_key_on_a_gateway(site: CertifiedSite) -> None:
    """charon finds the key by its name alone, whoever the peer is."""
    refusal = "the same ppk_id with a different ppk; another key needs another ppk_id"
    first = site.connection(ppk_id="Lab", ppk="x")
    other = {"peer_address": "203.0.113.4", "peer_id": "203.0.113.4", "peer_cidrs": ["10.8.0.0/24"]}
    for values in ({"ppk_id": "Lab", "ppk": "y"}, {"ppk_id": "lab", "ppk": "y"}):
        message = words(site.api, "POST", CONNECTIONS, 409, **site.values(**other, **values))
        assert message == f"Conflicts with ipsec_site_connection {first['id']} on the same gateway: {refusal}"
    second = site.connection(**other, ppk_id="lab", ppk="x")
    path = f"{CONNECTIONS}/{second['id']}"
    assert refusal in words(site.api, "PUT", path, 409, ppk="y")
    site.api.update(path, KEY, ppk_id="lab2", ppk="y")
    assert refusal in words(site.api, "PUT", path, 409, ppk_id="lab")
    elsewhere = LocalSite(site.api, "192.0.2.0/24", inside="10.7.0.0/24")
    assert elsewhere.connection(ppk_id="lab", ppk="y")["ppk_id"] == "lab"


# --- stamps: what changes under a connection ----------------------------------------------------------------------


def _renewed(site: CertifiedSite) -> None:
    key = new_key("ecdsa-p384")
    text = pem(site.ca.issue("gw.example.org", "198.51.100.2", key=key)) + site.ca.pem
    values = {"certificate": text, "private_key": key_pem(key)}
    site.api.update(f"{CERTIFICATES}/{site.certificate['id']}", "certificate", **values)


def _anchor(**values: Callable[[CertifiedSite], Any]) -> Callable[[CertifiedSite], None]:
    def change(site: CertifiedSite) -> None:
        changed = {name: value(site) for name, value in values.items()}
        site.api.update(f"{ANCHORS}/{site.anchor['id']}", "trust_anchor", **changed)

    return change


STAMPING: dict[str, Callable[[CertifiedSite], None]] = {
    "a renewal": _renewed,
    "a new CRL": _anchor(crl=lambda site: site.ca.crl()),
    "other CAs": _anchor(ca_bundle=lambda site: site.ca.pem + Ca("CN=Second").pem),
    "another revocation": _anchor(revocation=lambda _: "none"),
    "other addresses of lists": _anchor(crl_urls=lambda _: ["http://crl.example.org/x"]),
}


def test_a_revocation_by_the_own_ca_reaches_the_node(api: Api) -> None:
    node, site = api.node(), CertifiedSite(api)
    anchor = api.create(ANCHORS, "trust_anchor", source="generated")
    issued = api.create(CERTIFICATES, "certificate", source="generated", issuer_id=anchor["id"], subject="CN=peer")
    site.connect(trust_anchor_id=anchor["id"], peer_id="CN=peer", peer_certificates=[issued["certificate"]])
    before = on_node(node)
    assert before["certificates"]["anchor"]["crls"] == [anchor["crl"]]
    path = f"{ANCHORS}/{anchor['id']}/revoke"
    changed = api.send("PUT", path, {"certificate": issued["certificate"]}).json()["trust_anchor"]
    after = on_node(node)
    assert after["certificates"]["anchor"]["crls"] == [changed["crl"]] != [anchor["crl"]]
    assert after["revision"] > before["revision"]


@pytest.mark.parametrize("change", STAMPING)
def test_a_change_of_what_connections_use_stamps_exactly_these(site: CertifiedSite, change: str) -> None:
    node = site.api.node()
    users = {site.connect(peer_address=f"203.0.113.{number}")["id"] for number in (1, 2)}
    site.connection(peer_address="203.0.113.3", peer_id="other")
    other = site.certified("gw.example.org", ca=site.ca)
    anchor = site.anchored(Ca("CN=Other").pem)
    site.connect(peer_address="203.0.113.5", local_certificate_id=other["id"], trust_anchor_id=anchor["id"])
    before = node.desired()["revision"]
    STAMPING[change](site)
    read = node.desired(since=before)
    assert {row["id"] for row in read["connections"]} == users
    assert {row["revision"] for row in read["connections"]} == {read["revision"]} == {before + 1}


@pytest.mark.shows("certificate.name", "certificate.description", "trust_anchor.name", "trust_anchor.description")
def test_a_change_that_no_node_needs_to_know_stamps_nothing(site: CertifiedSite) -> None:
    node = site.api.node()
    site.connect()
    before = node.desired()["revision"]
    site.api.update(f"{CERTIFICATES}/{site.certificate['id']}", "certificate", name="new", description="x")
    anchor = {"name": "new", "description": "x", "ca_bundle": site.ca.pem}
    site.api.update(f"{ANCHORS}/{site.anchor['id']}", "trust_anchor", **anchor)
    assert node.desired()["revision"] == before


@pytest.mark.shows("certificate.in_use_by", "trust_anchor.in_use_by")
def test_what_is_in_use_cannot_be_deleted_until_the_connection_is(site: CertifiedSite) -> None:
    api, node = site.api, site.api.node()
    made = site.connect()
    node.apply_desired()
    paths = {
        f"{CERTIFICATES}/{site.certificate['id']}": ("certificate", "VPNCertificateInUse"),
        f"{ANCHORS}/{site.anchor['id']}": ("trust_anchor", "TrustAnchorInUse"),
    }
    for path, (key, error) in paths.items():
        assert api.get(path)[key]["in_use_by"] == [made["id"]]
        assert api.refused("DELETE", path) == (409, error)
    api.delete(f"{CONNECTIONS}/{made['id']}")
    assert api.get(f"{CONNECTIONS}/{made['id']}")[KEY]["status"] == "PENDING_DELETE"
    for path, (key, _) in paths.items():
        assert api.get(path)[key]["in_use_by"] == []
        api.delete(path)


# --- refusals of a connection -------------------------------------------------------------------------------------


def test_every_connection_that_could_not_authenticate_is_refused_with_its_own_sentence(site: CertifiedSite) -> None:
    api = site.api
    waiting = api.create(CERTIFICATES, "certificate", subject="CN=gw")["id"]
    stranger = pem(Ca("CN=Stranger").issue("peer.example.org"))
    sub, sister = Ca("CN=Sub", above=site.ca), Ca("CN=Sister", above=site.ca)
    narrow = site.anchored(sub.bundle)["id"]
    pinned = pem(sister.issue("peer.example.org"))
    by_cn = site.certified(subject="CN=gw.example.org")["id"]
    for values, reason in (
        ({"local_certificate_id": ...}, "local_certificate_id. Reason: it is required while auth_mode is certs"),
        ({"trust_anchor_id": ...}, "trust_anchor_id. Reason: it is required while auth_mode is certs"),
        ({"local_certificate_id": waiting}, "has not been issued yet"),
        ({"local_id": "other.example.org"}, "local_id. Reason: 'other.example.org' is not in the certificate"),
        ({"local_id": "C=CH, O=Lab, CN=GW"}, "'C=CH, O=Lab, CN=GW' is not in the certificate"),
        ({"local_id": "O=Lab, C=CH, CN=gw"}, "is not in the certificate"),
        ({"local_id": "192.0.2.77"}, "is not in the certificate"),
        ({"local_id": "me@example.org"}, "is not in the certificate"),
        ({"local_id": "keyid:7"}, "local_id. Reason: 'keyid:7' is a key id"),
        ({"local_certificate_id": by_cn}, "'gw.example.org' is not in the certificate 'CN=gw.example.org'"),
        ({"local_certificate_id": by_cn, "local_id": ""}, "because local_id is empty) is not in the certificate"),
        ({"peer_id": "*.example.org"}, "cannot contain '%' or '*'"),
        ({"peer_id": "C=CH, O=Lab, CN=*"}, "cannot contain '%' or '*'"),
        ({"peer_id": "%any"}, "cannot contain '%' or '*'"),
        ({"peer_id": "CN=a/b"}, "peer_id. Reason: the CN of a distinguished name cannot contain"),
        ({"peer_id": "a peer"}, "peer_id. Reason: 'a peer' is a key id"),
        ({"peer_certificates": [site.pin("other.example.org")]}, "peer_id 'peer.example.org' is not in"),
        ({"peer_certificates": [stranger]}, "the chain lacks its root"),
        ({"peer_certificates": [pinned], "trust_anchor_id": narrow}, "the chain lacks its root"),
        ({"peer_certificates": [site.pin(end=-DAY, begin=-9 * DAY)]}, "expired on"),
        ({"peer_certificates": [site.pin(begin=DAY)]}, "is not valid before"),
        ({"peer_certificates": [site.pin(ca=True)]}, "is the certificate of a CA"),
        ({"peer_certificates": [site.pin() + site.ca.pem]}, "one certificate is needed, these are 2"),
        ({"peer_certificates": [key_pem(new_key())]}, "a private key is in the text"),
        ({"peer_certificates": ["hello"]}, "it is no PEM"),
        ({"peer_certificates": [7]}, "it is not a list of texts"),
        ({"peer_certificates": [site.pin()] * 5}, "at most 4 are allowed"),
        ({"peer_certificates": [site.pin(key=new_key("rsa-1024"))]}, "RSA with 1024 bits is weak"),
        ({"peer_certificates": ["x" * 12_289]}, "12288 are the most"),
        ({"ppk_id": "x"}, "ppk. Reason: it is required with ppk_id"),
        ({"ppk": "x"}, "ppk_id. Reason: it is required with ppk"),
        ({"ppk_required": True}, "ppk_required. Reason: there is no ppk"),
        ({"ppk_id": "192.0.2.1", "ppk": "x"}, "ppk_id. Reason: the name of a key is"),
        ({"ppk_id": "keyid:7", "ppk": "x"}, "ppk_id. Reason: the name of a key is"),
        ({"ppk_id": "%any", "ppk": "x"}, "ppk_id. Reason: the name of a key is"),
    ):
        assert reason in site.words(**values), reason
    assert "peer_id. Reason: a distinguished name needs auth_mode certs" in words(
        api, "POST", CONNECTIONS, **site.values(peer_id="CN=peer")
    )
    assert "local_id. Reason: a distinguished name needs auth_mode certs" in words(
        api, "POST", CONNECTIONS, **site.values(local_id="CN=gw")
    )
    assert "attribute 'psk' not specified" in words(api, "POST", CONNECTIONS, **site.values(psk=...))
    assert api.get(CONNECTIONS)["ipsec_site_connections"] == []


def test_every_identity_of_a_certificate_can_be_the_local_one(site: CertifiedSite) -> None:
    for number, identity in enumerate(
        ("gw.example.org", "GW.example.org", "ops@example.org", "198.51.100.2", "", "C=CH,O=Lab,CN=gw")
    ):
        site.connect(local_id=identity, peer_address=f"203.0.113.{number + 20}")
    pins = [site.pin(), site.pin()]
    site.connect(peer_address="203.0.113.40", peer_certificates=pins)
    site.connect(peer_address="203.0.113.41", peer_id="C=CH, O=Lab, CN=gw", peer_certificates=[site.pin("x")])
    sub = Ca("CN=Sub", above=site.ca)
    values = {"trust_anchor_id": site.anchored(sub.bundle)["id"]}
    site.connect(peer_address="203.0.113.42", peer_certificates=[pem(sub.issue("peer.example.org"))], **values)


def test_ikev1_has_neither_ed25519_nor_post_quantum_keys(site: CertifiedSite) -> None:
    api, v1 = site.api, site.api.ike(ike_version="v1")["id"]
    ed25519 = site.certified("gw.example.org", algorithm="ed25519")["id"]
    pin = site.pin(key=new_key("ed25519"))
    for values, reason in (
        ({"local_certificate_id": ed25519}, "local_certificate_id. Reason: IKEv1 has no signatures by Ed25519"),
        ({"peer_certificates": [pin]}, "peer_certificates. Reason: certificate 1: IKEv1 has no signatures by Ed25519"),
        ({"ppk_id": "x", "ppk": "y"}, "ppk. Reason: IKEv1 has no post-quantum preshared keys"),
        ({"ppk_id": "x", "ppk": "y", "ppk_required": True}, "ppk_required. Reason: IKEv1 has no post-quantum"),
    ):
        assert reason in site.words(ikepolicy_id=v1, **values)
        policy = api.ike()["id"]
        made = site.connect(ikepolicy_id=policy, **values)["id"]
        path = f"/vpn/ikepolicies/{policy}"
        refused = api.send("PUT", path, {"ikepolicy": {"ike_version": "v1"}})
        assert refused.status_code == 409
        assert f"ipsec_site_connection {made} could not go on" in refused.json()["NeutronError"]["message"]
        assert api.get(path)["ikepolicy"]["ike_version"] == "v2"
        api.delete(f"{CONNECTIONS}/{made}")
        assert api.update(path, "ikepolicy", ike_version="v1")["ike_version"] == "v1"
    site.connect(ikepolicy_id=v1)


def test_edits_are_checked_as_new_connections_are(site: CertifiedSite) -> None:
    made = site.connect()
    path = f"{CONNECTIONS}/{made['id']}"
    waiting = site.api.create(CERTIFICATES, "certificate", subject="CN=gw")["id"]
    for values, reason in (
        ({"local_id": "other.example.org"}, "is not in the certificate"),
        ({"local_certificate_id": None}, "it is required while auth_mode is certs"),
        ({"local_certificate_id": waiting}, "has not been issued yet"),
        ({"trust_anchor_id": None}, "it is required while auth_mode is certs"),
        ({"peer_id": "a peer"}, "is a key id"),
        ({"peer_certificates": [site.pin("other")]}, "is not in"),
        ({"auth_mode": "psk"}, "attribute 'psk' not specified"),
        ({"ppk_required": True}, "there is no ppk"),
    ):
        assert reason in words(site.api, "PUT", path, **values)
    assert site.api.get(path)[KEY] == made


def test_references_are_looked_up_as_the_caller_sees_them(site: CertifiedSite) -> None:
    bob = CertifiedSite(site.api.as_("bob"), "198.51.101.0/24")
    for name, other, error in (
        ("local_certificate_id", bob.certificate["id"], "VPNCertificateNotFound"),
        ("trust_anchor_id", bob.anchor["id"], "TrustAnchorNotFound"),
    ):
        assert site.api.refused("POST", CONNECTIONS, {KEY: site.certs(**{name: other})}) == (404, error)


# --- what changes later under a connection ------------------------------------------------------------------------


def test_a_renewal_with_another_identity_is_refused_while_a_connection_needs_the_old_one(site: CertifiedSite) -> None:
    made = site.connect()
    path = f"{CERTIFICATES}/{site.certificate['id']}"
    key = new_key()
    other = {"certificate": pem(site.ca.issue("other", key=key)) + site.ca.pem, "private_key": key_pem(key)}
    answer = site.api.send("PUT", path, {"certificate": other})
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "IPsecSiteConnectionConflict")
    assert f"{made['id']} could not go on: local_id: 'gw.example.org' is not in" in answer.text
    assert site.api.get(path)["certificate"]["fingerprint"] == site.certificate["fingerprint"]
    site.api.delete(f"{CONNECTIONS}/{made['id']}")
    assert site.api.update(path, "certificate", **other)["subject_alt_names"] == ["other"]


def test_an_anchor_goes_on_admitting_the_certificates_of_its_peers(site: CertifiedSite) -> None:
    site.connect(peer_certificates=[site.pin()])
    path, body = f"{ANCHORS}/{site.anchor['id']}", {"trust_anchor": {"ca_bundle": Ca("CN=Other").pem}}
    assert site.api.refused("PUT", path, body) == (409, "IPsecSiteConnectionConflict")
    site.api.update(path, "trust_anchor", ca_bundle=site.ca.pem + Ca("CN=Other").pem)


def test_a_gateway_keeps_an_address_that_is_in_the_certificate(site: CertifiedSite) -> None:
    made = site.connect(local_id="")
    elsewhere = site.api.outside("198.51.102.0/24")
    path, body = f"/routers/{site.router['id']}", {"router": {"external_gateway_info": {"network_id": elsewhere["id"]}}}
    answer = site.api.send("PUT", path, body)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "IPsecSiteConnectionConflict")
    assert "'198.51.102.2' (the gateway's external address, because local_id is empty)" in answer.text
    site.api.update(f"{CONNECTIONS}/{made['id']}", KEY, local_id="gw.example.org")
    site.api.update(path, "router", **body["router"])


def test_a_revoked_certificate_is_not_taken_up(site: CertifiedSite) -> None:
    leaf = x509.load_pem_x509_certificate(site.certificate["certificate"].encode())
    site.connect()
    site.api.update(f"{ANCHORS}/{site.anchor['id']}", "trust_anchor", crl=site.ca.crl(leaf))
    assert "was revoked on" in site.words(peer_address="203.0.113.7")


def test_a_connection_of_an_expired_certificate_can_still_be_edited(
    site: CertifiedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = site.connect()
    path = f"{CONNECTIONS}/{made['id']}"
    monkeypatch.setattr(Transaction, "wall", time.time() + 301 * 86_400.0)
    assert site.api.get(f"{CERTIFICATES}/{site.certificate['id']}")["certificate"]["status"] == "expired"
    assert site.api.get(f"{ANCHORS}/{site.anchor['id']}")["trust_anchor"]["status"] == "expired"
    assert "local_certificate_id. Reason: 'C=CH, O=Lab, CN=gw' expired on" in site.words(peer_address="203.0.113.7")
    site.api.update(path, KEY, mtu=1400)
    site.api.update(path, KEY, peer_id="other.example.org")


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_a_key_that_cannot_be_read_is_the_fault_of_its_connections_only(site: CertifiedSite, database: Engine) -> None:
    api = site.api
    node = api.node()
    broken, good = site.connect(), site.connection(peer_address="203.0.113.3", peer_id="other")
    with database.begin() as connection:
        connection.execute(text("UPDATE certificate SET private_key = :envelope"), {"envelope": b"0"})
    read = {row["id"]: row for row in node.desired()["connections"]}
    assert "the stored private_key cannot be read" in read[broken["id"]]["fault"]
    assert (read[broken["id"]]["certificates"], read[good["id"]]["fault"]) == (None, "")


def test_the_desired_state_costs_two_more_statements_whatever_the_number(site: CertifiedSite) -> None:
    api = site.api
    node = api.node()
    counts = []
    for number in (1, 2, 3):
        site.connect(peer_address=f"203.0.113.{number}", peer_id=f"peer{number}")
        with api.store.read() as tx:
            row = registry.node_by_name(tx, node.name)
            assert row is not None
            before = tx.statements
            delta.desired_since(tx, row["id"], 0)
            counts.append(tx.statements - before)
    assert counts[0] == counts[1] == counts[2] <= 7


def test_lists_of_connections_show_no_key(site: CertifiedSite) -> None:
    site.connect(psk="the psk", ppk_id="x", ppk="the ppk")
    shown = site.api.as_("reader").get(CONNECTIONS)[CONNECTION.plural][0]
    assert (shown["psk"], shown["ppk"], shown["peer_certificates"]) == (None, None, [])
