"""OpenStack's own command line against our API, as a tenant types it, with a name and a password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.api.auth import Auth, BasicAuth, NoAuth
from linkspan.store.people import hash_password
from linkspan.store.store import Store
from tests.api.serving import Served, served

pytestmark = pytest.mark.clients

OPENSTACK = Path(sys.executable).with_name("openstack")


def people(store: Store) -> Auth:
    """Authentication with two users."""
    hashed = hash_password("pass word")
    with store.write() as tx:
        project = tx.add_project("blue")["id"]
        tx.add_user("admin", hashed, project, ("admin",))
        tx.add_user("alice", hashed, project, ("member",))
    return BasicAuth(store)


class Cli:
    """The command line as one user."""

    def __init__(self, url: str, user: str, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self._environment = kept | {
            "HOME": str(home),
            "OS_AUTH_TYPE": "http_basic" if user else "none",
            "OS_ENDPOINT": url,
            **({"OS_USERNAME": user, "OS_PASSWORD": "pass word"} if user else {}),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command."""
        return subprocess.run(
            [OPENSTACK, *words], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )

    def __call__(self, *words: str) -> Any:
        """What a command that works prints, as JSON."""
        done = self.run(*words, "-f", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def quietly(self, *words: str) -> None:
        """A command that works and prints nothing."""
        done = self.run(*words)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.fixture
def service(request: pytest.FixtureRequest, database: Engine) -> Iterator[Served]:
    """A server with users."""
    with served(database, people) as running:
        yield running


@pytest.fixture
def admin(service: Served, tmp_path: Path) -> Cli:
    """The command line of an admin."""
    return Cli(service.url, "admin", tmp_path)


@pytest.fixture
def alice(service: Served, tmp_path: Path) -> Cli:
    """The command line of a tenant."""
    return Cli(service.url, "alice", tmp_path)


@pytest.mark.timeout(300)
def test_a_site_from_nothing_to_nothing(admin: Cli, alice: Cli) -> None:
    assert alice("network", "list") == []
    admin("network", "create", "--external", "internet")
    admin("subnet", "create", "--network", "internet", "--subnet-range", "198.51.100.0/24", "internet-v4")
    assert [each["Name"] for each in alice("network", "list", "--external")] == ["internet"]
    alice("network", "create", "lan")
    alice("subnet", "create", "--network", "lan", "--subnet-range", "10.1.0.0/24", "lan-v4")
    alice("router", "create", "router")
    alice.quietly("router", "set", "--external-gateway", "internet", "router")
    alice.quietly("router", "add", "subnet", "router", "lan-v4")
    assert len(alice("port", "list", "--router", "router")) == 2
    assert alice("router", "show", "router")["interfaces_info"][0]["ip_address"] == "10.1.0.1"

    ike = alice("vpn", "ike", "policy", "create", "ike")
    assert (ike["IKE Version"], ike["Authentication Algorithm"]) == ("v2", "sha256")
    alice("vpn", "ipsec", "policy", "create", "ipsec")
    made = alice("vpn", "service", "create", "--router", "router", "--subnet", "lan-v4", "service")
    assert (made["Ext v4 IP"], made["Status"]) == ("198.51.100.2", "PENDING_CREATE")
    assert [each["Name"] for each in alice("vpn", "service", "list")] == ["service"]
    connection = alice(
        *("vpn", "ipsec", "site", "connection", "create", "--vpnservice", "service"),
        *("--ikepolicy", "ike", "--ipsecpolicy", "ipsec", "--psk", "correct horse"),
        *("--peer-address", "203.0.113.9", "--peer-id", "203.0.113.9", "--peer-cidr", "10.9.0.0/24", "tunnel"),
    )
    assert connection["Peer CIDRs"] in ("10.9.0.0/24", ["10.9.0.0/24"])
    alice.quietly("vpn", "ipsec", "site", "connection", "set", "--mtu", "1400", "tunnel")
    assert alice("vpn", "ipsec", "site", "connection", "show", "tunnel")["MTU"] == 1400

    refused = alice.run("vpn", "service", "delete", "service")
    assert refused.returncode != 0
    assert "is still in use" in refused.stdout + refused.stderr
    refused = alice.run("router", "remove", "subnet", "router", "lan-v4")
    assert "is used by VPNService" in refused.stdout + refused.stderr

    alice.quietly("vpn", "ipsec", "site", "connection", "delete", "tunnel")
    alice.quietly("vpn", "service", "delete", "service")
    alice.quietly("vpn", "ike", "policy", "delete", "ike")
    alice.quietly("router", "remove", "subnet", "router", "lan-v4")
    alice.quietly("router", "delete", "router")
    assert alice("vpn", "service", "list") == alice("vpn", "ipsec", "site", "connection", "list") == []


def test_without_a_token(database: Engine, tmp_path: Path) -> None:
    """auth_type none: clients find the version by themselves, from the root."""
    with served(database, lambda _store: NoAuth()) as running:
        cli = Cli(running.url, "", tmp_path)
        assert cli("network", "list") == []
        assert cli("vpn", "ike", "policy", "create", "ike")["Name"] == "ike"
        assert cli("vpn", "service", "list") == []


def test_a_wrong_password(service: Served, tmp_path: Path) -> None:
    done = Cli(service.url, "mallory", tmp_path).run("network", "list")
    assert done.returncode != 0
    assert "requires authentication" in done.stderr + done.stdout
