"""libreswan as the peer, with certificates, as docs/certificates.md configures it.

It needs ESP in the kernel and the unpacked packages: tests/kernel/test_libreswan_kernel.py runs these tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.harness.agent_site import NETWORK, AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import between
from tests.harness.libreswan import VARIABLE, Libreswan

pytestmark = [
    pytest.mark.wire,
    pytest.mark.root,
    pytest.mark.skipif(VARIABLE not in os.environ, reason="tests/kernel/test_libreswan_kernel.py runs it"),
]

US, THEM = "left.example.org", "right.example.org"


@pytest.fixture
def libreswan(site: AgentSite) -> Iterator[Libreswan]:
    peer = Libreswan(site)
    try:
        yield peer
    finally:
        site.clear()
        peer.close()


@pytest.mark.parametrize("initiator", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("version", "kind"), [("v2", "ecdsa-p256"), ("v2", "rsa-2048"), ("v2", "rsa-4096"), ("v1", "rsa-2048")]
)
def test_libreswan_with_certificates(
    site: AgentSite, libreswan: Libreswan, version: str, kind: str, initiator: str
) -> None:
    ca = Ca(algorithm=kind)
    libreswan.load_recipe(site.v4, ca.issued(THEM, subject="right", algorithm=kind), ca, NETWORK, version=version)
    link = site.connect(
        libreswan,
        local_id=US,
        peer_id=THEM,
        certificates=between(ca.issued(US, subject="left", algorithm=kind), ca),
        ike={"ike_version": version},
        initiator="bi-directional" if initiator == "ours" else "response-only",
    )
    if initiator == "theirs":
        link.wait("down")
        libreswan.initiate_all()
    link.wait("up", 15.0)
    link.assert_pings()
