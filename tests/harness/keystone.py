"""OpenStack's identity service for a test session: Keystone, in its own process and folder, removed afterwards.

    from tests.harness.keystone import keystone   in a conftest

Users, projects and the catalog are created through Keystone's own API. All tests share one Keystone: each chooses its
own names, and the catalog has one network service, at the URL that the last test set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack.identity.v3 import Proxy

from tests.harness import environments

REGION = "RegionOne"
"""The region of everything in the catalog."""
PASSWORD = "keystone pass word"


class Keystone:
    """A running Keystone. `url`: its root, with version 3 at /v3; `admin`: a connection of its admin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = openstack.connect(load_yaml_config=False, load_envvars=False, **self.cloud("admin", "admin"))

    def cloud(self, user: str, project: str) -> dict[str, Any]:
        """Return a user's entry for clouds.yaml. All users have the same password."""
        return {
            "auth_type": "v3password",
            "region_name": REGION,
            "auth": {
                "auth_url": f"{self.url}/v3",
                "username": user,
                "password": PASSWORD,
                "project_name": project,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
        }

    def add(self, user: str, project: str, role: str) -> None:
        """Create a user with a role in a project; keep what exists."""
        identity = self._identity()
        home = identity.find_project(project) or identity.create_project(name=project, domain_id="default")
        person = identity.find_user(user) or identity.create_user(name=user, password=PASSWORD, domain_id="default")
        identity.assign_project_role_to_user(home, person, identity.find_role(role, ignore_missing=False))

    def lead_to(self, url: str) -> None:
        """Make this URL the only network service in the catalog."""
        identity = self._identity()
        for old in identity.services(type="network"):
            identity.delete_service(old)
        service = identity.create_service(name="linkspan", type="network")
        identity.create_endpoint(service_id=service.id, interface="public", region_id=REGION, url=url)

    def _identity(self) -> Proxy:
        identity = self.admin.identity
        assert isinstance(identity, Proxy)
        return identity


@contextmanager
def running(folder: Path) -> Iterator[Keystone]:
    """Start a Keystone in an empty folder; kill it afterwards."""
    with environments.serving("keystone", folder, "/v3", REGION, PASSWORD) as url:
        service = Keystone(url)
        yield service
        service.admin.close()


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone with an admin and no other user."""
    with running(tmp_path_factory.mktemp("keystone")) as service:
        yield service
