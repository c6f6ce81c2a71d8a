"""The table of algorithms, and the proposals that are built from it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import algorithms
from linkspan.core.schema.resources import IKE_POLICY, IPSEC_POLICY

CIPHERS = st.sampled_from(sorted(algorithms.ENCRYPTION))
HASHES = st.sampled_from(sorted(algorithms.INTEGRITY))
GROUPS = st.sampled_from(sorted(algorithms.GROUPS))


def test_the_table_has_the_names_of_the_api() -> None:
    bits = (128, 192, 256)
    expected = {"3des"} | {f"aes-{n}" for n in bits} | {f"aes-{n}-ctr" for n in bits}
    expected |= {f"aes-{n}-{mode}-{icv}" for n in bits for mode in ("ccm", "gcm") for icv in (8, 12, 16)}
    assert set(algorithms.ENCRYPTION) == expected
    assert set(algorithms.INTEGRITY) == {"sha1", "sha256", "sha384", "sha512", "aes-xcbc", "aes-cmac"}
    assert set(algorithms.GROUPS) == {"group2", "group5", *(f"group{n}" for n in range(14, 32))}
    for table in (algorithms.ENCRYPTION, algorithms.INTEGRITY, algorithms.GROUPS):
        assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("cipher", "ike", "esp"),
    [
        ("aes-128", "aes128-sha256-modp2048", "aes128-sha256-modp2048"),
        ("3des", "3des-sha256-modp2048", "3des-sha256-modp2048"),
        ("aes-256-ctr", "aes256ctr-sha256-modp2048", "aes256ctr-sha256-modp2048"),
        ("aes-256-gcm-16", "aes256gcm16-prfsha256-modp2048", "aes256gcm16-modp2048"),
        ("aes-192-ccm-8", "aes192ccm8-prfsha256-modp2048", "aes192ccm8-modp2048"),
    ],
)
def test_proposals_follow_the_syntax_of_charon(cipher: str, ike: str, esp: str) -> None:
    assert algorithms.ike_proposal(cipher, "sha256", "group14") == ike
    assert algorithms.esp_proposal(cipher, "sha256", "group14") == esp
    assert algorithms.ah_proposal("sha256", "group14") == "sha256-modp2048"


@given(cipher=CIPHERS, integrity=HASHES, group=GROUPS)
def test_a_proposal_has_every_transform_once(cipher: str, integrity: str, group: str) -> None:
    ike = algorithms.ike_proposal(cipher, integrity, group).split("-")
    esp = algorithms.esp_proposal(cipher, integrity, group).split("-")
    assert len(ike) == 3
    assert len(esp) == (2 if algorithms.is_aead(cipher) else 3)
    assert ike[1].startswith("prf") == algorithms.is_aead(cipher)
    assert ike[0] == esp[0] == algorithms.ENCRYPTION[cipher]
    assert ike[-1] == esp[-1] == algorithms.GROUPS[group]
    assert all(re.fullmatch(r"[a-z0-9]+", part) for part in (*ike, *esp))


@pytest.mark.parametrize("policy", [IKE_POLICY, IPSEC_POLICY])
def test_no_default_is_weak(policy: object) -> None:
    for name in ("encryption_algorithm", "auth_algorithm", "pfs"):
        assert policy[name].default not in algorithms.WEAK  # type: ignore[index]
    known = {*algorithms.ENCRYPTION, *algorithms.INTEGRITY, *algorithms.GROUPS}
    assert known >= algorithms.WEAK


@given(cipher=CIPHERS, integrity=HASHES, version=st.sampled_from(["v1", "v2"]))
def test_impossible_combinations_are_explained_with_the_remedy(cipher: str, integrity: str, version: Any) -> None:
    """IKEv2 can negotiate every combination; IKEv1 has no AEAD, CTR or AES hash in phase 1, no AES-CMAC in phase 2."""
    phase1 = algorithms.impossible_ike(version, cipher, integrity)
    cbc = cipher == "3des" or re.fullmatch(r"aes-\d+", cipher)
    assert (phase1 == "") == (version == "v2" or bool(cbc and integrity.startswith("sha")))
    esp = algorithms.impossible_ipsec(version, "esp", cipher, integrity)
    assert (esp == "") == (version == "v2" or integrity != "aes-cmac" or "cm-" in cipher)
    ah = algorithms.impossible_ipsec(version, "ah", cipher, integrity)
    assert (ah == "") == (version == "v2" or integrity != "aes-cmac")
    for sentence in (phase1, esp, ah):
        assert not sentence or re.search(r"needs IKEv2.*: .*set ", sentence) or "use an IKE policy" in sentence


def test_the_transforms_of_a_proposal_have_charons_names() -> None:
    assert algorithms.transforms("aes256-sha512-ecp256") == ("AES_CBC", 256, "HMAC_SHA2_512_256", "ECP_256")
    assert algorithms.transforms("aes128gcm16-curve25519") == ("AES_GCM_16", 128, "", "CURVE_25519")
    assert algorithms.transforms("3des-aescmac-modp1024s160") == ("3DES_CBC", 0, "AES_CMAC_96", "MODP_1024_160")
    assert algorithms.transforms("sha1-ecp512bp") == ("", 0, "HMAC_SHA1_96", "ECP_512_BP")
