"""Certificates and trust anchors: the paths to a certificate, what is shown, and what is refused with which words."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from linkspan.pki import keys
from tests.api.world import BLUE, Api
from tests.harness.authorities import DAY, Ca, key_pem, new_key, pem, traditional_pem, with_sha1

CERTIFICATES, ANCHORS = "/vpn/certificates", "/vpn/trust-anchors"
ALGORITHMS = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048")


@pytest.fixture(scope="module")
def ca() -> Ca:
    """A root."""
    return Ca()


@pytest.fixture(scope="module")
def sub(ca: Ca) -> Ca:
    """A CA below the root."""
    return Ca("Sub", above=ca)


def request(api: Api, **more: Any) -> dict[str, Any]:
    """Creates a certificate that waits for its CA."""
    return api.create(CERTIFICATES, "certificate", **{"name": "gw", "subject_alt_names": ["gw.example.org"]} | more)


def message(api: Api, method: str, path: str, key: str, **values: Any) -> str:
    """Returns the words of a 400."""
    answer = api.send(method, path, {key: values})
    assert answer.status_code == 400, answer.text
    error = answer.json()["NeutronError"]
    assert error["type"] == "HTTPBadRequest"
    return str(error["message"])


# --- the request first --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.shows("certificate.key_algorithm", "certificate.csr")
def test_the_request_is_about_a_key_of_the_wanted_kind(api: Api, algorithm: str) -> None:
    made = request(api, key_algorithm=algorithm)
    csr = x509.load_pem_x509_csr(made["csr"].encode())
    assert csr.is_signature_valid
    assert keys.algorithm_of(csr.public_key()) == algorithm == made["key_algorithm"]
    assert made["key_identifier"] == x509.SubjectKeyIdentifier.from_public_key(csr.public_key()).digest.hex()


@pytest.mark.shows("certificate.subject", "certificate.subject_alt_names", "certificate.source")
def test_a_request_asks_for_the_names(api: Api) -> None:
    asked = ["gw.example.org", "ops@example.org", "192.0.2.1", "2001:db8::1"]
    made = request(api, subject="C=CH,O=Lab, CN=gw", subject_alt_names=asked)
    assert (made["source"], made["subject"], made["subject_alt_names"]) == ("csr", "C=CH, O=Lab, CN=gw", asked)
    csr = x509.load_pem_x509_csr(made["csr"].encode())
    assert csr.subject.rfc4514_string() == "CN=gw,O=Lab,C=CH"
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == asked


def test_a_request_without_a_subject_has_its_first_name_as_the_common_one(api: Api) -> None:
    assert request(api)["subject"] == "CN=gw.example.org"


@pytest.mark.shows(
    "certificate.certificate",
    "certificate.status",
    "certificate.not_before",
    "certificate.not_after",
    "certificate.fingerprint",
    "certificate.key_identifier",
)
def test_the_answer_to_a_request_makes_it_valid(api: Api, ca: Ca) -> None:
    made = request(api)
    empty = ("certificate", "not_before", "not_after", "fingerprint", "revoked_at", "issuer_id")
    assert made["status"] == "awaiting_certificate"
    assert [made[name] for name in empty] == [None] * len(empty)
    answer = ca.answer(made["csr"])
    done = api.update(f"{CERTIFICATES}/{made['id']}", "certificate", certificate=answer + ca.pem)
    leaf = x509.load_pem_x509_certificate(answer.encode())
    assert done == made | {
        "status": "valid",
        "certificate": answer,
        "not_before": leaf.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "not_after": leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fingerprint": leaf.fingerprint(hashes.SHA256()).hex(),
        "updated_at": done["updated_at"],
        "revision_number": 2,
    }


def test_the_names_are_those_that_the_ca_has_signed(api: Api, ca: Ca) -> None:
    made = request(api, subject="CN=wanted")
    answer = ca.answer(made["csr"], names=["given.example.org"])
    done = api.update(f"{CERTIFICATES}/{made['id']}", "certificate", certificate=answer + ca.pem)
    assert done["subject_alt_names"] == ["given.example.org"]


def test_a_trust_anchor_of_the_project_is_the_root(api: Api, ca: Ca, sub: Ca) -> None:
    made = request(api)
    path, answer = f"{CERTIFICATES}/{made['id']}", sub.answer(made["csr"]).removesuffix(ca.pem)
    assert "the chain lacks its root" in message(api, "PUT", path, "certificate", certificate=answer)
    api.as_("bob").create(ANCHORS, "trust_anchor", ca_bundle=ca.pem)
    assert "the chain lacks its root" in message(api, "PUT", path, "certificate", certificate=answer)
    api.create(ANCHORS, "trust_anchor", ca_bundle=ca.pem)
    assert api.update(path, "certificate", certificate=answer)["certificate"] == answer


@pytest.mark.shows("certificate.private_key")
def test_a_key_is_never_shown(api: Api, ca: Ca) -> None:
    key = new_key()
    given = {"source": "imported", "certificate": pem(ca.issue("gw", key=key)) + ca.pem, "private_key": key_pem(key)}
    made = api.create(CERTIFICATES, "certificate", **given)
    assert (made["private_key"], made["source"], made["csr"], made["status"]) == (None, "imported", None, "valid")
    for user in ("alice", "admin", "reader"):
        assert api.as_(user).get(f"{CERTIFICATES}/{made['id']}")["certificate"]["private_key"] is None
        assert api.as_(user).get(CERTIFICATES)["certificates"][0]["private_key"] is None
    assert "PRIVATE" not in api.send("GET", CERTIFICATES).text


@pytest.mark.parametrize("algorithm", ["ecdsa-p384", "ed25519", "rsa-2048"])
def test_the_kind_of_an_imported_key_is_read_from_it(api: Api, ca: Ca, algorithm: str) -> None:
    key = new_key(algorithm)
    values = {"source": "imported", "certificate": pem(ca.issue("gw", key=key)) + ca.pem, "private_key": key_pem(key)}
    assert api.create(CERTIFICATES, "certificate", **values)["key_algorithm"] == algorithm


def test_several_are_imported_at_once_with_and_without_envelopes(api: Api, ca: Ca) -> None:
    members = []
    for _ in range(2):
        key = new_key()
        text = pem(ca.issue("gw", key=key)) + ca.pem
        members.append({"source": "imported", "certificate": text, "private_key": key_pem(key)})
    body = {"certificates": [members[0], {"certificate": members[1]}]}
    answer = api.send("POST", CERTIFICATES, body)
    assert answer.status_code == 201, answer.text
    assert [item["source"] for item in answer.json()["certificates"]] == ["imported", "imported"]
    assert "PRIVATE" not in answer.text


def test_an_imported_certificate_is_renewed_with_or_without_another_key(api: Api, ca: Ca) -> None:
    key, other = new_key(), new_key("ecdsa-p384")
    values = {"source": "imported", "certificate": pem(ca.issue("gw", key=key)) + ca.pem, "private_key": key_pem(key)}
    made = api.create(CERTIFICATES, "certificate", **values)
    path, again = f"{CERTIFICATES}/{made['id']}", pem(ca.issue("gw", key=key)) + ca.pem
    assert api.update(path, "certificate", certificate=again)["key_identifier"] == made["key_identifier"]
    changed = pem(ca.issue("gw", key=other)) + ca.pem
    assert "another key" in message(api, "PUT", path, "certificate", certificate=changed)
    done = api.update(path, "certificate", certificate=changed, private_key=key_pem(other))
    assert (done["key_algorithm"], done["private_key"]) == ("ecdsa-p384", None)
    assert "needs its certificate" in message(api, "PUT", path, "certificate", private_key=key_pem(key))


# --- the project's own CA -----------------------------------------------------------------------------------------


@pytest.mark.shows("trust_anchor.source", "trust_anchor.subject", "certificate.issuer_id", "trust_anchor.private_key")
def test_a_project_has_a_ca_of_its_own(api: Api) -> None:
    anchor = api.create(ANCHORS, "trust_anchor", name="lab", source="generated")
    assert (anchor["subject"], anchor["status"], anchor["private_key"]) == ("CN=lab", "valid", None)
    values = {"source": "generated", "issuer_id": anchor["id"], "subject_alt_names": ["gw.example.org"]}
    made = api.create(CERTIFICATES, "certificate", **values)
    assert (made["status"], made["issuer_id"]) == ("valid", anchor["id"])
    leaf = x509.load_pem_x509_certificate(made["certificate"].encode())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(anchor["ca_bundle"].encode()))
    assert api.refused("DELETE", f"{ANCHORS}/{anchor['id']}") == (409, "TrustAnchorInUse")
    api.delete(f"{CERTIFICATES}/{made['id']}")
    api.delete(f"{ANCHORS}/{anchor['id']}")


def test_the_own_ca_answers_requests_of_others(api: Api) -> None:
    anchor = api.create(ANCHORS, "trust_anchor", name="lab", source="generated")
    path = f"{ANCHORS}/{anchor['id']}"
    root = x509.load_pem_x509_certificate(anchor["ca_bundle"].encode())
    csr = request(api, subject="C=CH, CN=branch", subject_alt_names=["branch.example.org", "192.0.2.7"])["csr"]
    issued = api.send("POST", f"{path}/issue", {"csr": csr}).json()
    assert issued["ca_bundle"] == anchor["ca_bundle"]
    leaf = x509.load_pem_x509_certificate(issued["certificate"].encode())
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["branch.example.org", "192.0.2.7"]
    assert leaf.subject.rfc4514_string() == "CN=branch,C=CH"
    weak = x509.CertificateSigningRequestBuilder().subject_name(leaf.subject)
    weak_csr = pem(weak.sign(new_key("rsa-1024"), hashes.SHA256()))
    signed = x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)
    forged = pem_of("CERTIFICATE REQUEST", signed[:-1] + bytes([signed[-1] ^ 1]))
    for text, words in (
        (weak_csr, "RSA with 1024 bits is weak"),
        (forged, "the signing request"),
        (anchor["ca_bundle"], "a certificate is in the text, and a certificate signing request is needed"),
        (None, "it is required"),
    ):
        answer = api.send("POST", f"{path}/issue", {"csr": text})
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    imported = api.create(ANCHORS, "trust_anchor", ca_bundle=Ca().pem)["id"]
    assert api.refused("POST", f"{ANCHORS}/{imported}/issue", {"csr": csr}) == (400, "BadRequest")
    assert api.refused("PUT", f"{ANCHORS}/{imported}/revoke", {"certificate": Ca().pem}) == (400, "BadRequest")
    assert api.refused("GET", f"{ANCHORS}/{imported}/crl") == (404, "TrustAnchorNotFound")


def test_what_the_own_ca_revokes_is_on_its_list_and_with_the_nodes(api: Api) -> None:
    anchor = api.create(ANCHORS, "trust_anchor", name="lab", source="generated", revocation="strict")
    path = f"{ANCHORS}/{anchor['id']}"
    root: Any = x509.load_pem_x509_certificate(anchor["ca_bundle"].encode()).public_key()
    named = {"source": "generated", "issuer_id": anchor["id"], "subject_alt_names": ["gw.example.org"]}
    own, other = (api.create(CERTIFICATES, "certificate", **named) for _ in range(2))

    def public() -> x509.CertificateRevocationList:
        answer = api.client.get(f"/v2.0{path}/crl")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pkix-crl")
        found = x509.load_der_x509_crl(answer.content)
        assert found.is_signature_valid(root)
        return found

    before = public()
    assert (len(before), public()) == (0, before)
    assert before.next_update_utc is not None
    assert before.next_update_utc - before.last_update_utc < 8 * DAY
    changed = api.send("PUT", f"{path}/revoke", {"certificate": own["certificate"]}).json()["trust_anchor"]
    stored = x509.load_pem_x509_crl(changed["crl"].encode())
    serial = x509.load_pem_x509_certificate(own["certificate"].encode()).serial_number
    for found in (stored, public()):
        assert [entry.serial_number for entry in found] == [serial]
        assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > number_of(before)
    assert api.get(f"{CERTIFICATES}/{own['id']}")["certificate"]["status"] == "revoked"
    assert api.get(f"{CERTIFICATES}/{other['id']}")["certificate"]["status"] == "valid"
    strange = {"certificate": pem(Ca("CN=lab").issue("gw"))}
    assert "is not signed by" in api.send("PUT", f"{path}/revoke", strange).text
    api.send("PUT", f"{path}/revoke", {"certificate": other["certificate"]})
    assert len(public()) == 2


def number_of(crl: x509.CertificateRevocationList) -> int:
    """Returns the number of a revocation list."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def pem_of(label: str, der: bytes) -> str:
    """Returns bytes as PEM."""
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n"


