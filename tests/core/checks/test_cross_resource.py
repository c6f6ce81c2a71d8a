"""Cross-resource checks: every error that involves more than one object, and properties for any input."""

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
CONTEXT = ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1",), subnet_cidr="10.1.0.0/24")
CONTEXT6 = ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1", "2001:db8::1"), subnet_cidr="fd00:1::/64")
LOCAL = GroupMembers("l", "subnet", ("10.1.0.0/24", "10.2.0.0/24"))
PEER = GroupMembers("p", "cidr", ("10.20.0.0/24", "10.21.0.0/24"))
GROUPS = {"peer_cidrs": [], "local_ep_group_id": "l", "peer_ep_group_id": "p"}


def values(**more: Any) -> dict[str, Any]:
    """The attributes of a valid connection, converted."""
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
    """The context of a connection with endpoint groups."""
    return ConnectionContext(router_id=ROUTER, addresses=addresses, local=local, peer=peer)


VALID: list[tuple[dict[str, Any], ConnectionContext]] = [
    (values(), CONTEXT),
    (values(peer_cidrs=["10.9.0.7/24", "10.8.0.0/16"]), CONTEXT),
    (values(peer_cidrs=["10.9.0.0/24", "10.0.0.0/8"]), CONTEXT),
    (values(peer_cidrs=["0.0.0.0/0"]), CONTEXT),
    (values(peer_cidrs=["0.0.0.0/1", "128.0.0.0/1"]), CONTEXT),
    (values(peer_cidrs=["10.1.0.0/23"]), CONTEXT),
    (values(peer_cidrs=["::/0"]), CONTEXT6),
    (values(**GROUPS), groups(peer=GroupMembers("p", "cidr", ("10.0.0.0/8",)))),
    (values(mtu=68), CONTEXT),
    (values(mtu=9216), CONTEXT),
    (values(mtu=1280, peer_cidrs=["fd09::/64"]), CONTEXT6),
    (values(peer_address="2001:db8::9", peer_cidrs=["fd09::/64"]), CONTEXT6),
    (values(peer_address="2001:db8::9", peer_cidrs=["fd09::/64"], mtu=9216), CONTEXT6),
    (values(peer_address="vpn.example.org"), CONTEXT),
    (values(peer_address="vpn.example.org", peer_cidrs=["fd09::/64"]), CONTEXT6),
    (
        values(peer_cidrs=["0.0.0.0/1"]),
        ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1",), subnet_cidr="192.168.0.0/24"),
    ),
    (values(**GROUPS), groups()),
]


@pytest.mark.parametrize(("values_", "context"), VALID)
def test_valid_connections_are_accepted(values_: dict[str, Any], context: ConnectionContext) -> None:
    cross_resource.check_connection(values_, context)


INVALID: list[tuple[dict[str, Any], ConnectionContext, str, str]] = [
    (values(peer_cidrs=[]), CONTEXT, "MissingPeerCidrs", "Missing peer CIDRs"),
    (values(peer_cidrs=[], local_ep_group_id="l"), CONTEXT, "MissingPeerCidrs", ""),
    (
        values(local_ep_group_id="l"),
        CONTEXT,
        "InvalidEndpointGroup",
        "Endpoint group local cannot be specified, when VPN Service has subnet specified",
    ),
    (values(peer_ep_group_id="p"), CONTEXT, "InvalidEndpointGroup", "Endpoint group peer cannot"),
    (
        values(local_ep_group_id="l", peer_ep_group_id="p"),
        CONTEXT,
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
        CONTEXT,
        "MixedIPVersionsForPeerCidrs",
        "Peer CIDRs do not have the same IP version, as required for IPSec site-to-site connection",
    ),
    (values(peer_cidrs=["fd09::/64"]), CONTEXT, "MixedIPVersionsForIPSecConnection", ""),
    (values(), CONTEXT6, "MixedIPVersionsForIPSecConnection", ""),
    (
        values(mtu=67),
        CONTEXT,
        "IPsecSiteConnectionMtuError",
        "ipsec_site_connection MTU 67 is too small for ipv4",
    ),
    (values(mtu=0), CONTEXT, "IPsecSiteConnectionMtuError", ""),
    (values(mtu=-5), CONTEXT, "IPsecSiteConnectionMtuError", ""),
    (
        values(mtu=1279, peer_cidrs=["fd09::/64"]),
        CONTEXT6,
        "IPsecSiteConnectionMtuError",
        "MTU 1279 is too small for ipv6",
    ),
    (values(mtu=9217), CONTEXT, "HTTPBadRequest", "'9217' is too large"),
    (values(peer_cidrs=["10.1.0.0/24"]), CONTEXT, "HTTPBadRequest", "peer_cidrs"),
    (values(peer_cidrs=["10.9.0.0/24", "10.1.0.128/25"]), CONTEXT, "HTTPBadRequest", "is inside '10.1.0.0/24'"),
    (values(peer_cidrs=["fd00:1::7/128"]), CONTEXT6, "HTTPBadRequest", "is inside 'fd00:1::/64'"),
    (values(**GROUPS), groups(peer=GroupMembers("p", "cidr", ("10.2.0.9/32",))), "HTTPBadRequest", "peer_ep_group_id"),
    (
        values(peer_address="2001:db8::7"),
        CONTEXT,
        "ExternalNetworkHasNoSubnet",
        f"Router's {ROUTER} external network has no IPv6 subnet",
    ),
    (
        values(peer_cidrs=["fd09::/64"]),
        ConnectionContext(router_id=ROUTER, addresses=("2001:db8::1",), subnet_cidr="fd00:1::/64"),
        "ExternalNetworkHasNoSubnet",
        "no IPv4 subnet",
    ),
]


