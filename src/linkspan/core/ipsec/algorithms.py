"""Algorithms: the API's names, charon's proposal keywords, and charon's names of negotiated transforms.

The API's names are those of neutron-vpnaas with its extensions vpn-aes-ctr and vpn-aes-ccm-gcm; the keywords are
strongSwan's (IKEv2 cipher suites). `impossible_ike` and `impossible_ipsec` list the combinations that charon 5.9.8
cannot negotiate.
"""

from __future__ import annotations

from typing import Final, Literal

_CIPHERS: Final = (
    # The API's name, charon's keyword, charon's name of the negotiated transform without the key length.
    ("3des", "3des", "3DES_CBC"),
    *((f"aes-{bits}", f"aes{bits}", "AES_CBC") for bits in (128, 192, 256)),
    *((f"aes-{bits}-ctr", f"aes{bits}ctr", "AES_CTR") for bits in (128, 192, 256)),
    *(
        (f"aes-{bits}-{mode}-{icv}", f"aes{bits}{mode}{icv}", f"AES_{mode.upper()}_{icv}")
        for mode in ("ccm", "gcm")
        for bits in (128, 192, 256)
        for icv in (8, 12, 16)
    ),
)
ENCRYPTION: Final[dict[str, str]] = {name: keyword for name, keyword, _ in _CIPHERS}
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
TRANSFORMS: Final[dict[str, str]] = {
    **{keyword: transform for _, keyword, transform in _CIPHERS},
    "sha1": "HMAC_SHA1_96",
    "sha256": "HMAC_SHA2_256_128",
    "sha384": "HMAC_SHA2_384_192",
    "sha512": "HMAC_SHA2_512_256",
    "aesxcbc": "AES_XCBC_96",
    "aescmac": "AES_CMAC_96",
    "modp1024s160": "MODP_1024_160",
    "modp2048s224": "MODP_2048_224",
    "modp2048s256": "MODP_2048_256",
    **{f"modp{bits}": f"MODP_{bits}" for bits in (1024, 1536, 2048, 3072, 4096, 6144, 8192)},
    **{f"ecp{bits}": f"ECP_{bits}" for bits in (192, 224, 256, 384, 521)},
    **{f"ecp{bits}bp": f"ECP_{bits}_BP" for bits in (224, 256, 384, 512)},
    "curve25519": "CURVE_25519",
}
"""Keyword -> charon's name of the negotiated transform."""
IKEV1_INTEGRITY: Final = frozenset({"sha1", "sha256", "sha384", "sha512"})
"""Phase 1 of IKEv1 negotiates a hash (RFC 2409 4); AES-XCBC and AES-CMAC are not hashes."""
WEAK: Final = frozenset({"3des", "sha1", "group2", "group5"})
"""Algorithms to avoid (RFC 8247 2.4, RFC 8221 5)."""


def is_aead(encryption: str) -> bool:
    """True if an encryption algorithm includes integrity protection (RFC 5282, RFC 4106)."""
    return "-gcm-" in encryption or "-ccm-" in encryption


def ike_proposal(encryption: str, integrity: str, group: str) -> str:
    """An IKE proposal; with an AEAD the integrity algorithm names the PRF (RFC 5282 8)."""
    second = f"prf{INTEGRITY[integrity]}" if is_aead(encryption) else INTEGRITY[integrity]
    return f"{ENCRYPTION[encryption]}-{second}-{GROUPS[group]}"


def esp_proposal(encryption: str, integrity: str, group: str) -> str:
    """An ESP proposal with PFS; with an AEAD it has no integrity algorithm (RFC 4106 8)."""
    parts = [ENCRYPTION[encryption], GROUPS[group]]
    if not is_aead(encryption):
        parts.insert(1, INTEGRITY[integrity])
    return "-".join(parts)


def ah_proposal(integrity: str, group: str) -> str:
    """An AH proposal with PFS."""
    return f"{INTEGRITY[integrity]}-{GROUPS[group]}"


def impossible_ike(version: Literal["v1", "v2"], encryption: str, integrity: str) -> str:
    """The reason that no node can negotiate this phase 1, with the remedy; empty if nodes can."""
    if version == "v2":
        return ""
    if is_aead(encryption):
        return f"{encryption} in phase 1 needs IKEv2 (RFC 5282): set ike_version to v2, or encryption_algorithm to aes"
    if encryption.endswith("-ctr"):
        return f"{encryption} in phase 1 needs IKEv2 (RFC 5930): set ike_version to v2, or encryption_algorithm to aes"
    if integrity not in IKEV1_INTEGRITY:
        return f"{integrity} in phase 1 needs IKEv2 (RFC 4434): set ike_version to v2, or auth_algorithm to sha256"
    return ""


def impossible_ipsec(version: Literal["v1", "v2"], protocol: str, encryption: str, integrity: str) -> str:
    """The reason that no node can negotiate this phase 2 with an IKE version; empty if nodes can.

    IKEv1 has no number for AES-CMAC (IANA: IPSEC authentication algorithms). ah-esp is accepted here, because clients
    have policies with it; `config.unsupported` makes nodes report the connection as ERROR.
    """
    if version == "v1" and integrity == "aes-cmac" and (protocol == "ah" or not is_aead(encryption)):
        return "aes-cmac needs IKEv2: use an IKE policy with ike_version v2, or set auth_algorithm to sha256"
    return ""


def transforms(proposal: str) -> tuple[str, int, str, str]:
    """charon's names of the transforms in an ESP or AH proposal: encryption, its key length in bits (0: not reported),
    integrity, group. Absent transforms are empty."""
    encryption = integrity = group = ""
    bits = 0
    for part in proposal.split("-"):
        name = TRANSFORMS[part]
        if part in _GROUP_WORDS:
            group = name
        elif part in _INTEGRITY_WORDS:
            integrity = name
        else:
            encryption, bits = name, int(part[3:6]) if part.startswith("aes") else 0
    return encryption, bits, integrity, group


_GROUP_WORDS: Final = frozenset(GROUPS.values())
_INTEGRITY_WORDS: Final = frozenset(INTEGRITY.values())
_API_NAMES: Final = {
    **{transform: name for name, _, transform in _CIPHERS if not name.startswith("aes")},
    **{f"{transform}_{name.split('-')[1]}": name for name, _, transform in _CIPHERS if name.startswith("aes")},
    **{TRANSFORMS[keyword]: name for name, keyword in (INTEGRITY | GROUPS).items()},
    "PRF_HMAC_SHA1": "sha1",
    **{f"PRF_HMAC_SHA2_{bits}": f"sha{bits}" for bits in (256, 384, 512)},
    "PRF_AES128_XCBC": "aes-xcbc",
    "PRF_AES128_CMAC": "aes-cmac",
}
"""charon's name of a transform in a list of proposals -> the API's name."""
_NOT_ALGORITHMS: Final = frozenset({"NO_EXT_SEQ", "EXT_SEQ"})


def api_names(proposals: str) -> str:
    """A list of proposals as charon logs it, `IKE:AES_CBC_128/…, IKE:…`, in the API's names.

    Algorithms without such a name keep charon's.
    """
    return " or ".join(dict.fromkeys(_proposal_in_api_names(proposal) for proposal in proposals.split(", ")))


def _proposal_in_api_names(proposal: str) -> str:
    parts = [part for part in proposal.partition(":")[2].split("/") if part not in _NOT_ALGORITHMS]
    # A PRF usually has the name of the integrity algorithm.
    return ", ".join(dict.fromkeys(_API_NAMES.get(part, part) for part in parts))
