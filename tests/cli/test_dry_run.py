"""`--dry-run`: a table of what would follow, and nothing done."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Linkspan
from tests.cli.test_commands import connect, site, site_names, unique

__all__ = ["site", "site_names"]


def test_a_dry_run_prints_effects_and_changes_nothing(linkspan: Linkspan, site: dict[str, str]) -> None:
    name = unique("conn")
    command = connect(site, name, "--psk", "a key of some length", third=91)
    head, row = linkspan(*command, "--dry-run").splitlines()
    assert head.split() == ["connection", "effect", "why"]
    assert row.split()[:3] == [name, "comes", "up"]
    assert linkspan.json("connection", "list", "--filter", f"name={name}") == []
    linkspan(*command)
    answer = linkspan.json("connection", "set", name, "--no-admin-state-up", "--dry-run")
    (entry,) = answer["connections"]
    assert (entry["name"], entry["changed"]) == (name, ["admin_state_up"])
    assert linkspan.json("connection", "show", name)["admin_state_up"] is True
    assert name in linkspan("connection", "delete", name, "--dry-run")
    assert linkspan.json("connection", "show", name)["name"] == name
    # The control: without it they do what they say.
    linkspan("connection", "set", name, "--no-admin-state-up")
    assert linkspan.json("connection", "show", name)["admin_state_up"] is False
    linkspan("connection", "delete", name)


def test_weak_choices_and_refusals(linkspan: Linkspan, site: dict[str, str]) -> None:
    linkspan(*connect(site, unique("conn"), "--psk", "a key of some length", third=92))
    assert linkspan("ike-policy", "create", "weak", "--pfs", "group5", "--dry-run") == "no connection would feel it\n"
    assert linkspan.errors == "warning: weak: pfs group5\n"
    refused = linkspan.fails("ike-policy", "delete", site["ike"], "--dry-run")
    assert refused == linkspan.fails("ike-policy", "delete", site["ike"])
    assert "in use" in refused


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_router_interfaces(linkspan: Linkspan, site: dict[str, str], verb: str) -> None:
    router, lan = unique("router"), unique("lan")
    linkspan("router", "create", router)
    linkspan("network", "create", lan)
    linkspan("subnet", "create", lan, "--network", lan, "--cidr", "10.44.0.0/24")
    if verb == "remove":
        linkspan("router", "add-interface", router, lan)
    before = linkspan.json("port", "list")
    command = f"{verb}-interface"
    assert linkspan("router", command, router, lan, "--dry-run") == "no connection would feel it\n"
    assert linkspan.json("port", "list") == before
    linkspan("router", command, router, lan)
    assert linkspan.json("port", "list") != before
