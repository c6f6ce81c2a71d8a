"""Rules, routes and the MSS clamp's transactions. tests/wire/test_mtu tests their effect on packets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path as Folder

import pytest

from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.gateway import mss_clamp
from linkspan.drivers.local import LocalDrivers
from linkspan.drivers.ports import DriverError
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import Machine, eventually, run

A = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
B = SelectorPair("10.1.0.0/24", "10.0.0.0/8")
C = SelectorPair("2001:db8:1::/64", "::/0")
EVERYTHING = ("rule", "-6 rule", "route show table all", "-6 route show table all")
wire = pytest.mark.wire


def test_the_clamp_matches_specific_pairs_first_and_both_directions() -> None:
    assert mss_clamp.transaction({}, {B: 1160, A: 1260, C: 1240}).splitlines() == [
        "add table inet linkspan-mtu",
        "add chain inet linkspan-mtu forward { type filter hook forward priority mangle; policy accept; }",
        "add set inet linkspan-mtu mss6_64_0_1240 { type ipv6_addr . ipv6_addr; flags interval; }",
        "add element inet linkspan-mtu mss6_64_0_1240 { 2001:db8:1::/64 . ::/0 }",
        "add set inet linkspan-mtu mss4_24_24_1260 { type ipv4_addr . ipv4_addr; flags interval; }",
        "add element inet linkspan-mtu mss4_24_24_1260 { 10.1.0.0/24 . 10.2.0.0/24 }",
        "add set inet linkspan-mtu mss4_24_8_1160 { type ipv4_addr . ipv4_addr; flags interval; }",
        "add element inet linkspan-mtu mss4_24_8_1160 { 10.1.0.0/24 . 10.0.0.0/8 }",
        "flush chain inet linkspan-mtu forward",
        "add rule inet linkspan-mtu forward tcp flags & (syn | rst) != syn accept",
        "add rule inet linkspan-mtu forward meta l4proto != tcp accept",
        'add rule inet linkspan-mtu forward iifname "in*" oifname "in*" accept',
        *(
            f"add rule inet linkspan-mtu forward {ip} {local} . {ip} {remote} @{name} "
            f"tcp option maxseg size set {size} accept"
            for ip, name, size in (
                ("ip6", "mss6_64_0_1240", 1240),
                ("ip", "mss4_24_24_1260", 1260),
                ("ip", "mss4_24_8_1160", 1160),
            )
            for local, remote in (("saddr", "daddr"), ("daddr", "saddr"))
        ),
    ]


def test_the_clamp_is_changed_by_differences_and_removed_with_its_last_pair() -> None:
    changed = mss_clamp.transaction({A: 1260, B: 1160, C: 1160}, {A: 1200, C: 1160})
    assert [line for line in changed.splitlines() if "element" in line or "delete" in line] == [
        "add element inet linkspan-mtu mss4_24_24_1200 { 10.1.0.0/24 . 10.2.0.0/24 }",
        "delete set inet linkspan-mtu mss4_24_24_1260",
        "delete set inet linkspan-mtu mss4_24_8_1160",
    ]
    assert mss_clamp.transaction({A: 1260}, {A: 1260}) == ""
    assert mss_clamp.transaction({A: 1260}, {}) == "delete table inet linkspan-mtu\n"


class RoutedGateway:
    """A gateway with a running charon, and the rules and routes in its namespace."""

    def __init__(self, machine: Machine) -> None:
        self.drivers: LocalDrivers = machine.drivers()
        self.running = RunningGateway(self.drivers, 1, 2)
        self.name = self.drivers.namespaces.name(self.running.gateway.id)

    def apply(self, *mtus: PairMtu) -> None:
        self.drivers.mtu_routing.apply(self.running.gateway, mtus)

    def snapshot(self) -> list[str]:
        """Return all rules and routes except those that the kernel adds by itself, and the nftables ruleset without its
        counters' values."""
        lines = [line for command in EVERYTHING for line in run(self.name, "ip", *command.split()).splitlines()]
        configured = [line for line in lines if "proto kernel" not in line]
        return [*configured, run(self.name, "nft", "--stateless", "list", "ruleset")]

    def rules(self) -> list[str]:
        """Return Linkspan's rules of both IP versions, in order."""
        output = run(self.name, "ip", "rule") + run(self.name, "ip", "-6", "rule")
        return [" ".join(line.split()) for line in output.splitlines() if "lookup 219" in line]

    def routes(self) -> list[str]:
        """Return Linkspan's routes of both IP versions, sorted."""
        output = run(self.name, "ip", "-4", "route", "show", "table", "all")
        output += run(self.name, "ip", "-6", "route", "show", "table", "all")
        return sorted(
            re.sub(r" (metric \d+ )?(pref medium)?$", "", line) for line in output.splitlines() if "219" in line
        )


