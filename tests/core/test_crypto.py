"""The one table of algorithms, against what strongSwan's documentation says of proposals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import crypto
from linkspan.core.resources import IKE_POLICY, IPSEC_POLICY

CIPHERS = st.sampled_from(sorted(crypto.ENCRYPTION))
HASHES = st.sampled_from(sorted(crypto.INTEGRITY))
GROUPS = st.sampled_from(sorted(crypto.GROUPS))


def test_the_table_is_the_contract() -> None:
    bits = (128, 192, 256)
    wanted = {"3des"} | {f"aes-{n}" for n in bits} | {f"aes-{n}-ctr" for n in bits}
    wanted |= {f"aes-{n}-{mode}-{icv}" for n in bits for mode in ("ccm", "gcm") for icv in (8, 12, 16)}
    assert set(crypto.ENCRYPTION) == wanted
    assert set(crypto.INTEGRITY) == {"sha1", "sha256", "sha384", "sha512", "aes-xcbc", "aes-cmac"}
    assert set(crypto.GROUPS) == {"group2", "group5", *(f"group{n}" for n in range(14, 32))}
    for table in (crypto.ENCRYPTION, crypto.INTEGRITY, crypto.GROUPS):
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
def test_proposals(cipher: str, ike: str, esp: str) -> None:
    assert crypto.ike_proposal(cipher, "sha256", "group14") == ike
    assert crypto.esp_proposal(cipher, "sha256", "group14") == esp
    assert crypto.ah_proposal("sha256", "group14") == "sha256-modp2048"


@given(cipher=CIPHERS, integrity=HASHES, group=GROUPS)
def test_a_proposal_has_its_parts_once(cipher: str, integrity: str, group: str) -> None:
    ike = crypto.ike_proposal(cipher, integrity, group).split("-")
    esp = crypto.esp_proposal(cipher, integrity, group).split("-")
    assert len(ike) == 3
    assert len(esp) == (2 if crypto.is_aead(cipher) else 3)
    assert ike[1].startswith("prf") == crypto.is_aead(cipher)
    assert ike[0] == esp[0] == crypto.ENCRYPTION[cipher]
    assert ike[-1] == esp[-1] == crypto.GROUPS[group]
    assert all(re.fullmatch(r"[a-z0-9]+", part) for part in (*ike, *esp))


@pytest.mark.parametrize("policy", [IKE_POLICY, IPSEC_POLICY])
def test_no_default_is_weak(policy: object) -> None:
    for name in ("encryption_algorithm", "auth_algorithm", "pfs"):
        assert policy[name].default not in crypto.WEAK  # type: ignore[index]
    known = {*crypto.ENCRYPTION, *crypto.INTEGRITY, *crypto.GROUPS}
    assert known >= crypto.WEAK
