"""No packet of the sites crosses the wire in plaintext, and none of a stranger comes in, in any state of the tunnel.

Each case runs with the leak guard, where no packet may leak, and as a control without it, where packets must leak. The
agent is stopped meanwhile, so that it cannot repair what the test breaks.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linkspan.drivers.linux import interface_names, netns
from linkspan.lab.fabric import ping
from linkspan.lab.packet_counter import Tally
from tests.harness.probes import ABSENT, FAR, SiteProbes, Wire, datagram, mac
from tests.harness.world import World, frozen, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS = 20


def stop_charon(world: World) -> None:
    """Kill charon: it sends no delete, and its TUN device and routes are gone."""
    pid = world.charon_pid("left")
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in netns.processes(world.gateway("left")), 5.0)


def terminate(world: World) -> None:
    """Delete the SAs without the agent; the configuration stays loaded."""
    with world.charon("left") as charon:
        for sa in charon.sas():
            charon.terminate_sa(sa.unique_id)
        until(lambda: not charon.sas(), 5.0)


STATES: dict[str, Callable[[World], None]] = {"stopped charon": stop_charon, "terminated": terminate}


@pytest.fixture
def probes(world: World) -> Iterator[SiteProbes]:
    """Packets with any addresses at the left site; the stranger that sends some is the gateways' next hop."""
    probes = SiteProbes(world)
    with world.next_hop():
        yield probes
    probes.close()


def test_all_traffic_is_esp_while_the_tunnel_is_up(world: World) -> None:
    with world.wire() as wire:
        answer = ping(world.host("left"), "10.2.0.10", count=PINGS, interval=0.02)
    assert answer.received == PINGS
    tally = wire.tally
    assert (tally.plaintext, tally.drops) == (0, 0)
    assert tally.protected >= 2 * PINGS


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "control"])
def test_a_tunnel_that_is_down_leaks_nothing(world: World, state: str, guard: bool) -> None:
    connection = world.lab["sites"]["left"]["connection_id"]
    world.wait_status(connection, "ACTIVE")
    # The kernel's SAs outlive the charon that the case before has killed: pings do not show that another one runs.
    until(lambda: world.charon_answers("left"), 20.0)
    with world.next_hop(), frozen(world.agent_pid):
        STATES[state](world)
        tally = ping_without_tunnel(world, guard)
    until(lambda: ping(world.host("left"), "10.2.0.10", 1, timeout=1).received == 1, 20.0)
    world.wait_status(connection, "ACTIVE")
    if guard:
        assert tally.plaintext == 0
    else:
        assert tally.plaintext >= PINGS, "the control did not leak"
        print(f"control: without the guard {tally.plaintext} packets left in plaintext")


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "control"])
def test_a_deleted_connection_leaks_nothing(world: World, guard: bool) -> None:
    side = world.lab["sites"]["left"]
    connection = world.connection(side["connection_id"])
    world.user.request("DELETE", f"/v2.0/vpn/ipsec-site-connections/{connection['id']}")
    with world.next_hop(), frozen(world.agent_pid):
        tally = ping_without_tunnel(world, guard)
    keys = ("name", "vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_address", "peer_id", "peer_cidrs", "psk")
    body = {"ipsec_site_connection": {key: connection[key] for key in keys}}
    again = world.user.request("POST", "/v2.0/vpn/ipsec-site-connections", body)["ipsec_site_connection"]
    side["connection_id"] = again["id"]
    world.wait_status(again["id"], "ACTIVE")
    assert tally.protected == 0
    if guard:
        assert tally.plaintext == 0
    else:
        assert tally.plaintext >= PINGS, "the control did not leak"
        print(f"control: without the guard {tally.plaintext} packets left in plaintext")


def ping_without_tunnel(world: World, guard: bool) -> Tally:
    """Ping from host to host without a tunnel and return what crossed the wire. Restores the guard."""
    gateway = world.gateway("left")
    rules = world.inside(gateway, "nft", "list", "ruleset")
    if not guard:
        world.inside(gateway, "nft", "flush", "ruleset")
    with world.wire() as wire:
        ping(world.host("left"), "10.2.0.10", PINGS, 0.02, 1)
        ping(world.host("left"), "fd00:2::10", PINGS, 0.02, 1)
    if not guard:
        saved = world.state / "rules.nft"
        saved.write_text(rules)
        world.inside(gateway, "nft", "-f", str(saved))
        saved.unlink()
    assert wire.tally.drops == 0
    return wire.tally


