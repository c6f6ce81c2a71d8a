"""The structure of the code is what docs/architecture.md and pyproject.toml say it is."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from tests.harness.sources import ROOT, SOURCE, files, modules, parse

FORBIDDEN = {
    "core: authorization, checks; schema, tunnel; ipsec; diagnosis; state; its own files": (
        "core/tunnel/dpd.py",
        "linkspan.core.schema.resources",
    ),
    "api: app; agents, discovery, embedded_keystone, resources; openapi; attributes, authentication; http": (
        "api/http/body.py",
        "linkspan.api.authentication.tokens",
    ),
    "store: store; nodes, identity; rows; revisions; transaction; envelopes, database": (
        "store/rows/ports.py",
        "linkspan.store.nodes.assignment",
    ),
    "drivers: local; charon, gateway; linux; ports": (
        "drivers/linux/nft.py",
        "linkspan.drivers.gateway.leak_guard",
    ),
    "Layers: bootstrap; api, agent, cli, admin, lab; store, drivers; pki; core": (
        "agent/outbox.py",
        "linkspan.api.attributes",
    ),
    "core has no clock, socket, file, log or random number": ("core/secret.py", "time"),
}
"""By contract of import-linter: a module, and an import that it must not have."""


# --- walls --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with the contracts."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(SOURCE, folder / "src" / "linkspan", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(copy: Path) -> str:
    """The report of import-linter on a copy, without line breaks."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "COLUMNS": "400"}
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert "Contracts:" in run.stdout, run.stdout + run.stderr
    return " ".join(run.stdout.split())


@pytest.mark.slow
def test_forbidden_imports_are_refused(copy: Path) -> None:
    """One forbidden import for each wall, all at once; without them the same copy breaks no contract."""
    assert " 0 broken" in lint(copy)
    for module, target in FORBIDDEN.values():
        file = copy / "src" / "linkspan" / module
        text = file.read_text()
        head = "from __future__ import annotations\n"
        assert head in text
        file.write_text(text.replace(head, f"{head}\nimport {target}\n", 1))
    report = lint(copy)
    assert [name for name in FORBIDDEN if f"{' '.join(name.split())} BROKEN" not in report] == []


# --- circles ------------------------------------------------------------------------------------------------------


@functools.cache
def imports() -> Mapping[str, set[str]]:
    """By module, the modules of Linkspan that it imports, wherever in the file."""
    paths = {module_of(path): path for path in modules()}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        graph[module] = set()
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("linkspan"):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[module] |= {name if name in paths else node.module for name in names}
            elif isinstance(node, ast.Import):
                graph[module] |= {alias.name for alias in node.names if alias.name in paths}
    return graph


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle in a graph, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def folder_graphs(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, dict[str, set[str]]]]:
    """For each package, the imports between the modules and packages directly in it."""
    packages = {".".join(module.split(".")[:depth]) for module in graph for depth in range(1, module.count(".") + 1)}
    for package in sorted(packages):
        prefix = f"{package}."
        siblings: dict[str, set[str]] = {}
        for module, targets in graph.items():
            if module.startswith(prefix):
                child = module.removeprefix(prefix).split(".")[0]
                inside = {target.removeprefix(prefix).split(".")[0] for target in targets if target.startswith(prefix)}
                siblings.setdefault(child, set()).update(inside - {child})
        yield package, siblings


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: targets - {module, "linkspan"} for module, targets in imports().items()}
    assert circle(graph) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    circles = {package: circle(siblings) for package, siblings in folder_graphs(imports())}
    assert {package: found for package, found in circles.items() if found} == {}


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    graph = {"p.x.one": {"p.y.one"}, "p.y.two": {"p.x.two"}, "p.y.one": set[str](), "p.x.two": set[str]()}
    assert circle(graph) == []
    assert dict(folder_graphs(graph))["p"] == {"x": {"y"}, "y": {"x"}}


# --- the map ------------------------------------------------------------------------------------------------------

MAP_LINE = re.compile(r"^\s*([a-z_]+(?:/[a-z_]+)*)/?  +(\S.*)$", re.MULTILINE)


def packages() -> dict[str, str]:
    """By path below src/linkspan, the first line of the package's docstring."""
    return {
        path.parent.relative_to(SOURCE).as_posix(): (ast.get_docstring(parse(path)) or "").partition("\n")[0]
        for path in modules()
        if path.name == "__init__.py" and path.parent != SOURCE
    }


