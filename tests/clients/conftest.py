"""Fixtures of the client tests: a server for each way to authenticate on each kind of database, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import openstack
import openstack.connection
import pytest
from sqlalchemy import Engine

from tests.api.serving import Served, served
from tests.clients.auth_methods import AUTH_METHODS, AuthMethod
from tests.harness.databases import database, postgres, sqlite_template
from tests.harness.openstack_cli import openstack_7, openstack_10

__all__ = ["connect", "database", "openstack_7", "openstack_10", "postgres", "service", "sqlite_template", "way"]

# What the SDK says to its own developers.
SDK_WARNINGS = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
Connect = Callable[[str], openstack.connection.Connection]


@pytest.fixture(params=AUTH_METHODS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> AuthMethod:
    """Each way to authenticate; a test may name its own."""
    chosen: AuthMethod = request.param
    return chosen


@pytest.fixture
def service(database: Engine, way: AuthMethod) -> Iterator[Served]:
    """A server with users."""
    with served(database, way.auth) as running:
        yield running


@pytest.fixture
def connect(service: Served, way: AuthMethod) -> Iterator[Connect]:
    """Connects openstacksdk as a user."""
    with ExitStack() as open_:

        def opened(user: str) -> openstack.connection.Connection:
            cloud = way.cloud(service.url, user)
            return open_.enter_context(openstack.connect(load_yaml_config=False, load_envvars=False, **cloud))

        yield opened
