"""The tests that show each attribute on the wire: read from the `shows` marks in tests/wire, without running anything.

docs/attributes.md is written from it, and `harness.mutate` runs by it.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from linkspan.core.schema.resources import VPN

ROOT: Final = Path(__file__).parents[2]
WIRE: Final = ROOT / "tests" / "wire"
MUTANTS: Final = WIRE / "mutants.json"
"""Result of the last `./dev test --mutate`: {"attribute=way": the test that failed}."""
KERNEL: Final = {
    "the agent": ("test_backend.py", "test_leaks.py", "test_families.py", "test_survival.py", "test_nothing_left.py"),
    "packets": ("test_admin.py", "test_mtu.py", "test_selectors.py", "test_addresses.py"),
    "peers": (
        "test_dpd_backends.py",
        "test_policies.py::test_ah_and_transport_in_the_kernel",
        "test_generations.py",
        "test_pfs.py",
    ),
    "algorithms": ("test_policies.py::test_every_algorithm_of_each_policy_is_negotiated",),
}
"""Tests of tests/wire that also run on the kernel's ESP (tests/kernel), in parts that take minutes."""


@functools.cache
def shown() -> dict[str, list[str]]:
    """Tests by attribute, as `file::test`."""
    found: dict[str, list[str]] = {}
    for file in sorted(WIRE.glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for attribute in _marked(node, named):
                    found.setdefault(attribute, []).append(f"{file.name}::{node.name}")
    return found


def _marked(function: ast.FunctionDef, named: dict[str, ast.expr]) -> Iterator[str]:
    """The attributes of a function's marks, also of those that have a name in its file."""
    for decorator in function.decorator_list:
        mark = named.get(decorator.id) if isinstance(decorator, ast.Name) else decorator
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "shows":
            yield from (argument.value for argument in mark.args if isinstance(argument, ast.Constant))  # type: ignore[misc]


def of(attribute: str, tests: dict[str, list[str]]) -> list[str]:
    """The tests of an attribute and of its parts (`connection.dpd` has `connection.dpd.action`), each once."""
    every = [names for key, names in tests.items() if f"{key}.".startswith(f"{attribute}.")]
    return list(dict.fromkeys(name for names in every for name in names))


def attributes() -> list[str]:
    """Every attribute of the VPN resources, as `resource.attribute`."""
    return [f"{resource.name}.{attribute.name}" for resource in VPN for attribute in resource.attributes]


def mutants() -> dict[str, str]:
    """Reads the result of the last `./dev test --mutate`."""
    found: dict[str, Any] = json.loads(MUTANTS.read_text(encoding="utf-8")) if MUTANTS.exists() else {}
    return found
