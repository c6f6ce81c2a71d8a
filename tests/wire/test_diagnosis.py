"""Diagnoses of real tunnels: the first layer that is not as it should be is the one that was broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


def diagnosis_of(link: Link) -> dict[str, Any]:
    """The diagnosis of a connection."""
    answer = link.ours.user.request("GET", f"{VPN}/{CONNECTIONS}/{link.id}/diagnosis")
    diagnosis: dict[str, Any] = answer["diagnosis"]
    return diagnosis


def wait_verdict(link: Link, layer: str, state: str = "failed", seconds: float = 25.0) -> dict[str, Any]:
    """Wait until a layer is the first one that is not ok; return the diagnosis."""

    def found() -> bool:
        verdict = diagnosis_of(link)["verdict"]
        return verdict is not None and (verdict["name"], verdict["state"]) == (layer, state)

    until(found, seconds, lambda: json.dumps(diagnosis_of(link), indent=1))
    return diagnosis_of(link)


def test_a_tunnel_that_carries_traffic_is_ok_in_every_layer(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    assert diagnosis_of(link)["verdict"]["name"] == "data", "no packet has passed"
    link.assert_pings()
    diagnosis = diagnosis_of(link)
    assert diagnosis["verdict"] is None, diagnosis
    assert [layer["state"] for layer in diagnosis["layers"]] == ["ok"] * 7
    (ike,) = diagnosis["live"]["ike_sas"]
    (listed,) = peer.sas()
    assert (ike["remote_address"], ike["remote_identity"]) == (peer.v4, peer.v4)
    assert not any("address translation" in layer["text"] for layer in diagnosis["layers"]), "there is none here"
    assert (ike["encryption"], ike["prf"], ike["key_exchange"]) == (
        listed["encr-alg"],
        listed["prf-alg"],
        listed["dh-group"],
    )
    children = [child for child in ike["children"] if child["state"] == "INSTALLED"]
    others = {child["spi-out"]: child for child in listed["child-sas"].values()}
    assert {child["spi_in"] for child in children} <= others.keys()
    assert sum(child["packets_in"] for child in children) >= 3
    assert all(child["rekey_in"] > 0 for child in children)


def test_the_command_says_it_to_people(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, "another key, which nobody else has")
    link = ours.connect(peer, name="to the branch")
    wait_verdict(link, "authentication")
    command = [sys.executable, "-m", "linkspan.bootstrap", "diagnose", "to the branch", "--cloud", "linkspan-demo"]
    done = subprocess.run(
        [*command, "--state", str(ours.world.state)], capture_output=True, text=True, check=False, timeout=20.0
    )
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    assert first.startswith("to the branch  ")
    assert second.startswith("  authentication: "), done.stdout
    assert any("pre-shared key" in line for line in rest)
    assert any(line.split()[:2] == ["✓", "path"] for line in rest), done.stdout


FAULTS: list[Any] = [
    pytest.param("v2", {"proposals": ["aes256-sha512-modp4096"]}, "ike", id="IKEv2: another IKE proposal"),
    pytest.param("v2", {"child": {"esp_proposals": ["aes256-sha512"]}}, "child", id="IKEv2: another ESP proposal"),
    pytest.param("v2", {"child": {"local_ts": ["10.77.0.0/24"]}}, "child", id="IKEv2: other selectors"),
    pytest.param(
        "v1", {"child": {"local_ts": ["10.77.0.0/24"]}}, "child", id="IKEv1: other selectors", marks=needs_ikev1
    ),
    pytest.param(
        "v1", {"proposals": ["aes256-sha512-modp4096"]}, "ike", id="IKEv1: another proposal", marks=needs_ikev1
    ),
]


@pytest.mark.parametrize(("version", "values", "layer"), FAULTS)
def test_the_layer_that_the_peer_refuses_has_failed(
    ours: Ours, peer: Peer, version: str, values: dict[str, Any], layer: str
) -> None:
    peer.load(ours.v4, ours.psk, version=version[1:], **values)
    link = ours.connect(peer, ike={"ike_version": version})
    diagnosis = wait_verdict(link, layer)
    states = [each["state"] for each in diagnosis["layers"]]
    assert states[: states.index("failed")] == ["ok"] * states.index("failed")
    # Its control: mended, every layer up to the data is ok.
    peer.load(ours.v4, ours.psk, version=version[1:])
    link.wait("ACTIVE", 40.0)
    link.assert_pings()
    until(lambda: diagnosis_of(link)["verdict"] is None, 10.0, lambda: str(diagnosis_of(link)))


def test_a_silent_peer_is_a_matter_of_the_path(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    peer.cut()
    try:
        link = ours.connect(peer)
        wait_verdict(link, "path")
    finally:
        peer.heal()
    link.wait("ACTIVE", 40.0)


def test_a_tunnel_that_is_up_and_answers_nothing_fails_in_its_data(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    # What arrives behind the peer is dropped: packets go out, and nothing comes back.
    peer.run(
        "nft", f"table inet deaf {{ chain inner {{ type filter hook input priority 0; ip daddr {peer.in4} drop; }}; }}"
    )

    def one_way() -> bool:
        ours.ping(peer.in4, 1)
        verdict = diagnosis_of(link)["verdict"]
        return verdict is not None and verdict["state"] == "failed"

    until(one_way, 30.0, lambda: str(diagnosis_of(link)))
    verdict = diagnosis_of(link)["verdict"]
    assert verdict["name"] == "data"
    assert "none came in" in verdict["text"]
    assert link.status == "ACTIVE"
    peer.run("nft", "delete", "table", "inet", "deaf")
    link.assert_pings()
    assert diagnosis_of(link)["verdict"] is None


def test_an_agent_that_is_frozen_does_not_hold_up_the_diagnosis(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait("ACTIVE")
    pid = ours.world.agent_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        diagnosis = diagnosis_of(link)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (diagnosis["status"], diagnosis["live"]) == ("ACTIVE", None)
    assert diagnosis["verdict"]["name"] == "node"
    assert "has not answered" in diagnosis["verdict"]["text"]
    until(lambda: diagnosis_of(link)["live"] is not None, 10.0)


def test_what_is_switched_off_is_a_matter_of_the_intent(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait("ACTIVE")
    link.set(admin_state_up=False)
    until(lambda: link.status == "DOWN", 10.0)
    assert diagnosis_of(link)["verdict"]["name"] == "intent"