def test_what_only_one_source_takes_is_refused_of_the_others(api: Api, ca: Ca) -> None:
    anchor = api.create(ANCHORS, "trust_anchor", ca_bundle=ca.pem)["id"]
    own = api.create(ANCHORS, "trust_anchor", source="generated")["id"]
    key = new_key()
    text, secret = pem(ca.issue("gw", key=key)) + ca.pem, key_pem(key)
    named = {"subject_alt_names": ["gw.example.org"]}
    for values, words in (
        ({"private_key": secret}, "private_key. Reason: the key is made here"),
        ({"certificate": text}, "certificate. Reason: the request comes first"),
        ({"issuer_id": own}, "issuer_id. Reason: only a generated certificate has an issuer"),
        ({}, "subject. Reason: a certificate needs a subject or subject_alt_names"),
        ({"source": "generated", **named}, "issuer_id. Reason: it is required"),
        ({"source": "generated", "issuer_id": anchor, **named}, "has no CA of its own"),
        ({"source": "generated", "issuer_id": own, "certificate": text}, "the project's own CA issues it"),
        ({"source": "generated", "issuer_id": own, "private_key": secret}, "the key is made here"),
        ({"source": "imported", "certificate": text}, "private_key. Reason: it is required"),
        ({"source": "imported", "private_key": secret}, "certificate. Reason: it is required"),
        ({"source": "imported", "issuer_id": own}, "only a generated certificate has an issuer"),
        ({"source": "imported", **named}, "subject_alt_names. Reason: an imported certificate has its own"),
    ):
        assert words in message(api, "POST", CERTIFICATES, "certificate", **values)
    for values, words in (
        ({}, "ca_bundle. Reason: it is required"),
        ({"ca_bundle": ca.pem, "subject": "CN=x"}, "subject. Reason: only a generated CA takes one"),
        ({"source": "generated", "ca_bundle": ca.pem}, "ca_bundle. Reason: the CA is made here"),
        ({"source": "generated", "crl": ca.crl()}, "crl. Reason: the CA is made here"),
    ):
        assert words in message(api, "POST", ANCHORS, "trust_anchor", **values)
    made = api.create(CERTIFICATES, "certificate", source="generated", issuer_id=own, **named)
    path = f"{CERTIFICATES}/{made['id']}"
    assert "the project's own CA issues it" in message(api, "PUT", path, "certificate", certificate=text)
    assert "the key is made here" in message(api, "PUT", path, "certificate", certificate=text, private_key=secret)
    assert "only renewed" in message(api, "PUT", path, "certificate", certificate=None)
    assert "the CA is made here" in message(api, "PUT", f"{ANCHORS}/{own}", "trust_anchor", ca_bundle=ca.pem)
    assert "cannot be removed" in message(api, "PUT", f"{ANCHORS}/{anchor}", "trust_anchor", ca_bundle=None)


