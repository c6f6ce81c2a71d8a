"""The identity commands of the openstack command, in version 10.5, and in 7.1 where that differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.serving import Served
from tests.clients.auth_methods import PROJECT, V3, AuthMethod, clouds_yaml
from tests.harness.openstack_cli import Cli, OpenStack

pytestmark = [
    pytest.mark.clients,
    pytest.mark.parametrize("auth_method", [V3], ids=lambda auth_method: auth_method.name),
]

NEW, NEWER = "another pass word", "a third pass word"
IN_DOMAIN = ("--domain", "Default")
OF_CAROL = ("--user", "carol", "--user-domain", "Default", "--project", "green", "--project-domain", "Default")
MakeCli = Callable[..., Cli]


@pytest.fixture
def typed(service: Served, auth_method: AuthMethod, tmp_path: Path) -> MakeCli:
    """A function that returns the command line of a user; `auth`: changes of what the user logs in with."""

    def typed(command: OpenStack, user: str, **auth: str) -> Cli:
        cloud = auth_method.cloud(service.url, user)
        cloud["auth"] |= auth
        return Cli(command, tmp_path, clouds_yaml(tmp_path / f"{user}.yaml", cloud))

    return typed


def refused(cli: Cli, *words: str) -> str:
    """Runs a command that must fail; returns what it printed."""
    done = cli.run(*words)
    assert done.code != 0
    return done.out + done.err


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_projects_users_and_roles(typed: MakeCli, openstack_10: OpenStack) -> None:
    admin = typed(openstack_10, "admin")
    assert [row["ID"] for row in admin("domain", "list")] == ["default"]
    assert admin("domain", "show", "Default")["id"] == admin("domain", "show", "default")["id"] == "default"
    project = admin("project", "create", *IN_DOMAIN, "--description", "the third", "green")
    assert (project["name"], project["domain_id"], project["enabled"]) == ("green", "default", True)
    assert [row["Name"] for row in admin("project", "list", *IN_DOMAIN)] == [PROJECT, "green"]
    assert admin("project", "show", *IN_DOMAIN, "green")["description"] == "the third"
    create = ("user", "create", *IN_DOMAIN, "--project", "green", "--project-domain", "Default")
    user = admin(*create, "--password", NEW, "--email", "carol@example.org", "carol")
    assert (user["default_project_id"], user["email"]) == (project["id"], "carol@example.org")
    assert NEW not in str(user)
    assert [row["Name"] for row in admin("user", "list", *IN_DOMAIN)] == ["admin", "alice", "carol"]
    assert admin("user", "show", *IN_DOMAIN, "carol")["id"] == user["id"]
    assert [row["Name"] for row in admin("role", "list")] == ["reader", "member", "manager", "admin"]
    assert admin("role", "show", "member")["id"] == "member"
    admin.quietly("role", "add", *OF_CAROL, "member")
    listed = admin("role", "assignment", "list", "--names", *OF_CAROL)
    assert [(row["Role"], row["User"], row["Project"]) for row in listed] == [
        ("member", "carol@Default", "green@Default")
    ]
    assert len(admin("role", "assignment", "list")) == 3
    assert [row["Name"] for row in admin("user", "list", "--project", "green")] == ["carol"]

    carol = typed(openstack_10, "carol", password=NEW, project_name="green")
    # Without the domain's list, this failed without a word.
    network = admin("network", "create", "--project", "green", "--project-domain", "Default", "office")
    assert network["project_id"] == project["id"]
    assert [row["Name"] for row in carol("network", "list")] == ["office"]
    assert "still has 1 network" in refused(admin, "project", "delete", *IN_DOMAIN, "green")
    carol.quietly("network", "delete", "office")

    admin.quietly("user", "set", "--disable", "carol")
    assert "requires authentication" in refused(carol, "network", "list")
    admin.quietly("user", "set", "--enable", "--description", "back again", "carol")
    assert carol("network", "list") == []
    carol.quietly("user", "password", "set", "--original-password", NEW, "--password", NEWER)
    carol = typed(openstack_10, "carol", password=NEWER, project_name="green")
    assert [row["Name"] for row in carol("project", "list", "--my-projects")] == ["green"]
    assert carol("user", "show", user["id"])["description"] == "back again"
    admin.quietly("project", "set", "--disable", "--name", "lime", "green")
    assert "requires authentication" in refused(carol, "network", "list")
    admin.quietly("project", "set", "--enable", "--name", "green", "lime")

    admin.quietly("role", "remove", *OF_CAROL, "member")
    assert admin("role", "assignment", "list", "--names", *OF_CAROL) == []
    admin.quietly("user", "delete", *IN_DOMAIN, "carol")
    admin.quietly("project", "delete", *IN_DOMAIN, "green")
    assert [row["Name"] for row in admin("project", "list")] == [PROJECT]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_refused_says_why(typed: MakeCli, openstack_10: OpenStack) -> None:
    admin, alice = typed(openstack_10, "admin"), typed(openstack_10, "alice")
    for words, text in (
        (("group", "list"), "neither groups"),
        (("role", "create", "king"), "domains and roles are fixed"),
        (("project", "create", "--tag", "one", "green"), "ags cannot be chosen here"),
        (("user", "create", "--password", "short", "carol"), "12 to 1024 characters"),
        (("user", "set", "--disable", "admin"), "grant the role admin to another user"),
    ):
        assert text in refused(admin, *words), words
    for words in (("project", "create", "green"), ("user", "delete", "alice"), ("role", "assignment", "list")):
        assert "not authorized" in refused(alice, *words), words
    assert [row["Name"] for row in alice("project", "list", "--my-projects")] == [PROJECT]
    made = alice("application", "credential", "create", "--expiration", "2999-01-31T12:00:00", "ci")
    assert made["Expires At"] == "2999-01-31T12:00:00.000000"
    assert sorted(row["Name"] for row in alice("catalog", "list")) == ["linkspan", "linkspan-identity"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_version_7(typed: MakeCli, openstack_7: OpenStack) -> None:
    """It shows roles without checking that they have links. Lists of role assignments take a domain's id only."""
    admin = typed(openstack_7, "admin")
    assert admin("domain", "show", "Default")["id"] == "default"
    assert admin("role", "show", "member")["id"] == "member"
    admin("project", "create", *IN_DOMAIN, "green")
    admin("user", "create", *IN_DOMAIN, "--password", NEW, "carol")
    admin.quietly("role", "add", *OF_CAROL, "member")
    listed = admin("role", "assignment", "list", "--names", "--user", "carol", "--user-domain", "default")
    assert [(row["Role"], row["User"], row["Project"]) for row in listed] == [
        ("member", "carol@Default", "green@Default")
    ]
