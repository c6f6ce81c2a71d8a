"""An external Keystone: clients log in there, find the API in its catalog, and the API validates tokens with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import openstack
import openstack.connection
import pytest
from openstack import exceptions
from sqlalchemy import Engine

from linkspan.api.authentication.keystone import KeystoneAuth
from linkspan.api.authentication.keystone_client import Keystone as KeystoneClient
from linkspan.api.console.identity import TOKENS, ForwardedIdentityService
from linkspan.api.http.messages import Request
from linkspan.core.errors import ApiError
from linkspan.core.secret import Secret
from tests.api.serving import Served, served
from tests.clients.auth_methods import clouds_yaml
from tests.clients.conftest import SDK_WARNINGS
from tests.harness.keystone import PASSWORD, Keystone, keystone
from tests.harness.openstack_cli import Cli, OpenStack

__all__ = ["keystone"]

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300), SDK_WARNINGS]

USERS = {
    "alice": ("blue", "member"),
    "reader": ("blue", "reader"),
    "bob": ("red", "member"),
    "guest": ("blue", "service"),
    "root": ("red", "admin"),
}
"""User -> project and role."""
Connect = Callable[[str], openstack.connection.Connection]


@pytest.fixture(scope="module")
def users(keystone: Keystone) -> None:
    """Creates `USERS` in Keystone, and Linkspan's service user, which may only validate tokens."""
    for user, (project, role) in USERS.items():
        keystone.add(user, project, role)
    keystone.add("linkspan", "service", "service")


@pytest.fixture
def service(database: Engine, keystone: Keystone, users: None) -> Iterator[Served]:
    """A server that validates tokens with Keystone, and is the network endpoint in its catalog."""
    client = KeystoneClient(keystone.url, "linkspan", Secret(PASSWORD), "service")
    login = ForwardedIdentityService(keystone.url)
    with served(database, lambda _store: KeystoneAuth(client, keystone.url), identity=login) as running:
        # As operators configure it: the URL without a version.
        keystone.lead_to(running.url)
        yield running


@pytest.fixture
def connect(service: Served, keystone: Keystone) -> Iterator[Connect]:
    """A function that connects openstacksdk as one of `USERS`."""
    with ExitStack() as open_:

        def opened(user: str) -> openstack.connection.Connection:
            cloud = keystone.cloud(user, USERS[user][0])
            return open_.enter_context(openstack.connect(load_yaml_config=False, load_envvars=False, **cloud))

        yield opened


def test_roles_and_projects_come_from_keystone(connect: Connect) -> None:
    alice, reader, bob, guest, root = (connect(user).network for user in USERS)
    policy = alice.create_vpn_ike_policy(name="of alice")
    assert policy.project_id == connect("alice").current_project_id
    assert reader.get_vpn_ike_policy(policy.id).name == "of alice"
    with pytest.raises(exceptions.ForbiddenException):
        reader.create_vpn_ike_policy(name="of a reader")
    with pytest.raises(exceptions.NotFoundException):
        bob.get_vpn_ike_policy(policy.id)
    assert list(bob.vpn_ike_policies()) == []
    with pytest.raises(exceptions.ForbiddenException):
        list(guest.vpn_ike_policies())
    assert [item.id for item in root.vpn_ike_policies()] == [policy.id]
    root.delete_vpn_ike_policy(policy.id, ignore_missing=False)
    assert alice.find_vpn_ike_policy("of alice") is None


def test_the_openstack_command(service: Served, keystone: Keystone, openstack_10: OpenStack, tmp_path: Path) -> None:
    environment = clouds_yaml(tmp_path / "clouds.yaml", keystone.cloud("alice", "blue"))
    alice = Cli(openstack_10, tmp_path, environment)
    assert alice("vpn", "ike", "policy", "create", "typed")["Name"] == "typed"
    assert [row["Name"] for row in alice("vpn", "ike", "policy", "list")] == ["typed"]


def test_invalid_tokens_get_401_with_the_url_of_keystone(service: Served, keystone: Keystone, connect: Connect) -> None:
    """No token, a token that Keystone did not issue, and a revoked token get 401 with WWW-Authenticate."""
    token = connect("alice").session.get_token()
    assert token
    connect("alice").session.delete(
        f"{keystone.url}/v3/auth/tokens", headers={"X-Subject-Token": token}, authenticated=True
    )
    for headers in ({}, {"X-Auth-Token": "made up"}, {"X-Auth-Token": "gAAAAABmade-up"}, {"X-Auth-Token": token}):
        answer = httpx.get(f"{service.url}/v2.0/vpn/ikepolicies", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f"Keystone uri='{keystone.url}'")


def test_the_console_logs_users_of_keystone_in(service: Served, keystone: Keystone) -> None:
    """By the API's own origin. Control: a wrong password, another domain, a project of others."""
    keystone.add("alice", "green", "reader")
    path, console = f"{service.url}/console/session", {"X-Linkspan-Console": "1"}
    with httpx.Client(headers=console) as http:
        assert http.get(path).json()["external"] is True
        assert http.post(path, json={"name": "alice", "password": "wrong"}).status_code == 401
        assert http.post(path, json={"name": "alice", "password": PASSWORD, "domain": "Elsewhere"}).status_code == 401
        session = http.post(path, json={"name": "alice", "password": PASSWORD, "domain": "Default"}).json()
        projects = {item["name"]: item["id"] for item in session["projects"]}
        assert (session["user"]["name"], session["project"], set(projects)) == ("alice", None, {"blue", "green"})
        assert http.get(f"{service.url}/v2.0/vpn/ikepolicies").status_code == 401, "a token without a project"
        session = http.put(path, json={"project_id": projects["blue"]}).json()
        assert (session["project"]["name"], session["manages_users"]) == ("blue", False)
        assert "create_ikepolicy" in session["allowed"]
        created = http.post(f"{service.url}/v2.0/vpn/ikepolicies", json={"ikepolicy": {"name": "by the console"}})
        assert created.status_code == 201, created.text
        assert created.json()["ikepolicy"]["project_id"] == projects["blue"]
        session = http.put(path, json={"project_id": projects["green"]}).json()
        assert "create_ikepolicy" not in session["allowed"]
        foreign = keystone._identity().find_project("red")
        assert foreign is not None
        assert http.put(path, json={"project_id": foreign.id}).status_code == 401
        token = http.cookies["linkspan_session"]
        assert http.delete(path).status_code == 204
        assert http.get(path).json()["user"] is None
    shown = httpx.get(f"{keystone.url}/v3/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token})
    assert shown.status_code == 401, "revoked in Keystone"


def test_without_keystone_nobody_logs_in_and_the_answer_says_why() -> None:
    away = ForwardedIdentityService("http://127.0.0.1:1")
    with pytest.raises(ApiError, match="Keystone cannot be asked now"):
        away.send(Request("POST", TOKENS, body=b"{}"))
