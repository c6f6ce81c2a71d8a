"""OpenStack's own identity service for a test session: Keystone, in a process and a folder of its own, always gone.

    from tests.harness.keystone import keystone   in a conftest

Who is in it, and what its catalog leads to, is made through Keystone's own API. It is one for all tests: names are the
tests' to choose, and there is one network service, wherever the last test said.
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
"""Of everything in its catalog."""
PASSWORD = "keystone pass word"
START = 150.0
"""Seconds; it takes six on an idle machine, and ten times that on a busy one."""


class Keystone:
    """`url` is its root; version 3 is at /v3 below it. `admin` is a connection of its admin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = openstack.connect(load_yaml_config=False, load_envvars=False, **self.cloud("admin", "admin"))

    def cloud(self, user: str, project: str) -> dict[str, Any]:
        """A user's entry of a clouds.yaml. All of them have the same password."""
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
        """A user with a role in a project; what is there already stays."""
        identity = self._identity()
        home = identity.find_project(project) or identity.create_project(name=project, domain_id="default")
        person = identity.find_user(user) or identity.create_user(name=user, password=PASSWORD, domain_id="default")
        identity.assign_project_role_to_user(home, person, identity.find_role(role, ignore_missing=False))

    def lead_to(self, url: str) -> None:
        """Makes the catalog name this URL as its only network service."""
        identity = self._identity()
        for old in identity.services(type="network"):
            identity.delete_service(old)
        service = identity.create_service(name="linkspan", type="network")
        identity.create_endpoint(service_id=service.id, interface="public", region_id=REGION, url=url)

    def _identity(self) -> Proxy:
        found = self.admin.identity
        assert isinstance(found, Proxy)
        return found


@contextmanager
def running(folder: Path) -> Iterator[Keystone]:
    """Makes one in an empty folder, and ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    python = environments.python("keystone")
    arguments = (str(listener.fileno()), url, REGION, PASSWORD)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            # Should this process be killed, Keystone ends as well. -P: our folder is no place to import from.
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
            # The socket listens from the beginning; nothing answers on it before Keystone is made.
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
