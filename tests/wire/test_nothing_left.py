"""After deletes the machine has the same rules, routes, SAs, files, processes and namespaces as before the creates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from linkspan.drivers.linux import netns
from tests.harness.world import World, leftovers, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COMMANDS = (
    ("ip", "-o", "link"),
    ("ip", "-o", "address"),
    ("ip", "rule"),
    ("ip", "-6", "rule"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "xfrm", "state"),
    ("ip", "xfrm", "policy"),
    ("nft", "list", "ruleset"),
)


def gateway(world: World, side: str) -> dict[str, Any]:
    """Return the observable state of a gateway without counters and ages."""
    seen: dict[str, Any] = {
        " ".join(command): normal(world.inside(world.gateway(side), *command)) for command in COMMANDS
    }
    with world.charon(side) as charon:
        seen["loaded"] = charon.loaded()
        seen["sas"] = sorted(child.name for sa in charon.sas() for child in sa.children)
    seen["processes"] = len(netns.processes(world.gateway(side)))
    seen["files"] = files(world.state / "nodes")
    return seen


def normal(text: str) -> list[str]:
    text = re.sub(r"packets \d+ bytes \d+|expires \d+sec|use \d+|\d+\(sec\)", "", text)
    return sorted(line.strip() for line in text.splitlines())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def create(world: World, path: str, singular: str, **values: Any) -> tuple[str, str]:
    created = world.user.request("POST", f"/v2.0/vpn/{path}", {singular: values})[singular]
    return path, created["id"]


def test_a_connection_leaves_nothing_behind(world: World) -> None:
    side = world.lab["sites"]["left"]
    existing = world.connection(side["connection_id"])
    # The child that the first rekey replaced stays listed for some seconds, and so does the worker that made the rules.
    until(lambda: world.rekeyed("left") and len(gateway(world, "left")["sas"]) == 1, 20.0)
    until(lambda: len(netns.processes(world.gateway("left"))) == 1, 20.0)
    before = gateway(world, "left")
    group = ("endpoint-groups", "endpoint_group")
    service = create(world, "vpnservices", "vpnservice", name="more", router_id=side["router_id"])
    local = create(world, *group, type="subnet", endpoints=[side["subnet_ids"][1]])
    peer = create(world, *group, type="cidr", endpoints=["fd00:77::/64"])
    policies = (
        create(world, "ikepolicies", "ikepolicy", name="x"),
        create(world, "ipsecpolicies", "ipsecpolicy", name="x"),
    )
    connection = create(
        world,
        "ipsec-site-connections",
        "ipsec_site_connection",
        name="more",
        vpnservice_id=service[1],
        ikepolicy_id=policies[0][1],
        ipsecpolicy_id=policies[1][1],
        peer_address=existing["peer_address"],
        peer_id="somebody",
        local_id="somebody-else",
        local_ep_group_id=local[1],
        peer_ep_group_id=peer[1],
        psk="a key",
        mtu=1300,
    )
    until(lambda: world.connection(connection[1])["status_reason"] not in (None, ""), 10.0)
    assert gateway(world, "left") != before, "the snapshot does not show the connection"
    world.user.request(
        "PUT", f"/v2.0/vpn/{connection[0]}/{connection[1]}", {"ipsec_site_connection": {"psk": "other", "mtu": 1400}}
    )
    for path, id in (connection, service, local, peer, *policies):
        world.user.request("DELETE", f"/v2.0/vpn/{path}/{id}")
    until(lambda: gateway(world, "left") == before, 10.0, lambda: difference(before, gateway(world, "left")))


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {before[key]}\n -> {after[key]}" for key in before if before[key] != after[key])


def test_deleting_the_last_service_removes_the_gateway(world: World) -> None:
    """The last test of this file, since it deletes the laboratory's objects."""
    names = {side: world.gateway(side) for side in world.lab["sites"]}
    pids = {side: netns.processes(name) for side, name in names.items()}
    assert all(pids.values())
    for site in world.lab["sites"].values():
        world.user.request("DELETE", f"/v2.0/vpn/ipsec-site-connections/{site['connection_id']}")
    for side, site in world.lab["sites"].items():
        world.user.request("DELETE", f"/v2.0/vpn/vpnservices/{site['service_id']}")
        until(lambda name=names[side]: not netns.exists(name), 10.0)  # type: ignore[misc]
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids[side])
    assert [path for path in files(world.state / "nodes") if "/gateways/" in path] == []
    hosts = {f"ls-{world.lab['instance']}-host-{side}" for side in names}
    assert set(leftovers(world.lab["instance"])) == {world.lab["fabric"], *hosts}
    ports = world.inside(world.lab["fabric"], "ip", "-o", "link")
    assert world.lab["internet"]["bridge"] not in ports, "the bridge without ports was not removed"