@pytest.mark.parametrize(("values_", "context", "type_", "words"), INVALID)
def test_invalid_connections_are_refused(
    values_: dict[str, Any], context: ConnectionContext, type_: str, words: str
) -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_connection(values_, context)
    assert caught.value.type == type_
    assert caught.value.status == 400
    assert words in caught.value.message


def test_a_missing_group_in_the_context_is_a_bug() -> None:
    with pytest.raises(ValueError, match="needs both"):
        cross_resource.check_connection(values(**GROUPS), groups(None, None))


def accepted(values_: dict[str, Any], context: ConnectionContext) -> bool:
    """True if the connection is accepted. Raises ApiError."""
    cross_resource.check_connection(values_, context)
    return True


NETWORKS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(lambda length: f"{address}/{length}")
)


@given(local=NETWORKS, peers=st.lists(NETWORKS, max_size=4), mtu=st.integers(-10, 10_000))
def test_an_accepted_connection_has_networks_of_one_version_and_no_peer_inside(
    local: str, peers: list[str], mtu: int
) -> None:
    context = ConnectionContext(router_id=ROUTER, addresses=("198.51.100.1", "2001:db8::1"), subnet_cidr=local)
    if not attempt(accepted, values(peer_cidrs=peers, mtu=mtu), context):
        return
    local_network = ipaddress.ip_network(local, strict=False)
    peer_networks = [ipaddress.ip_network(peer, strict=False) for peer in peers]
    assert peer_networks
    assert {network.version for network in peer_networks} == {local_network.version}
    assert not any(network.subnet_of(local_network) for network in peer_networks)  # type: ignore[arg-type]
    assert {4: 68, 6: 1280}[local_network.version] <= mtu <= 9216


# --- services, groups, limits -------------------------------------------------------------------------------------


def test_a_service_needs_a_gateway_and_an_interface_on_its_subnet() -> None:
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
def test_valid_endpoint_groups_are_accepted(type_: str, endpoints: list[str]) -> None:
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
def test_invalid_endpoint_groups_are_refused(type_: str, endpoints: list[str], expected: str) -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_endpoint_group(type_, endpoints)
    assert (caught.value.type, caught.value.status) == (expected, 400)


def test_the_limit_of_members_is_a_parameter() -> None:
    with pytest.raises(ApiError):
        cross_resource.check_endpoint_group("vlan", ["1", "2"], limits=Limits(cidrs=1))
    cross_resource.check_endpoint_group("cidr", [f"10.0.{n}.0/24" for n in range(100)], limits=Limits(cidrs=100))


def test_the_message_for_a_bad_endpoint_is_neutrons() -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_endpoint_group("cidr", ["10.0.0.0/33"])
    assert caught.value.message == "Endpoint '10.0.0.0/33' is invalid for group type 'cidr': Invalid CIDR"


@pytest.mark.parametrize("endpoint", ["FD00::/64", "fd00:0::/64", "10.0.0.0/024", "::ffff:10.0.0.0/120", "fd00::%a/64"])
def test_an_endpoint_has_one_text(endpoint: str) -> None:
    cross_resource.check_endpoint_group("cidr", ["10.0.0.9/24", "fd00::a5/64"])
    with pytest.raises(ApiError, match="Invalid CIDR"):
        cross_resource.check_endpoint_group("cidr", [endpoint])


def test_a_missing_subnet_of_a_group_is_refused() -> None:
    cross_resource.check_subnets_exist([SUBNET], {SUBNET: {}})
    with pytest.raises(ApiError) as caught:
        cross_resource.check_subnets_exist([SUBNET], {})
    assert caught.value.type == "NonExistingSubnetInEndpointGroup"
    assert caught.value.message == f"Subnet {SUBNET} in endpoint group does not exist"


