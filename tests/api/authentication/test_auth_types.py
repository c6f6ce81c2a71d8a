"""Every `auth_type` of a clouds.yaml with keystoneauth1: log in, find the network endpoint, list the IKE policies."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from keystoneauth1 import exceptions, loading
from keystoneauth1.session import Session
from sqlalchemy import Engine

from linkspan.api.authentication.basic import NoAuth
from linkspan.core.secret import hash_token
from linkspan.store.identity import tokens, users
from tests.api.serving import Served, served
from tests.api.users import PASSWORD, Client, embedded, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

README = Path(__file__).parents[3] / "README.md"
USER = {"username": "alice", "password": PASSWORD}
IN_BLUE = {"user_domain_name": "Default", "project_domain_name": "Default", "project_name": "blue"}
Options = dict[str, Any]


def session(auth_type: str, options: Options) -> Session:
    """Returns the session of a cloud with this `auth_type`."""
    return Session(auth=loading.get_plugin_loader(auth_type).load_from_options(**options))


def names(session: Session) -> list[str]:
    """Returns the names of all IKE policies that the session's user sees; asserts that the user has no VPN service."""
    endpoint = {"service_type": "network", "interface": "public"}
    assert session.get("/v2.0/vpn/vpnservices", endpoint_filter=endpoint).json() == {"vpnservices": []}
    policies = session.get("/v2.0/vpn/ikepolicies", endpoint_filter=endpoint).json()["ikepolicies"]
    return sorted(policy["name"] for policy in policies)


@pytest.fixture
def service(database: Engine) -> Iterator[Served]:
    """A server with users; the projects of alice and bob have an IKE policy each."""
    with served(database, embedded) as running:
        for user in ("alice", "bob"):
            response = running.api.client.post(
                "/v2.0/vpn/ikepolicies", json={"ikepolicy": {"name": f"of {user}"}}, auth=(user, PASSWORD)
            )
            assert response.status_code == 201
        yield running


def by_name(service: Served) -> Options:
    return {"auth_url": f"{service.url}/identity", **USER, **IN_BLUE}


def by_alias(service: Served) -> Options:
    return {"auth_url": f"{service.url}/v3", **USER, **IN_BLUE}


def by_version(service: Served) -> Options:
    return {"auth_url": f"{service.url}/identity/v3", **USER, **IN_BLUE}


def by_id(service: Served) -> Options:
    client = Client(service.api.client, service.api.store)
    return {
        "auth_url": f"{service.url}/identity/v3",
        "user_id": client.id("alice"),
        "password": PASSWORD,
        "project_id": "b" * 32,
    }


def default_project(service: Served) -> Options:
    return {"auth_url": f"{service.url}/identity/v3", **USER, "user_domain_id": "default"}


def by_token(service: Served) -> Options:
    token = Client(service.api.client, service.api.store).token("alice", "unscoped")
    return {"auth_url": f"{service.url}/identity/v3", "token": token} | {
        key: value for key, value in IN_BLUE.items() if key.startswith("project")
    }


def by_credential(service: Served) -> Options:
    created = credential(service)
    return {
        "auth_url": f"{service.url}/identity/v3",
        "application_credential_id": created["id"],
        "application_credential_secret": created["secret"],
    }


def by_credential_name(service: Served) -> Options:
    created = credential(service)
    return {
        "auth_url": f"{service.url}/identity/v3",
        "application_credential_name": created["name"],
        "application_credential_secret": created["secret"],
        "username": "alice",
        "user_domain_name": "Default",
    }


def credential(service: Served) -> Any:
    """Creates an application credential of alice with keystoneauth1."""
    logged_in = session("v3password", by_version(service))
    user = logged_in.get_user_id()
    body = {"application_credential": {"name": "ci", "roles": [{"name": "reader"}]}}
    endpoint = {"service_type": "identity", "interface": "public"}
    response = logged_in.post(f"/users/{user}/application_credentials", json=body, endpoint_filter=endpoint)
    return response.json()["application_credential"]


def basic(service: Served) -> Options:
    return {"endpoint": service.url, **USER}


def static(service: Served) -> Options:
    with service.api.store.write() as tx:
        user: Any = users.user_by_name(tx, "alice")
        tokens.add_token(tx, hash_token(b"static"), user["id"], user["project_id"], "ci")
    return {"endpoint": service.url, "token": "static"}


