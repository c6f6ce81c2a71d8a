"""Every row of the error matrix that involves more than one object, and what no input may do to the rules."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.checks import cross_resource
from linkspan.core.checks.cross_resource import ConnectionContext, GroupMembers, Limits
from linkspan.core.errors import ApiError
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Peer
from tests.core.samples import attempt, connection

ROUTER = "5c1f9f1c-0c8c-4a47-9a3b-7a3f1f0e2d22"
SUBNET = "f1a3c2d4-1111-4222-8333-444455556666"
PLACE = ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1",), subnet_cidr="10.1.0.0/24")
SIX = ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1", "2001:db8::1"), subnet_cidr="fd00:1::/64")
LOCAL = GroupMembers("l", "subnet", ("10.1.0.0/24", "10.2.0.0/24"))
PEER = GroupMembers("p", "cidr", ("10.20.0.0/24", "10.21.0.0/24"))
GROUPS = {"peer_cidrs": [], "local_ep_group_id": "l", "peer_ep_group_id": "p"}


def values(**more: Any) -> dict[str, Any]:
    """The attributes of a good connection, converted."""
    return {
        "peer_address": "203.0.113.9",
        "peer_cidrs": ["10.9.0.0/24"],
        "local_ep_group_id": None,
        "peer_ep_group_id": None,
        "mtu": 1500,
        "auth_mode": "psk",
    } | more


def groups(
    local: GroupMembers | None = LOCAL, peer: GroupMembers | None = PEER, addresses: tuple[str, ...] = ("198.51.100.1",)
) -> ConnectionContext:
    """A place without a subnet."""
    return ConnectionContext(router_id=ROUTER, addresses=addresses, local=local, peer=peer)


GOOD: list[tuple[dict[str, Any], ConnectionContext]] = [
    (values(), PLACE),
    (values(peer_cidrs=["10.9.0.7/24", "10.8.0.0/16"]), PLACE),
    (values(mtu=68), PLACE),
    (values(mtu=9216), PLACE),
    (values(mtu=1280, peer_cidrs=["fd09::/64"]), SIX),
    (values(peer_address="2001:db8::9", peer_cidrs=["fd09::/64"]), SIX),
    (values(peer_address="2001:db8::9", peer_cidrs=["fd09::/64"], mtu=9216), SIX),
    (values(peer_address="vpn.example.org"), PLACE),
    (values(peer_address="vpn.example.org", peer_cidrs=["fd09::/64"]), SIX),
    (
        values(peer_cidrs=["0.0.0.0/1"]),
        ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1",), subnet_cidr="192.168.0.0/24"),
    ),
    (values(**GROUPS), groups()),
]


@pytest.mark.parametrize(("given_", "place"), GOOD)
def test_good_connections(given_: dict[str, Any], place: ConnectionContext) -> None:
    cross_resource.check_connection(given_, place)


BAD: list[tuple[dict[str, Any], ConnectionContext, str, str]] = [
    (values(peer_cidrs=[]), PLACE, "MissingPeerCidrs", "Missing peer CIDRs"),
    (values(peer_cidrs=[], local_ep_group_id="l"), PLACE, "MissingPeerCidrs", ""),
    (
        values(local_ep_group_id="l"),
        PLACE,
        "InvalidEndpointGroup",
        "Endpoint group local cannot be specified, when VPN Service has subnet specified",
    ),
    (values(peer_ep_group_id="p"), PLACE, "InvalidEndpointGroup", "Endpoint group peer cannot"),
    (
        values(local_ep_group_id="l", peer_ep_group_id="p"),
        PLACE,
        "InvalidEndpointGroup",
        "Endpoint groups local and peer cannot be specified, when VPN Service has subnet specified",
    ),
    (
        values(),
        groups(None, None),
        "PeerCidrsInvalid",
        "Peer CIDRs cannot be specified, when using endpoint groups",
    ),
    (values(**GROUPS | {"peer_cidrs": ["10.9.0.0/24"]}), groups(), "PeerCidrsInvalid", ""),
    (
        values(peer_cidrs=[]),
        groups(None, None),
        "MissingRequiredEndpointGroup",
        "Missing endpoint groups local and peer for IPSec site-to-site connection",
    ),
    (
        values(peer_cidrs=[], peer_ep_group_id="p"),
        groups(None),
        "MissingRequiredEndpointGroup",
        "Missing endpoint group local for",
    ),
    (values(peer_cidrs=[], local_ep_group_id="l"), groups(peer=None), "MissingRequiredEndpointGroup", "group peer"),
    (
        values(**GROUPS),
        groups(PEER, LOCAL),
        "WrongEndpointGroupType",
        "Endpoint group p type is 'cidr' and should be 'subnet'",
    ),
    (values(**GROUPS), groups(LOCAL, LOCAL), "WrongEndpointGroupType", "type is 'subnet' and should be 'cidr'"),
    (values(**GROUPS), groups(GroupMembers("v", "vlan", ("7",))), "WrongEndpointGroupType", "'vlan'"),
    (values(**GROUPS), groups(GroupMembers("l", "subnet", ())), "MissingEndpointForEndpointGroup", "group 'l'"),
    (values(**GROUPS), groups(peer=GroupMembers("p", "cidr", ())), "MissingEndpointForEndpointGroup", "group 'p'"),
    (
        values(**GROUPS),
        groups(GroupMembers("l", "subnet", ("10.1.0.0/24",), (SUBNET,))),
        "SubnetIsNotConnectedToRouter",
        f"Subnet {SUBNET} is not connected to Router {ROUTER}",
    ),
    (
        values(**GROUPS),
        groups(GroupMembers("l", "subnet", ("10.1.0.0/24", "fd00::/64"))),
        "MixedIPVersionsForIPSecEndpoints",
        "Endpoints in group l do not have the same IP version",
    ),
    (
        values(**GROUPS),
        groups(peer=GroupMembers("p", "cidr", ("10.20.0.0/24", "fd00::/64"))),
        "MixedIPVersionsForIPSecEndpoints",
        "group p",
    ),
    (
        values(**GROUPS),
        groups(peer=GroupMembers("p", "cidr", ("fd00::/64",))),
        "MixedIPVersionsForIPSecConnection",
        "IP versions are not compatible between peer and local endpoints",
    ),
    (
        values(peer_cidrs=["10.9.0.0/24", "fd09::/64"]),
        PLACE,
        "MixedIPVersionsForPeerCidrs",
        "Peer CIDRs do not have the same IP version, as required for IPSec site-to-site connection",
    ),
    (values(peer_cidrs=["fd09::/64"]), PLACE, "MixedIPVersionsForIPSecConnection", ""),
    (values(), SIX, "MixedIPVersionsForIPSecConnection", ""),
    (
        values(mtu=67),
        PLACE,
        "IPsecSiteConnectionMtuError",
        "ipsec_site_connection MTU 67 is too small for ipv4",
    ),
    (values(mtu=0), PLACE, "IPsecSiteConnectionMtuError", ""),
    (values(mtu=-5), PLACE, "IPsecSiteConnectionMtuError", ""),
    (values(mtu=1279, peer_cidrs=["fd09::/64"]), SIX, "IPsecSiteConnectionMtuError", "MTU 1279 is too small for ipv6"),
    (values(mtu=9217), PLACE, "HTTPBadRequest", "'9217' is too large"),
    (values(peer_cidrs=["10.1.0.0/24"]), PLACE, "HTTPBadRequest", "peer_cidrs"),
    (values(peer_cidrs=["10.9.0.0/24", "10.0.0.0/8"]), PLACE, "HTTPBadRequest", "'10.0.0.0/8' overlaps"),
    (values(peer_cidrs=["0.0.0.0/0"]), PLACE, "HTTPBadRequest", "overlaps"),
    (values(**GROUPS), groups(peer=GroupMembers("p", "cidr", ("10.2.0.9/32",))), "HTTPBadRequest", "peer_ep_group_id"),
    (
        values(peer_address="2001:db8::7"),
        PLACE,
        "ExternalNetworkHasNoSubnet",
        f"Router's {ROUTER} external network has no IPv6 subnet",
    ),
    (
        values(peer_cidrs=["fd09::/64"]),
        ConnectionContext(router_id=ROUTER, addresses=("2001:db8::1",), subnet_cidr="fd00:1::/64"),
        "ExternalNetworkHasNoSubnet",
        "no IPv4 subnet",
    ),
    (values(auth_mode="certs"), PLACE, "HTTPBadRequest", "not available yet"),
]


@pytest.mark.parametrize(("given_", "place", "type_", "words"), BAD)
def test_bad_connections(given_: dict[str, Any], place: ConnectionContext, type_: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_connection(given_, place)
    assert caught.value.type == type_
    assert caught.value.status == 400
    assert words in caught.value.message


def test_groups_that_are_named_have_to_be_there() -> None:
    with pytest.raises(ValueError, match="needs both"):
        cross_resource.check_connection(values(**GROUPS), groups(None, None))


def accepted(given_: dict[str, Any], place: ConnectionContext) -> bool:
    """True, or a Problem."""
    cross_resource.check_connection(given_, place)
    return True


NETWORKS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(1, address.max_prefixlen).map(lambda length: f"{address}/{length}")
)


@given(local=NETWORKS, peers=st.lists(NETWORKS, max_size=4), mtu=st.integers(-10, 10_000))
def test_what_is_accepted_makes_sense(local: str, peers: list[str], mtu: int) -> None:
    place = ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1", "2001:db8::1"), subnet_cidr=local)
    if not attempt(accepted, values(peer_cidrs=peers, mtu=mtu), place):
        return
    ours = ipaddress.ip_network(local, strict=False)
    theirs = [ipaddress.ip_network(peer, strict=False) for peer in peers]
    assert theirs
    assert {each.version for each in theirs} == {ours.version}
    assert not any(each.overlaps(ours) for each in theirs)
    assert {4: 68, 6: 1280}[ours.version] <= mtu <= 9216


# --- services, groups, limits -------------------------------------------------------------------------------------


def test_services() -> None:
    cross_resource.check_service(ROUTER, True, None, set())
    cross_resource.check_service(ROUTER, True, SUBNET, {SUBNET})
    for has_gateway, subnet, type_ in (
        (False, None, "RouterIsNotExternal"),
        (False, SUBNET, "RouterIsNotExternal"),
        (True, SUBNET, "SubnetIsNotConnectedToRouter"),
    ):
        with pytest.raises(ApiError) as caught:
            cross_resource.check_service(ROUTER, has_gateway, subnet, set())
        assert (caught.value.type, caught.value.status) == (type_, 400)


@pytest.mark.parametrize(
    ("type_", "endpoints"),
    [
        ("cidr", ["10.0.0.1/24", "10.1.0.0/24", "fd00::/64"]),
        ("subnet", [SUBNET]),
        ("network", [SUBNET, ROUTER]),
        ("router", [SUBNET.upper()]),
        ("vlan", ["1", "4094"]),
    ],
)
def test_good_groups(type_: str, endpoints: list[str]) -> None:
    cross_resource.check_endpoint_group(type_, endpoints)


@pytest.mark.parametrize(
    ("type_", "endpoints", "expected"),
    [
        ("cidr", [], "MissingEndpointForEndpointGroup"),
        ("cidr", ["10.0.0.0/33"], "InvalidEndpointInEndpointGroup"),
        ("cidr", ["10.0.0.0"], "InvalidEndpointInEndpointGroup"),
        ("cidr", [SUBNET], "InvalidEndpointInEndpointGroup"),
        ("cidr", ["10.0.0.0/24", "10.0.0.9/24"], "InvalidEndpointInEndpointGroup"),
        ("subnet", ["10.0.0.0/24"], "InvalidEndpointInEndpointGroup"),
        ("subnet", [SUBNET, SUBNET.upper()], "InvalidEndpointInEndpointGroup"),
        ("network", [""], "InvalidEndpointInEndpointGroup"),
        ("vlan", ["0"], "InvalidEndpointInEndpointGroup"),
        ("vlan", ["4095"], "InvalidEndpointInEndpointGroup"),
        ("vlan", ["-1"], "InvalidEndpointInEndpointGroup"),
        ("vlan", ["7", "07"], "InvalidEndpointInEndpointGroup"),
        ("vlan", ["٧"], "InvalidEndpointInEndpointGroup"),
        ("cidr", [f"10.0.{n}.0/24" for n in range(65)], "HTTPBadRequest"),
    ],
)
def test_bad_groups(type_: str, endpoints: list[str], expected: str) -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_endpoint_group(type_, endpoints)
    assert (caught.value.type, caught.value.status) == (expected, 400)


def test_how_many_members_is_a_setting() -> None:
    with pytest.raises(ApiError):
        cross_resource.check_endpoint_group("vlan", ["1", "2"], limits=Limits(cidrs=1))
    cross_resource.check_endpoint_group("cidr", [f"10.0.{n}.0/24" for n in range(100)], limits=Limits(cidrs=100))


def test_words_about_groups() -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_endpoint_group("cidr", ["10.0.0.0/33"])
    assert caught.value.message == "Endpoint '10.0.0.0/33' is invalid for group type 'cidr': Invalid CIDR"


def test_subnets_of_a_group_exist() -> None:
    cross_resource.check_subnets_exist([SUBNET], {SUBNET: {}})
    with pytest.raises(ApiError) as caught:
        cross_resource.check_subnets_exist([SUBNET], {})
    assert caught.value.type == "NonExistingSubnetInEndpointGroup"
    assert caught.value.message == f"Subnet {SUBNET} in endpoint group does not exist"


def test_room_on_a_gateway() -> None:
    cross_resource.check_gateway_limit(100)
    with pytest.raises(ApiError) as caught:
        cross_resource.check_gateway_limit(101)
    assert (caught.value.type, caught.value.status) == ("OverQuota", 409)


# --- conflicts ----------------------------------------------------------------------------------------------------

A = connection(id="a", peer_cidrs=("10.9.0.0/24",))


def other(**changes: Any) -> Connection:
    """The same connection with another id and other peer networks, and what a test wants to differ."""
    return connection(**({"id": "b", "peer_cidrs": ("10.8.0.0/24",)} | changes))


def peers(connections: list[Connection]) -> list[Peer]:
    """What is known of connections without opening a key."""
    return [Peer(each.id, each.peer_address, each.peer_id) for each in connections]


def v1(mode: str = "main") -> Any:
    """An IKEv1 policy."""
    return msgspec.structs.replace(A.ike, ike_version="v1", phase1_negotiation_mode=mode)


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (A, other(), False),
        (A, other(peer_cidrs=("10.9.0.128/25",)), True),
        (A, other(peer_cidrs=("10.9.0.128/25",), local_cidrs=("10.3.0.0/24",)), False),
        (A, other(peer_cidrs=("fd00::/64",), local_cidrs=("fd01::/64",)), False),
        (A, other(peer_cidrs=("10.9.0.0/24",), peer_id="another"), False),
        (A, other(peer_cidrs=("10.9.0.0/24",), peer_address="198.51.100.9"), False),
        (A, other(psk=Secret("another")), True),
        (A, other(psk=Secret("another"), local_id="me"), False),
        (A, other(psk=Secret("another"), peer_id="you"), False),
        # The default identity is the gateway's own address.
        (A, other(psk=Secret("another"), local_id="198.51.100.1"), True),
        (A, other(auth_mode="certs", psk=Secret("")), True),
        (A, other(auth_mode="certs", psk=Secret(""), peer_id="you"), False),
        # charon finds a key by identities alone.
        (A, other(psk=Secret("another"), peer_address="198.51.100.9"), True),
        # Names are compared as charon and DNS do.
        (other(id="a", peer_id="GW.example.org"), other(peer_id="gw.EXAMPLE.org", psk=Secret("x")), True),
        (other(id="a", peer_id="@gw"), other(peer_id="gw", psk=Secret("x")), True),
        (other(id="a", peer_address="a.example"), other(peer_address="A.EXAMPLE."), True),
        (other(id="a", peer_id="A Key"), other(peer_id="a key", psk=Secret("x")), False),
        (other(id="a", peer_id="2001:DB8::1"), other(peer_id="2001:db8:0::1", psk=Secret("x")), True),
        # IKEv1's main mode finds it by addresses alone.
        (other(id="a", ike=v1()), other(ike=v1(), peer_id="you", psk=Secret("x")), True),
        (other(id="a", ike=v1()), other(ike=v1("aggressive"), peer_id="you", psk=Secret("x")), False),
        (other(id="a", ike=v1()), other(peer_id="you", psk=Secret("x")), False),
        (other(id="a", ike=v1()), other(ike=v1(), peer_id="you", peer_address="198.51.100.9"), False),
    ],
)
def test_conflicts(first: Connection, second: Connection, conflict: bool) -> None:
    for connections in ([first, second], [second, first]):
        for changed in (["a"], ["b"], ["a", "b"]):
            if conflict:
                assert set(cross_resource.similar_connections(peers(connections), changed)) == {"a", "b"}
                with pytest.raises(ApiError) as caught:
                    cross_resource.check_conflicts(connections, changed)
                assert (caught.value.type, caught.value.status) == ("IPsecSiteConnectionConflict", 409)
            else:
                cross_resource.check_conflicts(connections, changed)
        cross_resource.check_conflicts(connections, [])
        cross_resource.check_conflicts(connections, ["somebody else"])


def test_a_conflict_names_the_other_one_and_no_key() -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_conflicts([A, other(psk=Secret("hunter2"))], ["b"])
    assert "ipsec_site_connection a" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert "correct horse" not in caught.value.message


SOME = st.builds(
    connection,
    id=st.uuids().map(str),
    local_id=st.sampled_from(["", "me", "198.51.100.1"]),
    peer_id=st.sampled_from(["you", "198.51.100.2"]),
    peer_address=st.sampled_from(["198.51.100.2", "198.51.100.3"]),
    psk=st.sampled_from(["one", "two"]).map(Secret),
    local_cidrs=st.sampled_from([("10.1.0.0/24",), ("10.1.0.0/16", "10.3.0.0/24"), ("10.4.0.0/24",)]),
    peer_cidrs=st.sampled_from([("10.8.0.0/24",), ("10.0.0.0/8",), ("10.9.0.0/24",)]),
)


def fault(order: list[Connection], changed: list[str]) -> bool:
    """Whether these conflict."""
    try:
        cross_resource.check_conflicts(order, changed)
    except ApiError:
        return True
    return False


@given(connections=st.lists(SOME, max_size=6), data=st.data())
def test_who_is_no_rival_conflicts_with_nobody(connections: list[Connection], data: st.DataObject) -> None:
    changed = data.draw(st.lists(st.sampled_from([each.id for each in connections]))) if connections else []
    rivals = cross_resource.similar_connections(peers(connections), changed)
    assert fault([each for each in connections if each.id in rivals], changed) == fault(connections, changed)


def test_whoever_is_alone_has_no_rival() -> None:
    strangers = [other(id=id, peer_id=id, peer_address=f"{id}.example") for id in ("x", "y")]
    assert cross_resource.similar_connections(peers([A, *strangers]), ["a"]) == []
    assert cross_resource.similar_connections(peers([A, other(), *strangers]), ["a"]) == ["a", "b"]


@given(connections=st.lists(SOME, max_size=5))
def test_who_comes_first_does_not_matter(connections: list[Connection]) -> None:
    ids = [each.id for each in connections]
    every = fault(connections, ids)
    assert every == fault(connections[::-1], ids[::-1])
    assert every == any(fault(connections, [id]) for id in ids)
    assert every == any(
        fault([left, right], [right.id]) for place, left in enumerate(connections) for right in connections[place + 1 :]
    )
