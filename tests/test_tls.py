"""TLS between agent and API: works with the CA's certificate; without it the client sends nothing."""

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
def test_agent_and_users_use_tls_and_verify_the_certificate(tmp_path: Path) -> None:
    folder, other_folder = tmp_path / "ours", tmp_path / "other"
    folder.mkdir()
    other_folder.mkdir()
    ours, other = certificates.make(folder), certificates.make(other_folder)
    config = tmp_path / "linkspan.toml"
    config.write_text(
        f'[api]\ntls_cert = "{ours.server}"\ntls_key = "{ours.key}"\n[agent]\nca_file = "{ours.authority}"\n'
    )
    world = World(tmp_path / "state", "--config", str(config))
    try:
        url, token = world.lab["url"], world.other_node("another")
        assert url.startswith("https://")
        assert world.connection(world.lab["sites"]["left"]["connection_id"])["status"] == "ACTIVE"
        with closing(ApiClient(url, token, ours.authority)) as client:
            assert client.hello(HELLO).node_name == "another"
        for ca_file in (None, other.authority):
            with closing(ApiClient(url, token, ca_file)) as client, pytest.raises(ApiUnreachable, match="certificate"):
                client.hello(HELLO)
    finally:
        world.stop()


@pytest.mark.parametrize("url", ["http://192.0.2.1:9696", "http://vpn.example.org"])
def test_the_agent_refuses_plain_http_to_anything_but_loopback(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "-m", "linkspan.bootstrap", "agent", "--api", url, "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "https" in done.stderr
