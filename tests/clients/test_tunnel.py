"""Tunnels made by OpenStack's clients: networks, routers and VPN, by each client, on the running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import msgspec
import openstack.config
import openstack.connection
import pytest

from linkspan.lab import fabric
from linkspan.lab.packet_counter import PacketCounter
from tests.clients.conftest import SDK_WARNINGS
from tests.harness.openstack_cli import Cli, OpenStack
from tests.harness.postgres import Server
from tests.harness.world import World
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.clients, pytest.mark.wire, pytest.mark.root, pytest.mark.timeout(300), SDK_WARNINGS]

CLOUD: Final = "linkspan-demo"
PSK: Final = "correct horse battery staple"
PINGS: Final = 10


class TunnelEnd(msgspec.Struct, frozen=True):
    """One end of a tunnel: ids of its network and connection. Its subnet is 10.NUMBER.0.0/24."""

    name: str
    number: int
    network: str
    connection: str

    @property
    def host(self) -> str:
        """The host's address."""
        return f"10.{self.number}.0.10"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The running service on each kind of database."""
    need_charon()
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    with server.empty() if server else nullcontext() as url:
        world = World(tmp_path / "state", environment={"LINKSPAN_API_DATABASE": url} if url else None)
        try:
            assert (world.state / "linkspan.db").exists() == (request.param == "sqlite")
            yield world
        finally:
            world.stop()


@pytest.fixture
def sdk(world: World) -> Iterator[openstack.connection.Connection]:
    """openstacksdk, with the clouds.yaml that `linkspan run` wrote."""
    clouds = openstack.config.OpenStackConfig(config_files=[str(world.state / "clouds.yaml")], load_envvars=False)
    connection = openstack.connection.Connection(config=clouds.get_one(CLOUD))
    yield connection
    connection.close()


@pytest.fixture
def cli(world: World, openstack_10: OpenStack, tmp_path: Path) -> Cli:
    """The openstack command, with the same clouds.yaml."""
    environment = {"OS_CLIENT_CONFIG_FILE": str(world.state / "clouds.yaml"), "OS_CLOUD": CLOUD}
    return Cli(openstack_10, tmp_path, environment)


def create_by_sdk(sdk: openstack.connection.Connection) -> tuple[TunnelEnd, TunnelEnd]:
    """Creates two ends with openstacksdk: with endpoint groups and explicit policies."""
    network = sdk.network
    internet = network.find_network("internet", ignore_missing=False)
    ike = network.create_vpn_ike_policy(
        name="sdk",
        encryption_algorithm="aes-256",
        auth_algorithm="sha384",
        pfs="group20",
        lifetime={"units": "seconds", "value": 7200},
    )
    ipsec = network.create_vpn_ipsec_policy(name="sdk", encryption_algorithm="aes-256-gcm-16", pfs="group20")
    ends = {}
    for name, number in (("sdk-1", 11), ("sdk-2", 12)):
        lan = network.create_network(name=name)
        subnet = network.create_subnet(network_id=lan.id, cidr=f"10.{number}.0.0/24", ip_version=4)
        router = network.create_router(name=name, external_gateway_info={"network_id": internet.id})
        network.add_interface_to_router(router, subnet=subnet.id)
        service = network.create_vpn_service(name=name, router_id=router.id)
        ours = network.create_vpn_endpoint_group(name=f"{name} here", type="subnet", endpoints=[subnet.id])
        theirs = network.create_vpn_endpoint_group(name=f"{name} there", type="cidr", endpoints=[subnet.cidr])
        ends[name] = (number, lan, service, ours, theirs)

    def connect(name: str, other: str) -> TunnelEnd:
        number, lan, service, ours, _ = ends[name]
        *_, peer, _, theirs = ends[other]
        connection = network.create_vpn_ipsec_site_connection(
            name=name,
            vpnservice_id=service.id,
            ikepolicy_id=ike.id,
            ipsecpolicy_id=ipsec.id,
            peer_address=peer.external_v4_ip,
            peer_id=peer.external_v4_ip,
            local_ep_group_id=ours.id,
            peer_ep_group_id=theirs.id,
            psk=PSK,
            dpd={"action": "restart", "interval": 5, "timeout": 20},
        )
        return TunnelEnd(name, number, lan.id, connection.id)

    return connect("sdk-1", "sdk-2"), connect("sdk-2", "sdk-1")


def create_by_cli(cli: Cli) -> tuple[TunnelEnd, TunnelEnd]:
    """Creates two ends with the openstack command: references by name, peer CIDRs, policies with defaults."""
    cli("vpn", "ike", "policy", "create", "cli")
    cli("vpn", "ipsec", "policy", "create", "cli")
    ends: dict[str, tuple[int, Any, Any]] = {}
    for name, number in (("cli-1", 21), ("cli-2", 22)):
        lan = cli("network", "create", name)
        cli("subnet", "create", "--network", name, "--subnet-range", f"10.{number}.0.0/24", name)
        cli("router", "create", "--external-gateway", "internet", name)
        cli.quietly("router", "add", "subnet", name, name)
        ends[name] = (number, lan, cli("vpn", "service", "create", "--router", name, "--subnet", name, name))

    def connect(name: str, other: str) -> TunnelEnd:
        number, lan, _ = ends[name]
        there, _, peer = ends[other]
        connection = cli(
            *("vpn", "ipsec", "site", "connection", "create", "--vpnservice", name),
            *("--ikepolicy", "cli", "--ipsecpolicy", "cli", "--psk", PSK, "--peer-address", peer["Ext v4 IP"]),
            *("--peer-id", peer["Ext v4 IP"], "--peer-cidr", f"10.{there}.0.0/24", name),
        )
        return TunnelEnd(name, number, lan["id"], connection["ID"])

    return connect("cli-1", "cli-2"), connect("cli-2", "cli-1")


def ping(world: World, here: TunnelEnd, there: TunnelEnd, sent: int, timeout: int = 2) -> tuple[int, int]:
    """Pings from one host to the other; returns the number of replies and of ESP packets between the gateways.

    No packet may be in plaintext.
    """
    namespace = fabric.host_namespace(world.lab["instance"], here.name)
    inside = [f"10.{end.number}.0.0/24" for end in (here, there)]
    with PacketCounter(world.lab["fabric"], world.lab["internet"]["bridge"], inside) as wire:
        received = fabric.ping(namespace, there.host, sent, timeout=timeout).received
    assert (wire.tally.plaintext, wire.tally.drops) == (0, 0)
    return received, wire.tally.protected


def check_tunnel(world: World, sdk: openstack.connection.Connection, here: TunnelEnd, there: TunnelEnd) -> None:
    """Checks that both ends become ACTIVE, and that their hosts reach each other over ESP until one end is disabled."""
    network = sdk.network
    for end in (here, there):
        connection = network.get_vpn_ipsec_site_connection(end.connection)
        network.wait_for_status(connection, "ACTIVE", ["ERROR"], interval=0.1, wait=60)
        addresses, gateways = (f"{end.host}/24",), (f"10.{end.number}.0.1",)
        fabric.make_host(world.lab["instance"], end.name, end.network, addresses, gateways)
    received, protected = ping(world, here, there, PINGS)
    assert received == PINGS
    assert protected >= 2 * PINGS
    # Without the connection the same pings get no reply: they went through the tunnel.
    connection = network.update_vpn_ipsec_site_connection(here.connection, is_admin_state_up=False)
    network.wait_for_status(connection, "DOWN", ["ERROR"], interval=0.1, wait=60)
    assert ping(world, here, there, 3, timeout=1) == (0, 0)
    network.delete_vpn_ipsec_site_connection(here.connection)
    network.wait_for_delete(connection, interval=0.1, wait=60)


def test_clients_make_tunnels(world: World, sdk: openstack.connection.Connection, cli: Cli) -> None:
    check_tunnel(world, sdk, *create_by_sdk(sdk))
    check_tunnel(world, sdk, *create_by_cli(cli))
