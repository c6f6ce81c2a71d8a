"""openstacksdk against the API: quotas, If-Match and bulk requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openstack
import pytest
from openstack import exceptions
from sqlalchemy import Engine

from linkspan.api.authentication.basic import BasicAuth
from linkspan.core.checks import quota
from linkspan.store.identity import users
from linkspan.store.identity.users import hash_password
from linkspan.store.store import Store
from tests.api.serving import Served, served

pytestmark = [
    pytest.mark.clients,
    # The SDK triggers these warnings itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]

PASSWORD = "pass word"


class Cloud:
    """A server, and connections to it for its users."""

    def __init__(self, running: Served, project: str) -> None:
        self.project = project
        self._running = running
        self._url = running.url

    def add_node(self, name: str) -> None:
        """Registers a node, which reports what it should run as running."""
        self._running.api.node(name).apply_desired()

    def network(self, user: str) -> Any:
        """Returns the network proxy of the SDK, connected as a user."""
        auth = {"username": user, "password": PASSWORD, "endpoint": self._url}
        return openstack.connect(
            auth_type="http_basic", auth=auth, network_endpoint_override=f"{self._url}/v2.0"
        ).network


@pytest.fixture
def cloud(database: Engine) -> Iterator[Cloud]:
    projects = []

    def create_users(store: Store) -> BasicAuth:
        hashed = hash_password(PASSWORD)
        with store.write() as tx:
            projects.append(users.add_project(tx, "blue")["id"])
            users.add_user(tx, "admin", hashed, users.add_project(tx, "operators")["id"], ("admin",))
            users.add_user(tx, "alice", hashed, projects[0], ("member",))
        return BasicAuth(store)

    with served(database, create_users) as running:
        yield Cloud(running, projects[0])


def test_quotas(cloud: Cloud) -> None:
    admin, alice = cloud.network("admin"), cloud.network("alice")
    assert list(admin.quotas()) == []
    assert admin.update_quota(cloud.project, ikepolicy=1, routers=5).routers == 5
    quotas = alice.get_quota(cloud.project)
    assert (quotas.routers, quotas["ikepolicy"], quotas.networks) == (5, 1, quota.DEFAULTS["network"])
    assert alice.get_quota_default(cloud.project).routers == quota.DEFAULTS["router"]
    alice.create_vpn_ike_policy(name="the only one")
    details = alice.get_quota(cloud.project, details=True)
    assert details.routers == {"limit": 5, "used": 0, "reserved": 0}
    assert details["ikepolicy"] == {"limit": 1, "used": 1, "reserved": 0}
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded"):
        alice.create_vpn_ike_policy(name="one too many")
    with pytest.raises(exceptions.ForbiddenException):
        alice.update_quota(cloud.project, ikepolicy=2)
    assert [item.project_id for item in admin.quotas()] == [cloud.project]
    admin.delete_quota(cloud.project)
    assert list(admin.quotas()) == []
    admin.delete_quota(cloud.project)  # 404, which the SDK takes for success


def test_a_write_with_an_outdated_revision_is_refused(cloud: Cloud) -> None:
    alice = cloud.network("alice")
    router = alice.create_router(name="first")
    revision = router.revision_number
    assert alice.update_router(router, if_revision=revision, name="second").name == "second"
    with pytest.raises(exceptions.PreconditionFailedException, match="current revision"):
        alice.update_router(router.id, if_revision=revision, name="third")
    with pytest.raises(exceptions.PreconditionFailedException):
        alice.delete_router(router.id, if_revision=revision)
    alice.delete_router(router.id)


def test_bulk_create(cloud: Cloud) -> None:
    alice = cloud.network("alice")
    policy_class = type(alice.create_vpn_ike_policy(name="c"))
    created = list(policy_class.bulk_create(alice, [{"name": "a"}, {"name": "b"}]))
    assert [policy.name for policy in created] == ["a", "b"]
    assert [policy.name for policy in alice.vpn_ike_policies()] == ["a", "b", "c"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_tags(cloud: Cloud) -> None:
    """Each request of the SDK on tags, of every resource that it tags here."""
    network = cloud.network("alice")
    lan = network.create_network(name="lan")
    subnet = network.create_subnet(network_id=lan.id, ip_version=4, cidr="10.1.0.0/24")
    router = network.create_router(name="router")
    network.add_interface_to_router(router, subnet_id=subnet.id)
    (port,) = network.ports(device_id=router.id)
    for item in (lan, subnet, router, port):
        name = type(item).__name__.lower()
        get, listed = getattr(network, f"get_{name}"), getattr(network, f"{name}s")
        network.set_tags(item, ["north", "branch"])
        item.add_tags(network, ["blue"])
        item.add_tag(network, "v1.2")
        item.remove_tag(network, "branch")
        item.check_tag(network, "blue")
        with pytest.raises(exceptions.NotFoundException, match="Tag does not exist"):
            item.check_tag(network, "branch")
        assert get(item.id).tags == item.fetch_tags(network).tags == ["north", "blue", "v1.2"]
        assert [found.id for found in listed(tags="north,blue")] == [item.id]
        assert [found.id for found in listed(any_tags="x,blue")] == [item.id]
        assert list(listed(not_tags="north,blue")) == list(listed(not_any_tags="blue")) == []
        item.remove_all_tags(network)
        assert get(item.id).tags == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_the_sdk_lists_beside_routers(cloud: Cloud) -> None:
    network, admin = cloud.network("alice"), cloud.network("admin")
    assert list(network.ips()) == list(network.security_groups()) == list(network.availability_zones()) == []
    assert network.find_ip("198.51.100.9") is None
    assert network.find_security_group("default") is None
    with pytest.raises(exceptions.BadRequestException, match="Linkspan has no floating IPs"):
        network.create_ip(floating_network_id="3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000")
    cloud.add_node("north")
    (agent,) = admin.agents(is_alive=True, binary="linkspan-agent")
    assert (agent.host, agent.agent_type, agent.is_admin_state_up) == ("north", "VPN Agent", True)
    assert admin.get_agent(agent.id).last_heartbeat_at
    with pytest.raises(exceptions.ForbiddenException):
        list(network.agents())
    assert network.find_extension("standard-attr-tag").alias == "standard-attr-tag"
    assert network.find_extension("Availability Zone").alias == "availability_zone"
