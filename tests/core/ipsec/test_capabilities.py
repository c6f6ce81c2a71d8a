"""The capabilities of nodes, and the reasons of connections that a node cannot run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import algorithms, capabilities
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import IkePolicy, IpsecPolicy
from linkspan.core.state.observed import Capabilities
from tests.core.samples import CONNECTION, connection, ikev1

replace = msgspec.structs.replace
LISTED = {
    "encryption": ["3DES_CBC", "AES_CBC", "AES_CTR", "NULL"],
    "aead": [f"AES_{mode}_{size}" for mode in ("CCM", "GCM") for size in (8, 12, 16)],
    "integrity": [algorithms.TRANSFORMS[word] for word in algorithms.INTEGRITY.values()],
}
GROUPS = [algorithms.TRANSFORMS[word] for word in algorithms.GROUPS.values()]


def listed(without: str = "", kind: str = "ke") -> dict[str, list[str]]:
    """charon's answer of a complete strongSwan, without one algorithm."""
    answer = {**LISTED, kind: GROUPS}
    return {kind: [name for name in names if name != without] for kind, names in answer.items()}


def node(without: str = "", **features: bool) -> Capabilities:
    return capabilities.from_charon(
        listed(without), "kernel", **{"ikev1": True, "ah": True, "transport": True} | features
    )


def ike(**changes: Any) -> IkePolicy:
    return replace(CONNECTION.ike, **changes)


def ipsec(**changes: Any) -> IpsecPolicy:
    return replace(CONNECTION.ipsec, **changes)


def test_a_complete_node_lacks_nothing() -> None:
    assert capabilities.lacks(node()) == ()
    assert capabilities.missing(connection(ike=ikev1()), node()).text == ""


@pytest.mark.parametrize("kind", ["ke", "dh"])
def test_key_exchanges_have_two_names(kind: str) -> None:
    """strongSwan 5 lists them as dh, 6 as ke."""
    answer = capabilities.from_charon(listed(kind=kind), "kernel", ikev1=True, ah=True, transport=True)
    assert answer.key_exchanges == tuple(algorithms.GROUPS)


HOSTS = {"local_cidrs": ("198.51.100.1/32",), "peer_cidrs": ("198.51.100.2/32",)}
LACKING: list[tuple[Capabilities, dict[str, Any], str]] = [
    (node(ikev1=False), {"ike": ikev1()}, "set ike_version to v2"),
    (node(ah=False), {"ipsec": ipsec(transform_protocol="ah")}, "set transform_protocol to esp"),
    (node(transport=False), {"ipsec": ipsec(encapsulation_mode="transport")} | HOSTS, "set encapsulation_mode"),
    (node("AES_CTR"), {"ike": ike(encryption_algorithm="aes-192-ctr")}, "no aes-192-ctr: set encryption_algorithm of"),
    (node("AES_CTR"), {"ipsec": ipsec(encryption_algorithm="aes-128-ctr")}, "encryption_algorithm of the IPsec policy"),
    (node("AES_GCM_16"), {"ipsec": ipsec(encryption_algorithm="aes-256-gcm-16")}, "no aes-256-gcm-16"),
    (node("3DES_CBC"), {"ike": ike(encryption_algorithm="3des")}, "no 3des"),
    (node("AES_XCBC_96"), {"ike": ike(auth_algorithm="aes-xcbc")}, "no aes-xcbc: set auth_algorithm of the IKE policy"),
    (node("HMAC_SHA1_96"), {"ipsec": ipsec(auth_algorithm="sha1")}, "no sha1"),
    (
        node("HMAC_SHA1_96"),
        {"ipsec": ipsec(auth_algorithm="sha1", transform_protocol="ah")},
        "auth_algorithm of the IPsec policy",
    ),
    (node("CURVE_25519"), {"ike": ike(pfs="group31")}, "no group31: set pfs of the IKE policy to one of group14"),
    (node("MODP_1024"), {"ipsec": ipsec(pfs="group2")}, "no group2: set pfs of the IPsec policy"),
]


@pytest.mark.parametrize(("lacking", "changes", "words"), LACKING)
def test_what_a_node_lacks_is_said_with_the_remedy(lacking: Capabilities, changes: dict[str, Any], words: str) -> None:
    wanted = connection(**changes)
    reason = ipsec_config.unsupported(wanted, "kernel", lacking)
    assert words in reason
    assert ipsec_config.unsupported(wanted, "kernel", node()) == "", "nothing else is wrong with it"
    assert ipsec_config.unsupported(wanted, "kernel") == "", "without capabilities nothing is assumed to lack"
    assert ipsec_config.unsupported(connection(), "kernel", lacking) == "", "other connections run"
    assert len(capabilities.lacks(lacking)) > 0


def test_what_a_policy_does_not_use_may_lack() -> None:
    no_sha1, no_cbc = node("HMAC_SHA1_96"), node("AES_CBC")
    aead = ipsec(encryption_algorithm="aes-128-gcm-16", auth_algorithm="sha1")
    assert capabilities.missing(connection(ipsec=aead), no_sha1).text == ""
    ah = connection(ike=ike(encryption_algorithm="3des"), ipsec=ipsec(transform_protocol="ah"))
    assert capabilities.missing(ah, no_cbc).text == ""


def test_a_node_with_an_aead_says_so_in_the_apis_names() -> None:
    assert "aes-256-gcm-16" in node().encryption
    assert capabilities.lacks(node("AES_GCM_16")) == ("aes-128-gcm-16", "aes-192-gcm-16", "aes-256-gcm-16")
