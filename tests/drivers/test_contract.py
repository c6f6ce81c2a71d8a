"""What every implementation of `drivers.ports` does, fakes and real ones alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.desired import IpsecPolicy
from linkspan.core.tunnel import fallback
from linkspan.core.tunnel.charon_events import Cause, CharonEvent, DaemonLost, SaChanged
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.drivers.ports import DriverError, Drivers, Unresponsive
from tests.drivers.conftest import Bench, Site
from tests.drivers.machine import connection, eventually, gateway

AES_256 = IpsecPolicy("esp", "tunnel", "aes-256", "sha256", "group14", "seconds", 3600)
GROUP_19 = IpsecPolicy("esp", "tunnel", "aes-128", "sha256", "group19", "seconds", 3600)


def lost(fact: CharonEvent) -> bool:
    return isinstance(fact, DaemonLost)


def cause(code: str) -> Callable[[CharonEvent], bool]:
    return lambda fact: isinstance(fact, Cause) and fact.code == code and bool(fact.about)


def changed(site: Site) -> Callable[[CharonEvent], bool]:
    return lambda fact: fact == SaChanged(site.config.name)


# -- namespaces ------------------------------------------------------------------------------------------------------


def test_a_namespace_is_there_until_it_is_removed(bench: Bench) -> None:
    namespaces = bench.drivers().namespaces
    assert namespaces.present() == frozenset()
    namespaces.apply(gateway(1))
    namespaces.apply(gateway(1))
    namespaces.apply(gateway(2))
    assert namespaces.present() == {gateway(1).id, gateway(2).id}
    namespaces.remove(gateway(1).id)
    namespaces.remove(gateway(1).id)
    assert namespaces.present() == {gateway(2).id}


def test_a_later_agent_of_the_node_finds_its_namespaces_and_no_others(bench: Bench) -> None:
    bench.drivers().namespaces.apply(gateway(1))
    bench.drivers("node-b").namespaces.apply(gateway(2))
    assert bench.drivers().namespaces.present() == {gateway(1).id}
    bench.drivers("node-b").namespaces.remove(gateway(1).id)
    assert bench.drivers().namespaces.present() == {gateway(1).id}


# -- guard -----------------------------------------------------------------------------------------------------------

PAIRS = frozenset(
    {
        SelectorPair("10.1.0.0/24", "10.2.0.0/24"),
        SelectorPair("10.1.0.0/24", "0.0.0.0/0"),
        SelectorPair("10.0.0.0/8", "10.2.0.7/32"),
        SelectorPair("203.0.113.1/32", "203.0.113.2/32"),
        SelectorPair("2001:db8:1::/64", "2001:db8:2::/56"),
        SelectorPair("2001:db8:1::/64", "::/0"),
        SelectorPair("2001:db8:1::7/128", "2001:db8:2::8/128"),
    }
)


def test_the_guard_reads_back_what_it_guards(bench: Bench) -> None:
    drivers = bench.drivers()
    assert drivers.guard.current(gateway(1).id) == frozenset()
    drivers.namespaces.apply(gateway(1))
    assert drivers.guard.current(gateway(1).id) == frozenset()
    for pairs in (PAIRS, PAIRS, frozenset(list(PAIRS)[:3]), frozenset[SelectorPair]()):
        drivers.guard.apply(gateway(1), pairs)
        assert drivers.guard.current(gateway(1).id) == pairs


def test_the_guard_outlives_the_agent(bench: Bench) -> None:
    drivers = bench.drivers()
    drivers.namespaces.apply(gateway(1))
    drivers.guard.apply(gateway(1), PAIRS)
    drivers.namespaces.apply(gateway(1))
    assert bench.drivers().guard.current(gateway(1).id) == PAIRS


def test_there_is_nothing_to_guard_without_a_namespace(bench: Bench) -> None:
    with pytest.raises(DriverError):
        bench.drivers().guard.apply(gateway(1), PAIRS)


# -- paths -----------------------------------------------------------------------------------------------------------

PATHS = frozenset(
    {
        PairMtu(SelectorPair("10.1.0.0/24", "10.2.0.0/24"), 1300, 1300),
        PairMtu(SelectorPair("10.1.0.0/24", "10.2.0.0/16"), 1200, 1200),
        PairMtu(SelectorPair("10.1.0.0/24", "0.0.0.0/0"), 1300, 1300),
        PairMtu(SelectorPair("10.1.0.7/32", "10.2.0.0/24"), 1400),
        PairMtu(SelectorPair("2001:db8:1::/64", "2001:db8:2::/64"), 1300, 1300),
        PairMtu(SelectorPair("2001:db8:1::7/128", "2001:db8:2::8/128"), 1290, 1300),
        PairMtu(SelectorPair("2001:db8:1::/64", "::/0"), 1400),
    }
)


def lowered(paths: frozenset[PairMtu]) -> frozenset[PairMtu]:
    """The same pairs with other MTUs."""
    return frozenset(PairMtu(path.pair, path.mtu - 10, path.route and path.route - 10) for path in paths)


def test_paths_read_back_as_applied(bench: Bench) -> None:
    drivers = bench.drivers()
    assert drivers.paths.current(gateway(1).id) == frozenset()
    site = Site(drivers, 1, 2)
    assert drivers.paths.outside(gateway(1).id) == 1500
    some = frozenset(sorted(PATHS)[:3])
    for paths in (
        frozenset[PairMtu](),
        PATHS,
        PATHS,
        lowered(PATHS),
        some,
        some | lowered(PATHS - some),
        frozenset[PairMtu](),
    ):
        drivers.paths.apply(site.gateway, paths)
        assert drivers.paths.current(gateway(1).id) == paths


def test_paths_outlive_the_agent(bench: Bench) -> None:
    drivers = bench.drivers()
    site = Site(drivers, 1, 2)
    drivers.paths.apply(site.gateway, PATHS)
    later = bench.drivers()
    assert later.paths.current(gateway(1).id) == PATHS
    later.paths.apply(site.gateway, lowered(PATHS))
    assert bench.drivers().paths.current(gateway(1).id) == lowered(PATHS)


def test_there_is_no_path_without_a_namespace(bench: Bench) -> None:
    paths = bench.drivers().paths
    with pytest.raises(DriverError):
        paths.apply(gateway(1), PATHS)
    with pytest.raises(DriverError):
        paths.outside(gateway(1).id)


# -- one charon ------------------------------------------------------------------------------------------------------


def test_a_charon_needs_a_namespace(bench: Bench) -> None:
    with pytest.raises(DriverError):
        bench.drivers().charon(gateway(1)).start()


def test_what_is_loaded_is_known(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    assert site.charon.loaded() == site.held
    site.load()
    assert site.charon.loaded() == site.held
    site.charon.unload("nobody")
    site.charon.unload(site.config.name)
    assert site.charon.loaded() == {}


def test_a_second_agent_adopts_what_runs(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    site.charon.detach()
    other = bench.drivers().charon(gateway(1))
    assert not other.start()
    assert other.loaded() == site.held
    assert not other.start()


def test_stop_can_be_repeated_and_start_is_anew_afterwards(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    site.charon.stop()
    site.charon.stop()
    with pytest.raises(Unresponsive):
        site.charon.loaded()
    assert site.charon.start()
    assert site.charon.loaded() == {}


def test_a_gateway_that_never_ran_can_be_stopped(bench: Bench) -> None:
    bench.drivers().charon(gateway(1)).stop()


def test_to_initiate_the_unknown_is_refused_in_words(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    with pytest.raises(DriverError) as refusal:
        site.charon.initiate("nobody", "nothing")
    assert not isinstance(refusal.value, Unresponsive)
    assert str(refusal.value)
    assert site.charon.loaded() == site.held


def test_to_end_the_unknown_is_no_error(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    site.charon.terminate_child(4711)
    site.charon.terminate_sa(4711)
    assert site.charon.sas() == ()


def test_a_silent_peer_is_a_cause_early(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 9)
    site.initiate()
    site.facts.wait(cause("no-answer"), 5)
    (sa,) = site.charon.sas(site.config.name)
    assert (sa.state, sa.initiator, sa.established) == ("CONNECTING", True, False)
    site.end()
    eventually(site.idle)


def test_traps_are_known_until_they_are_taken_back(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    (child,) = site.held[site.config.name]
    assert site.charon.traps() == frozenset()
    site.charon.uninstall(site.config.name, child)
    for _ in range(2):
        site.charon.install(site.config.name, child)
        assert site.charon.traps() == {(site.config.name, child)}
    assert site.charon.sas() == ()
    site.load()
    assert site.charon.traps() == {(site.config.name, child)}
    site.charon.detach()
    other = bench.drivers().charon(gateway(1))
    other.start()
    assert other.traps() == {(site.config.name, child)}, "a trap outlives the agent"
    other.uninstall(site.config.name, child)
    assert other.traps() == frozenset()


def test_to_trap_the_unknown_is_refused_in_words(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    with pytest.raises(DriverError) as refusal:
        site.charon.install(site.config.name, "nothing")
    assert not isinstance(refusal.value, Unresponsive)
    assert str(refusal.value)


# -- two of them -----------------------------------------------------------------------------------------------------


def test_a_tunnel_comes_up_and_goes_at_both_ends(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    for site in (left, right):
        eventually(site.up)
        site.facts.wait(changed(site))
    ours, theirs = left.charon.sas()[0], right.charon.sas()[0]
    assert (ours.initiator, theirs.initiator) == (True, False)
    assert (ours.local_address, ours.remote_address) == (theirs.remote_address, theirs.local_address)
    assert ours.children[0].spi_in == theirs.children[0].spi_out
    assert left.charon.sas("nobody") == ()
    left.initiate()
    assert left.charon.sas()[0].children == ours.children
    left.end()
    for site in (left, right):
        eventually(site.idle)


def test_a_trap_beside_a_tunnel_leaves_it_alone(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    (child,) = left.held[left.config.name]
    left.charon.install(left.config.name, child)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    before = left.charon.sas()[0].children[0].spi_in
    left.charon.uninstall(left.config.name, child)
    assert left.charon.traps() == frozenset()
    assert left.charon.sas()[0].children[0].spi_in == before


def test_one_sa_ends_by_its_number(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(left.up)
    right.charon.terminate_sa(right.charon.sas()[0].unique_id)
    for site in (left, right):
        eventually(site.idle)


def test_an_sa_with_a_dead_peer_ends_at_once(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    bench.freeze(right.charon, right.gateway)
    before = time.monotonic()
    left.charon.terminate_sa(left.charon.sas()[0].unique_id, dead=True)
    eventually(left.idle, 0.3)
    assert time.monotonic() - before < 0.3


def test_one_child_ends_by_its_number_and_its_ike_sa_stays(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.charon.terminate_child(left.charon.sas()[0].children[0].unique_id)
    eventually(lambda: (left.children(), right.children()) == (0, 0))
    left.initiate()
    eventually(lambda: left.up() and right.up())


def groups(site: Site) -> list[str]:
    return [child.group for sa in site.charon.sas() for child in sa.children if child.state == "INSTALLED"]


def test_the_first_child_has_no_group_until_its_keys_are_renewed(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    (first,) = left.charon.sas()[0].children
    assert (first.encryption, first.bits, first.integrity, first.group) == ("AES_CBC", 128, "HMAC_SHA2_256_128", "")
    left.charon.rekey(first.unique_id)
    eventually(lambda: groups(left) == groups(right) == ["MODP_2048"])
    (renewed,) = (child for child in left.charon.sas()[0].children if child.state == "INSTALLED")
    assert (renewed.name, renewed.spi_in != first.spi_in) == (first.name, True)


def test_a_renewal_that_the_peer_refuses_leaves_the_child_as_it_is(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1, ipsec=GROUP_19)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    (first,) = left.charon.sas()[0].children
    left.charon.rekey(first.unique_id)
    left.facts.wait(cause("rekey-failed"))
    assert [child.spi_in for child in left.charon.sas()[0].children] == [first.spi_in]
    assert groups(left) == groups(right) == [""]


@pytest.mark.parametrize("first", ["both", "strict"])
def test_of_equal_children_a_responder_takes_the_first(bench: Bench, first: str) -> None:
    """The reason for the order of `core.tunnel.fallback`: behind a strict child the answering one is never reached."""
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1, ipsec=AES_256)
    (strict,) = right.config.children
    old = msgspec.structs.replace(strict, esp_proposals=left.config.children[0].esp_proposals)
    both = fallback.with_fallback(right.config, msgspec.structs.replace(right.config, children=(old,)))
    assert [child.name for child in both.children] == [fallback.fallback_name(strict.name), strict.name]
    order = both.children if first == "both" else both.children[::-1]
    right.charon.unload(right.config.name)
    right.config = msgspec.structs.replace(both, children=order)
    right.load()
    left.initiate()
    if first == "strict":
        left.facts.wait(cause("esp-proposal"))
        return
    eventually(left.up)
    (sa,) = right.charon.sas()
    assert [child.name for child in sa.children] == [fallback.fallback_name(strict.name)]
    (told,) = fallback.relabel((sa,), right.config, msgspec.structs.replace(right.config, children=(old,)))
    assert told.children[0].bits == 128, "its algorithms tell that it is the old version"


def test_a_second_connection_to_a_peer_joins_its_ike_sa(bench: Bench) -> None:
    """Loaded again with one child more, the connection keeps its SAs, and the new child comes up beside the old."""
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    before = left.charon.sas()[0]
    more = {
        left: connection(1, 2, id="0000aaaa-e29b-41d4-a716-446655440000", local_cidrs=("10.1.0.1/32",)),
        right: connection(2, 1, id="0000bbbb-e29b-41d4-a716-446655440000", peer_cidrs=("10.1.0.1/32",)),
    }
    for site, second in more.items():
        site.config = ipsec_config.with_sibling_children(site.config, [ipsec_config.build(second)])
        assert len(site.config.children) == 2
        site.load()
        assert site.charon.loaded() == site.held
    left.charon.initiate(left.config.name, ipsec_config.build(more[left]).children[0].name)
    eventually(lambda: (left.children(), right.children()) == (2, 2))
    after = left.charon.sas()[0]
    assert after.unique_id == before.unique_id
    assert before.children[0].spi_in in {child.spi_in for child in after.children}


def test_loading_and_unloading_leaves_tunnels_up(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    spi = left.charon.sas()[0].children[0].spi_in
    left.connection = connection(1, 2, psk=Secret("another"))
    left.load()
    left.charon.unload(left.config.name)
    assert left.charon.loaded() == {}
    assert left.charon.sas()[0].children[0].spi_in == spi


def test_a_charon_that_ends_takes_leave_of_its_peer(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.charon.stop()
    eventually(right.idle)
    assert not any(map(lost, left.facts.all))


def test_tunnels_and_facts_outlive_the_agent(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    before = left.charon.sas()[0].children[0].spi_in
    left.charon.detach()
    seen = len(left.facts.all)
    left.charon = bench.drivers().charon(left.gateway)
    assert not left.charon.start()
    assert left.charon.sas()[0].children[0].spi_in == before
    facts = type(left.facts)()
    left.charon.listen(facts)
    right.end()
    facts.wait(changed(left))
    assert len(left.facts.all) == seen


@pytest.mark.parametrize(
    ("changes", "initiator", "responder"),
    [
        ({"psk": Secret("wrong")}, "auth-failed", "auth-failed"),
        ({"peer_id": "somebody.example"}, "auth-failed", ""),
        ({"peer_address": "203.0.113.77"}, "ike-proposal", ""),
        ({"ipsec": AES_256}, "esp-proposal", "esp-proposal"),
        ({"local_cidrs": ("10.9.0.0/24",)}, "selectors", "selectors"),
    ],
)
def test_what_is_wrong_is_said_at_the_end_that_knows(
    bench: Bench, changes: dict[str, object], initiator: str, responder: str
) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1, **changes)
    left.initiate()
    left.facts.wait(cause(initiator))
    if responder:
        right.facts.wait(cause(responder))
    assert not any(sa.installed for sa in left.charon.sas())
    half_way = [sa.established for sa in left.charon.sas()]
    assert half_way == ([True] if initiator in ("esp-proposal", "selectors") else [])


def test_the_last_loaded_key_of_two_identities_counts(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2, psk=Secret("old")), Site(drivers, 2, 1, psk=Secret("new"))
    left.initiate()
    left.facts.wait(cause("auth-failed"))
    left.connection = msgspec.structs.replace(left.connection, psk=Secret("new"))
    left.load()
    left.initiate()
    eventually(lambda: left.up() and right.up())


# -- accidents -------------------------------------------------------------------------------------------------------


def test_a_killed_charon_is_noticed_once_and_knows_nothing_afterwards(bench: Bench) -> None:
    drivers = bench.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    bench.kill(left.charon, left.gateway)
    left.facts.wait(lost, 2)
    with pytest.raises(Unresponsive):
        left.charon.loaded()
    assert left.charon.start()
    left.charon.listen(left.facts)
    assert (left.charon.loaded(), left.charon.sas()) == ({}, ())
    left.load()
    left.initiate()
    eventually(left.up)
    assert sum(map(lost, left.facts.all)) == 1


def test_a_charon_killed_while_nobody_looked_is_started_anew(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    bench.kill(site.charon, site.gateway)
    assert bench.drivers().charon(gateway(1)).start()


def test_a_charon_that_hangs_does_not_hang_us(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    bench.freeze(site.charon, site.gateway)
    before = time.monotonic()
    for command in (site.charon.loaded, site.charon.sas, site.charon.start, site.load):
        with pytest.raises(Unresponsive):
            command()
    assert time.monotonic() - before < 6
    site.charon.stop()
    assert site.charon.start()
    assert site.charon.loaded() == {}


def test_after_detach_nothing_is_delivered(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    site.charon.detach()
    bench.kill(site.charon, site.gateway)
    time.sleep(0.1)
    assert not any(map(lost, site.facts.all))


# -- names -----------------------------------------------------------------------------------------------------------


def resolved(drivers: Drivers, name: str) -> Resolution:
    """What a resolver delivers."""
    said: SimpleQueue[Resolution] = SimpleQueue()
    drivers.resolver.resolve(gateway(1).id, name, said.put)
    return said.get(timeout=10)


def test_a_name_is_resolved_in_its_gateway(bench: Bench) -> None:
    drivers = bench.drivers()
    drivers.namespaces.apply(gateway(1))
    bench.name(gateway(1), "vpn.example.org", "203.0.113.7", "2001:db8:ff::7")
    answer = resolved(drivers, "vpn.example.org")
    assert (answer.name, set(answer.addresses)) == ("vpn.example.org", {"203.0.113.7", "2001:db8:ff::7"})
    assert answer.error == ""


def test_a_name_that_nobody_knows_is_an_error(bench: Bench) -> None:
    drivers = bench.drivers()
    drivers.namespaces.apply(gateway(1))
    answer = resolved(drivers, "nobody.invalid")
    assert answer.addresses == ()
    assert answer.error


def test_what_charon_was_told_of_its_peers(bench: Bench) -> None:
    site = Site(bench.drivers(), 1, 2)
    assert site.charon.remotes() == {site.config.name: site.config.remote_address}
