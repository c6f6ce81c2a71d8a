"""The mirrored configuration: ends swapped, and what the peer has to do by itself."""

from __future__ import annotations

import pytest

from linkspan.core.peer_side.mirror import mirror
from linkspan.core.peer_side.site_config import Suite
from linkspan.core.state.desired import Dpd
from tests.core.samples import CONNECTION, connection, ikev1


def test_the_ends_are_swapped() -> None:
    found = mirror(connection(local_id="hq.example.org", peer_id="ops@example.org", name="branch"))
    assert (found.local_address, found.remote_address) == ("198.51.100.2", "198.51.100.1")
    assert (found.local_id, found.remote_id) == ("ops@example.org", "hq.example.org")
    assert found.pairs == (("10.2.0.0/24", "10.1.0.0/24"),)
    assert (found.name, found.psk) == ("branch", CONNECTION.psk)


def test_our_identity_is_our_address_unless_there_is_another() -> None:
    assert mirror(CONNECTION).remote_id == CONNECTION.local_address


def test_only_pairs_of_one_ip_version_are_pairs() -> None:
    found = mirror(connection(local_cidrs=("10.1.0.0/24", "fd00:1::/64"), peer_cidrs=("10.2.0.0/24", "fd00:2::/64")))
    assert found.pairs == (("10.2.0.0/24", "10.1.0.0/24"), ("fd00:2::/64", "fd00:1::/64"))


@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_the_peer_initiates_where_we_do_not(initiator: str) -> None:
    assert mirror(connection(initiator=initiator)).initiates == (initiator == "response-only")


@pytest.mark.parametrize(
    ("action", "initiator", "expected"),
    [
        ("hold", "bi-directional", "hold"),
        ("hold", "response-only", "restart"),
        ("clear", "response-only", "restart"),
        ("restart-by-peer", "bi-directional", "restart"),
        ("disabled", "response-only", "disabled"),
    ],
)
def test_the_peer_comes_back_if_it_alone_initiates(action: str, initiator: str, expected: str) -> None:
    dpd = Dpd(action, 10, 30)  # type: ignore[arg-type] # the parameters are words
    found = mirror(connection(dpd=dpd, initiator=initiator))
    assert found.dpd_action == expected
    assert found.dpd_interval == (None if action == "disabled" else 10)


def test_suites_have_only_what_is_negotiated() -> None:
    replace = CONNECTION.ipsec.__class__
    aead = replace("esp", "tunnel", "aes-256-gcm-16", "sha512", "group19", "kilobytes", 5000)
    found = mirror(connection(ipsec=aead))
    assert found.child == (Suite("aes-256-gcm-16", "", "group19"),)
    assert (found.child_lifetime, found.child_kilobytes) == (None, 5000)
    ah = replace("ah", "tunnel", "aes-128", "sha512", "group19", "seconds", 600)
    assert mirror(connection(ipsec=ah)).child == (Suite("", "sha512", "group19"),)


def test_only_ikev1_has_a_mode() -> None:
    assert mirror(CONNECTION).mode is None
    assert mirror(connection(ike=ikev1(phase1_negotiation_mode="aggressive"))).mode == "aggressive"
    assert mirror(connection(ike=ikev1())).versions == ("v1",)


def test_without_a_name_there_is_one_of_the_end_of_the_id() -> None:
    assert mirror(connection(name="")).name == f"linkspan {CONNECTION.id[-12:]}"
