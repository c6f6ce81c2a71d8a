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
from tests.api.serving import served

pytestmark = [
    pytest.mark.clients,
    # The SDK triggers these warnings itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]

PASSWORD = "pass word"


class Cloud:
    """A server, and connections to it for its users."""

    def __init__(self, url: str, project: str) -> None:
        self.project = project
        self._url = url

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
        yield Cloud(running.url, projects[0])


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
