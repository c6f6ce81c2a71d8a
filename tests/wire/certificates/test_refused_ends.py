"""Faults of the two ends, not of a certificate: another identity, another CA, another key."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.secret import Secret
from tests.harness import credentials
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certificate_faults import OTHER_NAME
from tests.harness.certified import VERSIONS, between, comes_up, initiate_until_up, load, ours, theirs
from tests.harness.peer import Peer

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_peers_other_identity(site: AgentSite, peer: Peer, root: Ca, version: str) -> None:
    """Its certificate is sound, and that of somebody else."""
    other = root.issued(OTHER_NAME, subject="other")
    load(peer, site, other, root, local=OTHER_NAME, version=version.removeprefix("v"))
    certificates = between(ours(root), root)
    link = site.connect(peer, certificates=certificates, ike={"ike_version": version}, initiator="response-only")
    link.wait("down")
    assert not comes_up(peer)
    link.wait_reason(f"the peer calls itself '{OTHER_NAME}'")
    site.change(link.id, peer_id=OTHER_NAME)
    initiate_until_up(link)
    link.assert_pings()


def test_a_key_that_does_not_fit_is_said_before_anything_is_sent(site: AgentSite, peer: Peer, root: Ca) -> None:
    mine, another = ours(root), ours(root)
    load(peer, site, theirs(root), root)
    sound = between(mine, root)
    wrong = msgspec.structs.replace(sound.local, private_key=Secret(another.key_pem))
    with peer.recorder() as recorded:
        link = site.connect(peer, certificates=msgspec.structs.replace(sound, local=wrong))
        link.wait("error")
    assert "the private key does not fit the certificate" in link.reason
    assert recorded.attempts() == 0
    site.change(link.id, certificates=sound)
    link.wait("up")


def test_a_signature_by_no_known_key(site: AgentSite, peer: Peer, root: Ca) -> None:
    """charon knows a certificate with the peer's identity, tries its key, and says nothing in the end."""
    sound = theirs(root)
    load(peer, site, root.issued(OTHER_NAME, subject="peer"), root)
    certificates = credentials.certificates(ours(root), credentials.anchor(root), [sound])
    link = site.connect(peer, certificates=certificates)
    link.wait_reason("the peer's signature is of none of the certificates that carry its identity")
    load(peer, site, sound, root)
    link.wait("up", 40.0)
    link.assert_pings()


def test_the_peer_trusts_another_ca_than_ours(site: AgentSite, peer: Peer, root: Ca) -> None:
    load(peer, site, theirs(root), Ca("Other"))
    link = site.connect(peer, certificates=between(ours(root), root))
    link.wait_reason("the peer refused our authentication: see its log, and compare the CA")
    load(peer, site, theirs(root), root)
    link.wait("up", 40.0)
