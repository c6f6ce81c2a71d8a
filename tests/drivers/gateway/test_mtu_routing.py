"""Rules, routes and the clamp's transactions. What they do to packets is in tests/wire/test_mtu."""

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
from tests.drivers.conftest import Site
from tests.drivers.machine import Machine, eventually, run

A = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
B = SelectorPair("10.1.0.0/24", "10.0.0.0/8")
C = SelectorPair("2001:db8:1::/64", "::/0")
EVERYTHING = ("rule", "-6 rule", "route show table all", "-6 route show table all")
wire = pytest.mark.wire


def test_the_clamp_looks_into_narrow_pairs_first_and_both_ways() -> None:
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
        *(
            f"add rule inet linkspan-mtu forward {ip} {ours} . {ip} {theirs} @{name} "
            f"tcp option maxseg size set {size} accept"
            for ip, name, size in (
                ("ip6", "mss6_64_0_1240", 1240),
                ("ip", "mss4_24_24_1260", 1260),
                ("ip", "mss4_24_8_1160", 1160),
            )
            for ours, theirs in (("saddr", "daddr"), ("daddr", "saddr"))
        ),
    ]


def test_the_clamp_changes_by_differences_and_goes_with_its_last_pair() -> None:
    changed = mss_clamp.transaction({A: 1260, B: 1160, C: 1160}, {A: 1200, C: 1160})
    assert [line for line in changed.splitlines() if "element" in line or "delete" in line] == [
        "add element inet linkspan-mtu mss4_24_24_1200 { 10.1.0.0/24 . 10.2.0.0/24 }",
        "delete set inet linkspan-mtu mss4_24_24_1260",
        "delete set inet linkspan-mtu mss4_24_8_1160",
    ]
    assert mss_clamp.transaction({A: 1260}, {A: 1260}) == ""
    assert mss_clamp.transaction({A: 1260}, {}) == "delete table inet linkspan-mtu\n"


class Bench:
    """A gateway with a charon, as its namespace is seen from outside."""

    def __init__(self, here: Machine) -> None:
        self.drivers: LocalDrivers = here.drivers()
        self.site = Site(self.drivers, 1, 2)
        self.name = self.drivers.namespaces.name(self.site.gateway.id)

    def apply(self, *paths: PairMtu) -> None:
        self.drivers.paths.apply(self.site.gateway, paths)

    def seen(self) -> list[str]:
        """All rules and routes but those that the kernel makes when a link comes up, and every rule of nftables."""
        lines = [line for command in EVERYTHING for line in run(self.name, "ip", *command.split()).splitlines()]
        mine = [line for line in lines if "proto kernel" not in line]
        return [*mine, run(self.name, "nft", "list", "ruleset")]

    def rules(self) -> list[str]:
        """Our rules of both IP versions, in order."""
        shown = run(self.name, "ip", "rule") + run(self.name, "ip", "-6", "rule")
        return [" ".join(line.split()) for line in shown.splitlines() if "lookup 219" in line]

    def routes(self) -> list[str]:
        """Our routes of both IP versions."""
        shown = run(self.name, "ip", "-4", "route", "show", "table", "all")
        shown += run(self.name, "ip", "-6", "route", "show", "table", "all")
        return sorted(
            re.sub(r" (metric \d+ )?(pref medium)?$", "", line) for line in shown.splitlines() if "219" in line
        )


@pytest.fixture
def bench(here: Machine) -> Bench:
    return Bench(here)


@wire
@pytest.mark.root
def test_a_rule_and_a_table_for_each_local_prefix_before_charons(bench: Bench) -> None:
    bench.apply(PairMtu(B, 1200, 1200), PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300))
    rules = [re.fullmatch(r"(.*) lookup (\d+) proto 76", rule) for rule in bench.rules()]
    assert all(rules)
    table = {rule[1]: rule[2] for rule in rules if rule}
    assert list(table) == ["195: from 10.1.0.0/24", "155: from 2001:db8:1::/64"]
    four, six = table.values()
    assert four != six
    link = {"kernel": "out0", "user-space": "ipsec0"}[bench.drivers.backend]
    # Without `lock`, which stands between `mtu` and the number.
    way = rf"(\S+) (?:via \S+ )?dev {link} table (\d+) proto 76 .*\bmtu (\d+)\b.*"
    routes = [re.fullmatch(way, one) for one in bench.routes()]
    assert all(routes), bench.routes()
    # Over the outside leg its own network is a route too, wherever it is in a remote prefix.
    assert [route.groups() for route in routes if route and not route[1].startswith("2001:db8:ff:")] == [
        ("10.0.0.0/8", four, "1200"),
        ("10.2.0.0/24", four, "1300"),
        ("default", six, "1300"),
    ]


@wire
@pytest.mark.root
def test_twice_is_once_and_nothing_is_left(bench: Bench) -> None:
    before = bench.seen()
    for paths in ([PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300)], [PairMtu(A, 1200, 1200)]):
        bench.apply(*paths)
        once = bench.seen()
        bench.apply(*paths)
        assert bench.seen() == once != before
    bench.apply()
    assert bench.seen() == before