AUTH_TYPES: dict[str, list[Callable[[Served], Options]]] = {
    "password": [by_name, by_alias, by_version, by_id],
    "v3password": [by_version, by_alias, by_id, default_project],
    "token": [by_token],
    "v3token": [by_token],
    "v3applicationcredential": [by_credential, by_credential_name],
    "http_basic": [basic],
    "admin_token": [static],
}


@pytest.mark.parametrize(
    ("auth_type", "options"),
    [(auth_type, options) for auth_type, variants in AUTH_TYPES.items() for options in variants],
)
def test_every_auth_type_authenticates(service: Served, auth_type: str, options: Callable[[Served], Options]) -> None:
    chosen = options(service)
    cloud = session(auth_type, chosen)
    assert names(cloud) == ["of alice"]
    if "auth_url" in chosen:
        assert cloud.get_endpoint(service_type="identity", interface="admin") == f"{service.url}/identity/v3"
        for interface in ("public", "internal", "admin"):
            url = cloud.get_endpoint(service_type="network", interface=interface, region_name="RegionOne")
            assert url == service.url
        access = cloud.auth.get_access(cloud)  # type: ignore[union-attr]
        assert (access.username, access.project_name, access.user_domain_id) == ("alice", "blue", "default")
        assert "reader" in access.role_names
        assert access.will_expire_soon() is False


def test_the_clouds_of_the_readme(service: Served) -> None:
    """Each cloud of the README authenticates once its URL and secrets are filled in."""
    with service.api.store.write() as tx:
        project, alice = users.add_project(tx, "demo")["id"], users.user_by_name(tx, "alice")
        assert alice is not None
        users.add_user(tx, "demo", alice["password_hash"], project, ("member",))
    client = Client(service.api.client, service.api.store)
    token = client.token("demo")
    path = f"/v3/users/{client.id('demo')}/application_credentials"
    body = {"application_credential": {"name": "ci"}}
    created = client.http.post(path, json=body, headers={"x-auth-token": token}).json()["application_credential"]
    text = README.read_text(encoding="utf-8")
    block = text[text.index("    clouds:\n") : text.index("[docs/authentication.md]")]
    for name, value in {
        "URL": service.url,
        "KEYSTONE": f"{service.url}/identity",
        "PASSWORD": PASSWORD,
        "TOKEN": token,
        "ID": created["id"],
        "SECRET": created["secret"],
    }.items():
        block = re.sub(rf"\b{name}\b", value, block)
    clouds = yaml.safe_load(textwrap.dedent(block))["clouds"]
    assert {cloud["auth_type"] for cloud in clouds.values()} >= {*AUTH_TYPES, "none"} - {"password", "token"}
    for name, cloud in clouds.items():
        if cloud["auth_type"] != "none":
            assert names(session(cloud["auth_type"], cloud["auth"])) == [], name
    anonymous = session("none", clouds["none"]["auth"])
    with pytest.raises(exceptions.Unauthorized):
        names(anonymous)


def test_auth_type_none_without_authentication(database: Engine) -> None:
    with served(database, lambda _store: NoAuth()) as running:
        running.api.create("/vpn/ikepolicies", "ikepolicy", name="of all")
        assert names(session("none", {"endpoint": running.url})) == ["of all"]


@pytest.mark.parametrize("auth_type", ["v3password", "http_basic", "v3applicationcredential", "v3token", "admin_token"])
def test_a_wrong_secret_is_refused(service: Served, auth_type: str) -> None:
    options = AUTH_TYPES[auth_type][0](service)
    secret = next(name for name in options if name in ("password", "token") or name.endswith("_secret"))
    with pytest.raises(exceptions.Unauthorized, match="requires authentication"):
        names(session(auth_type, options | {secret: "wrong"}))


def test_a_project_without_a_role_is_refused(service: Served) -> None:
    with pytest.raises(exceptions.Unauthorized):
        names(session("v3password", by_version(service) | {"project_name": "admin"}))


def test_a_revoked_token_is_replaced(service: Served) -> None:
    """keystoneauth1 authenticates again only on a 401."""
    cloud = session("v3password", by_version(service))
    assert names(cloud) == ["of alice"]
    first = cloud.get_token()
    headers = {"X-Subject-Token": first}
    endpoint = {"service_type": "identity", "interface": "public"}
    assert cloud.delete("/auth/tokens", headers=headers, endpoint_filter=endpoint).status_code == 204
    assert names(cloud) == ["of alice"]
    assert cloud.get_token() != first
