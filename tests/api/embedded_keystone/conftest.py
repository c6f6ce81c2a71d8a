"""Fixtures: the API with the users of `tests.api.users`, and a clock that the test controls."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from linkspan.api.app import create_app
from linkspan.api.authentication import cache
from linkspan.api.http.notifications import Notifier
from tests.api.openapi import conformance
from tests.api.users import Client, embedded, quick
from tests.harness.databases import Clock, open_store

__all__ = ["quick"]


@pytest.fixture
def clock() -> Clock:
    return Clock(1_700_000_000.0)


@pytest.fixture
def client(database: Engine, clock: Clock) -> Iterator[Client]:
    """The API with users, and a clock that the test controls."""
    store = open_store(database, clock=clock)
    with TestClient(create_app(store, embedded(store), Notifier())) as http:
        http.event_hooks["response"].append(lambda response: _check_responses(http, response))
        yield Client(http, store)


def _check_responses(http: TestClient, response: httpx.Response) -> None:
    """Asserts that every response is declared in the OpenAPI document."""
    response.read()
    conformance.check(http, response.request.method, response)


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disables the token cache, so that every request reads the database."""
    monkeypatch.setattr(cache, "TRUST", 0.0)