def test_only_the_owner_issues_by_its_ca(api: Api) -> None:
    own = api.create(ANCHORS, "trust_anchor", source="generated")["id"]
    values = {"source": "generated", "issuer_id": own, "subject": "CN=gw"}
    body = {"certificate": values}
    assert api.as_("bob").refused("POST", CERTIFICATES, body) == (404, "TrustAnchorNotFound")
    assert "another project" in message(api.as_("admin"), "POST", CERTIFICATES, "certificate", **values)


# --- refusals -----------------------------------------------------------------------------------------------------


def test_every_wrong_answer_to_a_request_is_refused_with_its_own_sentence(api: Api, ca: Ca, sub: Ca) -> None:
    made = request(api)
    path = f"{CERTIFICATES}/{made['id']}"
    public: Any = x509.load_pem_x509_csr(made["csr"].encode()).public_key()
    weak, weak_sub = Ca("CN=weak", algorithm="rsa-1024"), Ca("CN=Weak sub", above=ca, algorithm="rsa-1024")
    short = Ca("CN=Short", path_length=0)
    below = Ca("CN=Below", above=short)
    no_ca = Ca("CN=No CA", above=ca, basic=False)
    usage = x509.KeyUsage(*(name == "key_encipherment" for name in USAGES))
    sloppy = Ca("CN=Sloppy", above=ca, usage=usage)
    stranger, ca_of_rsa = Ca(), Ca("CN=RSA", algorithm="rsa-2048")
    broken = pem(with_sha1(ca_of_rsa.issue("gw", public=public), ca_of_rsa.key)) + ca_of_rsa.pem
    day, year = DAY, 365 * DAY

    def issued(by: Ca, **more: Any) -> str:
        return pem(by.issue("gw.example.org", public=public, **more)) + by.bundle

    old, future = {"begin": -2 * year, "end": -day}, {"begin": day, "end": year}
    for text, words in (
        (issued(ca, **old), "expired on "),
        (issued(ca, **future), "is not valid before "),
        (pem(ca.issue("gw", public=public)) + Ca("CN=Other").pem, "the chain lacks its root: the issuer of 'C=CH"),
        (pem(sub.issue("gw", public=public)) + ca.pem, "the chain lacks its root: the issuer of 'C=CH, O=Lab, CN=gw'"),
        (pem(ca.issue("gw", public=public)) + stranger.pem, "the chain does not verify"),
        (issued(ca) + sub.pem, "is no part of the chain"),
        (issued(ca, ca=True), "is the certificate of a CA"),
        (broken, "is made with SHA-1, which is broken"),
        (issued(weak), "a key of RSA with 1024 bits is weak"),
        (issued(weak_sub), "a key of RSA with 1024 bits is weak"),
        (issued(below), "allows 0 CAs below it, and the chain has 1"),
        (issued(no_ca), "is not the certificate of a CA"),
        (issued(sloppy), "may not sign certificates"),
        (issued(ca, usage=usage), "may not be used for signatures"),
        (pem(ca.issue("gw")) + ca.pem, "is about another key than the private key"),
        (made["csr"], "a certificate signing request is in the text, and a certificate is needed"),
        (key_pem(new_key()), "a private key is in the text, and a certificate is needed"),
        (issued(ca) + key_pem(new_key()), "a private key is in the text, and a certificate is needed"),
        (ca.crl(), "a certificate revocation list is in the text"),
        ("hello", "it is no PEM"),
        (issued(ca)[:-40], "a certificate has no end"),
        (issued(ca)[30:], "a certificate has an end but no beginning"),
        ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "is not base64"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 of the text cannot be read"),
        ("-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "a PKCS #7 bundle is in the text"),
        ("-----BEGIN ODD THING-----\nAAAA\n-----END ODD THING-----\n", "a block of the type 'ODD THING'"),
        (issued(ca) + ca.pem, "a certificate is in the text twice"),
        ("".join(Ca(f"CN={number}").pem for number in range(17)), "at most 16 certificates are allowed"),
        ("x" * 49_153, "it has 49153 characters, and 49152 are the most"),
        ("é" + ca.pem, "PEM has printable ASCII characters only"),
        (7, "PEM is a text"),
    ):
        assert words in message(api, "PUT", path, "certificate", certificate=text), words
    assert api.get(path)["certificate"]["status"] == "awaiting_certificate"
    assert api.update(path, "certificate", certificate=issued(sub))["status"] == "valid"


USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _imports(**values: Any) -> dict[str, Any]:
    return {"source": "imported", **values}


def test_every_wrong_key_of_an_import_is_refused_with_its_own_sentence(api: Api, ca: Ca) -> None:
    key = new_key()
    text = pem(ca.issue("gw", key=key)) + ca.pem
    rsa = new_key("rsa-2048")
    for secret, words in (
        (key_pem(key, b"a password"), "the private key is encrypted"),
        (traditional_pem(rsa, b"a password"), "the private key is encrypted"),
        (key_pem(new_key()), "is about another key than the private key"),
        (key_pem(new_key("rsa-1024")), "a key of RSA with 1024 bits is weak"),
        (key_pem(new_key("ecdsa-p521")), "a key of ecdsa-p521 is not supported"),
        (key_pem(new_key("secp256k1")), "the key is of a kind that IKE cannot use"),
        (ca.pem, "a certificate is in the text, and a private key is needed"),
        (key_pem(key) * 2, "one private key is needed, these are 2 blocks"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "the private key cannot be read"),
        ("a secret that is no key", "it is no PEM"),
    ):
        answer = message(api, "POST", CERTIFICATES, "certificate", **_imports(certificate=text, private_key=secret))
        assert words in answer
        assert secret not in answer
    long = api.send("POST", CERTIFICATES, {"certificate": _imports(certificate=text, private_key="secret" * 2000)})
    assert long.status_code == 400
    assert "secret" not in long.text
    for form in (key_pem, traditional_pem):
        api.create(CERTIFICATES, "certificate", **_imports(certificate=text, private_key=form(key)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"subject": "CN=a, XX=b"}, "'XX' is no type of a distinguished name"),
        ({"subject": "gw.example.org"}, "a distinguished name is a list of TYPE=value"),
        ({"subject": "CN="}, "a distinguished name is a list of TYPE=value"),
        ({"subject": "CN=a/b"}, "the CN of a distinguished name cannot contain"),
        ({"subject": "C=Schweiz"}, "subject. Reason: "),
        ({"subject": "CN=" + "x" * 300}, "at most 255 characters"),
        ({"subject": 7}, "a distinguished name is a text"),
        ({"subject_alt_names": ["*.example.org"]}, "cannot contain '%' or '*'"),
        ({"subject_alt_names": ["keyid:7"]}, "is neither a DNS name nor a mail address nor an IP address"),
        ({"subject_alt_names": ["CN=gw"]}, "is neither a DNS name nor a mail address nor an IP address"),
        ({"subject_alt_names": ["gw", "GW"]}, "is in the list twice"),
        ({"subject_alt_names": [f"gw{n}" for n in range(17)]}, "at most 16 are allowed"),
        ({"subject_alt_names": [7]}, "it is not a list of texts"),
        ({"key_algorithm": "rsa-1024"}, "rsa-1024 is not in valid_values"),
        ({"source": "found"}, "found is not in valid_values"),
    ],
)
def test_names_that_no_certificate_can_have_are_refused(api: Api, values: dict[str, Any], words: str) -> None:
    assert words in message(api, "POST", CERTIFICATES, "certificate", **values)


