"""The contract of `drivers.ports`, for the fakes and the real drivers."""

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
from linkspan.core.tunnel.charon_events import Cause, CharonEvent, DaemonLost, RekeyFailed, SaChanged
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.core.tunnel.precedence import Precedence
from linkspan.drivers.ports import DriverError, Drivers, Unresponsive
from tests.drivers.conftest import Environment, RunningGateway
from tests.drivers.machine import connection, eventually, gateway

AES_256 = IpsecPolicy("esp", "tunnel", "aes-256", "sha256", "group14", "seconds", 3600)
GROUP_19 = IpsecPolicy("esp", "tunnel", "aes-128", "sha256", "group19", "seconds", 3600)


def lost(event: CharonEvent) -> bool:
    return isinstance(event, DaemonLost)


def cause(code: str) -> Callable[[CharonEvent], bool]:
    return lambda event: isinstance(event, Cause) and event.code == code and bool(event.about)


def changed(running: RunningGateway) -> Callable[[CharonEvent], bool]:
    return lambda event: isinstance(event, SaChanged) and event.about == running.config.name


# -- namespaces ------------------------------------------------------------------------------------------------------


def test_a_namespace_exists_until_it_is_removed(environment: Environment) -> None:
    namespaces = environment.drivers().namespaces
    assert namespaces.present() == frozenset()
    namespaces.apply(gateway(1))
    namespaces.apply(gateway(1))
    namespaces.apply(gateway(2))
    assert namespaces.present() == {gateway(1).id, gateway(2).id}
    namespaces.remove(gateway(1).id)
    namespaces.remove(gateway(1).id)
    assert namespaces.present() == {gateway(2).id}


def test_a_restarted_agent_finds_the_namespaces_of_its_node_only(environment: Environment) -> None:
    environment.drivers().namespaces.apply(gateway(1))
    environment.drivers("node-b").namespaces.apply(gateway(2))
    assert environment.drivers().namespaces.present() == {gateway(1).id}
    environment.drivers("node-b").namespaces.remove(gateway(1).id)
    assert environment.drivers().namespaces.present() == {gateway(1).id}


# -- leak guard ------------------------------------------------------------------------------------------------------

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


def test_the_guarded_pairs_are_read_back(environment: Environment) -> None:
    drivers = environment.drivers()
    assert drivers.leak_guard.current(gateway(1).id) == frozenset()
    drivers.namespaces.apply(gateway(1))
    assert drivers.leak_guard.current(gateway(1).id) == frozenset()
    for pairs in (PAIRS, PAIRS, frozenset(list(PAIRS)[:3]), frozenset[SelectorPair]()):
        drivers.leak_guard.apply(gateway(1), pairs)
        assert drivers.leak_guard.current(gateway(1).id) == pairs


def test_the_guard_outlives_the_agent(environment: Environment) -> None:
    drivers = environment.drivers()
    drivers.namespaces.apply(gateway(1))
    drivers.leak_guard.apply(gateway(1), PAIRS)
    drivers.namespaces.apply(gateway(1))
    assert environment.drivers().leak_guard.current(gateway(1).id) == PAIRS


def test_guarding_needs_a_namespace(environment: Environment) -> None:
    with pytest.raises(DriverError):
        environment.drivers().leak_guard.apply(gateway(1), PAIRS)


# -- traffic block ---------------------------------------------------------------------------------------------------


def test_the_blocked_pairs_are_read_back_and_outlive_the_agent(environment: Environment) -> None:
    drivers = environment.drivers()
    with pytest.raises(DriverError):
        drivers.traffic_block.apply(gateway(1), Precedence())
    drivers.namespaces.apply(gateway(1))
    assert drivers.traffic_block.current(gateway(1).id) == frozenset()
    passing = frozenset(
        {SelectorPair("10.1.0.7/32", "10.2.0.7/32"), SelectorPair("2001:db8:1::7/128", "2001:db8:2::/64")}
    )
    for blocked in (PAIRS, PAIRS, frozenset(list(PAIRS)[:3]), frozenset[SelectorPair](), PAIRS):
        drivers.traffic_block.apply(gateway(1), Precedence(blocked, passing))
        assert drivers.traffic_block.current(gateway(1).id) == blocked
    assert environment.drivers().traffic_block.current(gateway(1).id) == PAIRS


