"""What requests cost in statements: a number that grows is a decision, not an accident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from linkspan.store import store as stores
from linkspan.store.work import Work
from tests.api.world import CONNECTIONS, Site

Cost = Callable[[str, str, Any], int]


@pytest.fixture
def cost(site: Site, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """The statements of one request, which has to succeed."""
    begun: list[Work] = []

    class Watched(Work):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            begun.append(self)

    monkeypatch.setattr(stores, "Work", Watched)

    def counted(method: str, path: str, body: Any = None) -> int:
        begun.clear()
        answer = site.api.send(method, path, body)
        assert answer.status_code < 300, answer.text
        assert len(begun) == 1, "one transaction a request"
        return begun[0].statements

    return counted


def test_a_new_connection(site: Site, cost: Cost) -> None:
    """Service, policies, the gateway's lock, the row, its siblings, its turn, how many there are, who carries it."""
    assert cost("POST", CONNECTIONS, {"ipsec_site_connection": site.values()}) == 8


def test_a_new_connection_on_a_node(site: Site, cost: Cost) -> None:
    """The same; the node's revision and the stamp."""
    site.api.node().obey()
    assert cost("POST", CONNECTIONS, {"ipsec_site_connection": site.values()}) == 10


def test_reading_connections(site: Site, cost: Cost) -> None:
    site.api.node().obey()
    made = [site.connection(peer_id=f"peer-{number}") for number in range(3)]
    for path in (CONNECTIONS, f"{CONNECTIONS}?limit=1&status=DOWN", f"{CONNECTIONS}/{made[0]['id']}"):
        assert cost("GET", path, None) == 1, path