def test_a_gateway_has_a_limited_number_of_connections() -> None:
    cross_resource.check_gateway_limit(100)
    with pytest.raises(ApiError) as caught:
        cross_resource.check_gateway_limit(101)
    assert (caught.value.type, caught.value.status) == ("OverQuota", 409)


# --- conflicts ----------------------------------------------------------------------------------------------------

A = connection(id="a", peer_cidrs=("10.9.0.0/24",))


def other(**changes: Any) -> Connection:
    """The same connection with another id, other peer networks, and the changes of the test."""
    return connection(**({"id": "b", "peer_cidrs": ("10.8.0.0/24",)} | changes))


def peers(connections: list[Connection]) -> list[Peer]:
    """The peers of connections, which are known without decrypting a key."""
    return [Peer(entry.id, entry.peer_address, entry.peer_id) for entry in connections]


DISJOINT: dict[str, Any] = {"peer_cidrs": ("10.7.0.0/24",)}


def v1(mode: str = "main") -> Any:
    """An IKEv1 policy."""
    return msgspec.structs.replace(A.ike, ike_version="v1", phase1_negotiation_mode=mode)


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (A, other(), False),
        # Of one service, overlapping selectors are a succession.
        (A, other(peer_cidrs=("10.9.0.128/25",)), False),
        (A, other(peer_cidrs=("10.9.0.128/25",), psk=Secret("another"), mtu=1300), False),
        (A, other(peer_cidrs=("10.9.0.0/24",), auth_mode="certs", psk=Secret("")), False),
        (A, other(peer_cidrs=("10.9.0.128/25",), service_id="another"), True),
        (A, other(peer_cidrs=("10.9.0.0/24",), peer_id="IPV4:198.51.100.2", service_id="another"), True),
        (A, other(service_id="another"), False),
        (A, other(peer_cidrs=("10.9.0.128/25",), local_cidrs=("10.3.0.0/24",)), False),
        (A, other(peer_cidrs=("fd00::/64",), local_cidrs=("fd01::/64",)), False),
        (A, other(peer_cidrs=("10.9.0.0/24",), peer_id="another"), False),
        (A, other(peer_cidrs=("10.9.0.0/24",), peer_address="198.51.100.9"), False),
        (A, other(psk=Secret("another")), True),
        (A, other(psk=Secret("another"), local_id="me"), False),
        (A, other(psk=Secret("another"), peer_id="you"), False),
        # The default identity is the gateway's address.
        (A, other(psk=Secret("another"), local_id="198.51.100.1"), True),
        (A, other(auth_mode="certs", psk=Secret("")), True),
        (A, other(auth_mode="certs", psk=Secret(""), peer_id="you"), False),
        # charon selects a key by identities only.
        (A, other(psk=Secret("another"), peer_address="198.51.100.9"), True),
        # Names are compared as charon and DNS do.
        (other(id="a", peer_id="GW.example.org", **DISJOINT), other(peer_id="gw.EXAMPLE.org", psk=Secret("x")), True),
        (other(id="a", peer_id="@gw", **DISJOINT), other(peer_id="gw", psk=Secret("x")), True),
        (other(id="a", peer_address="a.example"), other(peer_address="A.EXAMPLE.", service_id="2"), True),
        (other(id="a", peer_id="A Key"), other(peer_id="a key", psk=Secret("x")), False),
        (other(id="a", peer_id="2001:DB8::1", **DISJOINT), other(peer_id="2001:db8:0::1", psk=Secret("x")), True),
        (other(id="a", peer_id="fqdn:gw", **DISJOINT), other(peer_id="GW", psk=Secret("x")), True),
        (other(id="a", peer_id="email:me@gw", **DISJOINT), other(peer_id="Me@gw", psk=Secret("x")), True),
        (other(id="a", peer_id="ipv4:203.0.113.5", **DISJOINT), other(peer_id="203.0.113.5", psk=Secret("x")), True),
        (other(id="a", peer_id="keyid:gw"), other(peer_id="gw", psk=Secret("x")), False),
        (other(id="a", peer_address="2001:DB8::1"), other(peer_address="2001:db8:0::1", service_id="2"), True),
        # IKEv1 main mode selects the key by addresses only.
        (other(id="a", ike=v1()), other(ike=v1(), peer_id="you", psk=Secret("x")), True),
        (other(id="a", ike=v1()), other(ike=v1("aggressive"), peer_id="you", psk=Secret("x")), False),
        (other(id="a", ike=v1()), other(peer_id="you", psk=Secret("x")), False),
        (other(id="a", ike=v1()), other(ike=v1(), peer_id="you", peer_address="198.51.100.9"), False),
    ],
)
def test_indistinguishable_connections_conflict(first: Connection, second: Connection, conflict: bool) -> None:
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
        cross_resource.check_conflicts(connections, ["another id"])