# --- trust anchors ------------------------------------------------------------------------------------------------


@pytest.mark.shows("trust_anchor.ca_bundle", "trust_anchor.status", "trust_anchor.expires_at")
def test_an_anchor_has_its_root_and_ends_with_the_first_of_its_certificates(api: Api, ca: Ca) -> None:
    soon = Ca("CN=Soon", above=ca, end=20 * DAY)
    made = api.create(ANCHORS, "trust_anchor", name="lab", ca_bundle=ca.pem + soon.pem)
    assert made == {
        "id": made["id"],
        "tenant_id": BLUE,
        "project_id": BLUE,
        "name": "lab",
        "description": "",
        "source": "imported",
        "subject": "",
        "ca_bundle": soon.pem + ca.pem,
        "revocation": "if_available",
        "crl_urls": [],
        "crl": None,
        "private_key": None,
        "expires_at": soon.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": "expiring",
        "in_use_by": [],
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "revision_number": 1,
    }


def test_every_wrong_bundle_is_refused_with_its_own_sentence(api: Api, ca: Ca, sub: Ca) -> None:
    usage = x509.KeyUsage(*(name == "digital_signature" for name in USAGES))
    old = Ca("CN=Old", algorithm="rsa-2048")
    assert pem(with_sha1(old.certificate, old.key)) != old.pem
    for text, words in (
        (sub.pem, "the bundle lacks its root: the issuer of 'C=CH, O=Lab, CN=Sub'"),
        (sub.pem + Ca("CN=Other").pem, "the chain lacks its root"),
        (sub.pem + Ca().pem, "the chain does not verify"),
        (pem(ca.issue("gw")) + ca.pem, "is not the certificate of a CA"),
        (Ca("CN=Sloppy", usage=usage).pem, "may not sign certificates"),
        (Ca("CN=Old", begin=-9 * DAY, end=-DAY).pem, "'CN=Old' expired on "),
        (Ca("CN=New", begin=DAY).pem, "'CN=New' is not valid before "),
        (pem(with_sha1(old.certificate, old.key)), "is made with SHA-1"),
        (Ca("CN=Weak", algorithm="rsa-1024").pem, "RSA with 1024 bits is weak"),
        (sub.bundle + Ca("CN=Other").pem, "no intermediate certificate of the bundle leads to 'CN=Other'"),
        (key_pem(new_key()), "a private key is in the text, and a certificate is needed"),
        ("hello", "it is no PEM"),
    ):
        assert words in message(api, "POST", ANCHORS, "trust_anchor", ca_bundle=text), words