def mapped() -> dict[str, str]:
    """The map of docs/architecture.md: by package, its line."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = text.partition("<!-- map -->")[2].partition("<!-- end of map -->")[0]
    return dict(MAP_LINE.findall(block))


def test_every_package_has_its_line_in_the_map_in_its_own_words() -> None:
    assert mapped() == {name: line.rstrip(".") for name, line in packages().items()}


def test_every_module_belongs_to_a_package_of_the_map() -> None:
    own, rooms = {"__init__", "settings", "telemetry"}, mapped()
    homeless = [
        path.relative_to(SOURCE).as_posix()
        for path in modules()
        if path.parent.relative_to(SOURCE).as_posix() not in rooms and path.stem not in own
    ]
    assert homeless == []


# --- paths in the documents ---------------------------------------------------------------------------------------

DOCUMENTS = [path for path in files("docs", suffixes=(".md",)) if "reference" not in path.parts]
QUOTED = re.compile(
    r"`((?:src|docs|tests|bench|core|api|store|drivers|agent|admin|cli|lab|testing|bootstrap)/[\w./*-]+)`"
)


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "README.md"], ids=lambda path: path.name)
def test_files_that_a_document_names_exist(document: Path) -> None:
    """A path is from the root of the repository, or from src/linkspan; a module may go without its suffix."""
    missing = [
        name
        for name in QUOTED.findall(document.read_text())
        if not any(list(base.glob(form)) for base in (ROOT, SOURCE) for form in (name.rstrip("/"), f"{name}.py"))
    ]
    assert missing == []


def test_each_recipe_lists_files() -> None:
    """docs/contributing.md: how to add something is a list of the files that one touches."""
    text = (ROOT / "docs" / "contributing.md").read_text()
    recipes = dict(re.findall(r"^## (Add [^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(recipes) == [
        "Add an attribute", "Add a resource", "Add a cause", "Add a driver", "Add a CLI command",
        "Add a page to the console",
    ]  # fmt: skip
    assert [name for name, recipe in recipes.items() if len(QUOTED.findall(recipe)) < 3] == []


# --- words --------------------------------------------------------------------------------------------------------

OPENINGS = ("Who", "What", "Which", "Whether", "When")
OLD_NAMES = {
    "admin": "accounts checks children commands first options people service",
    "agent": "gateway guard link names run",
    "api": (
        "agents auth_keystone auth_tokens body call edge identity identity/asking identity/credentials "
        "identity/embedded identity/operations identity/people identity/tokens inventory keystone_client "
        "limits memory openapi/operation passwords patience quotas routers server turns vpn wake"
    ),
    "bootstrap": "everything parts serving",
    "core": (
        "access actions addressing aging answering crypto desired dpd duplicates examples facts "
        "gateway_info identity ike keystone kinds mtu mtu_tables names nearest observed pfs plan policy "
        "problem query quota rate refusals resources rollout rules selectors status strength validate"
    ),
    "drivers": (
        "backend charon_conf clamp fake fake_world guard names namespace naming netlink netns nft paths "
        "process vici vici_map"
    ),
    "lab": "wire",
    "store": (
        "affects changes clock credentials deleting desired engine errors finding footing gateways "
        "inventory keys legs people quotas resolve secrets sql tables tokens work writing"
    ),
}
OLD_MODULES = [f"{room}/{name}" for room, names in OLD_NAMES.items() for name in names.split()]
CITATIONS = re.compile(r"dataplane:|reliability 4|\bSAW\b")
FOLDERS = ("src", "docs", "tests", "bench")
TEXTS = [path for path in files(*FOLDERS, suffixes=(".py", ".md", ".yaml")) if path != Path(__file__)]


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Every docstring of a module: of it, its classes and functions, and those under an attribute or constant."""
    for node in ast.walk(tree):
        body: Any = getattr(node, "body", None)
        if isinstance(body, list):
            for before, statement in zip([None, *body], body, strict=False):
                is_string = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if is_string and isinstance(statement.value.value, str):
                    if before is not None and not isinstance(before, ast.Assign | ast.AnnAssign):
                        continue
                    yield statement.value.value


def opening(docstring: str) -> str:
    word = re.match(r"\W*(\w+)", docstring)
    return word[1] if word else ""


def test_docstrings_open_with_their_subject() -> None:
    """Fewer than 2 % open with a question word: a docstring says what the thing is or does."""
    paths = [path for path in TEXTS if path.suffix == ".py"]
    found = [(path, text) for path in paths for text in docstrings(parse(path))]
    bad = [f"{path.relative_to(ROOT)}: {text.splitlines()[0]}" for path, text in found if opening(text) in OPENINGS]
    assert len(bad) < 0.02 * len(found), "\n".join(bad)


def test_openings_are_found() -> None:
    tree = ast.parse('"""Who asks."""\nX = 1\n"""Whether."""\ndef f():\n    """Lists them."""\n    "no docstring"')
    assert [opening(text) for text in docstrings(tree)] == ["Who", "Whether", "Lists"]


def test_old_names_and_citations_of_absent_documents_are_gone() -> None:
    dotted = [f"linkspan.{name.replace('/', '.')}" for name in OLD_MODULES]
    quoted = [f"`{name.replace('/', '.')}" for name in OLD_MODULES]
    old = re.compile(f"(?<![\\w.])({'|'.join(map(re.escape, [*OLD_MODULES, *dotted, *quoted]))})(?![\\w/])")
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if old.search(line) or CITATIONS.search(line)
    ]
    assert lines == []
