"""The laboratory's objects in the real API, as the users of a first start create them; faults and reports of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linkspan.cli.client import Client, load_cloud
from linkspan.core.secret import Secret
from linkspan.lab import report, sites
from linkspan.lab.demo import Proof
from linkspan.lab.fabric import LabError, Ping, parse_ping
from linkspan.lab.packet_counter import Tally
from tests.cli.conftest import Service, service

__all__ = ["service"]


def test_a_second_build_finds_the_sites_of_the_first(service: Service) -> None:
    admin, user = (Client(load_cloud(f"linkspan-{name}", service.state / "clouds.yaml")) for name in ("admin", "demo"))
    lab = sites.build(admin, user, Secret("the key of this run"))
    again = sites.build(admin, user, Secret("another"))
    assert (lab.resumed, again.resumed) == (False, True)
    assert (again.sites, again.internet_id) == (lab.sites, lab.internet_id)
    left, right = lab.sites["left"], lab.sites["right"]
    assert left.host_addresses == ("10.1.0.10/24", "fd00:1::10/64")
    assert left.gateway_addresses == ("10.1.0.1", "fd00:1::1")
    assert lab.prefixes == ["10.1.0.0/24", "fd00:1::/64", "10.2.0.0/24", "fd00:2::/64"]
    assert set(sites.statuses(user, lab)) == {"left-to-right", "right-to-left"}
    connection = user.request("GET", f"/v2.0/vpn/ipsec-site-connections/{left.connection_id}")["ipsec_site_connection"]
    assert (connection["peer_address"], connection["peer_cidrs"]) == (right.outside_address, ["10.2.0.0/24"])
    assert connection["psk"] == "the key of this run"


def ping(*lost: int) -> Ping:
    return Ping("10.1.0.10", "10.2.0.10", 10, 0.5, lost)


GOOD = Tally(udp_esp=40, ike=2, other=3)


@pytest.mark.parametrize(
    ("pings", "wire", "words"),
    [
        ((ping(), ping(3, 4)), GOOD, "8 of 10 came back, not these (from 0): 3, 4"),
        ((ping(),), Tally(ike=4), "no ESP packet"),
        ((ping(),), Tally(esp=40, plaintext=1), "1 packets crossed the wire between the gateways in plaintext"),
        ((ping(),), Tally(esp=40, drops=2), "missed 2 packets"),
    ],
)
def test_a_failed_run_names_its_fault(pings: tuple[Ping, ...], wire: Tally, words: str) -> None:
    proof = Proof(active={}, pings=pings, wire=wire)
    assert len(proof.faults) == 1
    assert words in proof.faults[0]
    assert "FAILED" in report.report(described(), proof, "the kernel", 1.0)


def described() -> dict[str, Any]:
    def side(name: str, number: int) -> dict[str, Any]:
        return {
            "host": {"namespace": f"ls-abc-host-{name}", "addresses": [f"10.{number}.0.10/24"]},
            "gateway": {"outside_address": f"198.51.100.{number}"},
        }

    return {"sites": {"left": side("left", 1), "right": side("right", 2)}}


def test_the_report_of_a_run_is_short() -> None:
    proof = Proof(active={"left-to-right": 0.5}, pings=(ping(),), wire=GOOD)
    assert proof.faults == []
    text = report.report(described(), proof, "the kernel", 4.0)
    assert "10/10 pings, 0 % loss" in text
    assert "40 ESP packets in UDP, 0 in plaintext" in text
    assert "FAILED" not in text
    assert len(text.splitlines()) < 15


def test_hints_are_complete_commands() -> None:
    text = report.hints("http://127.0.0.1:1", Path("/x y"), "linkspan", described())
    assert "linkspan status --watch --state '/x y'" in text
    assert "ip netns exec ls-abc-host-left ping 10.2.0.10" in text
    assert "--state" not in report.hints("http://127.0.0.1:1", Path(".linkspan"), "linkspan", None)


def test_fpings_output_is_parsed() -> None:
    refused = "ICMP Host Unreachable from 10.1.0.1 for ICMP Echo sent to 10.2.0.10\n\n"
    assert parse_ping("a", "b", refused + "10.2.0.10 : 0.25 0.05 - 0.06 -\n") == Ping("a", "b", 5, 0.12, (2, 4))
    assert parse_ping("a", "b", "fd00:2::10 : - -\n") == Ping("a", "b", 2, 0.0, (0, 1))
    with pytest.raises(LabError, match="to b could not send: fping: can't create socket"):
        parse_ping("a", "b", "fping: can't create socket (must run as root?)\n")
