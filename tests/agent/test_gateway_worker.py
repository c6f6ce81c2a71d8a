"""A gateway's worker over fake drivers: what it applies, reports and repairs when charon or a peer fails."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
import pytest

from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import CLOCK_POLL, Ask, GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.agent.schedule import RETRY
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Gateway, Gone
from linkspan.core.state.live_facts import LiveAnswer
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel.charon_events import SaChanged
from linkspan.core.tunnel.precedence import Precedence
from linkspan.core.tunnel.sas import IkeSa
from linkspan.drivers.ports import DriverError
from linkspan.testing.fake_drivers import COMPLETE, FakeCharon, FakeDrivers, FakeLeakGuard, FakeTrafficBlock
from linkspan.testing.fake_world import FakeWorld
from tests.drivers.machine import connection, eventually, gateway
from tests.harness.databases import Clock

LEFT, RIGHT = gateway(1), gateway(2)
replace = msgspec.structs.replace
TO_RIGHT, TO_LEFT = connection(1, 2), replace(connection(2, 1), initiator="response-only")


class GatewayUnderTest:
    """The worker of one gateway, with the newest report of the gateway and of each connection."""

    def __init__(self, drivers: FakeDrivers, gateway: Gateway, clock: Callable[[], float] = time.monotonic) -> None:
        self.drivers = drivers
        self.gateway = gateway
        self.outbox = Outbox()
        self.reports: dict[str, GatewayReport | ConnectionReport] = {}
        self.worker = GatewayWorker(gateway, drivers, self.outbox, clock)
        self.worker.start()

    def set_desired(self, *connections: Connection, gone: tuple[Gone, ...] = ()) -> None:
        by_id: Mapping[str, Connection] = {connection.id: connection for connection in connections}
        self.worker.send(Desired(self.gateway, by_id, gone))

    def state(self, id: str) -> str:
        batch = self.outbox.take(0)
        self.reports.update({report.id: report for report in batch.gateways})
        self.reports.update({report.id: report for report in batch.connections})
        return self.reports[id].state if id in self.reports else ""

    def wait(self, id: str, state: str) -> GatewayReport | ConnectionReport:
        eventually(lambda: self.state(id) == state)
        return self.reports[id]

    def stop(self, teardown: bool = False) -> None:
        self.worker.send(Stop(teardown))
        self.worker.join(10)
        assert not self.worker.is_alive()


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def left(world: FakeWorld) -> Iterator[GatewayUnderTest]:
    gateway = GatewayUnderTest(FakeDrivers(world), LEFT)
    yield gateway
    gateway.stop()


@pytest.fixture
def right(world: FakeWorld) -> Iterator[GatewayUnderTest]:
    gateway = GatewayUnderTest(FakeDrivers(world), RIGHT)
    yield gateway
    gateway.stop()


def loaded(gateway: GatewayUnderTest) -> frozenset[str]:
    return frozenset(gateway.drivers.charon(gateway.gateway).loaded())


def sas(gateway: GatewayUnderTest) -> tuple[IkeSa, ...]:
    return gateway.drivers.charon(gateway.gateway).sas(ipsec_config.build(TO_RIGHT).name)


def test_the_tunnel_comes_up_and_both_ends_report_it(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    assert left.wait(LEFT.id, "ready").revision == LEFT.revision
    left.wait(TO_RIGHT.id, "up")
    right.wait(TO_LEFT.id, "up")


def asked(gateway: GatewayUnderTest, id: str) -> LiveAnswer:
    """The answer of a gateway's worker to a question about a connection."""
    answers: queue.SimpleQueue[LiveAnswer] = queue.SimpleQueue()
    gateway.worker.send(Ask(id, answers.put))
    return answers.get(timeout=10.0)