def test_a_ca_is_renewed_under_its_name_with_the_same_key_or_another(api: Api, ca: Ca) -> None:
    again, other = Ca(key=ca.key, end=900 * DAY), Ca(end=900 * DAY)
    for text in (ca.pem + again.pem, ca.pem + other.pem):
        assert api.create(ANCHORS, "trust_anchor", ca_bundle=text)["ca_bundle"] == text


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["https://crl.example.org/x"], "is not a URL of http"),
        (["file:///etc/passwd"], "is not a URL of http"),
        (["http:///x"], "has no host"),
        (["http://me@crl.example.org/x"], "has a user"),
        (["http://crl.example.org/x#y"], "has a fragment"),
        (["http://crl.example.org:99999/x"], "is no URL"),
        (["http://crl.example.org/a b"], "is no URL of at most"),
        (["http://a/", "http://a/"], "twice"),
        ([f"http://a/{n}" for n in range(9)], "at most 8 are allowed"),
    ],
)
@pytest.mark.shows("trust_anchor.crl_urls")
def test_addresses_of_revocation_lists_are_http(api: Api, ca: Ca, urls: list[str], words: str) -> None:
    assert words in message(api, "POST", ANCHORS, "trust_anchor", ca_bundle=ca.pem, crl_urls=urls)
    good = ["http://crl.example.org:8080/lab.crl?x=1"]
    assert api.create(ANCHORS, "trust_anchor", ca_bundle=ca.pem, crl_urls=good)["crl_urls"] == good


