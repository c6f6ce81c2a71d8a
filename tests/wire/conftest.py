"""The running service for the tests of a file; for tests of single attributes, a shared gateway and plain peers.

`world` is started for each file, because its tests break it. `service` is started once for all files; tests use its
left gateway as `ours`, and their connections and peers are removed afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import msgspec
import pytest

from linkspan.lab import fabric
from linkspan.lab.fabric import ping
from tests.harness import mutations
from tests.harness.ours import Ours
from tests.harness.peer import Peer
from tests.harness.project_site import ProjectSite
from tests.harness.world import World, until

ROOT = Path(__file__).parents[2]
STARTED_BEFORE = pytest.StashKey[int]()
ANNEX4, ANNEX6 = "10.11.0.0/24", "fd00:11::/64"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Note which services a test starts itself."""
    item.stash[STARTED_BEFORE] = len(World.started)
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the ends of the agents' and charons' logs to a failed report, since the logs are removed with the service."""
    report = yield
    if report.failed and call.when == "call":
        arguments = getattr(item, "funcargs", {})
        shared = arguments.get("world") or arguments.get("service")
        own = World.started[item.stash.get(STARTED_BEFORE, len(World.started)) :]
        for world in [shared, *own] if isinstance(shared, World) else own:
            report.sections.append((f"ends of the logs of agents and charons of {world.state}", world.last_words()))
    return report


def need_charon() -> None:
    """Skip a test that needs root or charon where they are missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces: sudo ./dev test tests/wire")
    if shutil.which("charon-systemd", path="/usr/sbin:/sbin") is None:
        pytest.skip("needs charon-systemd: sudo ./dev test installs it")


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """API, agent and two sites as `linkspan run` starts them, with the settings of the module's `ENVIRONMENT`."""
    need_charon()
    environment = getattr(request.module, "ENVIRONMENT", {})
    world = World(tmp_path_factory.mktemp("world") / "state", environment=environment)
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[World]:
    """The service for all tests of single attributes; with `--mutant` its agent ignores one. A changed psk ends the one
    before it at once."""
    need_charon()
    environment = {"LINKSPAN_API_PSK_GRACE": "0"}
    if mutant := pytestconfig.getoption("--mutant"):
        environment |= {mutations.VARIABLE: mutant, "PYTHONPATH": f"{ROOT / 'tests/harness/mutant'}:{ROOT}"}
    world = World(tmp_path_factory.mktemp("matrix") / "state", environment=environment)
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture
def ours(service: World) -> Iterator[Ours]:
    """The gateway under test; objects that the test creates are removed afterwards."""
    ours = Ours(service)
    try:
        yield ours
    finally:
        ours.clear()


@pytest.fixture
def files(ours: Ours) -> Iterator[Path]:
    """The gateway's files in /etc/netns during a test. They are bind-mounted, so they are changed in place."""
    directory = Path("/etc/netns") / ours.gateway
    directory.mkdir(parents=True)
    for name in ("hosts", "resolv.conf"):
        (directory / name).write_text("")
    yield directory
    ours.clear()
    shutil.rmtree(directory)


@pytest.fixture
def new_site(service: World) -> Iterator[Callable[..., ProjectSite]]:
    """Creates additional sites, each of a user: `new_site(name, user)`."""
    sites: list[ProjectSite] = []

    def make(name: str, user: str = "demo") -> ProjectSite:
        sites.append(ProjectSite(service, service.client(user), name))
        return sites[-1]

    yield make
    for site in reversed(sites):
        site.clear()


@pytest.fixture
def new_peer(service: World, ours: Ours) -> Iterator[Callable[[], Peer]]:
    """Creates a peer with its own charon."""
    peers: list[Peer] = []

    def make(plugins: str = "", gateways: tuple[str, ...] = (), levels: str = "") -> Peer:
        peers.append(Peer(service, plugins, gateways, levels))
        return peers[-1]

    yield make
    # Connections first: charon waits for a removed peer's response to its delete.
    ours.clear()
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(new_peer: Callable[[], Peer]) -> Peer:
    """One peer."""
    return new_peer()


class Annex(msgspec.Struct, frozen=True):
    """A second network behind the gateway, with a host."""

    subnets: dict[int, str]
    host: str


@pytest.fixture
def annex(ours: Ours) -> Iterator[Annex]:
    user, instance = ours.world.user, ours.world.lab["instance"]
    network = user.request("POST", "/v2.0/networks", {"network": {"name": "annex"}})["network"]["id"]
    subnets = {}
    for version, cidr in ((4, ANNEX4), (6, ANNEX6)):
        body = {"network_id": network, "cidr": cidr, "ip_version": version}
        subnets[version] = user.request("POST", "/v2.0/subnets", {"subnet": body})["subnet"]["id"]
        user.request("PUT", f"/v2.0/routers/{ours.router_id}/add_router_interface", {"subnet_id": subnets[version]})
    until(lambda: "10.11.0.1/" in ours.world.inside(ours.gateway, "ip", "-o", "address"), 10.0)
    until(lambda: "fd00:11::1/" in ours.world.inside(ours.gateway, "ip", "-o", "address"), 10.0)
    addresses = ("10.11.0.10/24", "fd00:11::10/64")

    def attach() -> bool:
        """The gateway's interface joins the network's bridge a moment after it has its addresses."""
        with contextlib.suppress(fabric.LabError):
            hosts.append(fabric.make_host(instance, "annex", network, addresses, ("10.11.0.1", "fd00:11::1")))
        return bool(hosts)

    hosts: list[fabric.Host] = []
    until(attach, 10.0)
    (host,) = hosts
    for gateway in ("10.11.0.1", "fd00:11::1"):
        until(lambda gateway=gateway: ping(host.namespace, gateway, 1, timeout=1).received == 1, 5.0)  # type: ignore[misc]
    yield Annex(subnets, host.namespace)
    ours.clear()
    fabric.remove(instance, "annex")
    for subnet in subnets.values():
        user.request("PUT", f"/v2.0/routers/{ours.router_id}/remove_router_interface", {"subnet_id": subnet})
    user.request("DELETE", f"/v2.0/networks/{network}")
