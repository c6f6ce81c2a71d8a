"""The leak guard's nft transactions as text. test_packets tests their effect on packets."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers.gateway import guard_rules, leak_guard
from linkspan.drivers.gateway.leak_guard import PairSets
from linkspan.drivers.ports import DriverError
from tests.drivers.machine import Machine, gateway

NEIGHBOURS = "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
REPORTS = (
    "ip6 saddr { ::, fe80::/10 } icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept"
)
ERRORS = (
    (
        "ip daddr 203.0.113.1 icmp type { destination-unreachable, time-exceeded, parameter-problem } "
        "@th,160,32 0xcb007101 accept"
    ),
    (
        "ip6 daddr 2001:db8:ff::1 icmpv6 type "
        "{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem } "
        "@th,128,128 0x20010db800ff00000000000000000001 accept"
    ),
)
replace = msgspec.structs.replace
GATEWAY = gateway(1)
A = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
B = SelectorPair("10.1.0.0/24", "10.3.0.0/24")
C = SelectorPair("2001:db8:1::/64", "::/0")


def transactions(
    wanted: Gateway, present: PairSets, pairs: PairSets, backend: Backend, known: bool = False
) -> list[str]:
    """The transactions for a gateway; `known`: the rules are those of the present sets already."""
    present_rules = guard_rules.rules(wanted, present, backend) if known else {}
    return leak_guard.transactions(guard_rules.rules(wanted, pairs, backend), present, pairs, present_rules)


def rules(script: str, chain: str) -> list[str]:
    """The rules that a script adds to a chain."""
    start = f"add rule inet linkspan {chain} "
    return [line.removeprefix(start) for line in script.splitlines() if line.startswith(start)]


def test_new_sets_are_filled_before_rules_refer_to_them() -> None:
    fill, switch = transactions(GATEWAY, {}, leak_guard.pair_sets([A, C]), "user-space")
    assert fill.splitlines() == [
        "add table inet linkspan",
        "add set inet linkspan pairs4_24_24 { type ipv4_addr . ipv4_addr; flags interval; }",
        "add element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.2.0.0/24 }",
        "add set inet linkspan pairs6_64_0 { type ipv6_addr . ipv6_addr; flags interval; }",
        "add element inet linkspan pairs6_64_0 { 2001:db8:1::/64 . ::/0 }",
    ]
    assert "element" not in switch
    assert rules(switch, "pairs_out") == [
        "ip saddr . ip daddr @pairs4_24_24 counter name dropped_out drop",
        "ip6 saddr . ip6 daddr @pairs6_64_0 counter name dropped_out drop",
    ]
    assert rules(switch, "pairs_in") == [
        "ip daddr . ip saddr @pairs4_24_24 counter name dropped_in drop",
        "ip6 daddr . ip6 saddr @pairs6_64_0 counter name dropped_in drop",
    ]
    assert rules(switch, "outbound") == [
        "oifname { lo, ipsec0, in00010000 } accept",
        "ip saddr 203.0.113.1 udp sport 4500 accept",
        "ip6 saddr 2001:db8:ff::1 udp sport 4500 accept",
        NEIGHBOURS,
        REPORTS,
        "ip saddr 203.0.113.1 udp sport { 500, 4500 } accept",
        "ip saddr 203.0.113.1 meta l4proto { esp, ah } accept",
        "ip6 saddr 2001:db8:ff::1 udp sport { 500, 4500 } accept",
        "ip6 saddr 2001:db8:ff::1 meta l4proto { esp, ah } accept",
        "jump pairs_out",
        "ip saddr 203.0.113.1 meta l4proto { udp, tcp } th dport 53 accept",
        "ip6 saddr 2001:db8:ff::1 meta l4proto { udp, tcp } th dport 53 accept",
        "ip saddr 203.0.113.1 tcp sport 1008-1023 accept",
        "ip6 saddr 2001:db8:ff::1 tcp sport 1008-1023 accept",
        "ip saddr 203.0.113.1 udp sport 992-1007 udp dport { 500, 4500 } accept",
        "ip6 saddr 2001:db8:ff::1 udp sport 992-1007 udp dport { 500, 4500 } accept",
        "ip saddr 203.0.113.1 icmp type { echo-request, echo-reply } accept",
        "ip6 saddr 2001:db8:ff::1 icmpv6 type { echo-request, echo-reply } accept",
        "counter name dropped_out drop",
    ]
    assert rules(switch, "forward") == [
        "iifname != { lo, ipsec0, in00010000 } counter name dropped_in drop",
        "oifname != { lo, ipsec0, in00010000 } counter name dropped_out drop",
        "accept",
    ]
    assert rules(switch, "from_tunnel") == [
        "ip saddr { 10.1.0.0/24, 203.0.113.1 } counter name dropped_in drop",
        "ip6 saddr { 2001:db8:1::/64, 2001:db8:ff::1 } counter name dropped_in drop",
        "accept",
    ]
    assert rules(switch, "from_inside") == [
        "ip saddr { 10.1.0.1, 203.0.113.1 } counter name dropped_in drop",
        "ip6 saddr { 2001:db8:1::1, 2001:db8:ff::1 } counter name dropped_in drop",
        "iifname in00010000 ip saddr { 10.1.0.0/24 } accept",
        "iifname in00010000 ip6 saddr { 2001:db8:1::/64, fe80::/10 } accept",
        NEIGHBOURS,
        "ip6 saddr fe80::/10 icmpv6 type mld-listener-query accept",
        "counter name dropped_in drop",
    ]
    assert rules(switch, "inbound") == [
        "iifname vmap { lo : accept, ipsec0 : goto from_tunnel, in00010000 : goto from_inside }",
        "ip daddr 203.0.113.1 udp dport 4500 accept",
        "ip6 daddr 2001:db8:ff::1 udp dport 4500 accept",
        "ip saddr { 10.1.0.1, 203.0.113.1 } counter name dropped_in drop",
        "ip6 saddr { 2001:db8:1::1, 2001:db8:ff::1 } counter name dropped_in drop",
        NEIGHBOURS,
        "ip6 saddr fe80::/10 icmpv6 type mld-listener-query accept",
        "ip daddr 203.0.113.1 udp dport { 500, 4500 } accept",
        "ip daddr 203.0.113.1 meta l4proto { esp, ah } accept",
        "ip6 daddr 2001:db8:ff::1 udp dport { 500, 4500 } accept",
        "ip6 daddr 2001:db8:ff::1 meta l4proto { esp, ah } accept",
        "ip daddr 203.0.113.1 ip frag-off & 0x1fff != 0 accept",
        "ip6 daddr 2001:db8:ff::1 frag frag-off != 0 accept",
        "jump pairs_in",
        "ip daddr 203.0.113.1 meta l4proto { udp, tcp } th sport 53 accept",
        "ip6 daddr 2001:db8:ff::1 meta l4proto { udp, tcp } th sport 53 accept",
        "ip daddr 203.0.113.1 tcp dport 1008-1023 tcp flags & (syn | ack) != syn accept",
        "ip6 daddr 2001:db8:ff::1 tcp dport 1008-1023 tcp flags & (syn | ack) != syn accept",
        "ip daddr 203.0.113.1 udp sport { 500, 4500 } udp dport 992-1007 accept",
        "ip6 daddr 2001:db8:ff::1 udp sport { 500, 4500 } udp dport 992-1007 accept",
        *ERRORS,
        "ip daddr 203.0.113.1 icmp type { echo-request, echo-reply } accept",
        "ip6 daddr 2001:db8:ff::1 icmpv6 type { echo-request, echo-reply } accept",
        "counter name dropped_in drop",
    ]


def test_chains_drop_whatever_no_rule_accepts() -> None:
    (switch,) = transactions(GATEWAY, {}, {}, "kernel")
    chains = [line for line in switch.splitlines() if line.startswith("add chain")]
    hooked = [line for line in chains if "hook" in line]
    assert [line.split()[4] for line in hooked] == ["outbound", "forward", "inbound"]
    assert all("policy drop" in line for line in hooked)


def test_with_kernel_esp_only_inside_interfaces_have_a_chain() -> None:
    (switch,) = transactions(GATEWAY, {}, {}, "kernel")
    assert rules(switch, "inbound")[0] == "iifname vmap { lo : accept, in00010000 : goto from_inside }"
    assert rules(switch, "from_inside")[-1] == "counter name dropped_in drop"


def test_prefixes_inside_one_another_are_one_element() -> None:
    first, second = gateway(1, inside=2).inside
    wide = replace(first, addresses=("10.1.0.1/24", "10.1.0.2/24", "10.1.0.3/16"))
    (switch,) = transactions(replace(GATEWAY, inside=(wide, second)), {}, {}, "user-space")
    assert "iifname in00010000 ip saddr { 10.1.0.0/16 } accept" in rules(switch, "from_inside")
    assert "ip saddr { 10.1.0.0/16, 203.0.113.1 } counter name dropped_in drop" in rules(switch, "from_tunnel")


def test_a_pair_that_stays_is_not_in_the_transaction() -> None:
    (switch,) = transactions(GATEWAY, leak_guard.pair_sets([A]), leak_guard.pair_sets([A, B]), "kernel")
    assert [line for line in switch.splitlines() if "element" in line] == [
        "add element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.3.0.0/24 }"
    ]
    (switch,) = transactions(GATEWAY, leak_guard.pair_sets([A, B, C]), leak_guard.pair_sets([A]), "kernel")
    assert [line for line in switch.splitlines() if "element" in line or "delete" in line] == [
        "delete element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.3.0.0/24 }",
        "delete set inet linkspan pairs6_64_0",
    ]


def test_protected_packets_are_accepted_with_kernel_esp() -> None:
    _, kernel = transactions(GATEWAY, {}, leak_guard.pair_sets([A]), "kernel")
    outbound, inbound = rules(kernel, "outbound"), rules(kernel, "inbound")
    assert outbound.index("rt ipsec exists accept") < outbound.index("counter name dropped_out drop")
    assert inbound.index("meta ipsec exists accept") < inbound.index("counter name dropped_in drop")
    assert rules(kernel, "forward") == [
        "iifname != { lo, in00010000 } meta ipsec missing counter name dropped_in drop",
        "oifname != { lo, in00010000 } rt ipsec missing counter name dropped_out drop",
        "accept",
    ]
    assert "ipsec0" not in kernel
    assert " ipsec " not in "".join(transactions(GATEWAY, {}, leak_guard.pair_sets([A]), "user-space"))


def test_a_connection_changes_no_rules_but_those_of_the_pairs() -> None:
    one, two, three = (leak_guard.pair_sets(pairs) for pairs in ([A], [A, B], [A, C]))
    (switch,) = transactions(GATEWAY, one, two, "kernel", known=True)
    assert switch == "add element inet linkspan pairs4_24_24 { 10.1.0.0/24 . 10.3.0.0/24 }\n"
    fill, switch = transactions(GATEWAY, one, three, "kernel", known=True)
    assert "add set inet linkspan pairs6_64_0" in fill
    assert [line.split()[:5] for line in switch.splitlines()] == [
        [*verb.split(), "inet", "linkspan", chain]
        for chain in ("pairs_out", "pairs_in")
        for verb in ("flush chain", "add rule", "add rule")
    ]
    # Whoever applies the same again may want to have it back.
    (switch,) = transactions(GATEWAY, one, one, "kernel", known=True)
    assert rules(switch, "forward") != []


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
    assert guard_rules.closed_interfaces(wanted) == closed
    (switch,) = transactions(wanted, {}, {}, "kernel")
    lines = switch.splitlines()
    for chain, match, way in (("outbound", "oifname", "out"), ("inbound", "iifname", "in")):
        first = lines[lines.index(f"flush chain inet linkspan {chain}") + 1]
        wanted_rule = f"add rule inet linkspan {chain} {match} {closed} counter name dropped_{way} drop"
        assert (first == wanted_rule) == bool(closed)


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
def test_an_address_with_a_zone_is_refused_as_it_may_contain_commands(machine: Machine) -> None:
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    outside = replace(gateway(1).outside, addresses=("2001:db8:ff::1%a accept;/64",))
    with pytest.raises(DriverError, match="an address has an IPv6 zone"):
        drivers.ike_limit.apply(gateway(1), ["2001:db8:ff::2%a }; accept"])
    with pytest.raises(DriverError, match="an address has an IPv6 zone"):
        drivers.namespaces.apply(replace(gateway(1), outside=outside))


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
