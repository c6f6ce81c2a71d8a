"""Whatever is sent, the API answers as its document says, and nobody sees another project's data or a reader a key.

The cases are in `tests.api.openapi.generated`. The same seed makes the same requests; it is in the names of the tests.
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
from linkspan.core.schema.attribute_types import Choice, Text
from linkspan.core.schema.resources import RESOURCES
from tests.api.conftest import OpenApi
from tests.api.openapi.generated import Run, World, world

SEED = 20_261_126
SHARES = {"reader": 0.2, "alice": 0.4, "admin": 0.4}
"""Of the cases, by role: what a reader writes is all refused for the same reason."""


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
    with world(open_api, role) as made:
        before = made.foreign_objects()
        run = Run(made, seed)
        run.run(math.ceil(cases * SHARES[role]))
        print(f"seed {seed}, {run.cases} cases as {role}")
        print(*(f"{count:6} {name} {code}" for (name, code), count in sorted(run.outcomes.items())), sep="\n")
        assert not run.faults, "\n\n".join(f"{'/'.join(place)}: {text}" for place, text in run.faults.items())
        if role != "admin":
            assert made.foreign_objects() == before
        if cases < 2_000:
            return  # too few to come to everything
        shallow = [name for name in _deep(role) if not any(run.outcomes[name, code] for code in (200, 201))]
        assert not shallow, "these never came to an object"
        deleted = [each.name for each in RESOURCES if run.outcomes[f"delete_{each.name}", 204]]
        assert role == "reader" or len(deleted) >= 4, "a run has to get behind what is in use"


def _deep(role: str) -> list[str]:
    """Operations that have to succeed at least once for a role."""
    reading = [f"{verb}_{each.name}" for verb in ("list", "show") for each in RESOURCES]
    if role == "reader":
        return reading
    return reading + [f"{verb}_{each.name}" for verb in ("create", "update") for each in RESOURCES if each.writable]


# --- negative controls --------------------------------------------------------------------------------------------


def _shows_more(monkeypatch: pytest.MonkeyPatch) -> None:
    view = Attributes.view
    monkeypatch.setattr(Attributes, "view", lambda *given: view(*given) | {"surplus": 1})


def _shows_less(monkeypatch: pytest.MonkeyPatch) -> None:
    view = Attributes.view

    def less(*given: Any) -> dict[str, Any]:
        shown = view(*given)
        del shown["description"]
        return shown

    monkeypatch.setattr(Attributes, "view", less)


def _fails(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = list_query.parse

    def parsed(resource: Any, pairs: Any, most: int = list_query.PAGE) -> Any:
        if any(pair == ("sort_dir", "desc") for pair in pairs):
            raise RuntimeError("broken on purpose")
        return parse(resource, pairs, most)

    monkeypatch.setattr(list_query, "parse", parsed)


def _shows_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "scope", lambda caller, action, resource: "all")


def _shows_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "sees_secrets", lambda caller, resource: lambda row: True)


def _accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choice, "convert", lambda kind, name, value: kind.values[0])


def _refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(kind: Text, name: str, value: Any) -> Any:
        raise invalid(name, "no text is good enough")

    monkeypatch.setattr(Text, "convert", convert)


def _another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "not_found", lambda resource, id: ApiError("PortNotFound", "no port"))


CONTROLS: Mapping[str, tuple[Any, str, str, str]] = {
    "an attribute too many": (_shows_more, "alice", "ike_policy$", "JsonSchemaError"),
    "an attribute too few": (_shows_less, "alice", "list_ike_policy$", "Whole"),
    "a server error": (_fails, "alice", "list_network", "ServerError"),
    "foreign data": (_shows_foreign, "reader", "list_network", "ForeignData"),
    "a key": (_shows_keys, "reader", "(list|show)_connection$", "KeyShown"),
    "bad data accepted": (_accepts, "alice", "create_ike_policy$", "AcceptedNegativeData"),
    "good data refused": (_refuses, "alice", "create_network", "GoodDataRefused"),
    "an undeclared type": (_another_type, "alice", "show_network", "JsonSchemaError"),
}
"""What is broken -> how, the role, the operations, and the fault by which it has to be found."""
MANY = {"bad data accepted": 300}
"""How many cases it takes, if not 40: few of those that break a schema break it deep in a body that may be a list."""

QUICK = ("an attribute too many", "a key")
"""Those that are run with `./dev test --fast` too: a check of schemathesis and one of our own."""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "broken", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CONTROLS]
)
def test_what_is_broken_is_found(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    break_it, role, only, found = CONTROLS[broken]
    cases = MANY.get(broken, 40)
    with world(open_api, role) as made:
        # It is looked at through the API, which is about to be broken.
        monkeypatch.setattr(World, "refresh", lambda _world: None)
        whole = Run(made, SEED, only)
        whole.run(cases)
        assert not whole.faults
        break_it(monkeypatch)
        run = Run(made, SEED, only)
        run.run(cases)
        assert found in {name for _, name in run.faults}, run.faults