@pytest.mark.shows("trust_anchor.crl")
def test_every_wrong_revocation_list_is_refused_with_its_own_sentence(api: Api, ca: Ca, sub: Ca) -> None:
    rsa = Ca("CN=RSA", algorithm="rsa-2048", above=ca)
    anchor = api.create(ANCHORS, "trust_anchor", ca_bundle=rsa.pem + sub.bundle)
    path = f"{ANCHORS}/{anchor['id']}"
    other = Ca("CN=Other")
    for text, words in (
        (other.crl(), "is of 'CN=Other', which is no CA of the anchor"),
        (ca.crl(signer=other.key), "is not signed by 'C=CH, O=Lab, CN=Root' of the anchor"),
        (ca.crl(begin=-9 * DAY, end=-DAY), "is over: the next one was due on "),
        (ca.crl(begin=DAY), "is not good before "),
        (pem(with_sha1(x509.load_pem_x509_crl(rsa.crl().encode()), rsa.key)), "is made with a broken hash"),
        (ca.crl() + ca.crl(number=2), "two revocation lists of one CA"),
        (ca.pem, "a certificate is in the text, and a certificate revocation list is needed"),
        ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "the revocation list cannot be read"),
        ("".join(Ca(f"CN={number}").crl() for number in range(9)), "at most 8 revocation lists"),
    ):
        assert words in message(api, "PUT", path, "trust_anchor", crl=text), words
    both = ca.crl(number=5) + sub.crl(number=1)
    assert api.update(path, "trust_anchor", crl=both)["crl"] == both
    assert "is not newer" in message(api, "PUT", path, "trust_anchor", crl=ca.crl(number=5))
    assert "is not newer" in message(api, "PUT", path, "trust_anchor", crl=ca.crl(number=4) + sub.crl(number=1))
    assert api.update(path, "trust_anchor", crl=ca.crl(number=6))["crl"]
    assert "no CA of the anchor" in message(api, "PUT", path, "trust_anchor", ca_bundle=other.pem)
    assert api.update(path, "trust_anchor", crl=None)["crl"] is None


