"""A stack of Heat with both ends of a tunnel: created on the running service, updated under ping, and deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import openstack.config
import openstack.connection
import pytest
import yaml

from linkspan.lab import fabric
from linkspan.lab.fabric import Host, Ping
from tests.clients.conftest import SDK_WARNINGS
from tests.harness import heat
from tests.harness.postgres import Server
from tests.harness.world import World, until
from tests.wire.conftest import need_charon

pytestmark = [
    pytest.mark.whole,
    pytest.mark.clients,
    pytest.mark.wire,
    pytest.mark.root,
    pytest.mark.postgres,
    pytest.mark.timeout(600),
    SDK_WARNINGS,
]

TEMPLATE: Final = Path(__file__).with_name("two_ends.yaml")
CLOUD: Final = "linkspan-demo-password"
SETTLE: Final = 180
"""Seconds that Heat has for an action on the stack."""
Parameters = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The running service."""
    need_charon()
    world = World(tmp_path_factory.mktemp("world") / "state")
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="module")
def sdk(
    world: World, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openstack.connection.Connection]:
    """openstacksdk for the service and a Heat in front of it."""
    file = world.state / "clouds.yaml"
    admin = yaml.safe_load(file.read_text())["clouds"]["linkspan-admin-password"]["auth"]
    account = (admin["username"], admin["project_name"], admin["password"])
    config = openstack.config.OpenStackConfig(config_files=[str(file)], load_envvars=False)
    with (
        postgres.empty() as database,
        heat.running(tmp_path_factory.mktemp("heat"), database, admin["auth_url"], account) as url,
        openstack.connection.Connection(config=config.get_one(CLOUD)) as user,
    ):
        endpoint: dict[str, Any] = {"orchestration_endpoint_override": f"{url}/v1/{user.current_project_id}"}
        with openstack.connection.Connection(config=config.get_one(CLOUD, **endpoint)) as connection:
            yield connection


class Stack:
    """The stack of `TEMPLATE` in Heat."""

    def __init__(self, sdk: openstack.connection.Connection, parameters: Parameters) -> None:
        self.heat = sdk.orchestration
        self.network = sdk.network
        self.parameters = parameters
        self.id = self.heat.create_stack(name="two-ends", template=TEMPLATE.read_text(), parameters=parameters).id
        self.wait("CREATE_COMPLETE")

    def update(self, **parameters: Any) -> None:
        """Update parameters, and wait until Heat has finished."""
        self.parameters |= parameters
        self.heat.update_stack(self.id, template=TEMPLATE.read_text(), parameters=self.parameters)
        self.wait("UPDATE_COMPLETE")

    def wait(self, status: str) -> None:
        """Wait until the stack has this status; fail with Heat's reason if it fails."""
        action = status.partition("_")[0]

        def finished() -> bool:
            stack = self.heat.get_stack(self.id)
            assert stack.status != f"{action}_FAILED", f"{stack.status_reason}: {self.failures()}"
            return bool(stack.status == status)

        until(finished, SETTLE, lambda: str(self.failures()))

    def failures(self) -> list[tuple[Any, ...]]:
        """Return name, status and reason of the resources that are not complete, and of all connections."""
        resources: list[tuple[Any, ...]] = [(r.name, r.status, r.status_reason) for r in self.heat.resources(self.id)]
        listed = self.network.get("/vpn/ipsec-site-connections").json()["ipsec_site_connections"]
        connections: list[tuple[Any, ...]] = [(item["id"], item["status"], item["status_reason"]) for item in listed]
        return [item for item in resources if not str(item[1]).endswith("COMPLETE")] + connections

    def output(self, name: str) -> str:
        """Return an output of the stack."""
        outputs = self.heat.get_stack(self.id).outputs
        return str({output["output_key"]: output["output_value"] for output in outputs}[name])

    def delete(self) -> None:
        """Delete the stack, and wait until Heat has finished."""
        stack = self.heat.get_stack(self.id)
        self.heat.delete_stack(self.id)
        self.heat.wait_for_delete(stack, interval=1, wait=SETTLE)


UPDATES: Final[tuple[Parameters, ...]] = (
    {"psk": "another key"},
    {"mtu": 1400},
    {"dpd_interval": 7},
    {"ike_encryption": "aes-256"},
    {"ipsec_encryption": "aes-256"},
)
"""Parameters of each update. Heat replaces the connections for all but that of the IKE policy, which it edits."""


def test_a_stack_is_created_updated_under_ping_and_deleted(world: World, sdk: openstack.connection.Connection) -> None:
    network = sdk.network
    before = {connection.id for connection in network.vpn_ipsec_site_connections()}
    stack = Stack(sdk, {"psk": "a key"})
    hosts = [make_host(world, stack, "left", 31), make_host(world, stack, "right", 32)]
    try:
        until(lambda: fabric.ping(hosts[0].namespace, "10.32.0.10", 1).received == 1, 20.0)
        for update in UPDATES:
            ids = {stack.output("left"), stack.output("right")}
            with pinging(hosts[0].namespace, "10.32.0.10") as pings:
                stack.update(**update)
            sent, received = sum(ping.sent for ping in pings), sum(ping.received for ping in pings)
            # The two ends follow one another: for a moment one has only what the other does not have yet.
            assert received >= 0.99 * sent, f"{update}: {received} of {sent} answered"
            now = {stack.output("left"), stack.output("right")}
            assert (now == ids) == ("ike_encryption" in update)
            assert {connection.id for connection in network.vpn_ipsec_site_connections()} - before == now
            check_connections(sdk, now, stack.parameters)
        stack.delete()
        assert {connection.id for connection in network.vpn_ipsec_site_connections()} == before
        assert not [item.name for item in network.networks() if item.name.startswith("heat-")]
    finally:
        for host in hosts:
            fabric.remove(world.lab["instance"], host.name)


def make_host(world: World, stack: Stack, side: str, number: int) -> Host:
    """Create a host on the network of a side."""
    address, gateway = (f"10.{number}.0.10/24",), (f"10.{number}.0.1",)
    return fabric.make_host(world.lab["instance"], f"heat-{side}", stack.output(f"{side}_net"), address, gateway)


@contextmanager
def pinging(namespace: str, destination: str) -> Iterator[list[Ping]]:
    """Ping 50 times a second during the block; the list is complete after it."""
    pings: list[Ping] = []
    stopping = threading.Event()

    def send() -> None:
        while not stopping.is_set():
            pings.append(fabric.ping(namespace, destination, 50, interval=0.02))

    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send)
        try:
            yield pings
        finally:
            stopping.set()
            sender.result()


def check_connections(sdk: openstack.connection.Connection, ids: set[str], parameters: Parameters) -> None:
    """Check that the connections are ACTIVE, and have what the stack's parameters say."""
    network = sdk.network
    for id in ids:
        connection = network.get_vpn_ipsec_site_connection(id)
        assert (connection.status, connection.psk) == ("ACTIVE", parameters["psk"])
        assert connection.mtu == parameters.get("mtu", 1500)
        assert connection.dpd == {"action": "restart", "interval": parameters.get("dpd_interval", 5), "timeout": 60}
        ike = network.get_vpn_ike_policy(connection.ikepolicy_id)
        ipsec = network.get_vpn_ipsec_policy(connection.ipsecpolicy_id)
        assert ike.encryption_algorithm == parameters.get("ike_encryption", "aes-128")
        assert ipsec.encryption_algorithm == parameters.get("ipsec_encryption", "aes-128")