# -- policy bypass ---------------------------------------------------------------------------------------------------

BESIDE = frozenset(
    {
        SelectorPair("10.1.0.0/24", "10.1.0.0/24"),
        SelectorPair("2001:db8:1::/64", "2001:db8:1::/64"),
        SelectorPair("2001:db8:1::/64", "fe80::/10"),
        SelectorPair("2001:db8:1::/64", "ff00::/8"),
    }
)
"""What PAIRS would catch on the attached networks of gateway 1."""


def test_the_bypass_is_read_back_and_outlives_the_agent_but_not_a_start_of_charon(environment: Environment) -> None:
    drivers = environment.drivers()
    expected = BESIDE if drivers.backend == "kernel" else frozenset[SelectorPair]()
    assert drivers.policy_bypass.current(gateway(1).id) == frozenset()
    running = RunningGateway(drivers, 1, 2)
    assert drivers.policy_bypass.current(gateway(1).id) == frozenset()
    for _ in range(2):
        drivers.policy_bypass.apply(gateway(1), PAIRS)
        assert environment.drivers().policy_bypass.current(gateway(1).id) == expected
    running.charon.stop()
    assert running.charon.start()
    assert drivers.policy_bypass.current(gateway(1).id) == frozenset()
    drivers.policy_bypass.apply(gateway(1), PAIRS)
    assert drivers.policy_bypass.current(gateway(1).id) == expected
    environment.drivers().policy_bypass.apply(gateway(1), ())
    assert drivers.policy_bypass.current(gateway(1).id) == frozenset()


def test_a_bypass_needs_a_namespace(environment: Environment) -> None:
    drivers = environment.drivers()
    if drivers.backend == "kernel":
        with pytest.raises(DriverError):
            drivers.policy_bypass.apply(gateway(1), PAIRS)


# -- MTU routing -----------------------------------------------------------------------------------------------------