@pytest.mark.shows("trust_anchor.revocation")
def test_strict_needs_a_revocation_list(api: Api, ca: Ca) -> None:
    assert "strict admits nobody" in message(
        api, "POST", ANCHORS, "trust_anchor", ca_bundle=ca.pem, revocation="strict"
    )
    made = api.create(ANCHORS, "trust_anchor", ca_bundle=ca.pem, revocation="strict", crl=ca.crl())
    path = f"{ANCHORS}/{made['id']}"
    assert "strict admits nobody" in message(api, "PUT", path, "trust_anchor", crl=None)
    done = api.update(path, "trust_anchor", crl=None, crl_urls=["http://crl.example.org/x"])
    assert done["revocation"] == "strict"


@pytest.mark.shows("certificate.revoked_at", "certificate.status")
def test_a_certificate_of_ours_is_revoked_by_its_ca(api: Api, ca: Ca) -> None:
    anchor = api.create(ANCHORS, "trust_anchor", ca_bundle=ca.pem)
    made = request(api)
    path, answer = f"{CERTIFICATES}/{made['id']}", ca.answer(made["csr"])
    api.update(path, "certificate", certificate=answer)
    leaf = x509.load_pem_x509_certificate(answer.encode())
    api.update(f"{ANCHORS}/{anchor['id']}", "trust_anchor", crl=ca.crl(ca.issue("x"), number=1))
    assert api.get(path)["certificate"]["status"] == "valid"
    api.update(f"{ANCHORS}/{anchor['id']}", "trust_anchor", crl=ca.crl(leaf, number=2))
    shown = api.get(path)["certificate"]
    assert (shown["status"], shown["revoked_at"] is not None) == ("revoked", True)
    done = api.update(path, "certificate", certificate=ca.answer(made["csr"]))
    assert (done["status"], done["revoked_at"]) == ("valid", None)
    late = api.update(path, "certificate", certificate=answer)
    assert late["status"] == "revoked"


