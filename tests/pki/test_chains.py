"""Chains lead to a root, whatever else is there, and sentences say where they end."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from linkspan.core.ipsec import identities
from linkspan.pki import chains, crls, names, pem
from linkspan.pki.errors import PkiError
from tests.harness import authorities
from tests.harness.authorities import DAY, Ca

NOW = time.time()
ROOT = Ca()
SUB = Ca("CN=Sub", above=ROOT)
LOW = Ca("CN=Low", above=SUB)


def test_a_chain_is_ordered_whatever_its_order_was() -> None:
    leaf = LOW.issue("gw")
    for others in ((SUB, LOW), (LOW, SUB), (ROOT, SUB, LOW)):
        text = authorities.pem(leaf, *(ca.certificate for ca in others))
        found, chain = chains.check_chain(text, [ROOT.certificate], NOW)
        assert (found, chain) == (leaf, [leaf, LOW.certificate, SUB.certificate])


def test_a_root_of_the_same_name_and_another_key_is_passed_over() -> None:
    other = Ca()
    leaf = SUB.issue("gw")
    text = authorities.pem(leaf) + SUB.pem
    _, chain = chains.check_chain(text, [other.certificate, ROOT.certificate], NOW)
    assert chain == [leaf, SUB.certificate]
    with pytest.raises(
        PkiError, match="the chain does not verify: 'CN=Sub' is not signed by the 'C=CH, O=Lab, CN=Root'"
    ):
        chains.check_chain(text, [other.certificate], NOW)


def test_cross_signed_cas_in_a_circle_end() -> None:
    one, two = Ca("CN=One"), Ca("CN=Two")
    first = Ca("CN=One", above=two, key=one.key)
    second = Ca("CN=Two", above=one, key=two.key)
    leaf = Ca("CN=One", key=one.key).issue("gw")
    text = authorities.pem(leaf, first.certificate, second.certificate)
    with pytest.raises(PkiError, match="the chain lacks its root"):
        chains.check_chain(text, [], NOW)
    _, chain = chains.check_chain(authorities.pem(leaf, first.certificate), [two.certificate], NOW)
    assert chain == [leaf, first.certificate]


def test_a_long_chain_is_refused() -> None:
    cas = [Ca("CN=0")]
    for number in range(1, 9):
        cas.append(Ca(f"CN={number}", above=cas[-1]))
    with pytest.raises(PkiError):
        chains.check_chain(authorities.pem(cas[-1].issue("gw")) + cas[-1].bundle, [], NOW)
    chains.check_chain(authorities.pem(cas[5].issue("gw")) + cas[5].bundle, [], NOW)


def test_an_anchor_admits_below_its_intermediate_only() -> None:
    narrow = chains.check_bundle(SUB.bundle, NOW)
    wide = chains.check_bundle(ROOT.pem, NOW)
    assert narrow.issuers == (SUB.certificate,)
    assert wide.issuers == (ROOT.certificate,)
    chains.check_admitted(SUB.issue("gw"), narrow, NOW)
    direct = ROOT.issue("gw")
    chains.check_admitted(direct, wide, NOW)
    with pytest.raises(PkiError, match="is issued by none of the anchor's intermediate CAs"):
        chains.check_admitted(direct, narrow, NOW)


@pytest.mark.parametrize(
    ("identity", "is_carried"),
    [
        ("gw.example.org", True),
        ("GW.EXAMPLE.ORG", True),
        ("gw", False),
        ("w.example.org", False),
        ("a.wild.example.org", False),
        ("ops@example.org", True),
        ("OPS@example.org", True),
        ("example.org", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:DB8:0::1", True),
        ("C=CH, O=Lab, CN=gw.name", True),
        ("c=CH,o=Lab,cn=gw.name", True),
        ("C=CH, O=Lab, CN=GW.name", False),
        ("C=CH, CN=gw.name, O=Lab", False),
        ("CN=gw.name", False),
        ("gw.name", False),
        ("keyid:gw", False),
    ],
)
def test_an_identity_is_in_the_subject_or_the_alternative_names(identity: str, is_carried: bool) -> None:
    held = ("gw.example.org", "*.wild.example.org", "ops@example.org", "192.0.2.1", "2001:db8::1")
    leaf = ROOT.issue(*held, subject="C=CH, O=Lab, CN=gw.name")
    assert names.carries(leaf, identities.parse(identity)) is is_carried


@pytest.mark.parametrize("value", ["a, b", "a/b", 'a"b', "a\\b", "a;b", "a+b"])
def test_a_subject_that_charon_cannot_read_back_is_no_identity(value: str) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, value)])
    key = authorities.new_key()
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    start = ROOT.certificate.not_valid_before_utc
    builder = builder.serial_number(7).not_valid_before(start).not_valid_after(start + 9 * DAY)
    leaf = builder.sign(key, hashes.SHA256())
    assert names.carried(leaf) == "none"
    assert names.text_of(name).startswith("CN=")


def test_a_list_counts_for_its_own_ca_only() -> None:
    other = Ca()
    leaf = ROOT.issue("gw", serial=77)
    theirs = pem.crls(other.crl(other.issue("x", serial=77)))
    assert crls.revoked_at(leaf, theirs, [other.certificate, ROOT.certificate]) is None
    forged = pem.crls(ROOT.crl(leaf, signer=other.key))
    assert crls.revoked_at(leaf, forged, [ROOT.certificate]) is None
    assert crls.revoked_at(leaf, pem.crls(ROOT.crl(leaf)), [ROOT.certificate]) is not None
    assert crls.revoked_at(leaf, pem.crls(ROOT.crl(leaf)), [other.certificate, ROOT.certificate]) is not None


def test_without_numbers_the_later_list_is_newer() -> None:
    issuers = [ROOT.certificate]
    first = pem.crls(ROOT.crl(number=None, begin=-2 * DAY))
    crls.check_crls(ROOT.crl(number=None), issuers, first, NOW)
    with pytest.raises(PkiError, match="is not newer"):
        crls.check_crls(ROOT.crl(number=None, begin=-3 * DAY), issuers, first, NOW)
