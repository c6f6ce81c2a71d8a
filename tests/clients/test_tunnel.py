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


class Half(msgspec.Struct, frozen=True):
    """One end: `connection` is an id; `number` makes the lan 10.NUMBER.0.0/24."""

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
    """openstacksdk, with the clouds.yaml that the service made."""
    clouds = openstack.config.OpenStackConfig(config_files=[str(world.state / "clouds.yaml")], load_envvars=False)
    connection = openstack.connection.Connection(config=clouds.get_one(CLOUD))
    yield connection
    connection.close()


@pytest.fixture
def cli(world: World, openstack_10: OpenStack, tmp_path: Path) -> Cli:
    """The command line, with the same."""
    environment = {"OS_CLIENT_CONFIG_FILE": str(world.state / "clouds.yaml"), "OS_CLOUD": CLOUD}
    return Cli(openstack_10, tmp_path, environment)


def by_sdk(sdk: openstack.connection.Connection) -> tuple[Half, Half]:
    """Two ends, made with openstacksdk: endpoint groups, and policies that say everything."""
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

    def join(name: str, other: str) -> Half:
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
        return Half(name, number, lan.id, connection.id)

    return join("sdk-1", "sdk-2"), join("sdk-2", "sdk-1")


def by_cli(cli: Cli) -> tuple[Half, Half]:
    """Two ends, typed: everything by its name, CIDRs and defaults."""
    cli("vpn", "ike", "policy", "create", "cli")
    cli("vpn", "ipsec", "policy", "create", "cli")
    ends: dict[str, tuple[int, Any, Any]] = {}
    for name, number in (("cli-1", 21), ("cli-2", 22)):
        lan = cli("network", "create", name)
        cli("subnet", "create", "--network", name, "--subnet-range", f"10.{number}.0.0/24", name)
        cli("router", "create", "--external-gateway", "internet", name)
        cli.quietly("router", "add", "subnet", name, name)
        ends[name] = (number, lan, cli("vpn", "service", "create", "--router", name, "--subnet", name, name))

    def join(name: str, other: str) -> Half:
        number, lan, _ = ends[name]
        there, _, peer = ends[other]
        connection = cli(
            *("vpn", "ipsec", "site", "connection", "create", "--vpnservice", name),
            *("--ikepolicy", "cli", "--ipsecpolicy", "cli", "--psk", PSK, "--peer-address", peer["Ext v4 IP"]),
            *("--peer-id", peer["Ext v4 IP"], "--peer-cidr", f"10.{there}.0.0/24", name),
        )
        return Half(name, number, lan["id"], connection["ID"])

    return join("cli-1", "cli-2"), join("cli-2", "cli-1")


def talk(world: World, here: Half, there: Half, sent: int, timeout: int = 2) -> tuple[int, int]:
    """Pings from one host to the other: how many came back, and what was ESP between the gateways. None was clear."""
    namespace = fabric.host_namespace(world.lab["instance"], here.name)
    inside = [f"10.{half.number}.0.0/24" for half in (here, there)]
    with PacketCounter(world.lab["fabric"], world.lab["internet"]["bridge"], inside) as wire:
        came = fabric.ping(namespace, there.host, sent, timeout=timeout).received
    assert (wire.tally.plaintext, wire.tally.drops) == (0, 0)
    return came, wire.tally.protected


def prove(world: World, sdk: openstack.connection.Connection, here: Half, there: Half) -> None:
    """Both ends become ACTIVE, hosts on both talk as ESP, and no longer when one end is taken down."""
    network = sdk.network
    for half in (here, there):
        connection = network.get_vpn_ipsec_site_connection(half.connection)
        network.wait_for_status(connection, "ACTIVE", ["ERROR"], interval=0.1, wait=60)
        addresses, gateways = (f"{half.host}/24",), (f"10.{half.number}.0.1",)
        fabric.make_host(world.lab["instance"], half.name, half.network, addresses, gateways)
    came, protected = talk(world, here, there, PINGS)
    assert came == PINGS
    assert protected >= 2 * PINGS
    # Without the connection the same pings get nowhere: it was the tunnel.
    connection = network.update_vpn_ipsec_site_connection(here.connection, is_admin_state_up=False)
    network.wait_for_status(connection, "DOWN", ["ERROR"], interval=0.1, wait=60)
    assert talk(world, here, there, 3, timeout=1) == (0, 0)
    network.delete_vpn_ipsec_site_connection(here.connection)
    network.wait_for_delete(connection, interval=0.1, wait=60)


def test_clients_make_tunnels(world: World, sdk: openstack.connection.Connection, cli: Cli) -> None:
    prove(world, sdk, *by_sdk(sdk))
    prove(world, sdk, *by_cli(cli))
