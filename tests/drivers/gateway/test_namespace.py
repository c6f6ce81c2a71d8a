"""A gateway's network namespace on this machine: its content, and what a change leaves untouched."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from linkspan.core.state.desired import Gateway, InsideInterface
from linkspan.drivers.gateway import namespace
from linkspan.drivers.gateway.namespace import NetworkNamespaces
from linkspan.drivers.linux import interface_names, netlink, netns
from linkspan.drivers.local import sweep
from linkspan.drivers.ports import DriverError
from tests.drivers.machine import OUTSIDE, Machine, eventually, gateway, inside_network, run
from tests.harness.world import until

pytestmark = pytest.mark.root

HOPS = ("203.0.113.254", "2001:db8:ff::fe")


@pytest.fixture
def namespaces(machine: Machine) -> NetworkNamespaces:
    return NetworkNamespaces(machine.instance, "node-a", machine.home)


@contextmanager
def monitor(name: str) -> Iterator[list[str]]:
    """Record the kernel's notifications of links, addresses and routes of a namespace during the block."""
    messages: list[str] = []
    command = ["ip", "-n", name, "monitor", "link", "address", "route"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(0.2)
        yield messages
        time.sleep(0.2)
        child.terminate()
        messages += child.communicate()[0].splitlines()


def addresses(name: str) -> set[str]:
    return set(re.findall(r"inet6? (\S+) scope global", run(name, "ip", "address")))


def defaults(name: str) -> list[str]:
    lines = run(name, "ip", "route").splitlines() + run(name, "ip", "-6", "route").splitlines()
    return [line.split(" proto ")[0] for line in lines if line.startswith("default")]


def outside(wanted: Gateway, **changes: object) -> Gateway:
    return msgspec.structs.replace(wanted, outside=msgspec.structs.replace(wanted.outside, **changes))


def test_a_new_gateway_has_interfaces_addresses_routes_and_sysctls(
    machine: Machine, namespaces: NetworkNamespaces
) -> None:
    wanted = gateway(1, inside=2, next_hops=HOPS)
    namespaces.apply(wanted)
    name = namespaces.name(wanted.id)
    assert name.startswith(f"ls-{machine.instance}-{wanted.id[:8]}")
    interfaces = [
        "out0",
        interface_names.inside_interface(inside_network(1, 0)),
        interface_names.inside_interface(inside_network(1, 1)),
    ]
    links = run(name, "ip", "-br", "link")
    assert {line.split("@")[0].split()[0] for line in links.splitlines() if "UP" in line} == {"lo", *interfaces}
    assert addresses(name) == {
        *("203.0.113.1/24", "2001:db8:ff::1/64", "10.1.0.1/24", "10.1.1.1/24"),
        *("2001:db8:1::1/64", "2001:db8:1:1::1/64"),
    }
    assert "tentative" not in run(name, "ip", "-6", "address")
    assert defaults(name) == ["default via 203.0.113.254 dev out0", "default via 2001:db8:ff::fe dev out0"]
    for key, value in {
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.all.forwarding": "1",
        "net.ipv6.conf.out0.forwarding": "1",
        **{f"net.ipv4.conf.{interface}.rp_filter": "0" for interface in ("all", "default", *interfaces)},
        **{f"net.ipv6.conf.{interface}.accept_ra": "0" for interface in ("all", "default", *interfaces)},
        **{f"net.ipv4.conf.{interface}.send_redirects": "0" for interface in ("all", "default", *interfaces)},
        **{f"net.ipv4.conf.{interface}.accept_redirects": "0" for interface in ("all", "default", *interfaces)},
    }.items():
        assert run(name, "sysctl", "-n", key).strip() == value, key


def test_the_host_has_no_address_in_the_networks(machine: Machine, namespaces: NetworkNamespaces) -> None:
    namespaces.apply(gateway(1))
    assert "inet" not in run(machine.home, "ip", "address")


def test_a_second_apply_changes_nothing_in_the_kernel(namespaces: NetworkNamespaces) -> None:
    wanted = gateway(1, inside=2, next_hops=HOPS)
    namespaces.apply(wanted)
    # The kernel reports the carrier of a new link up to a second later.
    eventually(lambda: run(namespaces.name(wanted.id), "ip", "link").count("state UP") == 3)
    with monitor(namespaces.name(wanted.id)) as messages:
        namespaces.apply(wanted)
        namespaces.apply(wanted)
    assert messages == []


def test_stale_objects_are_removed_and_all_others_not_touched(namespaces: NetworkNamespaces) -> None:
    wanted = gateway(1, inside=2, next_hops=HOPS)
    # Two addresses of one subnet: without promote_secondaries the kernel removes the second with the first.
    both = ("203.0.113.1/24", "203.0.113.7/24", "2001:db8:ff::1/64")
    namespaces.apply(outside(wanted, addresses=both))
    name = namespaces.name(wanted.id)
    after = outside(
        msgspec.structs.replace(wanted, inside=wanted.inside[:1]),
        addresses=("203.0.113.7/24", "2001:db8:ff::1/64", "203.0.113.8/25", "2001:db8:ff::8/64"),
        next_hops=("203.0.113.253", "2001:db8:ff::fe"),
    )
    with monitor(name) as messages:
        namespaces.apply(after)
    assert addresses(name) == {*after.outside.addresses, "10.1.0.1/24", "2001:db8:1::1/64"}
    assert defaults(name) == ["default via 203.0.113.253 dev out0", "default via 2001:db8:ff::fe dev out0"]
    assert interface_names.inside_interface(inside_network(1, 1)) not in run(name, "ip", "link")
    deleted = [line for line in messages if line.startswith("Deleted")]
    staying = ("203.0.113.7/24", "2001:db8:ff::1/64", "10.1.0.1/24", "2001:db8:1::1/64", "2001:db8:ff::fe")
    assert deleted
    assert not [line for line in deleted if any(f" {address} " in f"{line} " for address in staying)]


def test_an_ipv6_address_can_change_its_prefix_length(namespaces: NetworkNamespaces) -> None:
    wanted = gateway(1)
    namespaces.apply(wanted)
    namespaces.apply(outside(wanted, addresses=("203.0.113.1/24", "2001:db8:ff::1/48")))
    assert "2001:db8:ff::1/48" in addresses(namespaces.name(wanted.id))


@pytest.mark.parametrize("hops", [("198.51.100.1",), ("192.0.2.1", "192.0.2.2"), ("fe80::1",), ("2001:db8:99::1",), ()])
def test_a_next_hop_may_be_outside_the_gateways_subnets(namespaces: NetworkNamespaces, hops: tuple[str, ...]) -> None:
    wanted = gateway(1, next_hops=hops)
    namespaces.apply(wanted)
    assert defaults(namespaces.name(wanted.id)) == [f"default via {hop} dev out0" for hop in hops]
    namespaces.apply(gateway(1))
    assert defaults(namespaces.name(wanted.id)) == []


def test_an_interface_has_the_mac_address_of_its_ports(namespaces: NetworkNamespaces) -> None:
    """Also one that is up already: its peers learn the new one at once, and no address is removed."""
    wanted = gateway(1)
    namespaces.apply(wanted)
    name, (network,) = namespaces.name(wanted.id), wanted.inside
    inside = interface_names.inside_interface(network.network_id)
    before = addresses(name)
    kept, changed = ("fa:00:00:00:00:03",) * 2, wanted
    for outside_mac, inside_mac in (("fa:00:00:00:00:01", "fa:00:00:00:00:02"), kept, ("", "")):
        networks = (msgspec.structs.replace(network, mac_address=inside_mac),)
        changed = msgspec.structs.replace(outside(wanted, mac_address=outside_mac), inside=networks)
        with monitor(name) as messages:
            namespaces.apply(changed)
        assert (mac(name, "out0"), mac(name, inside)) == ((outside_mac, inside_mac) if inside_mac else kept)
        assert addresses(name) == before
        assert not [line for line in messages if line.startswith("Deleted")]
    with monitor(name) as messages:
        namespaces.apply(changed)
    assert messages == []
    namespaces.remove(wanted.id)
    namespaces.apply(outside(wanted, mac_address="fa:00:00:00:00:01"))
    assert mac(name, "out0") == "fa:00:00:00:00:01"


def mac(name: str, interface: str) -> str:
    (found,) = re.findall(r"link/ether (\S+)", run(name, "ip", "link", "show", interface))
    return str(found)


def test_invalid_values_raise_a_driver_error(namespaces: NetworkNamespaces) -> None:
    with pytest.raises(DriverError):
        namespaces.apply(outside(gateway(1), addresses=("203.0.113.300/24",)))
    twins = tuple(InsideInterface(f"00010000-{number}", ()) for number in range(2))
    with pytest.raises(DriverError, match="same first eight"):
        namespaces.apply(msgspec.structs.replace(gateway(1), inside=twins))


def test_apply_repairs_damage(machine: Machine, namespaces: NetworkNamespaces) -> None:
    wanted = gateway(1, inside=2, next_hops=HOPS)
    namespaces.apply(wanted)
    name = namespaces.name(wanted.id)
    before = addresses(name), defaults(name)
    for command in (
        ("ip", "link", "set", "out0", "down"),
        ("ip", "link", "del", interface_names.inside_interface(inside_network(1, 0))),
        ("ip", "address", "add", "192.0.2.9/32", "dev", interface_names.inside_interface(inside_network(1, 1))),
        ("sysctl", "-w", "net.ipv4.ip_forward=0"),
    ):
        run(name, *command)
    run(
        machine.home,
        "ip",
        "link",
        "set",
        interface_names.bridge_port(machine.instance, "node-a", wanted.id, "out0"),
        "nomaster",
        "down",
    )
    namespaces.apply(wanted)
    assert addresses(name) == {*before[0], "192.0.2.9/32"}, "what others add stays"
    assert defaults(name) == before[1]
    assert run(name, "sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    with monitor(name) as messages:
        namespaces.apply(wanted)
    assert messages == []


def test_an_operators_bridge_is_used_and_not_removed(machine: Machine) -> None:
    run(machine.home, "ip", "link", "add", "br-ext", "type", "bridge")
    namespaces = NetworkNamespaces(machine.instance, "node-a", machine.home, {"public": "br-ext"})
    namespaces.apply(gateway(1))
    port = interface_names.bridge_port(machine.instance, "node-a", gateway(1).id, "out0")
    assert "master br-ext" in run(machine.home, "ip", "link", "show", port)
    namespaces.remove(gateway(1).id)
    links = run(machine.home, "ip", "-br", "link")
    assert ("br-ext" in links, "lsb-" in links, "lsp-" in links) == (True, False, False)
    sweep(machine.instance)


def test_a_configured_bridge_must_exist(machine: Machine) -> None:
    namespaces = NetworkNamespaces(machine.instance, "node-a", machine.home, {"public": "br-missing"})
    with pytest.raises(DriverError, match="there is no bridge br-missing"):
        namespaces.apply(gateway(1))
    run(machine.home, "ip", "link", "add", "br-missing", "type", "bridge")
    namespaces.apply(gateway(1))


def test_a_gateway_can_move_to_another_outside_network(machine: Machine, namespaces: NetworkNamespaces) -> None:
    wanted = gateway(1)
    namespaces.apply(wanted)
    other = "22222222-0000-4000-8000-000000000000"
    namespaces.apply(outside(wanted, network_id=other))
    links = run(machine.home, "ip", "-br", "link")
    assert interface_names.bridge(machine.instance, other) in links
    assert interface_names.bridge(machine.instance, OUTSIDE) not in links


def test_two_agents_share_bridges_without_removing_each_others(machine: Machine) -> None:
    """Both create and remove gateways on one network concurrently, several times."""
    agents = {number: NetworkNamespaces(machine.instance, f"node-{number}", machine.home) for number in (1, 2)}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(8):
                agents[number].apply(gateway(number))
                port = interface_names.bridge_port(machine.instance, f"node-{number}", gateway(number).id, "out0")
                assert f"master {interface_names.bridge(machine.instance, OUTSIDE)}" in run(
                    machine.home, "ip", "link", "show", port
                )
                agents[number].remove(gateway(number).id)
            agents[number].apply(gateway(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for number, agent in agents.items():
        assert agent.present() == {gateway(number).id}
    name = agents[1].name(gateway(1).id)
    agents[1].remove(gateway(1).id)
    assert not netns.exists(name)
    assert interface_names.bridge(machine.instance, OUTSIDE) in run(machine.home, "ip", "-br", "link")
    agents[2].remove(gateway(2).id)
    assert "lsb-" not in run(machine.home, "ip", "-br", "link")


def test_one_gateway_id_on_two_nodes_of_a_machine_has_two_namespaces(machine: Machine) -> None:
    agents = [NetworkNamespaces(machine.instance, node, machine.home) for node in ("node-1", "node-2")]
    for agent in agents:
        agent.apply(gateway(1))
    agents[0].remove(gateway(1).id)
    assert [sorted(agent.present()) for agent in agents] == [[], [gateway(1).id]]


def test_a_sweep_removes_all_of_an_instance_and_nothing_of_others(
    machine: Machine, namespaces: NetworkNamespaces
) -> None:
    other = NetworkNamespaces(f"{machine.instance}x", "node-a", machine.home)
    try:
        other.apply(gateway(1))
        before = links(machine)
        namespaces.apply(gateway(1, inside=2))
        # A crash can leave a bridge and a port without owner marks.
        bridge, port = (prefix + "aaaaaaaa" for prefix in interface_names.link_prefixes(machine.instance))
        run(machine.home, "ip", "link", "add", bridge, "type", "bridge")
        run(machine.home, "ip", "link", "add", port, "type", "veth", "peer", "name", "stray")
        with subprocess.Popen(["ip", "netns", "exec", namespaces.name(gateway(1).id), "sleep", "60"]) as sleeper:
            eventually(lambda: sleeper.pid in netns.processes(namespaces.name(gateway(1).id)))
            sweep(machine.instance)
            assert sleeper.wait(5) < 0
        sweep(machine.instance)
        assert not [name for name in netns.names() if name.startswith(f"ls-{machine.instance}-")]
        assert links(machine) == before
        assert other.present() == {gateway(1).id}
    finally:
        sweep(f"{machine.instance}x")


def links(machine: Machine) -> list[str]:
    """Return the names of the links in the bridges' namespace, without their state, which changes a moment later."""
    return [line.split()[0] for line in run(machine.home, "ip", "-br", "link").splitlines()]


def test_apply_is_fast(machine: Machine, namespaces: NetworkNamespaces) -> None:
    """Prints the times; the bounds are ones that a busy machine keeps too."""
    wanted = gateway(1, inside=2, next_hops=HOPS)
    times: dict[str, list[float]] = {"new": [], "unchanged": []}
    for _ in range(3):
        for measured in times.values():
            before = time.perf_counter()
            namespaces.apply(wanted)
            measured.append(time.perf_counter() - before)
        namespaces.remove(wanted.id)
    best = {case: round(min(seconds) * 1000, 1) for case, seconds in times.items()}
    print(f"apply, milliseconds: {best}")
    assert best["new"] < 500
    assert best["unchanged"] < best["new"]


def test_deleting_a_link_twice_is_no_error(machine: Machine) -> None:
    def work() -> None:
        with netlink.connect() as kernel:
            kernel.add_bridge("gone")
            link = kernel.links()["gone"]
            with pytest.raises(FileExistsError):
                kernel.add_bridge("gone")
            kernel.delete(link)
            kernel.delete(link)
            assert kernel.link("gone") is None
            assert kernel.link_at(link.index) is None

    netns.run_inside(machine.home, work)


def test_a_function_inside_a_namespace_does_not_move_its_caller(machine: Machine) -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    inside = netns.run_inside(machine.home, lambda: os.stat("/proc/thread-self/ns/net").st_ino)
    assert inside == os.stat(netns.path(machine.home)).st_ino != before
    assert os.stat("/proc/thread-self/ns/net").st_ino == before
    with pytest.raises(ZeroDivisionError):
        netns.run_inside(machine.home, lambda: 1 // 0)
    with pytest.raises(FileNotFoundError):
        netns.run_inside("ls-missing", lambda: None)
    with pytest.raises(FileExistsError):
        netns.create(machine.home, lambda: None)


def test_an_older_kernel_limits_what_waits_for_a_neighbour_too(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hides the setting in the namespace of another user; here another name for it stands for that."""
    files = [key for key, _ in namespace._SYSCTL_OUTSIDE]
    monkeypatch.setattr(namespace, "_SYSCTL_OUTSIDE", [(f"{file}-hidden", "8192") for file in files])
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    name = drivers.namespaces.name(gateway(1).id)
    waiting = [int(netns.run_inside(name, Path("/proc/sys/net", file).read_text)) for file in files]
    assert all(0 < size <= 8192 for size in waiting), waiting


def links_of(machine: Machine) -> set[str]:
    with_peers = netns.run_inside(machine.home, lambda: sorted(_links()))
    return {name for name in with_peers if name != "lo"}


def _links() -> dict[str, netlink.Link]:
    with netlink.connect() as kernel:
        return kernel.links()


def test_gateways_are_removed_together_and_nothing_else(
    machine: Machine, namespaces: NetworkNamespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links and bridges of gateways that are removed at once go in few requests; links of others stay, also those in a
    group and on the same bridge."""
    staying, *leaving = [gateway(number, inside=2) for number in range(1, 8)]
    namespaces.apply(staying)
    kept = links_of(machine)
    for wanted in leaving:
        namespaces.apply(wanted)
    shared = interface_names.bridge(machine.instance, OUTSIDE)
    for command in ("add foreign type veth peer name other", "set foreign group 7", f"set foreign master {shared}"):
        run(machine.home, "ip", "link", *command.split())
    requests: list[int] = []
    delete_all = netlink.Netlink.delete_all
    entered, meeting = threading.Event(), threading.Lock()

    def delayed(kernel: netlink.Netlink, links: Collection[netlink.Link]) -> None:
        # The first one takes as long as the others need to ask.
        with meeting:
            first = not entered.is_set()
            entered.set()
        if first:
            until(lambda: len(namespaces._releases._waiting) == len(leaving) - 1, 20.0)
        requests.append(len(links))
        delete_all(kernel, links)

    monkeypatch.setattr(netlink.Netlink, "delete_all", delayed)
    with ThreadPoolExecutor(len(leaving)) as pool:
        list(pool.map(lambda wanted: namespaces.remove(wanted.id), leaving))
    # Ports and bridges of the first, and of all others.
    assert requests == [3, 2, 3 * (len(leaving) - 1), 2 * (len(leaving) - 1)]
    assert links_of(machine) == {*kept, "foreign", "other"}
    assert namespaces.present() == {staying.id}
    assert "master" in run(machine.home, "ip", "link", "show", "foreign")
