"""Proposals that do not match: the kinds of transforms in which the nearest ones differ."""

from __future__ import annotations

import pytest

from linkspan.core.ipsec.proposals import differences

IKE = "IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048"
ESP = "ESP:AES_CBC_128/HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ"


@pytest.mark.parametrize(
    ("offered", "configured", "kinds"),
    [
        ("IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048", IKE, {"encryption"}),
        ("IKE:AES_CBC_128/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/MODP_2048", IKE, {"integrity"}),
        ("IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_384/MODP_2048", IKE, {"prf"}),
        ("IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256", IKE, {"group"}),
        ("IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/MODP_2048", IKE, {"encryption"}),
        ("IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256", IKE, {"encryption", "group"}),
        (f"IKE:AES_CBC_256/HMAC_SHA1_96/PRF_HMAC_SHA1/ECP_256, {IKE}", IKE, set()),
        ("ESP:AES_CBC_256/HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ", ESP, {"encryption"}),
        ("ESP:AES_CBC_128/HMAC_SHA2_512_256/MODP_2048/NO_EXT_SEQ", ESP, {"integrity"}),
        ("ESP:AES_GCM_16_256/MODP_2048/NO_EXT_SEQ", ESP, {"encryption"}),
        ("ESP:AES_CBC_128/HMAC_SHA2_256_128/ECP_384/NO_EXT_SEQ", ESP, {"group"}),
        ("ESP:AES_CBC_128/HMAC_SHA2_256_128/NO_EXT_SEQ", ESP, {"group"}),
        ("ESP:AES_CBC_256/HMAC_SHA2_256_128/NO_EXT_SEQ", ESP, {"encryption"}),
        ("AH:HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ", ESP, {"protocol"}),
        ("ESP:CHACHA20_POLY1305_256/MODP_2048/NO_EXT_SEQ", ESP, {"encryption"}),
    ],
)
def test_what_differs(offered: str, configured: str, kinds: set[str]) -> None:
    assert differences(offered, configured) == kinds
    assert differences(configured, offered) == kinds
