"""Fixtures of the client tests: a server for each authentication method and database, and its clients."""

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

__all__ = [
    "auth_method",
    "connect",
    "database",
    "openstack_7",
    "openstack_10",
    "postgres",
    "service",
    "sqlite_template",
]

# Warnings of the SDK for its own developers.
SDK_WARNINGS = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
Connect = Callable[[str], openstack.connection.Connection]


@pytest.fixture(params=AUTH_METHODS, ids=lambda auth_method: auth_method.name)
def auth_method(request: pytest.FixtureRequest) -> AuthMethod:
    """Each authentication method; a test may select its own."""
    method: AuthMethod = request.param
    return method


@pytest.fixture
def service(database: Engine, auth_method: AuthMethod) -> Iterator[Served]:
    """A server with the users of the authentication method."""
    with served(database, auth_method.auth) as running:
        yield running


@pytest.fixture
def connect(service: Served, auth_method: AuthMethod) -> Iterator[Connect]:
    """A function that connects openstacksdk as a user."""
    with ExitStack() as open_:

        def opened(user: str) -> openstack.connection.Connection:
            cloud = auth_method.cloud(service.url, user)
            return open_.enter_context(openstack.connect(load_yaml_config=False, load_envvars=False, **cloud))

        yield opened
