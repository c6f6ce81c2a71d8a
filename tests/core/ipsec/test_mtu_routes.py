"""Routing tables for MTUs, looked up as the kernel does, compared with the selector pairs."""

from __future__ import annotations

import ipaddress
import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.addresses import Network
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.mtu_routes import Hop, route_tables
from linkspan.core.ipsec.selectors import SelectorPair

EVERYWHERE: dict[Network, str] = {ip_network("0.0.0.0/0"): "", ip_network("::/0"): ""}


def pair_mtu(local: str, remote: str, mtu: int = 0) -> PairMtu:
    return PairMtu(SelectorPair(local, remote), mtu or 1400, mtu)


def lookup(tables: dict[Network, dict[Network, Hop]], source: str, destination: str) -> Hop | None:
    """Looks up a route as ip-rule(8) and ip-route(8) describe: the first matching rule whose table has a route."""
    packet = ip_address(source), ip_address(destination)
    for local in sorted(tables, key=lambda network: -network.prefixlen):
        if packet[0] in local:
            for network in sorted(tables[local], key=lambda network: -network.prefixlen):
                if packet[1] in network:
                    return tables[local][network]
    return None


def expected_mtu(paths: list[PairMtu], source: str, destination: str) -> int:
    """The MTU of the most specific pair that matches a packet; 0 for none, or for that of the pair_mtu."""
    matching = [
        (ip_network(item.pair.local).prefixlen, ip_network(item.pair.remote).prefixlen, item.route)
        for item in paths
        if ip_address(source) in ip_network(item.pair.local) and ip_address(destination) in ip_network(item.pair.remote)
    ]
    return max(matching, key=lambda lengths: (lengths[0] + lengths[1], lengths[1]))[2] if matching else 0


def prefixes() -> st.SearchStrategy[str]:
    """Prefixes from a small range, so that they overlap often."""
    return st.builds(
        lambda bits, length: str(ipaddress.ip_network((bits << 28, length), strict=False)),
        st.integers(0, 15),
        st.sampled_from((0, 1, 2, 3, 4)),
    )


addresses = st.builds(lambda bits: str(ipaddress.ip_address(bits << 28)), st.integers(0, 15))


@given(
    st.dictionaries(st.tuples(prefixes(), prefixes()), st.sampled_from((0, 1280, 1300, 1350)), max_size=8),
    st.lists(st.tuples(addresses, addresses), min_size=1, max_size=20),
)
def test_every_packet_has_the_mtu_of_its_most_specific_pair(
    pairs: dict[tuple[str, str], int], packets: list[tuple[str, str]]
) -> None:
    paths = [pair_mtu(*pair, mtu) for pair, mtu in pairs.items()]
    tables = route_tables(paths, EVERYWHERE)
    for source, destination in packets:
        hop = lookup(tables, source, destination)
        assert (hop.mtu if hop else 0) == expected_mtu(paths, source, destination)


@given(st.dictionaries(st.tuples(prefixes(), prefixes()), st.sampled_from((0, 1280, 1300)), max_size=8))
def test_every_pair_can_be_found_in_the_tables(pairs: dict[tuple[str, str], int]) -> None:
    tables = route_tables([pair_mtu(*pair, mtu) for pair, mtu in pairs.items()], EVERYWHERE)
    none = Hop("", 0)
    read = {
        (local, remote): tables.get(ip_network(local), {}).get(ip_network(remote), none).mtu for local, remote in pairs
    }
    assert read == pairs


def test_a_remote_prefix_may_have_two_mtus() -> None:
    tables = route_tables(
        [pair_mtu("10.1.0.0/24", "10.9.0.0/16", 1300), pair_mtu("10.2.0.0/24", "10.9.0.0/16", 1200)], EVERYWHERE
    )
    assert {str(local): {str(to): hop.mtu for to, hop in hops.items()} for local, hops in tables.items()} == {
        "10.1.0.0/24": {"10.9.0.0/16": 1300},
        "10.2.0.0/24": {"10.9.0.0/16": 1200},
    }


def test_a_pair_at_its_limit_has_a_route_inside_a_wider_pair() -> None:
    wider, narrower = pair_mtu("10.0.0.0/8", "10.9.0.0/16", 1300), pair_mtu("10.1.0.0/20", "10.0.0.0/8")
    assert route_tables([wider, narrower], EVERYWHERE) == {
        ip_network("10.0.0.0/8"): {ip_network("10.9.0.0/16"): Hop("", 1300)},
        ip_network("10.1.0.0/20"): {ip_network("10.9.0.0/16"): Hop("", 0)},
    }


def test_pairs_at_their_limit_need_no_table() -> None:
    assert route_tables([pair_mtu("10.1.0.0/24", "10.9.0.0/16"), pair_mtu("::/0", "2001:db8::/32")], EVERYWHERE) == {}


def test_next_hops_are_those_of_the_outside_interface() -> None:
    """The connected network of the outside interface has no next hop, even inside a remote prefix."""
    routes: dict[Network, str] = EVERYWHERE | {ip_network("0.0.0.0/0"): "192.0.2.1", ip_network("192.0.2.0/24"): ""}
    pairs = [pair_mtu("192.0.2.7/32", remote, 1300) for remote in ("0.0.0.0/0", "192.0.2.9/32", "198.51.100.0/24")]
    (hops,) = route_tables(pairs, routes).values()
    assert {str(network): hop for network, hop in hops.items()} == {
        "0.0.0.0/0": Hop("192.0.2.1", 1300),
        "192.0.2.0/24": Hop("", 1300),
        "192.0.2.9/32": Hop("", 1300),
        "198.51.100.0/24": Hop("192.0.2.1", 1300),
    }


def test_a_pair_of_two_ip_versions_is_refused() -> None:
    with pytest.raises(ValueError, match="have different IP versions"):
        route_tables([pair_mtu("10.1.0.0/24", "2001:db8::/32", 1300)], EVERYWHERE)


def test_ten_thousand_pairs_are_one_table() -> None:
    """One table with all pairs; the time is printed for comparison."""
    for count in (1_000, 10_000):
        remotes = (f"172.{16 + n // 2500}.{n // 10 % 250}.{n % 10 * 16}/28" for n in range(count))
        pairs = [pair_mtu("10.0.0.0/8", remote, 1300) for remote in remotes]
        started = time.perf_counter()
        (hops,) = route_tables(pairs, EVERYWHERE).values()
        print(f"{count} pairs: {(time.perf_counter() - started) * 1000:.0f} ms")
        assert len(hops) == count
