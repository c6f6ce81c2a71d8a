"""Tempest's VPN tests (neutron-tempest-plugin), all of them, against the API with the embedded Keystone.

With pre-provisioned credentials Tempest logs in as users that are there. With dynamic ones an admin creates projects,
users and role assignments through the identity API, and deletes them at the end.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import Engine

from linkspan.core.keystone_v3 import REGION
from tests.api.serving import served
from tests.api.users import by_password
from tests.clients.auth_methods import PASSWORD, PROJECT, V3
from tests.clients.topology import OUTSIDE
from tests.harness import environments

# The environment is installed on first use.
pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

TESTS = "neutron_tempest_plugin.vpnaas.api.test_vpnaas"
ALL = 34
CONFIGURATION = """\
[DEFAULT]
log_file = {folder}/tempest.log
[oslo_concurrency]
lock_path = {folder}/locks
[auth]
{credentials}
[identity]
uri_v3 = {url}/identity/v3
auth_version = v3
region = {region}
[identity-feature-enabled]
api_v2 = false
[service_available]
cinder = false
glance = false
nova = false
swift = false
[network]
public_network_id = {outside}
"""
PREPROVISIONED = """\
use_dynamic_credentials = false
test_accounts_file = {folder}/accounts.yaml"""
DYNAMIC = f"""\
use_dynamic_credentials = true
admin_username = admin
admin_password = {PASSWORD}
admin_project_name = {PROJECT}
admin_domain_name = Default"""


@contextmanager
def tempest(folder: Path, url: str, outside: str, credentials: str) -> Iterator[subprocess.Popen[str]]:
    """Runs Tempest's VPN tests in a folder of their own. `credentials`: what its configuration says about them."""
    folder.mkdir()
    account = {"project_name": PROJECT, "password": PASSWORD, "domain_name": "Default"}
    accounts = [
        account | {"username": "alice", "roles": ["member"]},
        account | {"username": "admin", "types": ["admin"], "roles": ["admin"]},
    ]
    (folder / "accounts.yaml").write_text(yaml.safe_dump(accounts), encoding="utf-8")
    settings = {"url": url, "region": REGION, "outside": outside, "folder": folder}
    text = CONFIGURATION.format(credentials=credentials.format(folder=folder), **settings)
    (folder / "tempest.conf").write_text(text, encoding="utf-8")
    with subprocess.Popen(
        [environments.python("tempest"), "-m", "unittest", "-v", TESTS],
        cwd=folder,
        env=os.environ | {"TEMPEST_CONFIG_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def as_admin(url: str) -> Iterator[httpx.Client]:
    """Opens a client of the identity and the network API."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    with httpx.Client(base_url=url) as client:
        issued = client.post("/v3/auth/tokens", json={"auth": {"identity": by_password(user)}})
        client.headers["x-auth-token"] = issued.headers["x-subject-token"]
        yield client


def create_outside(admin: httpx.Client) -> str:
    """Creates an external network with a subnet; returns its id."""
    created = admin.post("/v2.0/networks", json={"network": {"name": "outside", "router:external": True}})
    id: str = created.json()["network"]["id"]
    subnet = {"network_id": id, "ip_version": 4, "cidr": OUTSIDE}
    assert admin.post("/v2.0/subnets", json={"subnet": subnet}).status_code == 201
    return id


def names(admin: httpx.Client, kind: str) -> list[str]:
    """Returns the names of all projects or users."""
    return [shown["name"] for shown in admin.get(f"/v3/{kind}").json()[kind]]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_all_vpn_tests_with_credentials_of_both_kinds(database: Engine, tmp_path: Path) -> None:
    with ExitStack() as open_:
        url = open_.enter_context(served(database, V3.auth)).url
        admin = open_.enter_context(as_admin(url))
        outside = create_outside(admin)
        runs = {
            name: open_.enter_context(tempest(tmp_path / name, url, outside, credentials))
            for name, credentials in (("preprovisioned", PREPROVISIONED), ("dynamic", DYNAMIC))
        }
        for name, run in runs.items():
            output, _ = run.communicate()
            ran = re.search(r"^Ran (\d+) tests? in [\d.]+s\n\nOK$", output, re.MULTILINE)
            assert ran, f"{name}: {output}"
            assert int(ran[1]) == ALL
        assert (names(admin, "projects"), names(admin, "users")) == ([PROJECT], ["admin", "alice"]), "it has cleaned up"
