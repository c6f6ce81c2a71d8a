"""Clients of a cloud with its own Keystone: they log in there, and its catalog leads them here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openstack
import openstack.connection
import pytest
from sqlalchemy import Engine

from linkspan.api.auth import NoAuth
from tests.api.serving import Served, served
from tests.clients.conftest import SDK_WARNINGS
from tests.clients.ways import clouds_yaml
from tests.harness.keystone import Keystone, keystone
from tests.harness.openstack_cli import Cli, OpenStack

__all__ = ["keystone"]

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300), SDK_WARNINGS]


@pytest.fixture
def service(database: Engine, keystone: Keystone) -> Iterator[Served]:
    """A server that the catalog leads to."""
    with served(database, lambda _store: NoAuth()) as running:
        # As an operator writes it: without a version.
        keystone.lead_to(running.url)
        yield running


@pytest.fixture
def alice(service: Served, keystone: Keystone) -> Iterator[openstack.connection.Connection]:
    """openstacksdk, as a member of a project."""
    keystone.add("alice", "blue", "member")
    cloud = keystone.cloud("alice", "blue")
    with openstack.connect(load_yaml_config=False, load_envvars=False, **cloud) as connection:
        yield connection


def test_the_sdk_finds_its_way(alice: openstack.connection.Connection) -> None:
    made = alice.network.create_vpn_ike_policy(name="by way of Keystone")
    assert alice.network.find_vpn_ike_policy("by way of Keystone", ignore_missing=False).id == made.id
    assert "vpnaas" in {each.alias for each in alice.network.extensions()}


def test_the_command_line_finds_its_way(
    service: Served, keystone: Keystone, openstack_10: OpenStack, tmp_path: Path
) -> None:
    keystone.add("alice", "blue", "member")
    cli = Cli(openstack_10, tmp_path, clouds_yaml(tmp_path / "clouds.yaml", keystone.cloud("alice", "blue")))
    assert cli("vpn", "ike", "policy", "create", "typed")["Name"] == "typed"
    assert [each["Name"] for each in cli("vpn", "ike", "policy", "list")] == ["typed"]
