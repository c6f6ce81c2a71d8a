"""OpenStack's identity service for a test session: Keystone, in its own process and folder, removed afterwards.

    from tests.harness.keystone import keystone   in a conftest

Users, projects and the catalog are created through Keystone's own API. All tests share one Keystone: each chooses its
own names, and the catalog has one network service, at the URL that the last test set.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openstack
import pytest
from openstack.identity.v3 import Proxy

from tests.harness import environments

SERVER = Path(__file__).with_name("keystone_server.py")
REGION = "RegionOne"
"""The region of everything in the catalog."""
PASSWORD = "keystone pass word"
START = 150.0
"""Seconds until Keystone must answer; it starts slowly on a busy machine."""


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
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    python = environments.python("keystone")
    arguments = (str(listener.fileno()), url, REGION, PASSWORD)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            # If this process is killed, Keystone is killed too. -P: do not import from the script's folder.
            ["setpriv", "--pdeathsig", "KILL", "--", python, "-P", SERVER, folder, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
        )
    listener.close()
    try:
        _wait(process, url, folder / "log")
        service = Keystone(url)
        yield service
        service.admin.close()
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            # The socket listens from the start, but is not served until Keystone is ready.
            answer = httpx.get(f"{url}/v3", timeout=1.0)
        except httpx.TransportError:
            continue
        if answer.status_code == 200:
            return
    raise RuntimeError(f"Keystone did not start: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A Keystone with an admin and no other user."""
    with running(tmp_path_factory.mktemp("keystone")) as service:
        yield service
