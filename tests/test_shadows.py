"""Names of our classes that shadow names of a foreign base class, in the Python and with the libraries that run.

A private name of a base is no part of its interface: another version of the base may use a name that a subclass has
chosen for itself. `threading.Thread` of Python 3.13 sets `_handle`, and a subclass with a method of that name breaks.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import logging
import pkgutil
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import linkspan
from tests.harness.sources import ROOT, files, parse

OURS: Final = ("linkspan.", "tests.", "bench.")
ELSEWHERE: Final = {"heat_server", "horizon_server", "keystone_server", "openstack_forks"}
"""Files of the harness that import what only the environment of their own process has."""
THREAD: Final = re.compile(r"^ *class (\w+)\(.*\b(?:Thread|Timer|Process)\b", re.MULTILINE)
INTENDED: Final[dict[tuple[str, str], str]] = {("Server", "socket"): "a socket that already listens"}
"""Class and name of the shadows that are meant to override, with the reason."""


def modules() -> Iterator[str]:
    """The modules of the product, the benchmarks and the harness, as far as an import has no effects."""
    for info in pkgutil.walk_packages(linkspan.__path__, "linkspan."):
        if not info.name.endswith("__main__") and ".migrations" not in info.name:
            yield info.name
    for folder in ("bench", "tests/harness"):
        for path in sorted((ROOT / folder).glob("[!_]*.py")):
            if path.stem not in ELSEWHERE:
                yield f"{folder.replace('/', '.')}.{path.stem}"


def classes(module: str) -> Iterator[type[Any]]:
    """The classes that a module defines, nested ones included."""
    pending = list(vars(importlib.import_module(module)).values())
    seen: set[type[Any]] = set()
    while pending:
        value = pending.pop()
        if inspect.isclass(value) and value.__module__ == module and value not in seen:
            seen.add(value)
            pending += vars(value).values()
            yield value


def foreign_bases(cls: type[Any]) -> list[type[Any]]:
    return [base for base in cls.__mro__ if base is not object and not f"{base.__module__}.".startswith(OURS)]


def shadows(cls: type[Any]) -> set[str]:
    """The private names of a class that a foreign base uses, and public names that the base's `__init__` sets."""
    bases = [base for base in foreign_bases(cls) if base is not cls]
    if not bases:
        return set()
    private = {name for base in bases for name in vars(base).keys() | set_on_self(base)}
    public = {name for base in bases for name in set_on_self(base, "__init__")}
    by_private_name = {name for name in defined_in_body(cls) | set_on_self(cls) if is_private(name)} & private
    by_public_name = (defined_in_body(cls) | set_on_self(cls, "__init__")) & public
    return by_private_name | by_public_name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def body(cls: type[Any]) -> list[ast.stmt]:
    """The statements of a class; none if it is written in C."""
    try:
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return []
    return bodies(file).get(cls.__qualname__, []) if file else []


@functools.cache
def bodies(file: str) -> dict[str, list[ast.stmt]]:
    """The statements of each class in a file, by its qualified name."""
    found: dict[str, list[ast.stmt]] = {}
    pending: list[tuple[str, ast.AST]] = [("", parse(Path(file)))]
    while pending:
        prefix, parent = pending.pop()
        for node in ast.iter_child_nodes(parent):
            match node:
                case ast.ClassDef(name):
                    found[prefix + name] = node.body
                    pending.append((f"{prefix}{name}.", node))
                case ast.FunctionDef(name) | ast.AsyncFunctionDef(name):
                    pending.append((f"{prefix}{name}.<locals>.", node))
                case ast.stmt():
                    pending.append((prefix, node))
    return found


def defined_in_body(cls: type[Any]) -> set[str]:
    """The names of methods, class attributes and declared attributes."""
    names: set[str] = set()
    for statement in body(cls):
        match statement:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                names.add(name)
            case ast.Assign(targets):
                names.update(node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(ast.Name(name)):
                names.add(name)
    return names


def set_on_self(cls: type[Any], method: str = "") -> set[str]:
    """The attributes that the methods of a class, or one of them, set on `self`."""
    return {
        node.attr
        for statement in body(cls)
        if not method or getattr(statement, "name", "") == method
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def test_no_class_shadows_a_name_of_a_foreign_base() -> None:
    found = {(cls.__qualname__, name) for module in modules() for cls in classes(module) for name in shadows(cls)}
    assert found == INTENDED.keys()


def test_no_class_is_a_thread_or_a_process() -> None:
    """A thread is a part of the object that needs one, not its base class. Classes inside functions count too."""
    found = {(path.name, name) for path in files("src", "bench", "tests") for name in THREAD.findall(path.read_text())}
    assert found == {("test_shadows.py", "WithTarget"), ("test_shadows.py", "WithStarted")}


# -- negative controls ---------------------------------------------------------------------------------------------

THREAD_OF_PYTHON_3_13: Final = """
class Thread:
    def __init__(self):
        self.name = "Thread-1"
        self._handle = object()

    def start(self):
        self._handle.start()
"""


def test_a_worker_with_the_method_handle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thread_of_python_3_13.py").write_text(THREAD_OF_PYTHON_3_13)
    monkeypatch.syspath_prepend(tmp_path)
    base = importlib.import_module("thread_of_python_3_13").Thread

    class Worker(base):  # type: ignore[misc, valid-type] # made at run time
        def _handle(self) -> None:
            self.__private = 1

    assert shadows(Worker) == {"_handle"}


class WithTarget(threading.Thread):
    _target = None


class WithStarted(threading.Thread):
    def run(self) -> None:
        self._started = True


class WithFormatter(logging.Handler):
    def __init__(self, formatter: str) -> None:
        super().__init__()
        self.formatter = formatter  # type: ignore[assignment] # the mistake that the test finds


class Innocent(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._count = 0


class InnocentChild(Innocent):
    _count = 2

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (WithTarget, {"_target"}),
        (WithStarted, {"_started"}),
        (WithFormatter, {"formatter"}),
        (Innocent, set()),
        (InnocentChild, set()),
    ],
)
def test_a_shadow_is_found(cls: type[Any], names: set[str]) -> None:
    assert shadows(cls) == names
