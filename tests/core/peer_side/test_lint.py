"""The lint says what a device cannot do with a connection, and about which attribute."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.peer_side.export import peer_config
from linkspan.core.peer_side.formats.registry import FORMATS
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey
from tests.core.samples import CONNECTION, certified, connection, ikev1

IPSEC = CONNECTION.ipsec
replace = msgspec.structs.replace


def said(form: str, found: Any = None, **changes: Any) -> list[tuple[str, str]]:
    """Severity and attribute of each finding."""
    config = peer_config(found or connection(**changes), FORMATS[form], secret=False, judge_key=True)
    return [(finding.severity, finding.attribute) for finding in config.findings]


@pytest.mark.parametrize(
    ("form", "changes", "attribute"),
    [
        ("cisco-asa", {"ike": ikev1()}, "ike_policy.ike_version"),
        ("libreswan", {"ipsec": replace(IPSEC, pfs="group15")}, "ipsec_policy.pfs"),
        ("libreswan", {"ipsec": replace(IPSEC, pfs="group19"), "ike": ikev1()}, "ipsec_policy.pfs"),
        ("azure", {"ike": ikev1(phase1_negotiation_mode="aggressive")}, "ike_policy.phase1_negotiation_mode"),
        ("aws", {"ipsec": replace(IPSEC, transform_protocol="ah")}, "ipsec_policy.transform_protocol"),
        ("mikrotik", {"ipsec": replace(IPSEC, encapsulation_mode="transport")}, "ipsec_policy.encapsulation_mode"),
        ("swanctl", {"ipsec": replace(IPSEC, transform_protocol="ah-esp")}, "ipsec_policy.transform_protocol"),
        ("aws", {"peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24")}, "connection.peer_cidrs"),
        ("aws", {"psk": Secret("0correcthorse")}, "connection.psk"),
        ("aws", {"psk": Secret("short")}, "connection.psk"),
        ("fortigate", {"psk": Secret("short")}, "connection.psk"),
        ("cisco-ios-xe", {"psk": Secret("what?")}, "connection.psk"),
        ("gcp", {"local_id": "198.51.100.77"}, "connection.local_id"),
        ("gcp", {"peer_id": "198.51.100.77"}, "connection.peer_id"),
        ("juniper-srx", {"peer_id": "keyid:branch"}, "connection.peer_id"),
        ("cisco-ios-xe", {"peer_id": "keyid:branch", "ike": ikev1()}, "connection.peer_id"),
        ("azure", {"peer_cidrs": ("fd00:2::/64",), "local_cidrs": ("fd00:1::/64",)}, "connection.peer_address"),
        ("swanctl", {"local_address": ""}, "connection.local_address"),
        ("swanctl", {"fault": "the key cannot be read"}, "connection"),
        ("swanctl", {"peer_cidrs": ()}, "connection.peer_cidrs"),
    ],
)
def test_what_a_device_cannot_do_is_an_error(form: str, changes: dict[str, Any], attribute: str) -> None:
    assert ("error", attribute) in said(form, **{"psk": Secret("Correct.Horse.42")} | changes)


@pytest.mark.parametrize(
    ("form", "changes", "attribute"),
    [
        ("libreswan", {"peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24")}, "connection.peer_cidrs"),
        ("aws", {"ike": replace(CONNECTION.ike, lifetime=86_400)}, "ike_policy.lifetime"),
        ("azure", {}, "ike_policy.lifetime"),
        ("mikrotik", {"ipsec": replace(IPSEC, lifetime_units="kilobytes")}, "ipsec_policy.lifetime"),
        ("swanctl", {"peer_address": "branch.example.org"}, "connection.peer_address"),
        ("swanctl", {"peer_address": "0.0.0.0"}, "connection.peer_address"),  # as above
        ("swanctl", {"enabled": False}, "connection.admin_state_up"),
        ("text", {"ppk": PostQuantumKey(id="ppk@x", key=Secret("k"), required=True)}, "connection.ppk"),
    ],
)
def test_what_has_to_be_known_is_a_warning(form: str, changes: dict[str, Any], attribute: str) -> None:
    assert said(form, **{"psk": Secret("Correct.Horse.42")} | changes) == [("warning", attribute)]


def test_certificates_are_only_in_the_formats_that_have_a_place_for_them() -> None:
    warning = ("warning", "connection.auth_mode")
    for name, form in FORMATS.items():
        expected = [warning] if form.device.certificates else [warning, ("error", "connection.auth_mode")]
        found = [each for each in said(name, certified()) if each[1] == "connection.auth_mode"]
        assert found == expected, name
    texts = [file.text for file in peer_config(certified(), FORMATS["swanctl"], secret=True, judge_key=True).files]
    assert "cacerts = linkspan-ca.pem" in texts[0]
    assert "secrets" not in texts[0]


def test_a_plain_connection_has_nothing_to_say() -> None:
    """The negative control of the tests above."""
    for name in ("text", "json", "swanctl", "libreswan", "linkspan", "vyos", "fortigate", "mikrotik", "aws"):
        assert said(name, psk=Secret("Correct.Horse.42")) == [], name


@pytest.mark.parametrize("fault", ["", "the key cannot be read"])
def test_in_the_place_of_a_key_that_cannot_be_read_nothing_is_exported(fault: str) -> None:
    """The store puts one there that nobody knows."""
    found = connection(psk=Secret("drawn.at.random"), fault=fault)
    config = peer_config(found, FORMATS["text"], secret=True, judge_key=True)
    assert ("drawn.at.random" in str(config)) == config.secret == (not fault)
