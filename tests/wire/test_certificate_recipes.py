"""The recipes of docs/certificates.md do what the page says: commands of our own, and a strongSwan peer's files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.lab.fabric import ping
from tests.harness import recipes
from tests.harness.authorities import Ca
from tests.harness.ours import CONNECTIONS, VPN
from tests.harness.peer import Peer
from tests.harness.world import World, ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

LEFT, RIGHT = "198.51.100.2", "198.51.100.3"
OTHER_END = {"left": "right", "right": "left", RIGHT: LEFT, "10.2.": "10.1."}


@pytest.fixture
def sites(world: World) -> Iterator[World]:
    """The laboratory without connections; what a test makes is removed."""
    remove(world, CONNECTIONS, "certificates", "trust-anchors")
    yield world
    remove(world, CONNECTIONS, "certificates", "trust-anchors", "ikepolicies", "ipsecpolicies")


def remove(world: World, *paths: str) -> None:
    """Remove the user's objects of these kinds."""
    for path in paths:
        (objects,) = world.user.request("GET", f"{VPN}/{path}").values()
        for item in objects:
            world.user.request("DELETE", f"{VPN}/{path}/{item['id']}")


def wait_active(world: World, *names: str) -> None:
    """Wait until exactly these connections are up."""

    def statuses() -> dict[str, str]:
        (objects,) = world.user.request("GET", f"{VPN}/{CONNECTIONS}").values()
        return {item["name"]: item["status"] for item in objects}

    until(lambda: statuses() == dict.fromkeys(names, "ACTIVE"), 30.0, lambda: f"{statuses()}\n{world.last_words()}")


def test_a_tunnel_in_ten_lines(sites: World, tmp_path: Path) -> None:
    (commands, *_) = recipes.blocks("A tunnel in ten lines")
    assert len([line for line in commands.replace("\\\n", " ").splitlines() if line]) <= 10
    # The laboratory has the services, and one of its policies is of this name.
    lines = [line for line in commands.replace("\\\n", " ").splitlines() if "service create" not in line]
    recipes.run("\n".join(lines), tmp_path, sites.state)
    (connect,) = [line for line in lines if "connection create" in line]
    recipes.run(recipes.changed(connect, OTHER_END), tmp_path, sites.state)
    wait_active(sites, "to-right", "to-left")
    until(sites.one_tunnel, 30.0)
    with sites.wire() as wire:
        answer = ping_with_retry(lambda: ping(sites.host("left"), "10.2.0.10", 5, 0.05))
    assert answer.received == 5
    assert (wire.tally.plaintext, wire.tally.protected >= 10) == (0, True)


def test_a_strongswan_peer_and_a_certificate_of_another_ca(sites: World, tmp_path: Path) -> None:
    root = Ca("C=CH, O=Example, CN=Root")
    middle = Ca("C=CH, O=Example, CN=Middle", above=root)
    issued = middle.issued("right.example.org", subject="right")
    (commands, *_) = recipes.blocks("A tunnel with certificates of another CA")
    (configuration,) = recipes.blocks("strongSwan")
    peer = Peer(sites)
    try:
        folder = tmp_path / "swanctl"
        files = {
            "private/right.key": issued.key_pem,
            "x509/right.pem": issued.chain[0],
            "x509ca/middle.pem": middle.pem,
            "x509ca/ca.pem": root.pem,
            "swanctl.conf": recipes.changed(configuration, {recipes.PEER: peer.v4, recipes.NETWORK: peer.net4}),
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        command = ["swanctl", "--load-all", "--noprompt", "--uri", f"unix://{peer.folder}/vici"]
        subprocess.run(command, env=os.environ | {"SWANCTL_DIR": str(folder)}, check=True, capture_output=True)

        (tmp_path / "ca.pem").write_text(root.pem)
        ask, answer = commands.partition("linkspan trust-anchor")[::2]
        recipes.run(f"linkspan ike-policy create ike\nlinkspan ipsec-policy create ipsec\n{ask}", tmp_path, sites.state)
        (tmp_path / "gw.pem").write_text(middle.answer((tmp_path / "gw.csr").read_text()))
        rest = recipes.changed("linkspan trust-anchor" + answer, {recipes.PEER: peer.v4, recipes.NETWORK: peer.net4})
        recipes.run(rest, tmp_path, sites.state)
        wait_active(sites, "to-right")
        with peer.recorder() as seen:
            answered = ping_with_retry(lambda: ping(sites.host("left"), peer.in4, 5, 0.05))
        assert answered.received == 5
        assert (seen.plaintext, seen.esp >= 10) == (0, True)
    finally:
        remove(sites, CONNECTIONS)
        peer.close()
