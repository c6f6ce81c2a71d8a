"""This end of the way to a peer, in a real namespace: each fault is found, and none without one."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator

import pytest

from linkspan.drivers.gateway.outside_path import local_fault
from linkspan.drivers.linux import netns

pytestmark = pytest.mark.root

OURS, PEER, ELSEWHERE = "192.0.2.1", "192.0.2.2", "203.0.113.9"


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace with an outside interface that has an address, and no other route."""
    name = f"ls-path-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ip(name, "link", "add", "out0", "type", "veth", "peer", "name", "far0")
        for link in ("out0", "far0"):
            ip(name, "link", "set", link, "up")
        ip(name, "address", "add", f"{OURS}/24", "dev", "out0")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def ip(name: str, *command: str) -> None:
    subprocess.run(["ip", "-n", name, *command], check=True)


def found(name: str, peer: str = PEER) -> str | None:
    return netns.run_inside(name, lambda: local_fault(OURS, peer))


def test_each_fault_of_this_end_is_found(namespace: str) -> None:
    assert found(namespace) is None
    assert found(namespace, ELSEWHERE) == "NO_ROUTE_TO_PEER"
    ip(namespace, "link", "set", "far0", "down")
    assert found(namespace) == "LOCAL_LINK_DOWN", "there is no carrier"
    ip(namespace, "link", "set", "far0", "up")
    assert found(namespace) is None
    ip(namespace, "link", "set", "out0", "down")
    assert found(namespace) == "LOCAL_LINK_DOWN"
    ip(namespace, "link", "set", "out0", "up")
    ip(namespace, "address", "delete", f"{OURS}/24", "dev", "out0")
    assert found(namespace) == "LOCAL_ADDRESS_ABSENT"
    ip(namespace, "link", "delete", "out0")
    assert found(namespace) == "LOCAL_LINK_DOWN"