@wire
@pytest.mark.root
def test_what_nft_lists_it_reads_again(bench: Bench, tmp_path: Folder) -> None:
    """Whoever saves the rules of a machine and loads them has ours too."""
    bench.apply(PairMtu(A, 1300, 1300), PairMtu(B, 1200, 1200), PairMtu(C, 1300, 1300))
    whole = bench.seen()
    saved = tmp_path / "rules.nft"
    saved.write_text("flush ruleset\n" + whole[-1])
    assert run(bench.name, "nft", "-f", str(saved)) == ""
    assert bench.seen() == whole


@wire
@pytest.mark.root
def test_an_unrouted_path_costs_no_rule(bench: Bench) -> None:
    bench.apply(PairMtu(A, 1400))
    assert (bench.rules(), bench.routes()) == ([], [])


@wire
@pytest.mark.root
def test_what_stays_is_not_touched(bench: Bench) -> None:
    """The kernel tells of every change: one route is another, and no rule."""
    stays = [PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300)]
    bench.apply(*stays, PairMtu(B, 1200, 1200))
    watching = Monitor(bench.name)
    bench.apply(*stays, PairMtu(B, 1250, 1250))
    changes = watching.end()
    assert changes, "it sees a change"
    assert all(line.removeprefix("Deleted ").startswith("10.0.0.0/8 ") for line in changes), changes


class Monitor:
    """What changes in the routing of a namespace."""

    def __init__(self, name: str) -> None:
        command = ["ip", "netns", "exec", name, "ip", "monitor", "rule", "route"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)

    def end(self) -> list[str]:
        """What was changed, but for what the kernel does by itself: links may still be on their way up."""
        time.sleep(0.3)
        self._process.terminate()
        lines = self._process.communicate()[0].splitlines()
        return [line for line in lines if " proto kernel " not in line]


@wire
@pytest.mark.root
def test_routes_come_back_after_charon(bench: Bench) -> None:
    paths = [PairMtu(A, 1300, 1300), PairMtu(C, 1300, 1300)]
    bench.apply(*paths)
    before = bench.routes()
    charon = bench.site.charon
    assert isinstance(charon, StrongswanCharon)
    os.kill(charon.pid, signal.SIGKILL)
    if bench.drivers.backend == "user-space":
        eventually(lambda: bench.routes() == [])
        with pytest.raises(DriverError, match="ipsec0"):
            bench.apply(*paths)
    charon.start()
    bench.apply(*paths)
    assert bench.routes() == before
    assert len(bench.rules()) == 2


@wire
@pytest.mark.root
def test_rules_of_a_version_before_go_with_the_first_change(bench: Bench) -> None:
    """They were one for each pair, and their tables were numbered by the MTU."""
    link = {"kernel": "out0", "user-space": "ipsec0"}[bench.drivers.backend]
    for remote, table in (("10.2.0.0/24", "2191300"), ("10.0.0.0/8", "2191200")):
        rule = ["from", "10.1.0.0/24", "to", remote, "table", table, "priority", "209", "protocol", "76"]
        run(bench.name, "ip", "rule", "add", *rule)
        route = ["default", "dev", link, "table", table, "proto", "76", "scope", "global", "mtu", table[3:]]
        run(bench.name, "ip", "route", "add", *route)
    assert len(bench.rules()) == len(bench.routes()) == 2
    bench.apply(PairMtu(A, 1300, 1300), PairMtu(B, 1200, 1200))
    assert [rule.split()[:-3] for rule in bench.rules()] == [["195:", "from", "10.1.0.0/24", "lookup"]]
    assert not any(route.startswith("default") for route in bench.routes())


@wire
@pytest.mark.root
def test_what_somebody_took_away_is_put_back(bench: Bench) -> None:
    bench.apply(PairMtu(A, 1300, 1300))
    whole = bench.seen()
    table = bench.rules()[0].split()[-3]
    run(bench.name, "ip", "rule", "del", "table", table)
    run(bench.name, "ip", "route", "flush", "table", table)
    assert bench.rules() == bench.routes() == []
    run(bench.name, "nft", "delete", "table", "inet", "linkspan-mtu")
    with pytest.raises(DriverError):
        bench.apply(PairMtu(A, 1200, 1200))
    bench.apply(PairMtu(A, 1300, 1300))
    assert sorted(bench.seen()) == sorted(whole)


@pytest.mark.root
@pytest.mark.wire
def test_a_thousand_paths(bench: Bench) -> None:
    """The times are printed; what there is afterwards is all of them, the same, one less, and nothing."""
    before, there = bench.seen(), []
    pairs = [SelectorPair("10.1.0.0/24", f"172.{16 + n // 250}.{n % 250}.0/24") for n in range(1000)]
    times = []
    for paths in (
        [PairMtu(pair, 1400) for pair in pairs],
        [PairMtu(pair, 1300, 1300) for pair in pairs],
        [PairMtu(pair, 1300, 1300) for pair in pairs],
        [PairMtu(pair, 1300, 1300) for pair in pairs[1:]],
        [],
    ):
        begun = time.perf_counter()
        bench.apply(*paths)
        times.append(round((time.perf_counter() - begun) * 1000, 1))
        there.append(bench.seen())
    print("1,000 pairs, ms: {} unrouted, {} routed, {} unchanged, {} one less, {} none".format(*times))
    assert len(there[0]) < len(there[1]) > len(there[3]) > 1000
    assert sorted(there[1]) == sorted(there[2])
    assert sorted(there[4]) == sorted(before)