# --- lists, rights and the rest that every resource has -----------------------------------------------------------


def test_the_status_follows_the_time(api: Api, ca: Ca) -> None:
    def of(begin: timedelta, end: timedelta) -> str:
        made = request(api)
        answer = ca.answer(made["csr"], begin=begin, end=end)
        path = f"{CERTIFICATES}/{made['id']}"
        return str(api.update(path, "certificate", certificate=answer + ca.pem)["status"])

    assert of(-DAY, 200 * DAY) == "valid"
    assert of(-300 * DAY, 29 * DAY) == "expiring"
    assert of(-DAY, 9 * DAY) == "valid"
    assert of(-8 * DAY, 2 * DAY) == "expiring"


def test_lists_filter_and_sort_by_the_computed_status(api: Api, ca: Ca) -> None:
    waiting = request(api, name="b")
    valid = request(api, name="a")
    api.update(f"{CERTIFICATES}/{valid['id']}", "certificate", certificate=ca.answer(valid["csr"]) + ca.pem)

    def ids(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"{CERTIFICATES}?{query}")["certificates"]]

    assert ids("") == [valid["id"], waiting["id"]]
    assert ids("status=awaiting_certificate") == [waiting["id"]]
    assert ids("sort_key=status&sort_dir=asc") == [waiting["id"], valid["id"]]
    assert ids("limit=1&marker=" + valid["id"]) == [waiting["id"]]
    assert ids("key_algorithm=rsa-2048") == []
    (only,) = api.get(f"{CERTIFICATES}?fields=status&name=a")["certificates"]
    assert only == {"status": "valid"}


@pytest.mark.shows("certificate.id", "certificate.project_id", "trust_anchor.id", "trust_anchor.project_id")
def test_projects_do_not_see_each_others(api: Api, ca: Ca) -> None:
    made = request(api)
    anchor = api.create(ANCHORS, "trust_anchor", ca_bundle=ca.pem)
    for path, type in (
        (f"{CERTIFICATES}/{made['id']}", "VPNCertificate"),
        (f"{ANCHORS}/{anchor['id']}", "TrustAnchor"),
    ):
        bob = api.as_("bob")
        for method, body in (("GET", None), ("PUT", {path.split("/")[2][:-1].replace("-", "_"): {}}), ("DELETE", None)):
            assert bob.refused(method, path, body) == (404, f"{type}NotFound")
        assert api.as_("reader").refused("DELETE", path) == (403, "PolicyNotAuthorized")


def test_writes_are_meant_for_a_revision(api: Api) -> None:
    made = request(api)
    path, headers = f"{CERTIFICATES}/{made['id']}", {"if-match": "revision_number=7"}
    body = {"certificate": {"name": "new"}}
    assert api.refused("PUT", path, body, headers=headers) == (412, "RevisionNumberConstraintFailed")
    assert api.refused("DELETE", path, headers=headers) == (412, "RevisionNumberConstraintFailed")


def test_a_request_makes_a_few_at_most(api: Api) -> None:
    many = [{"subject": f"CN={number}"} for number in range(11)]
    assert api.send("POST", CERTIFICATES, {"certificates": many}).status_code == 400
    answer = api.send("POST", CERTIFICATES, {"certificates": many[:2]})
    assert [item["subject"] for item in answer.json()["certificates"]] == ["CN=0", "CN=1"]
