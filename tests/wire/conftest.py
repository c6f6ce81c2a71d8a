"""The running service for the tests of a file; for those of single attributes, a gateway of ours and plain peers.

`world` is made anew for each file, because its tests break it. `ours` is made once for all files: each of its tests
makes connections and peers of its own, and they go with the test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.harness import mutations
from tests.harness.ours import Ours
from tests.harness.peer import Peer
from tests.harness.project_site import ProjectSite
from tests.harness.world import World

ROOT = Path(__file__).parents[2]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what agents and charons said last: their logs go with the service."""
    report = yield
    found = getattr(item, "funcargs", {})
    world = found.get("world") or found.get("service")
    if report.failed and call.when == "call" and isinstance(world, World):
        report.sections.append(("last words of agents and charons", world.last_words()))
    return report


def need_charon() -> None:
    """Skip what cannot run here."""
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces: sudo ./dev test tests/wire")
    if shutil.which("charon-systemd", path="/usr/sbin:/sbin") is None:
        pytest.skip("needs charon-systemd: sudo ./dev test installs it")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """API, agent and two sites as `linkspan run` makes them."""
    need_charon()
    world = World(tmp_path_factory.mktemp("world") / "state")
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[World]:
    """The service for all tests of single attributes; with `--mutant` its agent drops one."""
    need_charon()
    mutant = pytestconfig.getoption("--mutant")
    environment = {mutations.VARIABLE: mutant, "PYTHONPATH": f"{ROOT / 'tests/harness/mutant'}:{ROOT}"}
    world = World(tmp_path_factory.mktemp("matrix") / "state", environment=environment if mutant else None)
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture
def ours(service: World) -> Iterator[Ours]:
    """Our gateway; what the test makes there goes with it."""
    ours = Ours(service)
    try:
        yield ours
    finally:
        ours.clear()


@pytest.fixture
def new_site(service: World) -> Iterator[Callable[..., ProjectSite]]:
    """Makes gateways beside ours, each of a user: `new_site(name, user)`."""
    made: list[ProjectSite] = []

    def make(name: str, user: str = "demo") -> ProjectSite:
        made.append(ProjectSite(service, service.client(user), name))
        return made[-1]

    yield make
    for site in reversed(made):
        site.clear()


@pytest.fixture
def new_peer(service: World, ours: Ours) -> Iterator[Callable[[], Peer]]:
    """Makes a peer with a charon of its own."""
    made: list[Peer] = []

    def make(plugins: str = "", gateways: tuple[str, ...] = (), levels: str = "") -> Peer:
        made.append(Peer(service, plugins, gateways, levels))
        return made[-1]

    yield make
    # Ours first: a peer that is gone before it is said goodbye to would be waited for.
    ours.clear()
    for peer in made:
        peer.close()


@pytest.fixture
def peer(new_peer: Callable[[], Peer]) -> Peer:
    """One peer."""
    return new_peer()