def test_a_conflict_names_the_other_connection_and_no_key() -> None:
    with pytest.raises(ApiError) as caught:
        cross_resource.check_conflicts([A, other(psk=Secret("hunter2"))], ["b"])
    assert "ipsec_site_connection a" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert "correct horse" not in caught.value.message


def conflicts(connections: list[Connection], changed: str, before: Connection | None = None) -> bool:
    """True if the change of one connection is refused; `before`: as it was."""
    try:
        cross_resource.check_conflicts(connections, [changed], {changed: before} if before else None)
    except ApiError:
        return True
    return False


NEW = {"psk": Secret("new"), "psk_written_at": 2.0}


@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"local_id": "gw.example.org", "peer_id": "you@example.org"},
        {"peer_address": "branch.example.org"},
        {"ike": v1()},
        {"ike": v1("aggressive")},
        {"peer_address": "2001:db8::2", "local_address": "2001:db8::1", "peer_id": "2001:DB8:0::2"},
    ],
)
def test_a_key_is_rotated_by_one_edit_after_another(ends: dict[str, Any]) -> None:
    first, second, third = (other(id=id, peer_cidrs=(f"10.{id}.0.0/24",), **ends) for id in "123")
    rotated = other(**msgspec.structs.asdict(first) | NEW)
    assert not conflicts([rotated, second, third], "1", before=first)
    # An edit that leaves the key alone is taken meanwhile, and so is the edit of the next key.
    assert not conflicts([rotated, msgspec.structs.replace(second, mtu=1300), third], "2", before=second)
    assert not conflicts([rotated, msgspec.structs.replace(second, **NEW), third], "2", before=second)
    # A new connection joins with the key in use, and with no other.
    joining = other(id="4", peer_cidrs=("10.4.0.0/24",), psk_written_at=3.0, **ends)
    assert conflicts([rotated, second, third, joining], "4")
    assert not conflicts([rotated, second, third, msgspec.structs.replace(joining, psk=Secret("new"))], "4")
    # So does one that moves here from other ends.
    moved = msgspec.structs.replace(joining, peer_id="elsewhere", peer_address="203.0.113.9")
    assert conflicts([rotated, second, third, joining], "4", before=moved)


def test_in_main_mode_the_same_addresses_are_the_same_ends() -> None:
    first, second = other(id="1", ike=v1()), other(id="2", ike=v1(), peer_id="you", peer_cidrs=("10.7.0.0/24",))
    rotated = msgspec.structs.replace(first, **NEW)
    assert not conflicts([rotated, second], "1", before=first)
    # Until the policy says main mode they had nothing in common.
    aggressive = msgspec.structs.replace(first, ike=v1("aggressive"))
    assert conflicts([rotated, second], "1", before=aggressive)


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


def conflict_found(order: list[Connection], changed: list[str]) -> bool:
    """True if the connections conflict."""
    try:
        cross_resource.check_conflicts(order, changed)
    except ApiError:
        return True
    return False


@given(connections=st.lists(SOME, max_size=6), data=st.data())
def test_only_similar_connections_can_conflict(connections: list[Connection], data: st.DataObject) -> None:
    changed = data.draw(st.lists(st.sampled_from([entry.id for entry in connections]))) if connections else []
    similar = cross_resource.similar_connections(peers(connections), changed)
    assert conflict_found([entry for entry in connections if entry.id in similar], changed) == conflict_found(
        connections, changed
    )


def test_without_a_similar_connection_nothing_is_compared() -> None:
    strangers = [other(id=id, peer_id=id, peer_address=f"{id}.example") for id in ("x", "y")]
    assert cross_resource.similar_connections(peers([A, *strangers]), ["a"]) == []
    assert cross_resource.similar_connections(peers([A, other(), *strangers]), ["a"]) == ["a", "b"]


@given(connections=st.lists(SOME, max_size=5))
def test_conflicts_do_not_depend_on_the_order(connections: list[Connection]) -> None:
    ids = [entry.id for entry in connections]
    any_conflict = conflict_found(connections, ids)
    assert any_conflict == conflict_found(connections[::-1], ids[::-1])
    assert any_conflict == any(conflict_found(connections, [id]) for id in ids)
    # Two that conflict alone may be told apart by a third one, which supersedes one of them.
    assert not any_conflict or any(
        conflict_found([left, right], [right.id])
        for index, left in enumerate(connections)
        for right in connections[index + 1 :]
    )
