"""charon's configuration of a connection, and connections that a node cannot run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Dpd
from tests.core.samples import CONNECTION, ID, connection

replace = msgspec.structs.replace


def test_a_connection_is_mapped_to_charons_configuration() -> None:
    config = ipsec_config.build(CONNECTION)
    assert config.name.startswith(config.peer)
    assert config.proposals == ("aes128-sha256-modp2048",)
    assert (config.local_id, config.remote_id) == ("198.51.100.1", "198.51.100.2")
    assert (config.rekey_time, config.over_time, config.rand_time) == (3240, 360, 360)
    (child,) = config.children
    assert child.name.partition(".")[0] == ID
    assert child.esp_proposals == ("aes128-sha256-modp2048",)
    assert (child.local_ts, child.remote_ts) == (("10.1.0.0/24",), ("10.2.0.0/24",))
    assert (child.rekey_time, child.life_time, child.life_bytes) == (3240, 3600, 0)


def test_a_lifetime_in_kilobytes_is_converted_to_bytes() -> None:
    policy = replace(CONNECTION.ipsec, lifetime_units="kilobytes", lifetime=1000)
    (child,) = ipsec_config.build(connection(ipsec=policy)).children
    assert (child.rekey_bytes, child.life_bytes, child.life_time) == (921_600, 1_024_000, 0)


def test_ikev1_has_a_child_per_selector_pair_and_ikev2_has_one_child() -> None:
    cidrs: dict[str, Any] = {
        "local_cidrs": ("10.1.0.0/24", "10.5.0.0/24"),
        "peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"),
    }
    v1 = ipsec_config.build(connection(ike=replace(CONNECTION.ike, ike_version="v1"), **cidrs))
    assert len({(child.local_ts, child.remote_ts) for child in v1.children}) == 6
    assert len({child.name for child in v1.children}) == 6
    (only,) = ipsec_config.build(connection(**cidrs)).children
    assert only.remote_ts == cidrs["peer_cidrs"]


def test_host_bits_are_masked() -> None:
    (child,) = ipsec_config.build(connection(peer_cidrs=("10.2.0.77/24", "fd00:2::5/64"))).children
    assert child.remote_ts == ("10.2.0.0/24", "fd00:2::/64")


def test_aggressive_mode_belongs_to_ikev1() -> None:
    policy = replace(CONNECTION.ike, phase1_negotiation_mode="aggressive")
    assert not ipsec_config.build(connection(ike=policy)).aggressive
    assert ipsec_config.build(connection(ike=replace(policy, ike_version="v1"))).aggressive


def test_disabled_dpd_has_no_delay() -> None:
    assert ipsec_config.build(connection(dpd=Dpd("disabled", 10, 30))).dpd_delay == 0


@pytest.mark.parametrize(
    "change",
    [
        {"peer_address": "198.51.100.3"},
        {"peer_id": "other"},
        {"local_id": "me"},
        {"peer_cidrs": ("10.9.0.0/24",)},
        {"psk_ref": "ref-2"},
        {"ike": replace(CONNECTION.ike, pfs="group19")},
        {"ipsec": replace(CONNECTION.ipsec, lifetime=7200)},
        {"dpd": Dpd("restart", 11, 30)},
    ],
)
def test_a_change_of_the_configuration_changes_the_name(change: dict[str, Any]) -> None:
    assert {child.name for child in ipsec_config.build(connection(**change)).children}.isdisjoint(
        child.name for child in ipsec_config.build(CONNECTION).children
    )


@pytest.mark.parametrize(
    "change",
    [{"revision": 9}, {"mtu": 1400}, {"initiator": "response-only"}, {"dpd": Dpd("clear", 10, 31)}],
)
def test_a_change_outside_the_configuration_keeps_the_name(change: dict[str, Any]) -> None:
    assert ipsec_config.build(connection(**change)) == ipsec_config.build(CONNECTION)


V6: dict[str, Any] = {"local_address": "2001:db8::1", "peer_address": "2001:db8::2", "peer_id": "2001:db8::2"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (V6, V6 | {"peer_address": "2001:DB8:0::2"}),
        (V6, V6 | {"peer_id": "2001:db8:0:0::0002"}),
        (V6, V6 | {"local_address": "2001:DB8::1"}),
        (V6, V6 | {"local_id": "2001:DB8::1"}),
        ({"peer_id": "gw.example.org"}, {"peer_id": "GW.Example.Org"}),
        ({"peer_id": "gw.example.org"}, {"peer_id": "fqdn:gw.example.org"}),
        ({"local_id": "me@example.org"}, {"local_id": "email:ME@example.org"}),
        ({}, {"local_id": "198.51.100.1", "peer_id": "ipv4:198.51.100.2"}),
    ],
)
def test_the_spelling_of_an_end_changes_no_name(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert ipsec_config.build(connection(**one)) == ipsec_config.build(connection(**other))


@pytest.mark.parametrize(
    ("values", "ike", "child"),
    [
        ({}, "peer-748aa09a-326ff6bd", "6e81fe40"),
        (V6, "peer-47164388-6aca2b08", "9cf7db39"),
        ({"local_id": "gw.example.org", "peer_id": "peer.example.org."}, "peer-b53a8f38-5330c2e7", "203d98f4"),
        ({"local_id": "gw@example.org", "peer_id": "@peer.example.org"}, "peer-2cf50ea8-c9fc4168", "7674fb94"),
        ({"local_id": "keyid:Branch 7", "peer_id": "Zürich – 日本"}, "peer-c83cee9b-44ebba3a", "e004ec14"),
        ({"peer_id": "::ffff:203.0.113.5"}, "peer-f20e34c5-44344c4d", "cbda11ef"),
        ({"ike": replace(CONNECTION.ike, ike_version="v1")}, "peer-71abedee-a75d28b6", "cd0a0f50"),
    ],
)
def test_names_stay_the_same_across_releases(values: dict[str, Any], ike: str, child: str) -> None:
    """An agent that is upgraded would end the tunnels whose names changed."""
    config = ipsec_config.build(connection(**values))
    assert (config.name, config.children[0].name) == (ike, f"{ID}.{child}")


@pytest.mark.parametrize("attribute", ["peer_id", "local_id"])
def test_a_stored_key_id_that_charon_would_truncate_is_reported(attribute: str) -> None:
    assert ipsec_config.unsupported(connection(**{attribute: "\u00fc" * 126}), "kernel") == ""
    reason = ipsec_config.unsupported(connection(**{attribute: "\u00fc" * 127}), "kernel")
    assert attribute in reason
    assert "252 bytes" in reason


def test_the_key_is_in_no_name_and_no_text() -> None:
    key = ipsec_config.shared_key(CONNECTION, ipsec_config.build(CONNECTION))
    assert key.key.reveal() == "correct horse"
    assert "correct horse" not in repr(key) + repr(CONNECTION) + repr(ipsec_config.build(CONNECTION))
    assert ipsec_config.build(connection(psk=Secret("other"))) == ipsec_config.build(CONNECTION)


@pytest.mark.parametrize(
    ("change", "backend", "works"),
    [
        ({}, "user-space", True),
        ({"transform_protocol": "ah"}, "user-space", False),
        ({"transform_protocol": "ah"}, "kernel", True),
        ({"transform_protocol": "ah-esp"}, "kernel", False),
        ({"encapsulation_mode": "transport"}, "user-space", False),
        ({"encapsulation_mode": "transport"}, "kernel", False),
    ],
)
def test_a_node_reports_connections_that_its_backend_cannot_run(
    change: dict[str, Any], backend: Any, works: bool
) -> None:
    reason = ipsec_config.unsupported(connection(ipsec=replace(CONNECTION.ipsec, **change)), backend)
    assert (reason == "") is works
    assert "set" in reason or works, "the reason includes the remedy"


def test_transport_mode_needs_the_gateways_as_selectors() -> None:
    transport = replace(CONNECTION.ipsec, encapsulation_mode="transport")
    hosts = connection(ipsec=transport, local_cidrs=("198.51.100.1/32",), peer_cidrs=("198.51.100.2/32",))
    assert ipsec_config.unsupported(hosts, "kernel") == ""
    assert "set encapsulation_mode to tunnel" in ipsec_config.unsupported(
        replace(hosts, peer_cidrs=("10.2.0.0/24",)), "kernel"
    )
    assert ipsec_config.unsupported(replace(hosts, peer_address="vpn.example.org"), "kernel") == ""


@given(
    st.sampled_from(sorted(algorithms.ENCRYPTION)),
    st.sampled_from(sorted(algorithms.INTEGRITY)),
    st.sampled_from(sorted(algorithms.GROUPS)),
)
def test_proposals_name_each_part_once(encryption: str, integrity: str, group: str) -> None:
    for proposal in (
        algorithms.ike_proposal(encryption, integrity, group),
        algorithms.esp_proposal(encryption, integrity, group),
    ):
        parts = proposal.split("-")
        assert parts[0] == algorithms.ENCRYPTION[encryption]
        assert parts[-1] == algorithms.GROUPS[group]
    has_integrity = algorithms.INTEGRITY[integrity] in algorithms.esp_proposal(encryption, integrity, group).split("-")
    assert has_integrity is not algorithms.is_aead(encryption)


def test_the_name_of_a_child_has_the_id_of_its_connection() -> None:
    config = ipsec_config.build(CONNECTION)
    assert ipsec_config.owner_of(config.children[0].name) == ID
    assert ipsec_config.owner_of(config.name) == config.name
    assert ipsec_config.peer_of(config.name) == config.peer


def test_connections_to_one_peer_share_its_ike_connection() -> None:
    first, other = (
        ipsec_config.build(CONNECTION),
        ipsec_config.build(connection(id="other", peer_cidrs=("10.9.0.0/24",))),
    )
    assert first.name == other.name
    both = ipsec_config.with_sibling_children(first, [first, other])
    assert {child.name for child in both.children} == {first.children[0].name, other.children[0].name}
    assert ipsec_config.with_sibling_children(other, [first]) == both, "the order does not depend on the connection"


def test_connections_with_other_ike_attributes_do_not_share_an_ike_connection() -> None:
    first, other = ipsec_config.build(CONNECTION), ipsec_config.build(connection(id="other", dpd=Dpd("restart", 5, 30)))
    assert first.name != other.name
    assert first.peer == other.peer