@pytest.fixture
def routed(machine: Machine) -> RoutedGateway:
    return RoutedGateway(machine)


@wire
@pytest.mark.root
def test_each_local_prefix_has_a_rule_and_a_table_before_charons_rule(routed: RoutedGateway) -> None:
    routed.apply(PairMtu(B, 1200, 1200), PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300))
    rules = [re.fullmatch(r"(.*) lookup (\d+) proto 76", rule) for rule in routed.rules()]
    assert all(rules)
    table = {rule[1]: rule[2] for rule in rules if rule}
    assert list(table) == ["195: from 10.1.0.0/24", "155: from 2001:db8:1::/64"]
    four, six = table.values()
    assert four != six
    link = {"kernel": "out0", "user-space": "ipsec0"}[routed.drivers.backend]
    # The pattern does not match `mtu lock`.
    pattern = rf"(\S+) (?:via \S+ )?dev {link} table (\d+) proto 76 .*\bmtu (\d+)\b.*"
    routes = [re.fullmatch(pattern, line) for line in routed.routes()]
    assert all(routes), routed.routes()
    # With kernel ESP the outside network has a route too if a remote prefix contains it.
    assert [route.groups() for route in routes if route and not route[1].startswith("2001:db8:ff:")] == [
        ("10.0.0.0/8", four, "1200"),
        ("10.2.0.0/24", four, "1300"),
        ("default", six, "1300"),
    ]


@wire
@pytest.mark.root
def test_apply_is_idempotent_and_leaves_nothing(routed: RoutedGateway) -> None:
    before = routed.snapshot()
    for mtus in ([PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300)], [PairMtu(A, 1200, 1200)]):
        routed.apply(*mtus)
        once = routed.snapshot()
        routed.apply(*mtus)
        assert routed.snapshot() == once != before
    routed.apply()
    assert routed.snapshot() == before


@wire
@pytest.mark.root
def test_the_listing_of_nft_can_be_loaded_again(routed: RoutedGateway, tmp_path: Folder) -> None:
    """Operators save and restore a machine's ruleset, which includes Linkspan's tables."""
    routed.apply(PairMtu(A, 1300, 1300), PairMtu(B, 1200, 1200), PairMtu(C, 1300, 1300))
    whole = routed.snapshot()
    saved = tmp_path / "rules.nft"
    saved.write_text("flush ruleset\n" + whole[-1])
    assert run(routed.name, "nft", "-f", str(saved)) == ""
    assert routed.snapshot() == whole


@wire
@pytest.mark.root
def test_a_pair_without_a_route_needs_no_rule(routed: RoutedGateway) -> None:
    routed.apply(PairMtu(A, 1400))
    assert (routed.rules(), routed.routes()) == ([], [])


@wire
@pytest.mark.root
def test_unchanged_pairs_are_not_touched(routed: RoutedGateway) -> None:
    """`ip monitor` shows every change of the kernel: one replaced route, and no rule."""
    stays = [PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300)]
    routed.apply(*stays, PairMtu(B, 1200, 1200))
    monitor = Monitor(routed.name)
    routed.apply(*stays, PairMtu(B, 1250, 1250))
    changes = monitor.stop()
    assert changes, "the monitor shows no change"
    assert all(line.removeprefix("Deleted ").startswith("10.0.0.0/8 ") for line in changes), changes


