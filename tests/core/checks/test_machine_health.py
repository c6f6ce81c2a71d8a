"""What is said about a machine that runs the API or a node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.checks import machine_health
from linkspan.core.checks.machine_health import Finding, MachineFacts

GOOD = MachineFacts(
    is_root=True, strongswan="6.1.0-1", backend="ESP in the kernel", isolation="full", synchronised=True, offset=0.0
)


def is_older(version: str, other: str) -> bool:
    """Compare as dpkg does, for the versions in this file."""

    def parts(text: str) -> list[Any]:
        upstream, _, revision = text.partition("-")
        number, _, release = revision.partition("+")
        digits = "".join(letter for letter in release.rpartition("u")[2] if letter.isdigit())
        return [[int(part) for part in upstream.split(".")], number, int(digits or 0)]

    return parts(version) < parts(other)


def found(facts: MachineFacts, subject: str) -> Finding:
    (finding,) = (one for one in machine_health.findings(facts, is_older) if one.subject == subject)
    return finding


def test_a_good_machine_has_nothing_to_do() -> None:
    findings = list(machine_health.findings(GOOD, is_older))
    assert {finding.level for finding in findings} == {"ok"}
    assert not any(finding.remedy for finding in findings)
    assert len({finding.subject for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("5.9.8-5+deb12u5", "error"),
        ("5.9.8-5+deb12u6", "ok"),
        ("5.9.8-5+deb12u10", "ok"),
        ("6.0.1-6+deb13u6", "error"),
        ("6.0.1-6+deb13u7", "ok"),
        ("6.1.0-1", "ok"),
        ("6.2.0-1ubuntu1", "ok"),
        ("5.9.13-2ubuntu4", "warning"),
        ("6.0.1-6", "warning"),
        ("", "warning"),
    ],
)
def test_a_version_of_strongswan_lacks_fixes_or_has_them(version: str, level: str) -> None:
    finding = machine_health.strongswan(version, is_older)
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("change", "subject", "level"),
    [
        ({"missing": ("nftables", "iproute2")}, "programs", "error"),
        ({"is_root": False}, "gateways", "warning"),
        ({"backend_error": "this machine has no IPsec"}, "gateways", "error"),
        ({"isolation": "partial"}, "isolation", "warning"),
        ({"isolation": ""}, "isolation", "warning"),
        ({"synchronised": False}, "clock", "warning"),
        ({"synchronised": None}, "clock", "warning"),
        ({"offset": 61.0}, "clock", "error"),
        ({"offset": -61.0}, "clock", "error"),
        ({"offset": None}, "clock", "ok"),
        ({"api_error": "connection refused"}, "API", "error"),
        ({"exposed": ("others can use the TLS key",)}, "files", "warning"),
        ({"limits": ("pids.max is 100",)}, "limits", "warning"),
    ],
)
def test_each_fault_is_said_with_what_to_do(change: dict[str, Any], subject: str, level: str) -> None:
    facts = msgspec.structs.replace(GOOD, **change)
    finding = found(facts, subject)
    assert finding.level == level
    others = [one for one in machine_health.findings(facts, is_older) if one.subject != subject]
    assert all(one.level == "ok" for one in others)


def test_what_a_node_cannot_do_is_said_and_no_fault() -> None:
    finding = found(msgspec.structs.replace(GOOD, lacks=("AH", "IKEv1")), "capabilities")
    assert (finding.level, finding.text) == ("ok", "not possible here: AH, IKEv1")


def test_the_clock_says_on_which_side_it_is() -> None:
    assert "behind" in found(msgspec.structs.replace(GOOD, offset=61.0), "clock").text
    assert "ahead of" in found(msgspec.structs.replace(GOOD, offset=-61.0), "clock").text
