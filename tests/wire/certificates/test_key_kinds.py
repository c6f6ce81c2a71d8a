"""Tunnels with every kind of key, and every form of an identity, that certificates can have."""

from __future__ import annotations

import pytest

from tests.harness.agent_site import AgentSite
from tests.harness.authorities import KINDS, Ca
from tests.harness.certified import THEM, between, load, ours, theirs
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.parametrize("initiator", ["ours", "peer"])
@pytest.mark.parametrize(
    ("version", "kind"),
    [
        *(("v2", kind) for kind in KINDS),
        *(pytest.param("v1", kind, marks=needs_ikev1) for kind in ("rsa-2048", "rsa-4096")),
    ],
)
def test_a_tunnel_of_each_kind_of_key(
    site: AgentSite, peer: Peer, root: Ca, version: str, kind: str, initiator: str
) -> None:
    authority = Ca("Same kind", algorithm=kind)
    load(peer, site, theirs(authority, algorithm=kind), authority, version=version.removeprefix("v"))
    link = site.connect(
        peer,
        certificates=between(ours(authority, algorithm=kind), authority),
        ike={"ike_version": version},
        initiator="bi-directional" if initiator == "ours" else "response-only",
    )
    if initiator == "peer":
        link.wait("down")
        peer.initiate()
    link.wait("up")
    link.assert_pings()


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_a_peer_that_signs_with_pss(site: AgentSite, peer: Peer, initiator: str, digest: str) -> None:
    """As libreswan does: of RSA, RFC 7427 allows PKCS #1 and PSS."""
    authority = Ca(algorithm="rsa-2048")
    load(peer, site, theirs(authority, algorithm="rsa-2048"), authority, signs=f"ike:rsa/pss-{digest}")
    certificates = between(ours(authority, algorithm="rsa-2048"), authority)
    link = site.connect(peer, certificates=certificates, initiator=initiator)
    if initiator == "response-only":
        link.wait("down")
        peer.initiate()
    link.wait("up")
    assert f"with RSA_EMSA_PSS_{digest.upper().replace('SHA', 'SHA2_')}" in site.log
    link.assert_pings()


def test_a_hash_that_is_not_taken_is_said(site: AgentSite, peer: Peer) -> None:
    authority = Ca(algorithm="rsa-2048")
    issued = theirs(authority, algorithm="rsa-2048")
    load(peer, site, issued, authority, signs="ike:rsa/pss-sha384")
    certificates = between(ours(authority, algorithm="rsa-2048"), authority)
    link = site.connect(peer, certificates=certificates)
    link.wait_reason("the peer signs with RSA_EMSA_PSS and a hash that is not taken")
    load(peer, site, issued, authority)
    link.wait("up", 40.0)


@pytest.mark.parametrize("identity", ["C=CH, O=Lab, CN=peer", "peer@example.org", "198.51.100.77", THEM])
def test_identities_in_certificates(site: AgentSite, peer: Peer, root: Ca, identity: str) -> None:
    names = () if "=" in identity else (identity,)
    issued = root.issued(*names, subject="peer")
    load(peer, site, issued, root, local=identity)
    link = site.connect(peer, certificates=between(ours(root), root), peer_id=identity)
    link.wait("up")
    link.assert_pings()
    site.clear()


def test_our_own_distinguished_name(site: AgentSite, peer: Peer, root: Ca) -> None:
    mine = root.issued(subject="gw")
    load(peer, site, theirs(root), root, remote="C=CH, O=Lab, CN=gw")
    certificates = between(mine, root)
    link = site.connect(peer, certificates=certificates, local_id="C=CH, O=Lab, CN=gw")
    link.wait("up")
    link.assert_pings()