class Monitor:
    """Records the changes of rules and routes in a namespace."""

    def __init__(self, name: str) -> None:
        command = ["ip", "netns", "exec", name, "ip", "monitor", "rule", "route"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)

    def stop(self) -> list[str]:
        """Stop and return the changes, without the kernel's own: links may still be coming up."""
        time.sleep(0.3)
        self._process.terminate()
        lines = self._process.communicate()[0].splitlines()
        return [line for line in lines if " proto kernel " not in line]


@wire
@pytest.mark.root
def test_routes_are_restored_after_charon_restarts(routed: RoutedGateway) -> None:
    mtus = [PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300)]
    routed.apply(*mtus)
    before = routed.routes()
    charon = routed.running.charon
    assert isinstance(charon, StrongswanCharon)
    os.kill(charon.pid, signal.SIGKILL)
    if routed.drivers.backend == "user-space":
        eventually(lambda: routed.routes() == [])
        with pytest.raises(DriverError, match="ipsec0"):
            routed.apply(*mtus)
    charon.start()
    routed.apply(*mtus)
    assert routed.routes() == before
    assert len(routed.rules()) == 2


@wire
@pytest.mark.root
def test_rules_of_an_earlier_release_are_removed_by_the_first_change(routed: RoutedGateway) -> None:
    """An earlier layout had one rule for each pair, and its tables were numbered by the MTU."""
    link = {"kernel": "out0", "user-space": "ipsec0"}[routed.drivers.backend]
    for remote, table in (("10.2.0.0/24", "2191300"), ("10.0.0.0/8", "2191200")):
        rule = ["from", "10.1.0.0/24", "to", remote, "table", table, "priority", "209", "protocol", "76"]
        run(routed.name, "ip", "rule", "add", *rule)
        route = ["default", "dev", link, "table", table, "proto", "76", "scope", "global", "mtu", table[3:]]
        run(routed.name, "ip", "route", "add", *route)
    assert len(routed.rules()) == len(routed.routes()) == 2
    routed.apply(PairMtu(A, 1300, 1300), PairMtu(B, 1200, 1200))
    assert [rule.split()[:-3] for rule in routed.rules()] == [["195:", "from", "10.1.0.0/24", "lookup"]]
    assert not any(route.startswith("default") for route in routed.routes())


@wire
@pytest.mark.root
def test_deleted_rules_and_routes_are_restored(routed: RoutedGateway) -> None:
    routed.apply(PairMtu(A, 1300, 1300))
    whole = routed.snapshot()
    table = routed.rules()[0].split()[-3]
    run(routed.name, "ip", "rule", "del", "table", table)
    run(routed.name, "ip", "route", "flush", "table", table)
    assert routed.rules() == routed.routes() == []
    run(routed.name, "nft", "delete", "table", "inet", "linkspan-mtu")
    with pytest.raises(DriverError):
        routed.apply(PairMtu(A, 1200, 1200))
    routed.apply(PairMtu(A, 1300, 1300))
    assert sorted(routed.snapshot()) == sorted(whole)


@pytest.mark.root
@pytest.mark.wire
def test_a_thousand_pairs_are_applied_changed_and_removed(routed: RoutedGateway) -> None:
    """Prints the times and compares the snapshots: unrouted, routed, unchanged, one less, none."""
    before, snapshots = routed.snapshot(), []
    pairs = [SelectorPair("10.1.0.0/24", f"172.{16 + n // 250}.{n % 250}.0/24") for n in range(1000)]
    times = []
    for mtus in (
        [PairMtu(pair, 1400) for pair in pairs],
        [PairMtu(pair, 1300, 1300) for pair in pairs],
        [PairMtu(pair, 1300, 1300) for pair in pairs],
        [PairMtu(pair, 1300, 1300) for pair in pairs[1:]],
        [],
    ):
        started = time.perf_counter()
        routed.apply(*mtus)
        times.append(round((time.perf_counter() - started) * 1000, 1))
        snapshots.append(routed.snapshot())
    print("1,000 pairs, ms: {} unrouted, {} routed, {} unchanged, {} one less, {} none".format(*times))
    assert len(snapshots[0]) < len(snapshots[1]) > len(snapshots[3]) > 1000
    assert sorted(snapshots[1]) == sorted(snapshots[2])
    assert sorted(snapshots[4]) == sorted(before)