MTUS = frozenset(
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


def lowered(mtus: frozenset[PairMtu]) -> frozenset[PairMtu]:
    """Return the same pairs with lower MTUs."""
    return frozenset(PairMtu(mtu.pair, mtu.mtu - 10, mtu.route and mtu.route - 10) for mtu in mtus)


def test_mtus_are_read_back_as_applied(environment: Environment) -> None:
    drivers = environment.drivers()
    assert drivers.mtu_routing.current(gateway(1).id) == frozenset()
    running = RunningGateway(drivers, 1, 2)
    assert drivers.mtu_routing.outside_mtu(gateway(1).id) == 1500
    some = frozenset(sorted(MTUS)[:3])
    for mtus in (
        frozenset[PairMtu](),
        MTUS,
        MTUS,
        lowered(MTUS),
        some,
        some | lowered(MTUS - some),
        frozenset[PairMtu](),
    ):
        drivers.mtu_routing.apply(running.gateway, mtus)
        assert drivers.mtu_routing.current(gateway(1).id) == mtus


def test_mtus_outlive_the_agent(environment: Environment) -> None:
    drivers = environment.drivers()
    running = RunningGateway(drivers, 1, 2)
    drivers.mtu_routing.apply(running.gateway, MTUS)
    later = environment.drivers()
    assert later.mtu_routing.current(gateway(1).id) == MTUS
    later.mtu_routing.apply(running.gateway, lowered(MTUS))
    assert environment.drivers().mtu_routing.current(gateway(1).id) == lowered(MTUS)


def test_mtus_need_a_namespace(environment: Environment) -> None:
    routing = environment.drivers().mtu_routing
    with pytest.raises(DriverError):
        routing.apply(gateway(1), MTUS)
    with pytest.raises(DriverError):
        routing.outside_mtu(gateway(1).id)


# -- one charon ------------------------------------------------------------------------------------------------------


def test_a_charon_needs_a_namespace(environment: Environment) -> None:
    with pytest.raises(DriverError):
        environment.drivers().charon(gateway(1)).start()


def test_loaded_connections_are_listed_until_unloaded(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    assert running.charon.loaded() == running.expected_loaded
    running.load()
    assert running.charon.loaded() == running.expected_loaded
    running.charon.unload("unknown")
    running.charon.unload(running.config.name)
    assert running.charon.loaded() == {}


def test_a_second_agent_adopts_a_running_charon(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    running.charon.detach()
    other = environment.drivers().charon(gateway(1))
    assert not other.start()
    assert other.loaded() == running.expected_loaded
    assert not other.start()


def test_stop_is_idempotent_and_a_later_start_has_nothing_loaded(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    running.charon.stop()
    running.charon.stop()
    with pytest.raises(Unresponsive):
        running.charon.loaded()
    assert running.charon.start()
    assert running.charon.loaded() == {}


def test_a_charon_that_never_ran_can_be_stopped(environment: Environment) -> None:
    environment.drivers().charon(gateway(1)).stop()


def test_initiating_an_unknown_child_is_refused_with_a_message(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    with pytest.raises(DriverError) as refusal:
        running.charon.initiate("unknown", "unknown")
    assert not isinstance(refusal.value, Unresponsive)
    assert str(refusal.value)
    assert running.charon.loaded() == running.expected_loaded


def test_terminating_an_unknown_sa_is_no_error(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    running.charon.terminate_child(4711)
    running.charon.terminate_sa(4711)
    assert running.charon.sas() == ()


def test_a_silent_peer_is_reported_within_seconds(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 9)
    running.initiate()
    running.events.wait(cause("PEER_NO_REPLY"), 5)
    (sa,) = running.charon.sas(running.config.name)
    assert (sa.state, sa.initiator, sa.established) == ("CONNECTING", True, False)
    running.terminate()
    eventually(running.idle)


def test_traps_are_listed_until_uninstalled(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    (child,) = running.expected_loaded[running.config.name].children
    assert running.charon.traps() == frozenset()
    running.charon.uninstall(running.config.name, child)
    for _ in range(2):
        running.charon.install(running.config.name, child)
        assert running.charon.traps() == {(running.config.name, child)}
    assert running.charon.sas() == ()
    running.load()
    assert running.charon.traps() == {(running.config.name, child)}
    running.charon.detach()
    other = environment.drivers().charon(gateway(1))
    other.start()
    assert other.traps() == {(running.config.name, child)}, "a trap outlives the agent"
    other.uninstall(running.config.name, child)
    assert other.traps() == frozenset()


def test_a_trap_for_an_unknown_child_is_refused_with_a_message(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    with pytest.raises(DriverError) as refusal:
        running.charon.install(running.config.name, "unknown")
    assert not isinstance(refusal.value, Unresponsive)
    assert str(refusal.value)


# -- two charons -----------------------------------------------------------------------------------------------------


def test_a_tunnel_comes_up_and_down_at_both_ends(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    for running in (left, right):
        eventually(running.up)
        running.events.wait(changed(running))
    ours, theirs = left.charon.sas()[0], right.charon.sas()[0]
    assert (ours.initiator, theirs.initiator) == (True, False)
    assert (ours.local_address, ours.remote_address) == (theirs.remote_address, theirs.local_address)
    assert ours.children[0].spi_in == theirs.children[0].spi_out
    assert left.charon.sas("unknown") == ()
    left.initiate()
    assert left.charon.sas()[0].children == ours.children
    left.terminate()
    for running in (left, right):
        eventually(running.idle)


def test_a_trap_does_not_disturb_a_tunnel(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    (child,) = left.expected_loaded[left.config.name].children
    left.charon.install(left.config.name, child)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    before = left.charon.sas()[0].children[0].spi_in
    left.charon.uninstall(left.config.name, child)
    assert left.charon.traps() == frozenset()
    assert left.charon.sas()[0].children[0].spi_in == before


def test_an_ike_sa_is_deleted_by_its_unique_id(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(left.up)
    right.charon.terminate_sa(right.charon.sas()[0].unique_id)
    for running in (left, right):
        eventually(running.idle)


def test_an_ike_sa_with_a_dead_peer_is_deleted_at_once(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    environment.freeze(right.charon, right.gateway)
    before = time.monotonic()
    left.charon.terminate_sa(left.charon.sas()[0].unique_id, dead=True)
    eventually(left.idle, 0.3)
    assert time.monotonic() - before < 0.3


def test_a_child_sa_is_deleted_by_its_unique_id_and_its_ike_sa_stays(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.charon.terminate_child(left.charon.sas()[0].children[0].unique_id)
    eventually(lambda: (left.children(), right.children()) == (0, 0))
    left.initiate()
    eventually(lambda: left.up() and right.up())


def groups(running: RunningGateway) -> list[str]:
    return [child.group for sa in running.charon.sas() for child in sa.children if child.state == "INSTALLED"]


def test_the_first_child_has_no_group_until_it_is_rekeyed(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    (first,) = left.charon.sas()[0].children
    assert (first.encryption, first.bits, first.integrity, first.group) == ("AES_CBC", 128, "HMAC_SHA2_256_128", "")
    left.charon.rekey(first.unique_id)
    eventually(lambda: groups(left) == groups(right) == ["MODP_2048"])
    (rekeyed,) = (child for child in left.charon.sas()[0].children if child.state == "INSTALLED")
    assert (rekeyed.name, rekeyed.spi_in != first.spi_in) == (first.name, True)


def test_a_refused_rekey_leaves_the_child_unchanged(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1, ipsec=GROUP_19)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    (first,) = left.charon.sas()[0].children
    left.charon.rekey(first.unique_id)
    left.events.wait(lambda event: isinstance(event, RekeyFailed) and bool(event.about))
    assert [child.spi_in for child in left.charon.sas()[0].children] == [first.spi_in]
    assert groups(left) == groups(right) == [""]


@pytest.mark.parametrize("replaces", ["initiator", "responder"])
def test_an_ike_sa_is_replaced_by_a_new_one_with_its_child(environment: Environment, replaces: str) -> None:
    """Also where the peer refuses to rekey the child. The end that replaces initiates the new one."""
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1, ipsec=GROUP_19)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    acting = left if replaces == "initiator" else right
    (before,) = acting.charon.sas()
    acting.charon.replace(before.unique_id)
    eventually(lambda: [sa.unique_id for sa in acting.charon.sas()] not in ([before.unique_id], []))
    eventually(lambda: len(left.charon.sas()) == len(right.charon.sas()) == 1 and left.up() and right.up())
    (after,) = acting.charon.sas()
    assert (after.name, after.initiator) == (before.name, True)
    assert [child.name for child in after.children] == [child.name for child in before.children]
    assert after.children[0].spi_in != before.children[0].spi_in


@pytest.mark.parametrize("first", ["both", "strict"])
def test_of_equal_children_a_responder_takes_the_first(environment: Environment, first: str) -> None:
    """The reason for the order in `core.tunnel.fallback`: a fallback child after a strict one is never selected."""
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1, ipsec=AES_256)
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
        left.events.wait(cause("ESP_PROPOSAL_MISMATCH"))
        return
    eventually(left.up)
    (sa,) = right.charon.sas()
    assert [child.name for child in sa.children] == [fallback.fallback_name(strict.name)]
    (relabelled,) = fallback.relabel((sa,), right.config, msgspec.structs.replace(right.config, children=(old,)))
    assert relabelled.children[0].bits == 128, "its algorithms are those of the previous version"


def test_a_second_connection_to_a_peer_joins_its_ike_sa(environment: Environment) -> None:
    """A connection that is loaded again with a second child keeps its SAs, and the second child comes up too."""
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    before = left.charon.sas()[0]
    more = {
        left: connection(1, 2, id="0000aaaa-e29b-41d4-a716-446655440000", local_cidrs=("10.1.0.1/32",)),
        right: connection(2, 1, id="0000bbbb-e29b-41d4-a716-446655440000", peer_cidrs=("10.1.0.1/32",)),
    }
    for running, second in more.items():
        running.config = ipsec_config.with_sibling_children(running.config, [ipsec_config.build(second)])
        assert len(running.config.children) == 2
        running.load()
        assert running.charon.loaded() == running.expected_loaded
    left.charon.initiate(left.config.name, ipsec_config.build(more[left]).children[0].name)
    eventually(lambda: (left.children(), right.children()) == (2, 2))
    after = left.charon.sas()[0]
    assert after.unique_id == before.unique_id
    assert before.children[0].spi_in in {child.spi_in for child in after.children}


def test_loading_and_unloading_keep_tunnels_up(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    spi = left.charon.sas()[0].children[0].spi_in
    left.connection = connection(1, 2, psk=Secret("another"))
    left.load()
    left.charon.unload(left.config.name)
    assert left.charon.loaded() == {}
    assert left.charon.sas()[0].children[0].spi_in == spi


def test_a_stopped_charon_deletes_its_sas_at_the_peer(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.charon.stop()
    eventually(right.idle)
    assert not any(map(lost, left.events.all))


def test_tunnels_and_facts_outlive_the_agent(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    before = left.charon.sas()[0].children[0].spi_in
    left.charon.detach()
    seen = len(left.events.all)
    left.charon = environment.drivers().charon(left.gateway)
    assert not left.charon.start()
    assert left.charon.sas()[0].children[0].spi_in == before
    events = type(left.events)()
    left.charon.listen(events)
    right.terminate()
    events.wait(changed(left))
    assert len(left.events.all) == seen


@pytest.mark.parametrize(
    ("changes", "initiator", "responder"),
    [
        ({"psk": Secret("wrong")}, "AUTHENTICATION_REFUSED", "PSK_MISMATCH"),
        ({"peer_id": "somebody.example"}, "AUTHENTICATION_REFUSED", ""),
        ({"peer_address": "203.0.113.77"}, "IKE_REFUSED", ""),
        ({"ipsec": AES_256}, "ESP_PROPOSAL_MISMATCH", "ESP_PROPOSAL_MISMATCH_ENCRYPTION"),
        ({"local_cidrs": ("10.9.0.0/24",)}, "SELECTORS_UNACCEPTABLE", "SELECTORS_UNACCEPTABLE"),
    ],
)
def test_the_cause_of_a_failure_is_reported_where_it_is_known(
    environment: Environment, changes: dict[str, object], initiator: str, responder: str
) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1, **changes)
    left.initiate()
    left.events.wait(cause(initiator))
    if responder:
        right.events.wait(cause(responder))
    assert not any(sa.installed for sa in left.charon.sas())
    established = [sa.established for sa in left.charon.sas()]
    assert established == ([True] if initiator in ("ESP_PROPOSAL_MISMATCH", "SELECTORS_UNACCEPTABLE") else [])


def test_the_last_loaded_key_for_a_pair_of_identities_is_used(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2, psk=Secret("old")), RunningGateway(drivers, 2, 1, psk=Secret("new"))
    left.initiate()
    left.events.wait(cause("AUTHENTICATION_REFUSED"))
    left.connection = msgspec.structs.replace(left.connection, psk=Secret("new"))
    left.load()
    left.initiate()
    eventually(lambda: left.up() and right.up())


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_killed_charon_is_reported_once_and_restarts_with_nothing_loaded(environment: Environment) -> None:
    drivers = environment.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    environment.kill(left.charon, left.gateway)
    left.events.wait(lost, 2)
    with pytest.raises(Unresponsive):
        left.charon.loaded()
    assert left.charon.start()
    left.charon.listen(left.events)
    assert (left.charon.loaded(), left.charon.sas()) == ({}, ())
    left.load()
    left.initiate()
    eventually(left.up)
    assert sum(map(lost, left.events.all)) == 1


def test_a_charon_killed_without_a_listener_is_started_again(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    environment.kill(running.charon, running.gateway)
    assert environment.drivers().charon(gateway(1)).start()


def test_commands_to_a_hanging_charon_time_out(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    environment.freeze(running.charon, running.gateway)
    before = time.monotonic()
    for command in (running.charon.loaded, running.charon.sas, running.charon.start, running.load):
        with pytest.raises(Unresponsive):
            command()
    assert time.monotonic() - before < 6
    running.charon.stop()
    assert running.charon.start()
    assert running.charon.loaded() == {}


def test_after_detach_nothing_is_delivered(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    running.charon.detach()
    environment.kill(running.charon, running.gateway)
    time.sleep(0.1)
    assert not any(map(lost, running.events.all))


# -- names -----------------------------------------------------------------------------------------------------------


def resolved(drivers: Drivers, name: str) -> Resolution:
    """Resolve a name and wait for the result."""
    results: SimpleQueue[Resolution] = SimpleQueue()
    drivers.resolver.resolve(gateway(1).id, name, results.put)
    return results.get(timeout=10)


def test_a_name_is_resolved_in_its_gateway(environment: Environment) -> None:
    drivers = environment.drivers()
    drivers.namespaces.apply(gateway(1))
    environment.name(gateway(1), "vpn.example.org", "203.0.113.7", "2001:db8:ff::7")
    answer = resolved(drivers, "vpn.example.org")
    assert (answer.name, set(answer.addresses)) == ("vpn.example.org", {"203.0.113.7", "2001:db8:ff::7"})
    assert answer.error == ""


def test_an_unknown_name_is_an_error(environment: Environment) -> None:
    drivers = environment.drivers()
    drivers.namespaces.apply(gateway(1))
    answer = resolved(drivers, "unknown.invalid")
    assert answer.addresses == ()
    assert answer.error


# -- drift -----------------------------------------------------------------------------------------------------------


def test_what_is_as_applied_needs_no_restoring(environment: Environment) -> None:
    drivers = environment.drivers()
    assert "the namespace" in drivers.namespaces.apply(gateway(1))
    drivers.network_watch.watch(gateway(1).id, lambda: None)
    drivers.peer_signs.watch(gateway(1).id, lambda _: None)
    drivers.leak_guard.apply(gateway(1), PAIRS)
    drivers.traffic_block.apply(gateway(1), Precedence())
    drivers.ike_limit.apply(gateway(1), ["203.0.113.2", "2001:db8:ff::2"])
    drivers.mtu_routing.apply(gateway(1), ())
    drivers.policy_bypass.apply(gateway(1), PAIRS)
    for _ in range(2):
        assert drivers.namespaces.reattach(gateway(1).id) == ()
        assert drivers.leak_guard.restore(gateway(1), PAIRS) == ()
        assert drivers.namespaces.apply(gateway(1)) == ()
        assert drivers.traffic_block.restore(gateway(1), Precedence()) == ()
        assert drivers.ike_limit.restore(gateway(1), ["203.0.113.2", "2001:db8:ff::2"]) == ()
        assert drivers.mtu_routing.restore(gateway(1), ()) == ()
        assert drivers.policy_bypass.restore(gateway(1), PAIRS) == ()
    for watch in (drivers.network_watch, drivers.peer_signs):
        watch.forget(gateway(1).id)
        watch.forget(gateway(1).id)


def test_a_guard_of_fewer_pairs_is_restored(environment: Environment) -> None:
    drivers = environment.drivers()
    drivers.namespaces.apply(gateway(1))
    drivers.leak_guard.apply(gateway(1), PAIRS)
    environment.drivers().leak_guard.apply(gateway(1), frozenset(list(PAIRS)[:3]))
    assert drivers.leak_guard.restore(gateway(1), PAIRS)
    assert drivers.leak_guard.current(gateway(1).id) == PAIRS
    assert drivers.leak_guard.restore(gateway(1), PAIRS) == ()


def test_restoring_and_watching_need_a_namespace(environment: Environment) -> None:
    drivers = environment.drivers()
    with pytest.raises(DriverError):
        drivers.leak_guard.restore(gateway(1), PAIRS)
    with pytest.raises(DriverError):
        drivers.ike_limit.apply(gateway(1), ())
    with pytest.raises(DriverError):
        drivers.network_watch.watch(gateway(1).id, lambda: None)
    with pytest.raises(DriverError):
        drivers.peer_signs.watch(gateway(1).id, lambda _: None)


def test_a_running_charon_answers_a_question_and_a_hanging_one_does_not(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    running.charon.ask()
    environment.freeze(running.charon, running.gateway)
    with pytest.raises(Unresponsive):
        running.charon.ask()
    environment.kill(running.charon, running.gateway)


def test_device_counters_are_known_while_charon_runs_and_stay_while_nothing_passes(environment: Environment) -> None:
    running = RunningGateway(environment.drivers(), 1, 2)
    counters = running.charon.device_counters()
    assert counters
    assert running.charon.device_counters() == counters
    environment.kill(running.charon, running.gateway)
    eventually(lambda: not running.charon.device_counters())
