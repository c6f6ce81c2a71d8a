"""Rules and tables as the kernel reads them, beside what the pairs themselves say."""

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


def path(local: str, remote: str, mtu: int = 0) -> PairMtu:
    return PairMtu(SelectorPair(local, remote), mtu or 1400, mtu)


def lookup(found: dict[Network, dict[Network, Hop]], source: str, destination: str) -> Hop | None:
    """As ip-rule(8) and ip-route(8) do: the narrowest rule whose table has a route; there the narrowest route."""
    packet = ip_address(source), ip_address(destination)
    for local in sorted(found, key=lambda network: -network.prefixlen):
        if packet[0] in local:
            for network in sorted(found[local], key=lambda network: -network.prefixlen):
                if packet[1] in network:
                    return found[local][network]
    return None


def said(paths: list[PairMtu], source: str, destination: str) -> int:
    """The MTU of the narrowest pair that a packet is of, 0 for none or the path's own."""
    of = [
        (ip_network(one.pair.local).prefixlen, ip_network(one.pair.remote).prefixlen, one.route)
        for one in paths
        if ip_address(source) in ip_network(one.pair.local) and ip_address(destination) in ip_network(one.pair.remote)
    ]
    return max(of, key=lambda one: (one[0] + one[1], one[1]))[2] if of else 0


def prefixes() -> st.SearchStrategy[str]:
    """Prefixes of few addresses, so that they meet."""
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
def test_every_packet_has_the_mtu_of_its_narrowest_pair(
    pairs: dict[tuple[str, str], int], packets: list[tuple[str, str]]
) -> None:
    paths = [path(*pair, mtu) for pair, mtu in pairs.items()]
    found = route_tables(paths, EVERYWHERE)
    for source, destination in packets:
        hop = lookup(found, source, destination)
        assert (hop.mtu if hop else 0) == said(paths, source, destination)


@given(st.dictionaries(st.tuples(prefixes(), prefixes()), st.sampled_from((0, 1280, 1300)), max_size=8))
def test_the_pairs_can_be_read_back(pairs: dict[tuple[str, str], int]) -> None:
    found = route_tables([path(*pair, mtu) for pair, mtu in pairs.items()], EVERYWHERE)
    none = Hop("", 0)
    back = {
        (local, remote): found.get(ip_network(local), {}).get(ip_network(remote), none).mtu for local, remote in pairs
    }
    assert back == pairs


def test_one_remote_site_with_two_mtus() -> None:
    found = route_tables(
        [path("10.1.0.0/24", "10.9.0.0/16", 1300), path("10.2.0.0/24", "10.9.0.0/16", 1200)], EVERYWHERE
    )
    assert {str(local): {str(to): hop.mtu for to, hop in hops.items()} for local, hops in found.items()} == {
        "10.1.0.0/24": {"10.9.0.0/16": 1300},
        "10.2.0.0/24": {"10.9.0.0/16": 1200},
    }


def test_a_pair_at_its_own_limit_has_a_route_where_a_wider_one_reaches_into_it() -> None:
    wider, narrower = path("10.0.0.0/8", "10.9.0.0/16", 1300), path("10.1.0.0/20", "10.0.0.0/8")
    assert route_tables([wider, narrower], EVERYWHERE) == {
        ip_network("10.0.0.0/8"): {ip_network("10.9.0.0/16"): Hop("", 1300)},
        ip_network("10.1.0.0/20"): {ip_network("10.9.0.0/16"): Hop("", 0)},
    }


def test_pairs_at_their_own_limit_need_nothing() -> None:
    assert route_tables([path("10.1.0.0/24", "10.9.0.0/16"), path("::/0", "2001:db8::/32")], EVERYWHERE) == {}


def test_next_hops_are_those_of_the_outside_leg() -> None:
    """The leg's own network is reached without one, also where it is in a remote prefix."""
    ways: dict[Network, str] = EVERYWHERE | {ip_network("0.0.0.0/0"): "192.0.2.1", ip_network("192.0.2.0/24"): ""}
    pairs = [path("192.0.2.7/32", remote, 1300) for remote in ("0.0.0.0/0", "192.0.2.9/32", "198.51.100.0/24")]
    (hops,) = route_tables(pairs, ways).values()
    assert {str(network): hop for network, hop in hops.items()} == {
        "0.0.0.0/0": Hop("192.0.2.1", 1300),
        "192.0.2.0/24": Hop("", 1300),
        "192.0.2.9/32": Hop("", 1300),
        "198.51.100.0/24": Hop("192.0.2.1", 1300),
    }


def test_two_ip_versions_are_no_pair() -> None:
    with pytest.raises(ValueError, match="have different IP versions"):
        route_tables([path("10.1.0.0/24", "2001:db8::/32", 1300)], EVERYWHERE)


def test_the_work_grows_with_the_pairs() -> None:
    """Ten times the pairs: the time is printed, and what there is is one table with all of them."""
    for count in (1_000, 10_000):
        remotes = (f"172.{16 + n // 2500}.{n // 10 % 250}.{n % 10 * 16}/28" for n in range(count))
        pairs = [path("10.0.0.0/8", remote, 1300) for remote in remotes]
        begun = time.perf_counter()
        (hops,) = route_tables(pairs, EVERYWHERE).values()
        print(f"{count} pairs: {(time.perf_counter() - begun) * 1000:.0f} ms")
        assert len(hops) == count
