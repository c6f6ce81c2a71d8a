"""PEM is read strictly: each text is what it is, or a sentence says what it is instead."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from linkspan.pki import chains, keys, pem
from linkspan.pki.errors import PkiError
from tests.harness.authorities import Ca, key_pem, new_key, traditional_pem

CA = Ca()
KEY = new_key()


def test_text_around_the_blocks_is_ignored() -> None:
    text = f"subject=C = CH\n{CA.pem}\nissuer: nobody\n{Ca('CN=Two').pem}# the end"
    assert len(pem.certificates(text)) == 2
    assert pem.certificates(text.replace("\n", "\r\n"))[0] == CA.certificate


def test_what_is_read_is_written_again() -> None:
    assert pem.text_of(*pem.certificates(CA.pem)) == CA.pem
    assert pem.text_of(*pem.crls(CA.crl())).startswith("-----BEGIN X509 CRL-----")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is no PEM"),
        ("-----BEGIN CERTIFICATE-----", "a certificate has no end"),
        (CA.pem.replace("END", "BEGIN"), "a certificate has no end"),
        (
            CA.pem.replace("END CERTIFICATE", "END X509 CRL"),
            "a certificate revocation list has an end but no beginning",
        ),
        ("-----BEGIN CERTIFICATE-----\nProc-Type: 4\n\nAAAA\n-----END CERTIFICATE-----", "has headers"),
        ("-----BEGIN CERTIFICATE-----\nAA=A\n-----END CERTIFICATE-----", "is not base64"),
        ("-----BEGIN CERTIFICATE-----\nÄÄÄÄ\n-----END CERTIFICATE-----", "is not base64"),
        ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "cannot be read"),
        (key_pem(KEY), "a private key is in the text, and a certificate is needed"),
        (key_pem(KEY, b"x"), "an encrypted private key is in the text"),
        (CA.pem * 2, "a certificate is in the text twice"),
    ],
)
def test_a_text_that_is_no_certificate_says_what_it_is(text: str, words: str) -> None:
    with pytest.raises(PkiError, match=words):
        pem.certificates(text)


@pytest.mark.parametrize("form", [key_pem, traditional_pem])
@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
def test_a_key_in_each_form_is_read_and_sealed_as_pkcs8(form: object, algorithm: str) -> None:
    if algorithm == "ed25519" and form is traditional_pem:
        return  # has no other form
    key = new_key(algorithm)
    text = form(key)  # type: ignore[operator]
    sealed = keys.seal(keys.load(text))
    assert sealed.reveal() == key_pem(key)
    assert "***" in repr(sealed)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    for read in (pem.certificates, pem.crls, pem.request, keys.load):
        with pytest.raises(PkiError):
            read(text)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(der: bytes) -> None:
    for label, read in (
        ("CERTIFICATE", pem.certificates),
        ("X509 CRL", pem.crls),
        ("CERTIFICATE REQUEST", pem.request),
        ("PRIVATE KEY", keys.load),
    ):
        body = base64.b64encode(der).decode()
        with pytest.raises(PkiError):
            read(f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")


@pytest.mark.filterwarnings("ignore")  # the library warns of what it takes and we do not
@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_of_a_certificate_raises_nothing_else(at: int, change: int) -> None:
    der = bytearray(CA.certificate.public_bytes(Encoding.DER))
    der[at % len(der)] ^= change
    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(bytes(der)).decode()}\n-----END CERTIFICATE-----\n"
    try:
        chains.check_bundle(text, 1_800_000_000.0)
    except PkiError:
        return
    raise AssertionError("a changed certificate is taken")


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"])
def test_keys_are_generated_of_each_kind(algorithm: str) -> None:
    key = keys.generate(algorithm)
    assert keys.algorithm_of(key.public_key()) == algorithm
    assert len(keys.key_id(key.public_key())) == 40