def update(world: World, path: str, singular: str, id: str, **values: Any) -> None:
    world.user.request("PUT", f"/v2.0/{path}/{id}", {singular: values})


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "control"])
def test_an_error_about_the_last_packet_of_a_tunnel_does_not_leave(
    world: World, probes: SiteProbes, guard: bool
) -> None:
    """The tunnel ends while the gateway still waits for a host that does not answer ARP."""
    until(world.one_tunnel, 40.0)
    text, before = secrets.token_bytes(16), probes.drops()
    with Wire(world.host("right"), "eth0") as far, frozen(world.agent_pid):
        probes.near.forget()
        probes.ask_often(1000)
        right = world.gateway("right")
        far.send(mac(right, inside_interface(world, right)), datagram(FAR[0], ABSENT, text))
        # The gateway asks for the host once the packet has come out of the tunnel.
        until(lambda: is_asked(probes.near, ABSENT), 10.0)
        if not guard:
            probes.open()
        probes.out.forget()
        terminate(world)
        probes.ask_often(1)
        if guard:
            until(lambda: probes.drops() > before, 10.0)
            assert not probes.out.has(text)
        else:
            until(lambda: probes.out.has(text), 10.0)
    if not guard:
        world.inside(probes.name, "nft", "delete", "table", "inet", "linkspan")  # the agent makes it anew
    until(world.one_tunnel, 40.0)


def inside_interface(world: World, namespace: str) -> str:
    links = json.loads(world.inside(namespace, "ip", "-j", "link"))
    return str(next(link["ifname"] for link in links if link["ifname"].startswith(interface_names.INSIDE)))


def is_asked(wire: Wire, address: str) -> bool:
    """True if somebody has asked by ARP for the link-layer address of this one."""
    packed = ipaddress.ip_address(address).packed
    return any(frame[12:14] == b"\x08\x06" and packed in frame[38:42] for frame in wire.frames())


def test_nothing_passes_in_plaintext_in_any_state(world: World, probes: SiteProbes) -> None:
    site = world.lab["sites"]["left"]
    connection, router = site["connection_id"], site["router_id"]
    path = "vpn/ipsec-site-connections"
    until(world.one_tunnel, 40.0)
    probes.out.forget()
    probes.assert_nothing_passes("up")
    update(world, path, "ipsec_site_connection", connection, mtu=1400, dpd={"interval": 20, "timeout": 90})
    probes.assert_nothing_passes("being edited")
    world.wait_status(connection, "ACTIVE")
    probes.assert_nothing_passes("edited")
    update(world, path, "ipsec_site_connection", connection, admin_state_up=False)
    probes.assert_nothing_passes("going down")
    world.wait_status(connection, "DOWN")
    probes.assert_nothing_passes("down")
    update(world, path, "ipsec_site_connection", connection, admin_state_up=True)
    until(world.one_tunnel, 40.0)
    with frozen(world.agent_pid):
        probes.assert_nothing_passes("agent dead")
        pid = world.charon_pid("left")
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in netns.processes(probes.name), 5.0)
        probes.assert_nothing_passes("charon dead")
    until(lambda: ping(world.host("left"), FAR[0], 1, timeout=1).received == 1, 20.0)
    world.user.request("DELETE", f"/v2.0/{path}/{connection}")
    probes.assert_nothing_passes("being deleted")
    until(lambda: "@pairs" not in world.inside(probes.name, "nft", "list", "table", "inet", "linkspan"), 20.0)
    probes.assert_nothing_passes("deleted, as before the first connection")
    update(world, "routers", "router", router, admin_state_up=False)
    until(lambda: 'iifname != "lo"' in world.inside(probes.name, "nft", "list", "table", "inet", "linkspan"), 20.0)
    probes.assert_nothing_passes("router down")
    update(world, "routers", "router", router, admin_state_up=True)
    with probes.flood() as text:
        world.user.request("DELETE", f"/v2.0/vpn/vpnservices/{site['service_id']}")
        until(lambda: not netns.exists(probes.name), 20.0)
        body = {"router_id": router, "subnet_id": site["subnet_ids"][0], "name": "again"}
        world.user.request("POST", "/v2.0/vpn/vpnservices", {"vpnservice": body})
        until(lambda: netns.exists(probes.name), 20.0)
        until(
            lambda: "accept" in world.inside(probes.name, "nft", "list", "chain", "inet", "linkspan", "forward"), 20.0
        )
    assert not probes.near.has_datagram(text), "being removed and built: in"
    assert not probes.stranger.has(text), "being removed and built: out"
    # The control: the guard without its rules that drop, and without its policies.
    with frozen(world.agent_pid):
        probes.open()
        text = secrets.token_bytes(16)
        probes.send(text)
        until(lambda: probes.near.has_datagram(text) and probes.stranger.has(text), 10.0)
