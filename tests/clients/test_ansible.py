"""Ansible's `openstack.cloud.resource` creates, updates and deletes VPN resources, and each only once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.serving import Served
from tests.clients.auth_methods import V3, AuthMethod, clouds_yaml
from tests.clients.conftest import SDK_WARNINGS, Connect
from tests.clients.topology import create_topology, obedient_node
from tests.harness import environments

pytestmark = [
    pytest.mark.whole,
    pytest.mark.clients,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("auth_method", [V3], ids=["v3password"]),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
    SDK_WARNINGS,
]

Attributes = dict[str, Any]
Play = Callable[[dict[tuple[str, str], Attributes], str], list[bool]]


@pytest.fixture
def play(service: Served, auth_method: AuthMethod, tmp_path: Path) -> Play:
    """A function that plays one task for each object, by type and name, with its state: `changed` of each."""
    python = environments.python("ansible")
    environment = os.environ | clouds_yaml(tmp_path / "clouds.yaml", auth_method.cloud(service.url, "alice"))
    # Ansible writes into the home directory.
    environment |= {"HOME": str(tmp_path), "ANSIBLE_STDOUT_CALLBACK": "json", "ANSIBLE_DEPRECATION_WARNINGS": "0"}
    command = [str(python.with_name("ansible-playbook")), "-i", "localhost,", str(tmp_path / "play.yml")]

    def run(objects: dict[tuple[str, str], Attributes], state: str) -> list[bool]:
        tasks = [
            {"openstack.cloud.resource": task(kind, name, attributes, state)}
            for (kind, name), attributes in objects.items()
        ]
        head = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        variables = {"ansible_python_interpreter": str(python)}
        (tmp_path / "play.yml").write_text(json.dumps([{**head, "vars": variables, "tasks": tasks}]))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout[done.stdout.index("{") :])
        return [item["hosts"]["localhost"]["changed"] for item in report["plays"][0]["tasks"]]

    return run


def task(kind: str, name: str, attributes: Attributes, state: str) -> dict[str, Any]:
    """Return the arguments of the module."""
    named = {"name": name} | (attributes if state == "present" else {})
    values = {"service": "network", "type": kind, "attributes": named, "state": state}
    return values | {"non_updateable_attributes": FIXED.get(kind, [])}


FIXED: Final = {
    "vpn_service": ["router_id", "subnet_id"],
    "vpn_endpoint_group": ["type", "endpoints"],
    "vpn_ipsec_site_connection": ["vpnservice_id", "ikepolicy_id", "ipsecpolicy_id"],
}
"""The attributes that cannot be updated."""


def test_every_state_is_reached_once(service: Served, connect: Connect, play: Play) -> None:
    topology = create_topology(connect("admin"), connect("alice"))
    network = connect("alice").network
    # The module asks the SDK for `vpn_ike_policys`, so that it cannot manage policies of any service.
    policies = {
        "ikepolicy_id": network.create_vpn_ike_policy(name="ike").id,
        "ipsecpolicy_id": network.create_vpn_ipsec_policy(name="ipsec").id,
    }
    groups: dict[tuple[str, str], Attributes] = {
        ("vpn_endpoint_group", "local"): {"type": "subnet", "endpoints": [topology.subnet]},
        ("vpn_endpoint_group", "peer"): {"type": "cidr", "endpoints": ["10.9.0.0/24"]},
        ("vpn_service", "service"): {"router_id": topology.router, "description": "one"},
    }
    with obedient_node(service):
        assert play(groups, "present") == [True] * 3
        connections: dict[tuple[str, str], Attributes] = {
            ("vpn_ipsec_site_connection", "connection"): {
                "vpnservice_id": network.find_vpn_service("service", ignore_missing=False).id,
                "local_ep_group_id": network.find_vpn_endpoint_group("local", ignore_missing=False).id,
                "peer_ep_group_id": network.find_vpn_endpoint_group("peer", ignore_missing=False).id,
                "peer_address": "198.51.100.77",
                "peer_id": "198.51.100.77",
                "psk": "correct horse battery staple",
                "mtu": 1400,
                "dpd": {"action": "restart", "interval": 10, "timeout": 60},
                **policies,
            }
        }
        assert play(connections, "present") == [True]
        everything = groups | connections
        assert play(everything, "present") == [False] * 4
        for attributes in everything.values():
            attributes["description"] = "two"
        everything["vpn_ipsec_site_connection", "connection"] |= {"mtu": 1300, "psk": "another key of some length"}
        assert play(everything, "present") == [True] * 4
        assert play(everything, "present") == [False] * 4
        connection = network.find_vpn_ipsec_site_connection("connection", ignore_missing=False)
        assert (connection.mtu, connection.psk, connection.description) == (1300, "another key of some length", "two")
        backwards = dict(reversed(everything.items()))
        assert play(backwards, "absent") == [True] * 4
        assert play(backwards, "absent") == [False] * 4
