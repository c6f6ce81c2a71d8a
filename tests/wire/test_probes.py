"""Probes of real tunnels: what is between two gateways is said as it is, and nothing leaves in plaintext."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from linkspan.cli.client import ApiError
from linkspan.core.ipsec.probe_plan import InsidePlan, ProbePlan
from linkspan.core.state.probes import ProbeResult
from linkspan.drivers.gateway.prober import NamespaceProber
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import frozen, until
from tests.wire.test_diagnosis import diagnosis_of

pytestmark = [pytest.mark.wire, pytest.mark.root]

OK = dict.fromkeys(("UDP 500", "UDP 4500", "round trip", "path MTU", "inside", "inside MTU"), "ok")


def sent(link: Link, target: str = "") -> dict[str, Any]:
    """The answer to a probe. Raises ApiError."""
    body = {"probe": {"target": target} if target else {}}
    answer = link.ours.user.request("POST", f"{VPN}/{CONNECTIONS}/{link.id}/probe", body)
    probe: dict[str, Any] = answer["probe"]
    return probe


def probe_of(link: Link, target: str = "") -> dict[str, Any]:
    """The answer to a probe of a connection that its node has; the pause after another one is waited for."""
    until(lambda: diagnosis_of(link)["live"] is not None, 20.0)
    while True:
        try:
            probe = sent(link, target)
        except ApiError as error:
            if error.status != 429:
                raise
            time.sleep(0.2)
            continue
        assert probe["fault"] == "", probe
        return probe


def probed_until_deleted(link: Link) -> None:
    """Probe a connection that is deleted meanwhile."""
    with pytest.raises(ApiError) as refused:
        sent(link)
    assert refused.value.status == 404


def states(probe: dict[str, Any]) -> dict[str, str]:
    """The state of each finding."""
    return {finding["name"]: finding["state"] for finding in probe["findings"]}


def text(probe: dict[str, Any], name: str) -> str:
    """The sentence of a finding."""
    (found,) = [finding["text"] for finding in probe["findings"] if finding["name"] == name]
    return str(found)


# --- what is whole --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "family"),
    [pytest.param("v1", 4, marks=needs_ikev1), ("v2", 4), ("v2", 6)],
    ids=["v1", "v2", "v2 on IPv6"],
)
def test_a_tunnel_that_works_is_whole_inside_and_outside(ours: Ours, peer: Peer, version: str, family: int) -> None:
    values: dict[str, Any] = {}
    if family == 6:
        peer.load(ours.v6, ours.psk, child={"local_ts": [peer.net6], "remote_ts": ["fd00:1::/64"]})
        values = {"peer_address": peer.v6, "peer_id": peer.v6, "local": [6], "peers": [peer.net6]}
    else:
        peer.load(ours.v4, ours.psk, version=version[1:])
    link = ours.connect(peer, ike={"ike_version": version}, **values)
    link.wait_rekeyed()
    spis = {sa["spi-in"] for sa in link.sas()}
    with peer.recorder() as recorded:
        probe = probe_of(link)
    assert states(probe) == OK, probe
    result = probe["result"]
    assert [port["note"] for port in result["ports"]] == ["INVALID_MAJOR_VERSION"] * 2
    assert result["inside"]["target"] == (peer.in6 if family == 6 else peer.in4)
    assert (result["path"]["passes"], result["inside"]["passes"]) == (1500, link.shown["effective_mtu"])
    assert recorded.plaintext == 0
    # Nothing of it is seen by the IKE daemons: the same SAs, and no cause at either end.
    assert {sa["spi-in"] for sa in link.sas()} == spis
    assert (link.status, link.reason) == ("ACTIVE", "")
    assert len(peer.sas()) == 1
    diagnosis = diagnosis_of(link)
    (path,) = [layer["text"] for layer in diagnosis["layers"] if layer["name"] == "path"]
    assert "round trip" in path
    assert "packets of up to 1500 bytes pass" in path
    assert diagnosis["live"]["probe"] == result


def test_a_host_of_the_users_choice_is_probed_and_one_elsewhere_is_not(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    # A whole network on lo answers, so the host that does not is one that drops.
    host = peer.in4.rpartition(".")[0] + ".77"
    peer.run("nft", f"table inet deaf {{ chain in {{ type filter hook input priority 0; ip daddr {host} drop; }}; }}")
    silent = probe_of(link, host)
    assert (states(silent)["inside"], silent["result"]["inside"]["state"]) == ("unknown", "silent")
    assert states(silent)["round trip"] == "ok"
    with peer.recorder() as recorded:
        elsewhere = probe_of(link, "10.2.0.10")
    assert elsewhere["result"]["inside"]["state"] == "not sent"
    assert f"10.2.0.10 is in none of the peer networks ({peer.net4})" in text(elsewhere, "inside")
    assert recorded.plaintext == 0
    # Its control: this one is.
    assert states(probe_of(link, peer.in4))["inside"] == "ok"


def test_the_command_shows_the_findings(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, name="to the branch")
    link.wait_rekeyed()
    command = [sys.executable, "-m", "linkspan.bootstrap", "probe", "to the branch", "--cloud", "linkspan-demo"]
    command += ["--state", str(ours.world.state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30.0)
    assert done.returncode == 0, done.stderr
    first, _, *rest = done.stdout.splitlines()
    assert first == f"to the branch  to {peer.v4}, from node-1"
    assert [line[:4] for line in rest] == ["  ✓ "] * 6
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30.0)
    assert (again.returncode, again.stdout) == (1, "")
    assert "probed less than" in again.stderr


# --- what is broken -------------------------------------------------------------------------------------------------


def test_a_filter_on_udp_4500_is_found_beside_a_tunnel_that_is_down_for_it(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    peer.run("nft", "table inet deaf { chain in { type filter hook input priority 0; udp dport 4500 drop; }; }")
    link = ours.connect(peer)
    probe = probe_of(link)
    assert (states(probe)["UDP 500"], states(probe)["UDP 4500"]) == ("ok", "failed")
    assert "a filter drops UDP 4500" in text(probe, "UDP 4500")
    assert probe["result"]["inside"]["state"] == "not sent"
    assert "no child SA carries" in text(probe, "inside")
    peer.run("nft", "delete", "table", "inet", "deaf")
    link.wait("ACTIVE", 40.0)
    assert states(probe_of(link)) == OK


def test_a_peer_without_ike_is_known_by_its_icmp_errors(ours: Ours, peer: Peer) -> None:
    peer.kill()
    link = ours.connect(peer)
    probe = probe_of(link)
    assert [port["state"] for port in probe["result"]["ports"]] == ["refused"] * 2
    assert [port["reporter"] for port in probe["result"]["ports"]] == [peer.v4] * 2
    assert states(probe)["round trip"] == "ok", "its kernel answers pings"
    peer.restart()
    peer.load(ours.v4, ours.psk)
    link.wait("ACTIVE", 40.0)
    assert states(probe_of(link)) == OK


def test_silence_is_said_as_silence(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    peer.run(
        "nft", "table inet deaf { chain in { type filter hook input priority 0; ip saddr " + ours.v4 + " drop; }; }"
    )
    link = ours.connect(peer)
    probe = probe_of(link)
    assert [port["state"] for port in probe["result"]["ports"]] == ["silent"] * 2
    assert set(states(probe).values()) == {"unknown"}
    assert text(probe, "UDP 500").startswith("silence: ")
    peer.run("nft", "delete", "table", "inet", "deaf")


def test_an_address_without_a_host_cannot_be_reached(ours: Ours, peer: Peer) -> None:
    link = ours.connect(peer, peer_address="198.51.100.90", peer_id="198.51.100.90")
    probe = probe_of(link)
    assert {port["state"] for port in probe["result"]["ports"]} == {"unreachable"}
    assert states(probe)["round trip"] == "failed"
    assert "host" in text(probe, "UDP 500")


def test_a_narrow_path_is_measured_inside_and_outside(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    # Larger packets are dropped at the peer's link without a word, as by a router that sends no ICMP errors.
    peer.run(
        "nft",
        "table netdev narrow { chain in { type filter hook ingress device eth0 priority 0; "
        "meta length > 1300 drop; }; }",
    )
    probe = probe_of(link)
    result = probe["result"]
    assert result["path"]["passes"] == 1300
    assert (states(probe)["path MTU"], states(probe)["inside MTU"]) == ("failed", "failed")
    passes = result["inside"]["passes"]
    assert 1180 <= passes < 1300 - 20 - 8 - 8
    assert f"set the mtu of the connection to {passes} or less" in text(probe, "inside MTU")
    # What it proposes is right: with that MTU all that this end may send passes.
    link.set(mtu=passes)
    until(lambda: link.shown["effective_mtu"] <= passes, 20.0)
    link.wait("ACTIVE", 20.0)
    mended = probe_of(link)
    assert states(mended)["inside MTU"] == "ok", mended


# --- what is refused ------------------------------------------------------------------------------------------------


def test_probes_have_a_pause_and_a_target_has_to_be_an_address(ours: Ours, peer: Peer) -> None:
    link = ours.connect(peer)
    for target in ("10.2.0.0/24", "localhost", "10.2.0.010", "::ffff:10.2.0.1", "fe80::1%out0"):
        with pytest.raises(ApiError, match="Invalid input for target") as refused:
            sent(link, target)
        assert refused.value.status == 400
    sent(link)
    with pytest.raises(ApiError, match="probed less than") as refused:
        sent(link)
    assert refused.value.status == 429


def test_a_connection_that_is_down_by_request_sends_nothing(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, admin_state_up=False)
    until(lambda: link.status == "DOWN", 10.0)
    with peer.recorder() as recorded:
        probe = sent(link)
    assert probe["fault"].startswith("a connection that is down by request sends nothing")
    assert probe["result"] is None
    assert (recorded.plaintext, recorded.esp) == (0, 0)


def test_nothing_leaves_in_plaintext_when_the_tunnel_ends_under_a_probe(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    # Nothing answers, so that the probe goes on for seconds.
    peer.run(
        "nft", f"table inet deaf {{ chain in {{ type filter hook input priority 0; ip daddr {peer.in4} drop; }}; }}"
    )
    with peer.recorder() as recorded:
        thread = threading.Thread(target=lambda: probed_until_deleted(link))
        thread.start()
        until(lambda: recorded.esp > 0, 10.0)
        ours.delete(CONNECTIONS, link.id)
        thread.join()
    assert recorded.plaintext == 0


def test_a_probe_without_tunnel_and_guard_cannot_leave_by_another_interface(ours: Ours, peer: Peer) -> None:
    inside = InsidePlan("10.1.0.1", peer.in4, 1400)
    plan = ProbePlan(source=ours.v4, peer=peer.v4, version=2, limit=1500, inside=inside)
    # The agent would have the guard back at once, and go on to say so.
    with frozen(ours.world.agent_pid):
        guard = ours.world.inside(ours.gateway, "nft", "list", "table", "inet", "linkspan")
        ours.world.inside(ours.gateway, "nft", "delete", "table", "inet", "linkspan")
        ours.world.inside(ours.gateway, "ip", "route", "add", peer.net4, "via", peer.v4)
        with peer.recorder() as recorded:
            bound = probed(NamespaceProber("user-space", lambda _: ours.gateway), plan)
        with peer.recorder() as control:
            probed(NamespaceProber("kernel", lambda _: ours.gateway), plan)
        ours.world.inside(ours.gateway, "ip", "route", "del", peer.net4)
        ours.world.inside(ours.gateway, "nft", guard)
    assert bound.inside.state in ("silent", "unreachable", "not sent")
    assert recorded.plaintext == 0
    assert control.plaintext > 0, "without an interface of its own it would have left"


def probed(prober: NamespaceProber, plan: ProbePlan) -> ProbeResult:
    """The result of a probe."""
    results: queue.SimpleQueue[ProbeResult | str] = queue.SimpleQueue()
    prober.probe("any", plan, results.put)
    result = results.get(timeout=20.0)
    assert isinstance(result, ProbeResult), result
    return result
