"""Two agents with the token of one node: the first holds the node until its lease ends, and is fenced once another one
has it. An agent that is started again in the same place holds it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.agent.api_client import ApiClient, NodeHeld
from linkspan.core.state.observed import HOLDER_HEADER, ConnectionReport, Hello, Report
from tests.api.serving import served
from tests.api.world import CONNECTIONS, Api, LocalSite, Node, encode
from tests.harness.databases import Clock

HELLO = encode(Hello("kernel", "1.0", "6.0.1"))
REQUESTS: dict[str, Callable[[Node], Any]] = {
    "hello": lambda node: node.send("POST", "/hello", content=HELLO),
    "desired": lambda node: node.send("GET", "/desired", params={"since": 0}),
    "reports": lambda node: node.send("POST", "/reports", content=encode(Report())),
    "hints": lambda node: node.send("GET", "/hints"),
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def agent(api: Api, holder: str) -> Node:
    """An agent with the token of node-1 that has not said hello yet."""
    node = object.__new__(Node)
    node.__dict__ = {"api": api, "name": "node-1", "_generations": {}}
    node.headers = {"authorization": "Bearer token of node-1"} | ({HOLDER_HEADER: holder} if holder else {})
    return node


def add_node(api: Api) -> None:
    """Create node-1, whose agent has not said hello with its place."""
    api.node()


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("other", ["b/2", "a/2", "a/1x", ""])
def test_a_second_agent_is_refused(open_api: Any, clock: Clock, request_: str, other: str) -> None:
    with open_api(store={"clock": clock}) as api:
        add_node(api)
        first, second = agent(api, "a/1"), agent(api, other)
        first.hello()
        refused = REQUESTS[request_](second)
        assert refused.status_code == 409
        assert "node node-1 is held by another agent, on host a, until its lease ends" in refused.text
        assert first.desired()["gateways"] == []


def test_an_agent_that_is_started_again_holds_its_node_at_once(open_api: Any, clock: Clock) -> None:
    with open_api(store={"clock": clock}) as api:
        add_node(api)
        for _ in range(3):
            again = agent(api, "a/1")
            again.hello()
            again.report()


def test_another_agent_takes_over_after_the_lease_and_the_first_is_fenced(open_api: Any, clock: Clock) -> None:
    with open_api(store={"clock": clock}) as api:
        add_node(api)
        first, second = agent(api, "a/1"), agent(api, "b/2")
        first.hello()
        site = LocalSite(api)
        connection = site.connection()
        first.apply_desired()
        clock.pass_(api.store.lease + 1)
        second.hello()
        second.apply_desired()
        # What the first says of its own end does not count any more.
        down = ConnectionReport(connection["id"], 1, 99, "down", "the gateway was removed")
        late = first.send("POST", "/reports", content=encode(Report(connections=(down,))))
        assert late.status_code == 409
        assert api.get(f"{CONNECTIONS}/{connection['id']}")["ipsec_site_connection"]["status"] == "ACTIVE"
        assert {name: request(first).status_code for name, request in REQUESTS.items()} == dict.fromkeys(REQUESTS, 409)
        clock.pass_(api.store.lease + 1)
        # Nobody holds it: the first may have it again, but has to say hello.
        assert REQUESTS["desired"](first).status_code == 409
        first.hello()
        first.apply_desired()
        assert REQUESTS["desired"](second).status_code == 409


def test_agents_that_do_not_say_where_they_are_are_one(open_api: Any, clock: Clock) -> None:
    """The negative control: before agents said it, the API could not tell two of them apart."""
    with open_api(store={"clock": clock}) as api:
        first = api.node()
        second = agent(api, "")
        second.hello()
        first.report()
        # An upgraded agent takes its node over from its former self, and keeps it.
        upgraded = agent(api, "a/1")
        upgraded.hello()
        assert REQUESTS["reports"](second).status_code == 409


def test_of_two_agents_that_join_at_once_one_holds_the_node(database: Engine) -> None:
    with served(database) as service:
        add_node(service.api)
        outcomes: list[str] = []
        start = threading.Barrier(4)

        def join(holder: str) -> None:
            client = ApiClient(service.url, "token of node-1", holder=holder)
            start.wait()
            try:
                client.hello(Hello("kernel", "1.0", "6.0.1"))
                outcomes.append("joined")
            except NodeHeld:
                outcomes.append("refused")
            client.close()

        threads = [threading.Thread(target=join, args=(f"host-{number}/x",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20.0)
        assert sorted(outcomes) == ["joined", "refused", "refused", "refused"]


def test_nodes_are_shown_without_their_holders(api: Api) -> None:
    add_node(api)
    agent(api, "a/1").hello()
    (node,) = api.as_("admin").get("/linkspan/nodes")["nodes"]
    assert "holder" not in node
