"""The pre-shared key is only where it is needed, and a node gets only its own gateways."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from linkspan.core.state.observed import HOLDER_HEADER
from linkspan.drivers.linux.place import holder
from tests.harness.world import World

pytestmark = [pytest.mark.wire, pytest.mark.root]


def found_in(path: Path, secret: bytes) -> bool:
    try:
        return secret in path.read_bytes()
    except OSError:
        return False


def test_the_psk_is_in_no_file_log_command_line_or_environment(world: World) -> None:
    psk = world.connection(world.lab["sites"]["left"]["connection_id"])["psk"].encode()
    assert len(psk) > 20
    files = [path for path in world.state.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"linkspan.db", "charon.log", "lab.json"} <= names, "the search did not see these files"
    assert any(path.name == "node-1.log" for path in files)
    assert [path for path in files if found_in(path, psk)] == []
    assert psk.decode() not in world.output
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    hits = [path for entry in processes for path in (entry / "cmdline", entry / "environ") if found_in(path, psk)]
    assert hits == []


def test_the_search_finds_known_strings(world: World) -> None:
    """Control: the same search for strings that these files contain."""
    assert found_in(world.state / "linkspan.db", b"SQLite format 3")
    assert found_in(Path(f"/proc/{world.process.pid}/cmdline"), str(world.state).encode())
    assert found_in(Path(f"/proc/{os.getpid()}/environ"), b"PATH=")


@pytest.mark.parametrize("path", ["desired?since=0", "hints"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic ZGVtbzpkZW1v"}])
def test_agent_without_the_token_gets_nothing(world: World, path: str, headers: dict[str, str]) -> None:
    router = world.lab["sites"]["left"]["router_id"]
    answer = httpx.get(f"{world.lab['url']}/agent/v1/{path}", headers=headers, timeout=5)
    assert answer.status_code == 401
    assert router not in answer.text
    assert "198.51.100" not in answer.text


def test_a_node_gets_its_own_gateways_only(world: World) -> None:
    router = world.lab["sites"]["left"]["router_id"]
    own = (world.state / "nodes" / "node-1.token").read_text().strip()
    url = f"{world.lab['url']}/agent/v1/desired?since=0"
    agent = {HOLDER_HEADER: holder(world.lab["instance"], world.state.absolute() / "nodes" / "node-1")}
    mine = httpx.get(url, headers={"Authorization": f"Bearer {own}"} | agent, timeout=5)
    assert mine.status_code == 200
    assert router in mine.text
    elsewhere = httpx.get(url, headers={"Authorization": f"Bearer {own}"}, timeout=5)
    assert (elsewhere.status_code, router in elsewhere.text) == (409, False)
    other = world.other_node("stranger")
    theirs = httpx.get(url, headers={"Authorization": f"Bearer {other}"}, timeout=5)
    assert "198.51.100" not in theirs.text
    assert theirs.json()["gateways"] == theirs.json()["connections"] == []


def test_only_their_owner_can_read_files_with_secrets(world: World) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in world.state.rglob("*") if path.is_file()}
    assert modes["seal"] == 0o400
    assert modes["node-1.token"] & 0o077 == 0
    assert modes["clouds.yaml"] & 0o077 == 0
    sockets = list(world.state.rglob("charon.vici"))
    assert len(sockets) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in sockets)
