"""The names of public classes and type aliases are unique."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tests.harness.sources import SOURCE, files, parse

SHARED: Final = {
    "ApiError": "the error that the API raises is the one that the client raises again: same type, same message",
}
"""Names that are shared on purpose, with the reason."""


def test_public_types_have_unique_names() -> None:
    places = defaultdict(list)
    for path in files("src"):
        for name in _types(parse(path)):
            places[name].append(str(path.relative_to(SOURCE)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1 and name not in SHARED}
    assert not shared


def _types(module: ast.Module) -> Iterator[str]:
    """The public classes and type aliases of a module."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]):
                if _is_type_name(name):
                    yield name


def _is_type_name(name: str) -> bool:
    return name[0].isupper() and not name.isupper()
