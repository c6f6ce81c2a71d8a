"""The leak guard's nft transactions as text. test_packets tests their effect on packets."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.gateway import leak_guard
from linkspan.drivers.ports import DriverError
from tests.drivers.machine import Machine, gateway

NEIGHBOURS = (
    "ip6 hoplimit 255 icmpv6 type "
    "{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept"
)
replace = msgspec.structs.replace
ADDRESSES = ("203.0.113.1/24", "2001:db8:ff::1/64")
A = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
B = SelectorPair("10.1.0.0/24", "10.3.0.0/24")
C = SelectorPair("2001:db8:1::/64", "::/0")


def test_new_sets_are_filled_before_rules_refer_to_them() -> None:
    fill, switch = leak_guard.transactions(ADDRESSES, {}, leak_guard.pair_sets([A, C]), "user-space")
    assert fill.splitlines() == [
        "add table inet linkspan",
        "add set inet linkspan pairs4_24_24 { type ipv4_addr . ipv4_addr; flags interval; }",
        "add element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.2.0.0/24 }",
        "add set inet linkspan pairs6_64_0 { type ipv6_addr . ipv6_addr; flags interval; }",
        "add element inet linkspan pairs6_64_0 { 2001:db8:1::/64 . ::/0 }",
    ]
    assert "element" not in switch
    assert switch.splitlines()[5:] == [
        "flush chain inet linkspan outbound",
        "add rule inet linkspan outbound ip saddr 203.0.113.1 udp sport 4500 accept",
        "add rule inet linkspan outbound ip6 saddr 2001:db8:ff::1 udp sport 4500 accept",
        "add rule inet linkspan outbound oifname != out0 accept",
        f"add rule inet linkspan outbound {NEIGHBOURS}",
        "add rule inet linkspan outbound ip saddr 203.0.113.1 udp sport { 500, 4500 } accept",
        "add rule inet linkspan outbound ip saddr 203.0.113.1 meta l4proto { esp, ah } accept",
        "add rule inet linkspan outbound ip6 saddr 2001:db8:ff::1 udp sport { 500, 4500 } accept",
        "add rule inet linkspan outbound ip6 saddr 2001:db8:ff::1 meta l4proto { esp, ah } accept",
        "add rule inet linkspan outbound ip saddr . ip daddr @pairs4_24_24 counter name dropped_out drop",
        "add rule inet linkspan outbound ip6 saddr . ip6 daddr @pairs6_64_0 counter name dropped_out drop",
        "add rule inet linkspan outbound ip saddr != { 203.0.113.1 } counter name dropped_out drop",
        "add rule inet linkspan outbound ip6 saddr != { ::, fe80::/10, 2001:db8:ff::1 } counter name dropped_out drop",
        "flush chain inet linkspan inbound",
        "add rule inet linkspan inbound ip daddr 203.0.113.1 udp dport 4500 accept",
        "add rule inet linkspan inbound ip6 daddr 2001:db8:ff::1 udp dport 4500 accept",
        "add rule inet linkspan inbound iifname != out0 accept",
        f"add rule inet linkspan inbound {NEIGHBOURS}",
        "add rule inet linkspan inbound ip daddr 203.0.113.1 udp dport { 500, 4500 } accept",
        "add rule inet linkspan inbound ip daddr 203.0.113.1 meta l4proto { esp, ah } accept",
        "add rule inet linkspan inbound ip6 daddr 2001:db8:ff::1 udp dport { 500, 4500 } accept",
        "add rule inet linkspan inbound ip6 daddr 2001:db8:ff::1 meta l4proto { esp, ah } accept",
        "add rule inet linkspan inbound ip daddr . ip saddr @pairs4_24_24 counter name dropped_in drop",
        "add rule inet linkspan inbound ip6 daddr . ip6 saddr @pairs6_64_0 counter name dropped_in drop",
    ]


def test_a_pair_that_stays_is_not_in_the_transaction() -> None:
    (switch,) = leak_guard.transactions(ADDRESSES, leak_guard.pair_sets([A]), leak_guard.pair_sets([A, B]), "kernel")
    assert [line for line in switch.splitlines() if "element" in line] == [
        "add element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.3.0.0/24 }"
    ]
    (switch,) = leak_guard.transactions(ADDRESSES, leak_guard.pair_sets([A, B, C]), leak_guard.pair_sets([A]), "kernel")
    assert [line for line in switch.splitlines() if "element" in line or "delete" in line] == [
        "delete element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.3.0.0/24 }",
        "delete set inet linkspan pairs6_64_0",
    ]


def test_protected_packets_are_accepted_with_kernel_esp() -> None:
    kernel = "".join(leak_guard.transactions(ADDRESSES, {}, leak_guard.pair_sets([A]), "kernel"))
    assert kernel.index("rt ipsec exists accept") < kernel.index("counter name dropped_out drop")
    assert kernel.index("meta ipsec exists accept") < kernel.index("counter name dropped_in drop")
    assert "ipsec" not in "".join(leak_guard.transactions(ADDRESSES, {}, leak_guard.pair_sets([A]), "user-space"))


@pytest.mark.parametrize(
    ("states", "closed"),
    [
        ({}, ""),
        ({"enabled": False}, "!= lo"),
        ({"outside": False}, "{ out0 }"),
        ({"inside": (False, True)}, "{ in00010000 }"),
        ({"inside": (True, False)}, "{ in00010001 }"),
        ({"outside": False, "inside": (False, False)}, "{ out0, in00010000, in00010001 }"),
    ],
)
def test_closed_interfaces_are_dropped_before_all_other_rules(states: dict[str, Any], closed: str) -> None:
    wanted = gateway(1, inside=2)
    wanted = replace(
        wanted,
        enabled=states.get("enabled", True),
        outside=replace(wanted.outside, enabled=states.get("outside", True)),
        inside=tuple(
            replace(interface, enabled=enabled)
            for interface, enabled in zip(wanted.inside, states.get("inside", (True, True)), strict=True)
        ),
    )
    assert leak_guard.closed_interfaces(wanted) == closed
    (switch,) = leak_guard.transactions(ADDRESSES, {}, {}, "kernel", closed)
    lines = switch.splitlines()
    for chain, match in (("outbound", "oifname"), ("inbound", "iifname")):
        first = lines[lines.index(f"flush chain inet linkspan {chain}") + 1]
        assert (first == f"add rule inet linkspan {chain} {match} {closed} drop") == bool(closed)


@pytest.mark.parametrize("pair", [("10.1.0.0/24", "::/0"), ("10.1.0.1/24", "10.2.0.0/24"), ("x", "10.2.0.0/24")])
def test_invalid_pairs_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        leak_guard.pair_sets([SelectorPair(*pair)])


@pytest.mark.root
def test_invalid_pairs_raise_a_driver_error(machine: Machine) -> None:
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    with pytest.raises(DriverError, match="not of one IP version"):
        drivers.leak_guard.apply(gateway(1), [SelectorPair("10.1.0.0/24", "::/0")])


@pytest.mark.root
def test_a_thousand_pairs_are_applied_within_a_second(machine: Machine) -> None:
    """Prints the times; the bound is one that a busy machine keeps too."""
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    pairs = frozenset(SelectorPair(f"10.{n // 250}.{n % 250}.0/24", f"172.16.{n % 250}.0/24") for n in range(1000))
    times = []
    for wanted in (pairs, pairs, frozenset(list(pairs)[:500])):
        before = time.perf_counter()
        drivers.leak_guard.apply(gateway(1), wanted)
        times.append(round((time.perf_counter() - before) * 1000, 1))
        assert drivers.leak_guard.current(gateway(1).id) == wanted
    print(f"1,000 pairs: {times[0]} ms new, {times[1]} ms unchanged, {times[2]} ms with half of them removed")
    assert max(times) < 1000
