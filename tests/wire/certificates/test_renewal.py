"""Another certificate, and certificates in place of a key, under traffic; and a peer that refuses the new one."""

from __future__ import annotations

import pytest

from linkspan.core.secret import Secret
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import (
    THEM,
    US,
    VERSIONS,
    assert_unbroken,
    between,
    comes_up,
    load,
    loaded_keys,
    ours,
    serials,
    theirs,
)
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

KINDS_OF_VERSIONS = [("v2", "ecdsa-p256"), pytest.param("v1", "rsa-2048", marks=needs_ikev1)]


@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
@pytest.mark.parametrize(("version", "kind"), KINDS_OF_VERSIONS)
def test_a_certificate_is_renewed_under_traffic(
    site: AgentSite, peer: Peer, root: Ca, version: str, kind: str, initiator: str
) -> None:
    load(peer, site, theirs(root, algorithm=kind), root, version=version.removeprefix("v"))
    before, after = ours(root, algorithm=kind), ours(root, algorithm=kind)
    link = site.connect(
        peer,
        certificates=between(before, root),
        ike={"ike_version": version},
        initiator=initiator,
    )
    if initiator == "response-only":
        link.wait("down")
        assert comes_up(peer)
    link.wait("up")
    old = {name for name, _ in link.children()}

    def renew() -> None:
        site.change(link.id, certificates=between(after, root))
        until(lambda: bool(link.children()) and not old & {name for name, _ in link.children()}, 7.0, link.tell)

    assert_unbroken(link, renew)
    assert (link.state, link.reason) == ("up", "")
    assert after.serial in serials(peer)
    with site.charon() as charon:
        assert charon.keys() == {after.key_id}
    link.assert_pings()


@pytest.mark.parametrize(("version", "kind"), KINDS_OF_VERSIONS)
def test_the_peer_refuses_a_renewed_certificate(site: AgentSite, peer: Peer, root: Ca, version: str, kind: str) -> None:
    """The old one stays in use, and its key; a better one takes over."""
    load(peer, site, theirs(root, algorithm=kind), root, version=version.removeprefix("v"))
    before, strange = ours(root, algorithm=kind), ours(Ca("Strange"), algorithm=kind)
    link = site.connect(peer, certificates=between(before, root), ike={"ike_version": version})
    link.settle()
    with link.peer.recorder() as recorded:
        site.change(link.id, certificates=between(strange, root))
        reason = link.wait_reason("refused by the peer: the peer refused our authentication")
        assert reason.endswith("in use")
    assert recorded.plaintext == 0
    until(lambda: before.key_id in loaded_keys(site), 5.0, link.tell)
    assert loaded_keys(site) == ({before.key_id} if version == "v1" else {before.key_id, strange.key_id})
    link.assert_pings()
    fit = ours(root, algorithm=kind)
    site.change(link.id, certificates=between(fit, root))
    until(lambda: loaded_keys(site) == {fit.key_id}, 30.0, link.tell)
    # The end of the old one may take a packet with it.
    until(lambda: [sa.state for sa in site.sas()] == ["ESTABLISHED"], 20.0, link.tell)
    link.wait("up")
    link.assert_pings()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_a_key_is_replaced_by_certificates_under_traffic(
    site: AgentSite, peer: Peer, root: Ca, version: str, initiator: str
) -> None:
    number = version.removeprefix("v")
    peer.load(site.v4, "open sesame", local=THEM, remote=US, version=number)
    link = site.connect(
        peer,
        auth_mode="psk",
        psk=Secret("open sesame"),
        psk_ref="1",
        ike={"ike_version": version},
        initiator=initiator,
    )
    if initiator == "response-only":
        link.wait("down")
        assert comes_up(peer)
    link.wait("up")
    old = {name for name, _ in link.children()}

    def change() -> None:
        site.change(
            link.id,
            auth_mode="certs",
            psk=Secret(""),
            psk_ref="",
            certificates=between(ours(root), root),
        )
        load(peer, site, theirs(root), root, name="certified", version=number)
        if initiator == "response-only":
            # Until our agent has the change.
            until(lambda: comes_up(peer, "certified"), 5.0, link.tell)
        until(lambda: bool(link.children()) and not old & {name for name, _ in link.children()}, 30.0, link.tell)

    assert_unbroken(link, change)
    link.wait("up")
    link.assert_pings()
