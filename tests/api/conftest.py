"""Fixtures: the in-process API, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.api.app import create_app
from linkspan.api.http.notifications import Notifier
from linkspan.core.authorization.policy import policy_of
from tests.api.quick_client import QuickClient
from tests.api.world import Api, ByName, LocalSite
from tests.harness.databases import database, open_store, postgres, sqlite_template, store

__all__ = ["api", "database", "open_api", "postgres", "site", "sqlite_template", "store"]

OpenApi = Callable[..., AbstractContextManager[Api]]
_DEFAULTS: dict[str, Any] = {"delete_wait": 0.3, "policy": policy_of()}


@pytest.fixture
def open_api(database: Engine) -> OpenApi:
    """Opens the API with the settings that a test passes."""

    @contextmanager
    def opened(**settings: Any) -> Iterator[Api]:
        notifier = Notifier()
        store = open_store(database, notifier.publish, **settings.pop("store", {}))
        app = create_app(store, settings.pop("auth", ByName()), notifier, **(_DEFAULTS | settings))
        with QuickClient(app) as client:
            yield Api(client, store, notifier)

    return opened


@pytest.fixture
def api(open_api: OpenApi) -> Iterator[Api]:
    """The API, used by alice, a member."""
    with open_api() as opened:
        yield opened


@pytest.fixture
def site(api: Api) -> LocalSite:
    """A site of alice: a router with a VPN service on its only subnet."""
    return LocalSite(api)
