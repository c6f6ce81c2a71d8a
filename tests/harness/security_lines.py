"""The lines of the security checklist, and the tests that are marked `security(line, tried=…, control=…)`.

The marks are parsed, so that a line without a test is found without running anything. `tried` says what the test does
to get through; `control` is the test that fails or succeeds without the protection (`test_x`, or `path::test_x`), or
begins with "itself:" where the test does both.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tests.harness.sources import ROOT, files, parse

LINES: Final = {
    "1": "keys at rest are sealed for their row",
    "1 rotation": "keys are sealed anew online",
    "2": "secrets are hidden in texts and logs",
    "3": "a key reaches charon by VICI alone",
    "4": "identities are typed, and match nobody else",
    "5": "no configuration of users' text",
    "6": "charon's plugins are those allowed",
    "7": "names are resolved in the gateway alone",
    "8": "sizes and numbers are limited",
    "9": "a gateway has a namespace and a charon",
    "10": "every role on every route",
    "11": "identity headers are dropped",
    "12": "tokens are hashed, compared in constant time",
    "13": "a node reads what is its own",
    "13 joining": "nodes join once, with short certificates",
    "14": "each mutation has an entry",
    "15": "rates are limited",
    "16": "services have the rights they need",
    "17": "what is installed is known",
    "storm": "an IKE flood stops no tunnel",
    "tenants": "two projects with the same addresses and ids",
    "needle": "a secret is nowhere else",
    "rotation under load": "every key stays readable",
}
"""The checklist, and what must hold on the wire between tenants."""


class Check(msgspec.Struct, frozen=True):
    """A marked test."""

    line: str
    test: str
    tried: str
    control: str

    @property
    def control_test(self) -> str:
        """The control as `path::test`; empty if the test is its own."""
        if self.control.startswith("itself:"):
            return ""
        return self.control if "::" in self.control else f"{self.test.partition('::')[0]}::{self.control}"


@functools.cache
def checks() -> tuple[Check, ...]:
    """Return all marked tests, in the order of their lines."""
    found = [check for path in _test_files() for check in _checks(path)]
    order = list(LINES)
    return tuple(sorted(found, key=lambda check: order.index(check.line) if check.line in order else len(order)))


def exists(test: str) -> bool:
    """True if there is a test of this name, `path::test`."""
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and any(function.name == name for function in _functions(ROOT / path))


def _test_files() -> list[Path]:
    return [path for path in files("tests") if path.name.startswith("test_")]


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in parse(path).body if isinstance(node, ast.FunctionDef))


def _checks(path: Path) -> Iterator[Check]:
    for function in _functions(path):
        for mark in function.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "security":
                values = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
                test = f"{path.relative_to(ROOT)}::{function.name}"
                yield Check(
                    ast.literal_eval(mark.args[0]), test, str(values.get("tried", "")), str(values.get("control", ""))
                )