def test_a_question_is_answered_with_what_charon_lists(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    facts = asked(left, TO_RIGHT.id).facts
    assert facts is not None
    (sa,) = facts.ike_sas
    assert (facts.phase, facts.cause, sa.state, sa.initiator) == ("up", "", "ESTABLISHED", True)
    assert [child.state for child in sa.children] == ["INSTALLED"]


def test_a_question_about_a_failure_is_answered_with_its_code(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    left.set_desired(replace(TO_RIGHT, psk=Secret("wrong"), psk_ref="2"))
    right.set_desired(TO_LEFT)
    eventually(lambda: "key" in reason(left, TO_RIGHT.id) and "key" in reason(right, TO_LEFT.id))
    for end, id in ((left, TO_RIGHT.id), (right, TO_LEFT.id)):
        facts = asked(end, id).facts
        assert facts is not None
        assert "key" in facts.reason
    # Whoever verifies the key knows that it is wrong; the other end is only refused.
    assert asked(left, TO_RIGHT.id).facts.cause == "AUTHENTICATION_REFUSED"  # type: ignore[union-attr]
    assert asked(right, TO_LEFT.id).facts.cause == "PSK_MISMATCH"  # type: ignore[union-attr]


def test_a_question_that_cannot_be_answered_is_answered_with_the_reason(
    world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    assert asked(left, "another").fault == "the node has not applied this connection yet"
    world.freeze(LEFT.id)
    assert "did not answer" in asked(left, TO_RIGHT.id).fault


def test_a_wrong_key_is_reported_on_both_sides(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    left.set_desired(replace(TO_RIGHT, psk=Secret("wrong"), psk_ref="2"))
    right.set_desired(TO_LEFT)
    eventually(lambda: "key" in reason(left, TO_RIGHT.id) and "key" in reason(right, TO_LEFT.id))


def test_a_connection_that_the_nodes_strongswan_cannot_run_is_an_error(world: FakeWorld) -> None:
    drivers = FakeDrivers(world)
    drivers.capabilities = replace(COMPLETE, ikev1=False)
    left = GatewayUnderTest(drivers, LEFT)
    left.set_desired(replace(TO_RIGHT, ike=replace(TO_RIGHT.ike, ike_version="v1")))
    left.wait(TO_RIGHT.id, "error")
    assert "set ike_version to v2" in reason(left, TO_RIGHT.id)
    assert loaded(left) == frozenset()
    left.set_desired(replace(TO_RIGHT, revision=2))
    left.wait(TO_RIGHT.id, "down")
    left.stop()


def test_the_words_of_a_refused_initiation_are_the_reason(
    left: GatewayUnderTest, right: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and the reason goes when the tunnel is up."""
    right.set_desired(TO_LEFT)
    initiate = FakeCharon.initiate

    def refuse(self: FakeCharon, ike: str, child: str) -> None:
        raise DriverError(f"establishing CHILD_SA '{child}' failed (IKE version 2 not supported)")

    monkeypatch.setattr(FakeCharon, "initiate", refuse)
    left.set_desired(TO_RIGHT)
    eventually(lambda: "refuses to initiate: establishing CHILD_SA" in reason(left, TO_RIGHT.id))
    assert "IKE version 2 not supported" in reason(left, TO_RIGHT.id)
    assert left.state(TO_RIGHT.id) == "down"
    monkeypatch.setattr(FakeCharon, "initiate", initiate)
    left.wait(TO_RIGHT.id, "up")
    assert reason(left, TO_RIGHT.id) == ""


def test_a_responder_reports_why_its_peers_attempts_fail(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    right.set_desired(TO_LEFT)
    for change, words in (
        ({"ike": replace(TO_RIGHT.ike, pfs="group19")}, "the peer's IKE proposal does not match"),
        ({"ike": replace(TO_RIGHT.ike, ike_version="v1")}, "the peer uses IKEv1, and ike_version here is v2"),
        ({"local_id": "stranger.example.org"}, "the peer calls itself 'stranger.example.org', and peer_id here is"),
        ({"peer_id": "other.example.org"}, "the peer calls us 'other.example.org', and local_id here is"),
        ({"psk": Secret("wrong"), "psk_ref": "2"}, "compare the pre-shared key"),
    ):
        left.set_desired(replace(TO_RIGHT, revision=TO_RIGHT.revision + 1, **change))
        eventually(lambda words=words: words in reason(right, TO_LEFT.id))  # type: ignore[misc]
        assert "the peer's last attempt was at 20" in reason(right, TO_LEFT.id)
    left.set_desired(TO_RIGHT)
    right.wait(TO_LEFT.id, "up")
    assert reason(right, TO_LEFT.id) == ""


def reason(gateway: GatewayUnderTest, id: str) -> str:
    gateway.state(id)
    return gateway.reports[id].reason if id in gateway.reports else ""


def test_the_guard_is_applied_before_a_connection_is_loaded(
    left: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    left.set_desired()
    left.wait(LEFT.id, "ready")
    guarded: list[frozenset[SelectorPair]] = []
    load = FakeCharon.load

    def load_and_record(self: FakeCharon, config: IkeConfig, key: SharedKey | None) -> None:
        guarded.append(left.drivers.leak_guard.current(LEFT.id))
        load(self, config, key)

    monkeypatch.setattr(FakeCharon, "load", load_and_record)
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "down")
    assert guarded == [frozenset({SelectorPair("10.1.0.0/24", "10.2.0.0/24")})]


def test_a_disabled_connection_is_guarded_and_not_loaded(left: GatewayUnderTest) -> None:
    left.set_desired(replace(TO_RIGHT, enabled=False))
    left.wait(TO_RIGHT.id, "disabled")
    assert loaded(left) == frozenset()
    assert left.drivers.leak_guard.current(LEFT.id)


def test_a_tombstone_removes_a_connection_and_is_answered(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    left.set_desired(TO_RIGHT, gone=(Gone("connection", "unknown", 7, LEFT.id),))
    assert left.wait("unknown", "gone").revision == 7
    left.set_desired(gone=(Gone("connection", TO_RIGHT.id, 8, LEFT.id),))
    assert left.wait(TO_RIGHT.id, "gone").revision == 8
    assert loaded(left) == frozenset()
    assert left.drivers.leak_guard.current(LEFT.id) == frozenset()
    eventually(lambda: right.state(TO_LEFT.id) == "down")


def mtus(gateway: GatewayUnderTest) -> dict[int, int]:
    """The MTU of each pair of selectors, and the MTU of its route."""
    return {path.mtu: path.route for path in gateway.drivers.mtu_routing.current(LEFT.id)}


def effective(gateway: GatewayUnderTest, id: str) -> int | None:
    gateway.state(id)
    report = gateway.reports.get(id)
    return report.effective_mtu if isinstance(report, ConnectionReport) else None


AROUND = replace(connection(1, 3), peer_cidrs=("10.0.0.0/8",))
NESTED = frozenset({SelectorPair("10.1.0.0/24", "10.2.0.0/24")})


def test_a_tunnel_inside_a_wider_one_is_blocked_before_that_is_loaded_until_it_is_up(
    left: GatewayUnderTest, right: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked: list[frozenset[SelectorPair]] = []
    load = FakeCharon.load

    def load_and_record(self: FakeCharon, config: IkeConfig, key: SharedKey | None) -> None:
        blocked.append(left.drivers.traffic_block.current(LEFT.id))
        load(self, config, key)

    monkeypatch.setattr(FakeCharon, "load", load_and_record)
    left.set_desired(TO_RIGHT, AROUND)
    left.wait(TO_RIGHT.id, "down")
    assert blocked == [NESTED] * 2
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    eventually(lambda: left.drivers.traffic_block.current(LEFT.id) == frozenset())
    right.set_desired(replace(TO_LEFT, enabled=False, revision=2))
    eventually(lambda: left.drivers.traffic_block.current(LEFT.id) == NESTED)
    left.set_desired(AROUND, gone=(Gone("connection", TO_RIGHT.id, 8, LEFT.id),))
    eventually(lambda: left.drivers.traffic_block.current(LEFT.id) == frozenset())


def test_a_restarted_agent_never_blocks_what_is_up(
    world: FakeWorld, right: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = GatewayUnderTest(FakeDrivers(world), LEFT)
    first.set_desired(TO_RIGHT, AROUND)
    right.set_desired(TO_LEFT)
    first.wait(TO_RIGHT.id, "up")
    first.stop()
    applied: list[Precedence] = []
    monkeypatch.setattr(FakeTrafficBlock, "apply", lambda self, gateway, precedence: applied.append(precedence))
    second = GatewayUnderTest(FakeDrivers(world), LEFT)
    try:
        second.set_desired(TO_RIGHT, AROUND)
        second.wait(TO_RIGHT.id, "up")
        assert applied == [Precedence()]
    finally:
        second.stop()


def test_the_mtu_is_applied_and_reported(left: GatewayUnderTest, right: GatewayUnderTest) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    assert (effective(left, TO_RIGHT.id), mtus(left)) == (1400, {1400: 0})
    before = sas(left)
    left.set_desired(replace(TO_RIGHT, mtu=1300, revision=2))
    eventually(lambda: effective(left, TO_RIGHT.id) == 1300)
    assert (left.reports[TO_RIGHT.id].revision, mtus(left), sas(left)) == (2, {1300: 1300}, before)
    left.set_desired(replace(TO_RIGHT, mtu=1300, enabled=False, revision=3))
    left.wait(TO_RIGHT.id, "disabled")
    assert (effective(left, TO_RIGHT.id), mtus(left)) == (None, {})


def test_the_mtu_of_the_outside_interface_limits_the_effective_mtu(left: GatewayUnderTest) -> None:
    left.set_desired(TO_RIGHT)
    eventually(lambda: effective(left, TO_RIGHT.id) == 1400)
    left.drivers.mtu_routing.mtu = 1400
    left.set_desired(TO_RIGHT)
    eventually(lambda: effective(left, TO_RIGHT.id) == 1326)
    assert mtus(left) == {1326: 1326}


def test_a_connection_in_error_has_no_mtu(left: GatewayUnderTest) -> None:
    left.set_desired(replace(TO_RIGHT, ipsec=replace(TO_RIGHT.ipsec, encapsulation_mode="transport")))
    left.wait(TO_RIGHT.id, "error")
    assert (effective(left, TO_RIGHT.id), mtus(left)) == (None, {})


def test_mtus_go_with_their_connection_and_are_applied_again_after_charon_was_killed(
    world: FakeWorld, left: GatewayUnderTest
) -> None:
    other = replace(connection(1, 3), peer_cidrs=("10.3.0.0/24",), mtu=1350)
    left.set_desired(replace(TO_RIGHT, mtu=1300), other)
    eventually(lambda: mtus(left) == {1300: 1300, 1350: 1350})
    # Routes go with the device of the charon that is killed.
    world.mtus.clear()
    world.kill(LEFT.id)
    eventually(lambda: mtus(left) == {1300: 1300, 1350: 1350})
    left.set_desired(other, gone=(Gone("connection", TO_RIGHT.id, 8, LEFT.id),))
    left.wait(TO_RIGHT.id, "gone")
    assert mtus(left) == {1350: 1350}


def test_a_loaded_connection_that_is_not_desired_keeps_its_mtu(world: FakeWorld, left: GatewayUnderTest) -> None:
    left.set_desired(replace(TO_RIGHT, mtu=1300))
    left.wait(TO_RIGHT.id, "down")
    left.stop()
    again = GatewayUnderTest(FakeDrivers(world), LEFT)
    again.set_desired()
    again.wait(LEFT.id, "ready")
    assert mtus(again) == {1300: 1300}
    again.stop()


def test_an_edit_leaves_other_connections_alone(
    world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest
) -> None:
    other = replace(connection(1, 3), peer_cidrs=("10.3.0.0/24",))
    left.set_desired(TO_RIGHT, other)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    before = sas(left)
    left.set_desired(TO_RIGHT, replace(other, peer_cidrs=("10.4.0.0/24",), revision=2))
    eventually(lambda: left.state(other.id) == "down" and left.reports[other.id].revision == 2)
    assert sas(left) == before


def test_connections_come_up_again_after_charon_was_killed(
    world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    world.kill(LEFT.id)
    eventually(lambda: len(loaded_or_none(left)) == 1)
    left.wait(TO_RIGHT.id, "up")


def loaded_or_none(gateway: GatewayUnderTest) -> frozenset[str]:
    try:
        return loaded(gateway)
    except Exception:
        return frozenset()


def test_a_restarted_agent_adopts_charon_and_keeps_its_sas(
    world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    before = sas(left)
    left.stop()
    again = GatewayUnderTest(FakeDrivers(world), LEFT)
    again.set_desired(TO_RIGHT)
    again.wait(TO_RIGHT.id, "up")
    assert sas(again) == before
    again.stop()


def test_a_loaded_connection_that_is_neither_desired_nor_gone_stays_guarded(
    world: FakeWorld, left: GatewayUnderTest
) -> None:
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "down")
    left.stop()
    again = GatewayUnderTest(FakeDrivers(world), LEFT)
    again.set_desired()
    again.wait(LEFT.id, "ready")
    assert loaded(again) == {ipsec_config.build(TO_RIGHT).name}
    assert again.drivers.leak_guard.current(LEFT.id)
    again.stop()


def test_a_namespace_that_cannot_be_created_is_reported_and_tried_again(left: GatewayUnderTest) -> None:
    left.drivers.namespaces.refusal = "no more interfaces"
    left.set_desired(TO_RIGHT)
    assert left.wait(LEFT.id, "error").reason == "no more interfaces"
    left.drivers.namespaces.refusal = ""
    left.wait(LEFT.id, "ready")


def test_a_charon_that_hangs_is_reported_and_then_restarted(world: FakeWorld, left: GatewayUnderTest) -> None:
    left.set_desired()
    left.wait(LEFT.id, "ready")
    world.freeze(LEFT.id)
    left.set_desired(TO_RIGHT)
    assert "did not answer" in left.wait(LEFT.id, "error").reason
    left.wait(LEFT.id, "ready")
    eventually(lambda: len(loaded_or_none(left)) == 1)


def test_desired_state_survives_a_failure_in_the_same_batch_of_messages(
    world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    other = replace(connection(1, 3), peer_cidrs=("10.3.0.0/24",))
    world.freeze(LEFT.id)
    # The worker takes both messages together; the first makes it list the SAs of a charon that does not answer.
    left.worker.send(SaChanged(TO_RIGHT.id))
    left.set_desired(TO_RIGHT, other)
    left.wait(LEFT.id, "error")
    world.freeze(LEFT.id, frozen=False)
    left.wait(LEFT.id, "ready")
    left.wait(other.id, "down")
    left.wait(TO_RIGHT.id, "up")


def test_sas_are_listed_again_after_a_failure_lost_events(
    world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    world.freeze(LEFT.id)
    left.worker.send(SaChanged(TO_RIGHT.id))
    left.wait(LEFT.id, "error")
    for sa in right.drivers.charon(RIGHT).sas():
        right.drivers.charon(RIGHT).terminate_sa(sa.unique_id)
    world.freeze(LEFT.id, frozen=False)
    left.wait(LEFT.id, "ready")
    assert left.state(TO_RIGHT.id) != ""
    left.wait(TO_RIGHT.id, "up")


def test_queued_events_of_a_dead_charon_do_not_delay_its_restart(world: FakeWorld, right: GatewayUnderTest) -> None:
    clock = Clock()
    left = GatewayUnderTest(FakeDrivers(world), LEFT, clock)
    # The right end is loaded first: the left end's clock stands still, so it would never initiate again.
    right.set_desired(TO_LEFT)
    right.wait(TO_LEFT.id, "down")
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "up")
    (daemon,) = (daemon for key, daemon in world.daemons.items() if LEFT.id in key)
    # As after a pause of the agent: DaemonLost comes only after many other events.
    daemon.listeners.clear()
    world.kill(LEFT.id)
    for _ in range(10):
        left.worker.send(SaChanged(TO_RIGHT.id))
        eventually(left.worker._inbox.empty)
        time.sleep(2 * CLOCK_POLL)
    assert left.wait(LEFT.id, "error").reason == "charon does not run"
    clock.pass_(RETRY[0])
    left.wait(LEFT.id, "ready")
    left.stop()


def test_teardown_removes_the_gateway_and_stop_keeps_it(world: FakeWorld, left: GatewayUnderTest) -> None:
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "down")
    left.stop()
    assert loaded(left)
    again = GatewayUnderTest(FakeDrivers(world), LEFT)
    again.set_desired(TO_RIGHT)
    again.wait(LEFT.id, "ready")
    again.stop(teardown=True)
    assert again.drivers.namespaces.present() == frozenset()


def disabled(router: bool = True, outside: bool = True, inside: bool = True) -> Gateway:
    """The left gateway with some admin states false."""
    return replace(
        LEFT,
        revision=LEFT.revision + 1,
        enabled=router,
        outside=replace(LEFT.outside, enabled=outside),
        inside=tuple(replace(interface, enabled=inside) for interface in LEFT.inside),
    )


@pytest.mark.parametrize(
    ("down", "words", "state"),
    [
        (disabled(router=False), "of the router is false", "disabled"),
        (disabled(outside=False), "of the external network is false", "disabled"),
        (disabled(inside=False), "of the network of 10.1.0.0/24 is false", "ready"),
    ],
    ids=["router", "external network", "network"],
)
def test_an_admin_state_ends_the_tunnel_before_the_outside_is_closed(
    left: GatewayUnderTest,
    right: GatewayUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    down: Gateway,
    words: str,
    state: str,
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    right.wait(TO_LEFT.id, "up")
    assert left.drivers.world.send(LEFT.id, "10.1.0.9", "10.2.0.9") == "esp"
    closed: list[Gateway] = []
    terminate = FakeCharon.terminate_sa

    def terminate_and_record(self: FakeCharon, unique_id: int, *, dead: bool = False) -> None:
        closed.append(left.drivers.world.guarded[left.drivers.node, LEFT.id])
        terminate(self, unique_id, dead=dead)

    monkeypatch.setattr(FakeCharon, "terminate_sa", terminate_and_record)
    left.gateway = down
    left.set_desired(TO_RIGHT)
    assert words in left.wait(TO_RIGHT.id, "disabled").reason
    left.wait(LEFT.id, state)
    right.wait(TO_LEFT.id, "down")
    assert sas(left) == ()
    assert left.drivers.world.send(LEFT.id, "10.1.0.9", "10.2.0.9") == "dropped"
    # The delete can reach the peer; no host's packet can pass meanwhile.
    (meanwhile,) = closed
    assert meanwhile.enabled
    assert meanwhile.outside.enabled
    assert all(interface.enabled for interface in meanwhile.inside) == (not down.outside.enabled)
    assert left.drivers.world.guarded[left.drivers.node, LEFT.id] == down
    left.gateway = replace(LEFT, revision=down.revision + 1)
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "up")
    left.wait(LEFT.id, "ready")
    assert left.drivers.world.send(LEFT.id, "10.1.0.9", "10.2.0.9") == "esp"


def test_a_gateway_that_is_down_stays_closed_when_its_agent_restarts(
    left: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    left.gateway = disabled(router=False)
    left.set_desired(TO_RIGHT)
    left.wait(LEFT.id, "disabled")
    left.stop()
    applied: list[Gateway] = []
    again = FakeDrivers(left.drivers.world)
    apply = FakeLeakGuard.apply

    def apply_and_record(self: FakeLeakGuard, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        applied.append(gateway)
        apply(self, gateway, pairs)

    monkeypatch.setattr(FakeLeakGuard, "apply", apply_and_record)
    second = GatewayUnderTest(again, left.gateway)
    second.set_desired(TO_RIGHT)
    second.wait(LEFT.id, "disabled")
    second.stop()
    assert applied == [left.gateway]


def test_an_admin_state_closes_the_inside_while_charon_cannot_be_started(
    left: GatewayUnderTest, right: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")

    def refuse(self: FakeCharon) -> bool:
        raise DriverError("charon cannot be started")

    monkeypatch.setattr(FakeCharon, "start", refuse)
    left.drivers.world.kill(LEFT.id)
    left.wait(LEFT.id, "error")
    left.gateway = disabled(inside=False)
    left.set_desired(TO_RIGHT)
    eventually(lambda: not left.drivers.world.guarded[left.drivers.node, LEFT.id].inside[0].enabled)
    monkeypatch.undo()
