"""The configuration of a connection with certificates, or with a post-quantum key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import identities
from linkspan.core.ipsec.config import CertificateConfig
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey
from linkspan.core.tunnel import fallback
from tests.core.samples import CERTIFICATES, CONNECTION, certified, connection, ikev1

_set = msgspec.structs.replace


def test_the_names_of_connections_with_a_key_are_those_of_earlier_versions() -> None:
    """Other names would replace every tunnel when the agent is upgraded."""
    config = ipsec_config.build(CONNECTION)
    assert config.name == "peer-748aa09a-326ff6bd"
    assert config.children[0].name == "0d1c7c3e-6a55-4b8c-9a56-2f6f5a9f0b11.6e81fe40"


def test_certificates_of_both_ends() -> None:
    config = ipsec_config.build(certified(peer_certificates=("pin",), revocation="strict"))
    assert config.auth == "pubkey"
    assert config.certificates == CertificateConfig(
        chain=("leaf", "between"), key_id="a" * 40, issuers=("sub",), roots=("root",), pins=("pin",), strict=True
    )


def test_a_root_that_issues_is_loaded_with_the_connection() -> None:
    certificates = ipsec_config.build(certified(roots=("root",), issuers=("root",))).certificates
    assert certificates is not None
    assert (certificates.issuers, certificates.roots) == (("root",), ())


@pytest.mark.parametrize(
    "changes",
    [
        {"chain": ("renewed",)},
        {"roots": ("another",)},
        {"issuers": ("root",)},
        {"peer_certificates": ("pin",)},
        {"revocation": "strict"},
    ],
)
def test_the_name_changes_with_the_certificates(changes: dict[str, Any]) -> None:
    before, after = ipsec_config.build(certified()), ipsec_config.build(certified(**changes))
    assert before.name != after.name
    assert before.peer == after.peer


@pytest.mark.parametrize("changes", [{"crls": ("new",)}, {"revocation": "if_available"}, {"name": "other"}])
def test_the_name_does_not_change_with_a_revocation_list(changes: dict[str, Any]) -> None:
    assert ipsec_config.build(certified()) == ipsec_config.build(certified(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"certificates": None}, "there is no certificate"),
        ({"certificates": _set(CERTIFICATES, anchor=_set(CERTIFICATES.anchor, issuers=()))}, "incomplete"),
        ({"certificates": _set(CERTIFICATES, local=_set(CERTIFICATES.local, chain=()))}, "incomplete"),
        ({"ike": ikev1(), "ppk": PostQuantumKey(id="p", key=Secret("k"), required=True)}, "needs IKEv2"),
    ],
)
def test_a_node_does_not_run_what_charon_would_run_unchecked(changes: dict[str, Any], words: str) -> None:
    assert words in ipsec_config.unsupported(_set(certified(), **changes), "user-space")


def test_a_node_runs_certificates() -> None:
    assert ipsec_config.unsupported(certified(), "user-space") == ""
    assert ipsec_config.unsupported(_set(certified(), ike=ikev1()), "user-space") == ""


def test_a_post_quantum_key() -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("secret"), required=True, ref="1")
    config = ipsec_config.build(connection(ppk=ppk))
    assert (config.ppk.id, config.ppk.required) == ("ppk@example.org", True) if config.ppk else False
    assert "secret" not in repr(config)
    assert config.name != ipsec_config.build(connection(ppk=_set(ppk, ref="2"))).name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C=CH, O=Lab, CN=peer", "C=CH, O=Lab, CN=peer"),
        ("dn:C=CH, CN=peer", "C=CH, CN=peer"),
        ("asn1dn:CN=Peer", "CN=Peer"),
        ("Peer.example.org", "fqdn:peer.example.org"),
        ("me@example.org", "email:me@example.org"),
        ("203.0.113.7", "203.0.113.7"),
    ],
)
def test_identities_in_certificates(text: str, expected: str) -> None:
    assert identities.stored(text).charon() == expected


def test_a_peer_may_be_known_by_a_distinguished_name() -> None:
    assert ipsec_config.build(_set(certified(), peer_id="C=CH, CN=peer")).remote_id == "C=CH, CN=peer"


def test_a_key_and_certificates_are_told_apart_by_the_peer() -> None:
    key, certificates = ipsec_config.build(connection()), ipsec_config.build(certified())
    assert fallback.distinguishable(certificates, key)
    assert not fallback.distinguishable(ipsec_config.build(certified(chain=("renewed",))), certificates)
    assert not fallback.same_trust(certificates, key)
    assert fallback.same_trust(ipsec_config.build(certified(chain=("renewed",))), certificates)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"chain": ("renewed",)}, False),
        ({"issuers": ("sub", "other")}, False),
        ({"issuers": ("other",)}, True),
        ({"peer_certificates": ("pin",)}, True),
    ],
)
def test_a_version_distrusts_what_it_does_not_admit_any_more(changes: dict[str, Any], expected: bool) -> None:
    old, new = ipsec_config.build(certified()), ipsec_config.build(certified(**changes))
    assert fallback.distrusts(new, old) is expected
