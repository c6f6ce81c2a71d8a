"""Defaults, lists of names and enumerations are declared once, and imported elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import get_args

import click
import msgspec
import pytest

from linkspan.admin import account_commands
from linkspan.api.app import create_app
from linkspan.api.http.dispatcher import Dispatcher
from linkspan.api.openapi import schemas
from linkspan.api.resources.collection import Context
from linkspan.cli import options
from linkspan.core import keystone_v3
from linkspan.core.authorization import default_rules
from linkspan.core.checks import cross_resource
from linkspan.core.schema import list_query, operations
from linkspan.core.schema.operations import REQUEST_LINES, PolicyAction, ResourceOperation
from linkspan.core.schema.resources import (
    CONNECTION,
    GATEWAY_PORT,
    IKE_POLICY,
    INTERFACE_PORT,
    IPSEC_POLICY,
    RESOURCES,
    STANDARD_ATTRIBUTES,
)
from linkspan.core.schema.vpn_types import DPD_ACTIONS, DPD_DEFAULT, LIFETIME_DEFAULT, DeadPeerDetection, Lifetime
from linkspan.core.state import status
from linkspan.core.state.desired import Dpd
from linkspan.settings import Settings
from linkspan.store.database.tables import TABLES
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.store import Store
from tests.harness.sources import SOURCE, modules


def modules_with(text: str) -> set[str]:
    """The modules of Linkspan that contain a text."""
    return {str(path.relative_to(SOURCE)) for path in modules() if text in path.read_text(encoding="utf-8")}


def default_of(function: object, name: str) -> object:
    """The default of a parameter; `inspect.Parameter.empty` if it has none."""
    assert callable(function)
    return inspect.signature(function).parameters[name].default


def test_the_lease_has_one_default() -> None:
    assert Settings().api.lease is status.LEASE
    assert default_of(Store, "lease") is inspect.Parameter.empty


def test_settings_take_their_defaults_from_the_core() -> None:
    settings = Settings()
    assert settings.api.grace is status.GRACE
    assert settings.api.token_lifetime is keystone_v3.TOKEN_LIFETIME
    assert settings.limits.page is list_query.PAGE
    assert msgspec.structs.asdict(cross_resource.Limits()) == {
        "cidrs": settings.limits.cidrs,
        "connections": settings.limits.connections,
    }


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (create_app, "grace", status.GRACE),
        (create_app, "page", list_query.PAGE),
        (create_app, "bulk", operations.MAX_BULK),
        (create_app, "largest_body", operations.MAX_BODY),
        (Dispatcher, "largest_body", operations.MAX_BODY),
        (Context, "bulk", operations.MAX_BULK),
    ],
)
def test_the_api_has_the_defaults_of_the_settings(function: object, name: str, value: object) -> None:
    assert default_of(function, name) is value
    settings = Settings()
    assert value in (settings.api.grace, settings.limits.page, settings.limits.bulk, settings.limits.body)


def test_the_region_has_one_default() -> None:
    assert Settings().api.region is keystone_v3.REGION
    assert modules_with(keystone_v3.REGION) == {"core/keystone_v3.py"}


def test_lifetimes_and_dpd_have_one_default() -> None:
    for policy in (IKE_POLICY, IPSEC_POLICY):
        assert policy["lifetime"].default is LIFETIME_DEFAULT
    assert CONNECTION["dpd"].default is DPD_DEFAULT
    assert Lifetime(units=("seconds",)).convert("lifetime", None) == LIFETIME_DEFAULT
    assert DeadPeerDetection().convert("dpd", None) == DPD_DEFAULT
    texts = [f"{option.metavar} {option.help}" for option in _options(CONNECTION, IKE_POLICY)]
    for default in (DPD_DEFAULT, LIFETIME_DEFAULT):
        written = ",".join(f"{key}={value}" for key, value in default.items())
        assert any(written in text for text in texts)
    assert not modules_with("value=3600") | modules_with("timeout=120")


def _options(*resources: object) -> Iterator[click.Option]:
    for resource in RESOURCES:
        if resource in resources:
            yield from (item for item in options.options(resource, create=True) if isinstance(item, click.Option))


def test_the_actions_of_dpd_are_the_ones_that_a_node_takes() -> None:
    assert get_args(inspect.get_annotations(Dpd, eval_str=True)["action"]) == DPD_ACTIONS


def test_standard_attributes_are_declared_once() -> None:
    for resource in RESOURCES:
        assert set(STANDARD_ATTRIBUTES) <= set(TABLES[resource.name].c.keys())
        assert set(STANDARD_ATTRIBUTES) <= set(MAPPERS[resource.name].names)
        assert set(STANDARD_ATTRIBUTES) <= set(list_query.sortable(resource))
    assert modules_with('"revision_number", "created_at"') == {"core/schema/declarations.py"}
    assert set(STANDARD_ATTRIBUTES) == set(schemas._KEPT)


def test_owners_of_ports_are_declared_once() -> None:
    for owner in (GATEWAY_PORT, INTERFACE_PORT):
        assert modules_with(owner) == {"core/schema/resources.py"}


def test_operations_and_actions_are_declared_once() -> None:
    assert set(get_args(ResourceOperation)) == set(REQUEST_LINES)
    assert set(get_args(PolicyAction)) == {line.action for line in REQUEST_LINES.values()}
    names = {rule.name for rule in default_rules.RULES}
    for resource in RESOURCES:
        for action in operations.actions_of(resource):
            assert operations.rule_name(resource, action) in names


def test_every_role_that_the_rules_know_can_be_granted() -> None:
    role = account_commands._roles("")
    assert isinstance(role.type, click.Choice)
    assert tuple(role.type.choices) == keystone_v3.ROLES
    required = {
        part.removeprefix("role:").strip("()")
        for rule in default_rules.RULES
        for part in rule.text.split()
        if part.startswith("role:")
    }
    assert required <= set(keystone_v3.ROLES)
