"""TLS between agent and API: with the authority's certificate everything works, without it nothing is said."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.core.state.observed import Hello
from tests.harness import certificates
from tests.harness.world import World

pytestmark = [pytest.mark.wire, pytest.mark.root]
HELLO = Hello("user-space", "0", "0")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo ./dev test tests/test_tls.py")
def test_agent_and_users_speak_tls_and_nobody_is_trusted_blindly(tmp_path: Path) -> None:
    files, others = tmp_path / "ours", tmp_path / "others"
    files.mkdir()
    others.mkdir()
    ours, stranger = certificates.make(files), certificates.make(others)
    config = tmp_path / "linkspan.toml"
    config.write_text(
        f'[api]\ntls_cert = "{ours.server}"\ntls_key = "{ours.key}"\n[agent]\nca_file = "{ours.authority}"\n'
    )
    world = World(tmp_path / "state", "--config", str(config))
    try:
        url, token = world.lab["url"], (world.state / "nodes" / "node-1.token").read_text().strip()
        assert url.startswith("https://")
        assert world.connection(world.lab["sites"]["left"]["connection_id"])["status"] == "ACTIVE"
        with closing(ApiClient(url, token, ours.authority)) as link:
            assert link.hello(HELLO).node_name == "node-1"
        for ca_file in (None, stranger.authority):
            with closing(ApiClient(url, token, ca_file)) as link, pytest.raises(ApiUnreachable, match="certificate"):
                link.hello(HELLO)
    finally:
        world.stop()


@pytest.mark.parametrize("url", ["http://192.0.2.1:9696", "http://vpn.example.org"])
def test_the_agent_refuses_plain_http_to_anything_but_loopback(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "-m", "linkspan.bootstrap", "agent", "--api", url, "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "https" in done.stderr
