"""One table: the API's algorithm names and charon's proposal keywords (strongswan: IKEv2 cipher suites).

The names of the API are those of neutron-vpnaas with its extensions vpn-aes-ctr and vpn-aes-ccm-gcm.
"""

from __future__ import annotations

from typing import Final

ENCRYPTION: Final[dict[str, str]] = {
    "3des": "3des",
    **{f"aes-{bits}": f"aes{bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-ctr": f"aes{bits}ctr" for bits in (128, 192, 256)},
    **{
        f"aes-{bits}-{mode}-{icv}": f"aes{bits}{mode}{icv}"
        for mode in ("ccm", "gcm")
        for bits in (128, 192, 256)
        for icv in (8, 12, 16)
    },
}
INTEGRITY: Final[dict[str, str]] = {
    "sha1": "sha1",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "aes-xcbc": "aesxcbc",
    "aes-cmac": "aescmac",
}
GROUPS: Final[dict[str, str]] = {
    "group2": "modp1024",
    "group5": "modp1536",
    "group14": "modp2048",
    "group15": "modp3072",
    "group16": "modp4096",
    "group17": "modp6144",
    "group18": "modp8192",
    "group19": "ecp256",
    "group20": "ecp384",
    "group21": "ecp521",
    "group22": "modp1024s160",
    "group23": "modp2048s224",
    "group24": "modp2048s256",
    "group25": "ecp192",
    "group26": "ecp224",
    "group27": "ecp224bp",
    "group28": "ecp256bp",
    "group29": "ecp384bp",
    "group30": "ecp512bp",
    "group31": "curve25519",
}
WEAK: Final = frozenset({"3des", "sha1", "group2", "group5"})


def is_aead(encryption: str) -> bool:
    """Whether an encryption algorithm carries its own integrity (RFC 5282, RFC 4106)."""
    return "-gcm-" in encryption or "-ccm-" in encryption


def ike_proposal(encryption: str, integrity: str, group: str) -> str:
    """An IKE proposal; with an AEAD the integrity algorithm names the PRF (RFC 5282 8)."""
    second = f"prf{INTEGRITY[integrity]}" if is_aead(encryption) else INTEGRITY[integrity]
    return f"{ENCRYPTION[encryption]}-{second}-{GROUPS[group]}"


def esp_proposal(encryption: str, integrity: str, group: str) -> str:
    """An ESP proposal with PFS; an AEAD has no integrity algorithm beside it (RFC 4106 8)."""
    parts = [ENCRYPTION[encryption], GROUPS[group]]
    if not is_aead(encryption):
        parts.insert(1, INTEGRITY[integrity])
    return "-".join(parts)


def ah_proposal(integrity: str, group: str) -> str:
    """An AH proposal with PFS."""
    return f"{INTEGRITY[integrity]}-{GROUPS[group]}"
