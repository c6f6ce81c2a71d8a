"""Diagnoses and probes with two API processes: the node is connected to the one, and the other one is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from linkspan.api.resources.diagnosis import PATIENCE
from linkspan.cli.client import Client
from tests.harness.postgres import server
from tests.harness.world import World, frozen, until
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root, pytest.mark.postgres]

PATH = "/v2.0/vpn/ipsec-site-connections"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service whose node stays connected to its own API process."""
    need_charon()
    with server() as postgres:
        environment = {"LINKSPAN_API_DATABASE": postgres.current()}
        world = World(tmp_path_factory.mktemp("processes") / "state", environment=environment)
        try:
            yield world
        finally:
            world.stop()


@pytest.fixture(scope="module")
def other(world: World) -> Iterator[Client]:
    """A client of the other process."""
    with world.another_api() as client:
        yield client


def diagnosis(client: Client, world: World) -> tuple[dict[str, Any], float]:
    """The diagnosis of the left connection, and the seconds that it took."""
    id, started = world.lab["sites"]["left"]["connection_id"], time.monotonic()
    shown: dict[str, Any] = client.request("GET", f"{PATH}/{id}/diagnosis")["diagnosis"]
    return shown, time.monotonic() - started


def test_the_node_of_the_other_process_answers(world: World, other: Client) -> None:
    until(world.one_tunnel, 30.0)
    # Each process checks a password once, which takes its time.
    other.request("GET", PATH)
    took = []
    for _ in range(10):
        shown, seconds = diagnosis(other, world)
        took.append(seconds)
        assert shown["live"] is not None, shown["verdict"]
        assert [sa["state"] for sa in shown["live"]["ike_sas"]] == ["ESTABLISHED"]
    print(f"through another process: {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    # Its control: the node is connected to the first process only, which answers without a look into the database.
    assert diagnosis(world.user, world)[0]["live"] is not None


def test_a_frozen_node_is_said_so_by_the_other_process(world: World, other: Client) -> None:
    with frozen(world.agent_pid):
        shown, seconds = diagnosis(other, world)
    assert (shown["status"], shown["live"], shown["node"]) == ("ACTIVE", None, "node-1")
    assert f"has not answered within {PATIENCE:g} s" in shown["verdict"]["text"]
    print(f"a frozen node: {seconds:.2f} s")
    until(lambda: diagnosis(other, world)[0]["live"] is not None, 20.0)


def test_the_node_of_the_other_process_probes(world: World, other: Client) -> None:
    id = world.lab["sites"]["left"]["connection_id"]
    probe = other.request("POST", f"{PATH}/{id}/probe", {"probe": {"target": "10.2.0.10"}})["probe"]
    assert probe["fault"] == ""
    assert {finding["name"]: finding["state"] for finding in probe["findings"]}["inside"] == "ok", probe
    # The other end is ours too, and takes the probe for no attempt of its peer.
    ends = [world.connection(world.lab["sites"][side]["connection_id"]) for side in ("left", "right")]
    assert [(end["status"], end["status_reason"] or "") for end in ends] == [("ACTIVE", "")] * 2
