"""The API answers generated requests as its document says, without foreign data, and shows no key to a reader.

The generator is `tests.api.openapi.generated`. The test ids contain the seed, which reproduces the requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from linkspan.api.attributes import Attributes
from linkspan.api.resources import collection
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema import list_query
from linkspan.core.schema.attribute_types import Boolean, Choice, Text
from linkspan.core.schema.resources import RESOURCES
from tests.api.conftest import OpenApi
from tests.api.openapi.generated import Run, TwoProjects, open_two_projects

SEED = 20_261_126
SHARES = {"reader": 0.2, "alice": 0.4, "admin": 0.4}
"""Share of the cases by role. A reader gets fewer, because every write of a reader is refused for the same reason."""


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", [SEED])
@pytest.mark.parametrize(
    ("role", "database", "cases"),
    [
        pytest.param("alice", "sqlite", 200),
        *(pytest.param(role, "sqlite", 2_000, marks=pytest.mark.slow) for role in SHARES),
        *(pytest.param(role, "sqlite", 20_000, marks=pytest.mark.whole) for role in SHARES),
        *(pytest.param(role, "postgresql", 20_000, marks=(pytest.mark.whole, pytest.mark.postgres)) for role in SHARES),
    ],
    indirect=["database"],
)
def test_generated_requests(open_api: OpenApi, role: str, cases: int, seed: int) -> None:
    with open_two_projects(open_api, role) as projects:
        before = projects.foreign_objects()
        run = Run(projects, seed)
        run.run(math.ceil(cases * SHARES[role]))
        print(f"seed {seed}, {run.cases} cases as {role}")
        print(*(f"{count:6} {name} {code}" for (name, code), count in sorted(run.outcomes.items())), sep="\n")
        assert not run.faults, "\n\n".join(f"{'/'.join(place)}: {text}" for place, text in run.faults.items())
        if role != "admin":
            assert projects.foreign_objects() == before
        if cases < 2_000:
            return  # too few to reach every operation
        shallow = [name for name in _deep(role) if not any(run.outcomes[name, code] for code in (200, 201))]
        assert not shallow, "these operations never succeeded"
        deleted = [resource.name for resource in RESOURCES if run.outcomes[f"delete_{resource.name}", 204]]
        assert role == "reader" or len(deleted) >= 4, "deletes are refused only because objects are in use"


def _deep(role: str) -> list[str]:
    """Operations that have to succeed at least once for a role."""
    reading = [f"{verb}_{resource.name}" for verb in ("list", "show") for resource in RESOURCES]
    if role == "reader":
        return reading
    return reading + [
        f"{verb}_{resource.name}" for verb in ("create", "update") for resource in RESOURCES if resource.writable
    ]


# --- negative controls --------------------------------------------------------------------------------------------


def _shows_more(monkeypatch: pytest.MonkeyPatch) -> None:
    view = Attributes.view
    monkeypatch.setattr(Attributes, "view", lambda *args: view(*args) | {"surplus": 1})


def _shows_less(monkeypatch: pytest.MonkeyPatch) -> None:
    view = Attributes.view

    def less(*args: Any) -> dict[str, Any]:
        shown = view(*args)
        del shown["description"]
        return shown

    monkeypatch.setattr(Attributes, "view", less)


def _fails(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = list_query.parse

    def parsed(resource: Any, pairs: Any, *more: Any) -> Any:
        if any(pair == ("sort_dir", "desc") for pair in pairs):
            raise RuntimeError("broken on purpose")
        return parse(resource, pairs, *more)

    monkeypatch.setattr(list_query, "parse", parsed)


def _shows_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "scope", lambda caller, action, resource: "all")


def _shows_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "sees_secrets", lambda caller, resource: lambda row: True)


def _accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choice, "convert", lambda kind, name, value: kind.values[0])
    monkeypatch.setattr(Boolean, "convert", lambda kind, name, value: False)


def _refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(kind: Text, name: str, value: Any) -> Any:
        raise invalid(name, "no text is good enough")

    monkeypatch.setattr(Text, "convert", convert)


def _another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "not_found", lambda resource, id: ApiError("PortNotFound", "no port"))


CONTROLS: Mapping[str, tuple[Any, str, str, str]] = {
    "an attribute too many": (_shows_more, "alice", "ike_policy$", "JsonSchemaError"),
    "an attribute too few": (_shows_less, "alice", "list_ike_policy$", "AttributesMissing"),
    "a server error": (_fails, "alice", "list_network", "ServerError"),
    "foreign data": (_shows_foreign, "reader", "list_network", "ForeignData"),
    "a key": (_shows_keys, "reader", "(list|show)_connection$", "KeyShown"),
    "bad data accepted": (_accepts, "alice", "create_ike_policy$", "AcceptedNegativeData"),
    "good data refused": (_refuses, "alice", "create_network", "GoodDataRefused"),
    "an undeclared type": (_another_type, "alice", "show_network", "JsonSchemaError"),
}
"""Defect -> (patch, role, operation pattern, the fault that has to be reported)."""
MANY = {"bad data accepted": 300}
"""Cases that a defect needs, if not 40: few invalid cases are invalid deep inside a body that may be a list."""

QUICK = ("an attribute too many", "a key")
"""Those that are run with `./dev test --fast` too: a check of schemathesis and one of our own."""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "broken", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CONTROLS]
)
def test_a_broken_api_is_detected(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    break_it, role, only, fault_name = CONTROLS[broken]
    cases = MANY.get(broken, 40)
    with open_two_projects(open_api, role) as projects:
        # `refresh` uses the API, which is about to be broken.
        monkeypatch.setattr(TwoProjects, "refresh", lambda _projects: None)
        intact = Run(projects, SEED, only)
        intact.run(cases)
        assert not intact.faults
        break_it(monkeypatch)
        run = Run(projects, SEED, only)
        run.run(cases)
        assert fault_name in {name for _, name in run.faults}, run.faults
