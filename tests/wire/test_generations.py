"""Updates of a policy in use, towards a peer without Linkspan.

There is no gap if the peer accepts both versions. The previous version stays up while the peer refuses the new one, and
is accepted from the peer until the new one is up.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkspan.lab.fabric import Ping, ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import Recorder
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import PATIENCE, World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, INTERVAL = 1500, 0.002
OLD, NEW = "aes128-sha256-modp2048", "aes256-sha512-ecp256"
STRONGER = {"encryption_algorithm": "aes-256", "auth_algorithm": "sha512", "pfs": "group19"}
IKE = "ikepolicies"
IPSEC = "ipsecpolicies"


def by_esp(peer: Peer, ours: str, psk: str, proposals: list[str]) -> None:
    """Load the peer with these ESP proposals."""
    peer.load(ours, psk, child={"esp_proposals": proposals})


def by_ike(peer: Peer, ours: str, psk: str, proposals: list[str]) -> None:
    """Load the peer with these IKE proposals."""
    peer.load(ours, psk, proposals=proposals)


PHASES = pytest.mark.parametrize(("phase", "load"), [(IPSEC, by_esp), (IKE, by_ike)], ids=["esp", "ike"])
EDITED = pytest.mark.shows(
    "ike_policy.encryption_algorithm",
    "ike_policy.auth_algorithm",
    "ike_policy.pfs",
    "ipsec_policy.encryption_algorithm",
    "ipsec_policy.auth_algorithm",
    "ipsec_policy.pfs",
)


def edit(link: Link, phase: str, **values: Any) -> None:
    (link.set_ike if phase == IKE else link.set_ipsec)(**values)


def agreed(peer: Peer, phase: str) -> list[tuple[str, str, str]]:
    """Return what the peer has negotiated: encryption with key size, integrity, group."""
    sections = [sa for sa in peer.sas() if sa["state"] == "ESTABLISHED"] if phase == IKE else peer.children()
    return [(f"{sa['encr-alg']} {sa['encr-keysize']}", sa["integ-alg"], sa.get("dh-group", "")) for sa in sections]


BEFORE = [("AES_CBC 128", "HMAC_SHA2_256_128", "MODP_2048")]
AFTER = [("AES_CBC 256", "HMAC_SHA2_512_256", "ECP_256")]


def wait_live(link: Link, phase: str, wanted: list[tuple[str, str, str]], seconds: float = 15.0) -> None:
    """Wait until the peer uses exactly these algorithms, and the connection is ACTIVE without a reason."""
    until(
        lambda: agreed(link.peer, phase) == wanted and (link.status, link.reason) == ("ACTIVE", ""),
        seconds,
        lambda: f"{agreed(link.peer, phase)}\n{link.shown}\n{link.peer.log[-2500:]}",
    )


def loaded_children(link: Link) -> list[str]:
    """Return the names of the connection's children that the gateway's charon has loaded."""
    with link.ours.world.charon("left") as charon:
        return sorted(
            name for loaded in charon.loaded().values() for name in loaded.children if name.startswith(link.id)
        )


def assert_no_gap(answer: Ping, seen: Recorder, version: int) -> None:
    """Assert that only pings sent before the other end had its SA are lost, for a moment; none is in plaintext."""
    early = seen.sent_too_early(version)
    print(f"{len(answer.lost)} of {answer.sent} lost, one every {INTERVAL * 1000:.0f} ms; {early} sent too early")
    assert len(answer.lost) <= 2 + early, answer
    assert early * INTERVAL <= 0.25 * PATIENCE
    assert seen.plaintext == 0


@EDITED
@PHASES
def test_no_gap_if_the_peer_accepts_both_versions(ours: Ours, peer: Peer, phase: str, load: Any) -> None:
    load(peer, ours.v4, ours.psk, [OLD, NEW])
    link = ours.connect(peer)
    wait_live(link, phase, BEFORE)
    link.wait_rekeyed(15.0)
    with ThreadPoolExecutor(1) as pool, peer.recorder() as seen:
        pinging = pool.submit(ping, ours.host, peer.in4, COUNT, INTERVAL)
        time.sleep(0.3)
        edit(link, phase, **STRONGER)
        answer = pinging.result()
    wait_live(link, phase, AFTER)
    assert_no_gap(answer, seen, 2)
    assert seen.esp >= 2 * answer.received, "the pings were not carried by ESP"
    assert len(loaded_children(link)) == 1, "the previous version is still loaded"


@EDITED
@PHASES
def test_the_previous_version_stays_while_the_peer_refuses_the_new_one(
    ours: Ours, peer: Peer, phase: str, load: Any
) -> None:
    """The peer may reconnect with the previous version or with the new one; the reason names the version in use."""
    load(peer, ours.v4, ours.psk, [OLD])
    link = ours.connect(peer)
    wait_live(link, phase, BEFORE)
    edit(link, phase, **STRONGER)
    refused = link.wait_reason("refused by the peer", 10.0)
    assert "in use" in refused
    assert (link.status, agreed(peer, phase)) == ("PENDING_UPDATE", BEFORE)
    link.assert_pings()
    peer.restart()
    load(peer, ours.v4, ours.psk, [OLD])
    peer.initiate()
    link.assert_pings()
    until(lambda: "; revision" in link.reason and "in use" in link.reason, 10.0, lambda: str(link.shown))
    assert link.status == "PENDING_UPDATE"
    peer.terminate()
    load(peer, ours.v4, ours.psk, [NEW])
    peer.initiate()
    wait_live(link, phase, AFTER)
    link.assert_pings()
    until(lambda: len(loaded_children(link)) == 1, 10.0, lambda: str(loaded_children(link)))


@EDITED
@PHASES
def test_response_only_waits_for_the_peer_to_initiate(ours: Ours, peer: Peer, phase: str, load: Any) -> None:
    load(peer, ours.v4, ours.psk, [OLD])
    link = ours.connect(peer, initiator="response-only")
    link.wait_reason("waits for the peer")
    peer.initiate()
    wait_live(link, phase, BEFORE)
    edit(link, phase, **STRONGER)
    link.wait_reason("waits for the peer; revision")
    assert (link.status, agreed(peer, phase)) == ("PENDING_UPDATE", BEFORE)
    peer.terminate()
    until(lambda: "in use" not in link.reason, 5.0, lambda: str(link.shown))
    peer.initiate()
    link.wait_reason("waits for the peer; revision")
    link.assert_pings()
    peer.terminate()
    load(peer, ours.v4, ours.psk, [NEW])
    peer.initiate()
    wait_live(link, phase, AFTER)
    spis = sorted(child["spi-in"] for child in link.sas())
    pid = ours.world.agent_pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: ours.world.agent_pid not in (0, pid), 15.0)
    wait_live(link, phase, AFTER)
    assert sorted(child["spi-in"] for child in link.sas()) == spis, "the restarted agent did not recognize the version"


@needs_ikev1
@pytest.mark.shows("ike_policy.ike_version")
def test_another_ike_version_is_rolled_out(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    wait_live(link, IPSEC, BEFORE)
    link.set_ike(ike_version="v1")
    link.wait_reason("in use", 10.0)
    link.assert_pings()
    with ThreadPoolExecutor(1) as pool, peer.recorder() as seen:
        pinging = pool.submit(ping, ours.host, peer.in4, COUNT, INTERVAL)
        peer.load(ours.v4, ours.psk, version="0")
        until(lambda: [sa["version"] for sa in peer.sas()] == ["1"], 20.0, lambda: str(peer.sas()))
        answer = pinging.result()
    assert_no_gap(answer, seen, 1)
    wait_live(link, IPSEC, BEFORE)
    link.assert_pings()


def test_a_reverted_update_changes_no_sa(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    wait_live(link, IPSEC, BEFORE)
    spis = sorted(child["spi-in"] for child in link.sas())
    link.set_ipsec(**STRONGER)
    link.wait_reason("refused by the peer", 10.0)
    link.set_ipsec(encryption_algorithm="aes-128", auth_algorithm="sha256", pfs="group14")
    wait_live(link, IPSEC, BEFORE)
    assert sorted(child["spi-in"] for child in link.sas()) == spis
    until(lambda: len(loaded_children(link)) == 1, 10.0, lambda: str(loaded_children(link)))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, service: World) -> Iterator[World]:
    """A service with a short grace period."""
    world = World(tmp_path_factory.mktemp("impatient") / "state", environment={"LINKSPAN_API_GRACE": "2"})
    try:
        yield world
    finally:
        world.stop()


def test_after_the_grace_period_the_status_is_active_with_the_refusal_as_reason(impatient: World) -> None:
    ours, peer = Ours(impatient), Peer(impatient)
    try:
        peer.load(ours.v4, ours.psk)
        link = ours.connect(peer)
        link.wait("ACTIVE")
        link.set_ipsec(**STRONGER)
        until(lambda: link.status == "PENDING_UPDATE", 2.0)
        until(lambda: link.status == "ACTIVE", 10.0, lambda: str(link.shown))
        assert "refused by the peer: the peer accepts none of our IPsec proposals" in link.reason
        assert "in use; revision_number 1 was the last that was up" in link.reason
        link.assert_pings()
    finally:
        ours.clear()
        peer.close()
