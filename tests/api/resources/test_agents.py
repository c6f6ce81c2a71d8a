"""What clients of Neutron list beside routers: agents, which are the nodes, and collections without objects."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from linkspan.core.schema.agents import agent_of
from tests.api.world import Api, LocalSite

UNKNOWN = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"


def test_agents_are_the_nodes(site: LocalSite) -> None:
    admin = site.api.as_("admin")
    assert admin.get("/agents") == {"agents": []}
    site.api.node("north").apply_desired()
    (agent,) = admin.get("/agents")["agents"]
    expected: dict[str, Any] = {
        "agent_type": "VPN Agent",
        "binary": "linkspan-agent",
        "host": "north",
        "alive": True,
        "admin_state_up": True,
        "availability_zone": None,
        "configurations": {"routers": 1, "backend": "kernel", "agent_version": "1.0", "charon_version": "6.0.1"},
    }
    assert {name: agent[name] for name in expected} == expected
    (node,) = admin.get("/linkspan/nodes")["nodes"]
    assert agent["id"] == node["id"]
    for name in ("created_at", "heartbeat_timestamp"):
        moment = datetime.strptime(agent[name], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert abs(moment.timestamp() - time.time()) < 60
    assert admin.get(f"/agents/{agent['id']}")["agent"]["host"] == "north"
    assert admin.get(f"/agents?id={agent['id']}&fields=host&fields=alive")["agents"] == [
        {"host": "north", "alive": True}
    ]


def test_agents_are_filtered(api: Api) -> None:
    admin = api.as_("admin")
    for name in ("north", "south"):
        api.node(name)
    for query, hosts in (
        ("host=north", ["north"]),
        ("host=north&host=south", ["north", "south"]),
        ("alive=True&binary=linkspan-agent&agent_type=VPN%20Agent", ["north", "south"]),
        ("alive=false", []),
        ("admin_state_up=1&topic=linkspan", ["north", "south"]),
        ("binary=neutron-l3-agent", []),
        ("availability_zone=", ["north", "south"]),
    ):
        assert sorted(agent["host"] for agent in admin.get(f"/agents?{query}")["agents"]) == hosts, query
    first, second = admin.get("/agents")["agents"]
    assert admin.get("/agents?limit=1")["agents"] == [first]
    assert admin.get(f"/agents?limit=1&marker={first['id']}")["agents"] == [second]
    assert admin.refused("GET", "/agents?colour=red") == (400, "HTTPBadRequest")


def test_a_lost_node_is_an_agent_that_is_not_alive() -> None:
    node: dict[str, Any] = {
        "id": UNKNOWN,
        "name": "north",
        "lease_until": 1_040.0,
        "created_at": 0.0,
        "gateways": 3,
        "backend": "kernel",
        "agent_version": "1.0",
        "charon_version": "6.0.1",
    }
    # The lease clock stood still for a minute: it is behind the wall clock.
    agent = agent_of(node, now=1_050.0, lease=40.0, wall=1_110.0)
    assert (agent["alive"], agent["heartbeat_timestamp"]) == (False, "1970-01-01 00:17:40")
    assert agent_of(node, now=1_040.0, lease=40.0, wall=1_100.0)["alive"]
    never = node | {"lease_until": 0.0, "agent_version": ""}
    assert agent_of(never, now=1_050.0, lease=40.0, wall=1_110.0)["heartbeat_timestamp"] is None


def test_agents_are_only_read(api: Api) -> None:
    admin = api.as_("admin")
    api.node("north")
    (agent,) = admin.get("/agents")["agents"]
    path = f"/agents/{agent['id']}"
    for method, body in (("PUT", {"agent": {"admin_state_up": False}}), ("DELETE", None)):
        assert admin.refused(method, path, body) == (405, "HTTPMethodNotAllowed")
    assert admin.get("/agents")["agents"] == [agent]
    assert api.refused("GET", "/agents") == api.refused("GET", path) == (403, "PolicyNotAuthorized")
    assert admin.refused("GET", f"/agents/{UNKNOWN}") == (404, "AgentNotFound")
    assert admin.refused("GET", "/agents/north") == (404, "AgentNotFound")


@pytest.mark.parametrize(
    ("path", "key", "singular", "type"),
    [
        ("floatingips", "floatingips", "floatingip", "FloatingIPNotFound"),
        ("security-groups", "security_groups", "security_group", "SecurityGroupNotFound"),
        ("security-group-rules", "security_group_rules", "security_group_rule", "SecurityGroupRuleNotFound"),
    ],
)
def test_what_there_is_none_of(api: Api, path: str, key: str, singular: str, type: str) -> None:
    for query in ("", "?limit=5", f"?project_id={UNKNOWN}&name=default&fields=id", "?tags=a"):
        assert api.get(f"/{path}{query}") == {key: []}
    for id in (UNKNOWN, "default"):
        assert api.refused("GET", f"/{path}/{id}") == (404, type)
    assert api.refused("POST", f"/{path}", {singular: {"name": "x"}}) == (400, "BadRequest")
    message = api.send("POST", f"/{path}", {singular: {}}).json()["NeutronError"]["message"]
    assert message.startswith("Linkspan has no ")
    assert ", so " in message


def test_there_are_no_availability_zones(api: Api) -> None:
    assert api.get("/availability_zones?resource=router") == {"availability_zones": []}
    assert api.refused("POST", "/availability_zones", {"availability_zone": {}}) == (405, "HTTPMethodNotAllowed")
