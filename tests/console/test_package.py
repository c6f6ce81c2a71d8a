"""The console as it is shipped: its weight, its packages, and its files inside the wheel."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from linkspan.api.console.files import FILES
from tests.harness import console as consoles
from tests.harness.console import ROOT

CONSOLE: Final = ROOT / "console"
FIRST_LOAD: Final = 80_000
"""Bytes, compressed."""
PACKAGES: Final = 90


@pytest.fixture(scope="module")
def page() -> str:
    """The built page."""
    consoles.build()
    return (FILES / "index.html").read_text(encoding="utf-8")


def test_the_first_load_is_light(page: str) -> None:
    """The page, what it names, and what its script imports at once: all that comes before the first paint."""
    names = set(re.findall(r'(?:src|href)="\./([^"]+)"', page))
    for name in [name for name in names if name.endswith(".js")]:
        script = (FILES / name).read_text(encoding="utf-8")
        names |= {f"assets/{found}" for found in re.findall(r'(?:^|[;}])import[^("\']*["\']\./([^"\']+\.js)', script)}
    weight = sum(len(gzip.compress((FILES / name).read_bytes())) for name in names) + len(gzip.compress(page.encode()))
    assert len(names) >= 3
    assert weight <= FIRST_LOAD, f"{weight} bytes: {sorted(names)}"


def test_no_page_is_heavy(page: str) -> None:
    """Each chunk by itself; they load when they are needed."""
    heavy = {
        file.name: size
        for file in FILES.glob("assets/*")
        if (size := len(gzip.compress(file.read_bytes()))) > FIRST_LOAD
    }
    assert not heavy


def test_few_packages_and_none_runs_a_script_when_it_is_installed() -> None:
    lock = json.loads((CONSOLE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    packages = {name: entry for name, entry in lock.items() if name}
    # npm lists the builds of a binary for every system, and installs one.
    installed = [name for name in packages if (CONSOLE / name).exists()]
    assert 20 < len(installed) <= PACKAGES
    assert not [name for name, entry in packages.items() if entry.get("hasInstallScript")]
    assert all(entry.get("integrity", "").startswith("sha512-") for entry in packages.values())
    assert "ignore-scripts=true" in (CONSOLE / ".npmrc").read_text(encoding="utf-8")
    assert not [name for name, entry in packages.items() if "resolved" in entry], "a lock file names no host"


def test_what_comes_from_the_declarations_is_current(tmp_path: Path, page: str) -> None:
    done = subprocess.run([sys.executable, CONSOLE / "generate.py", "--check"], check=False)
    assert done.returncode == 0, "run ./dev console types"
    document = subprocess.run(
        [sys.executable, "-W", "ignore", CONSOLE / "generate.py", "--openapi"], check=True, capture_output=True
    ).stdout
    (tmp_path / "openapi.json").write_bytes(document)
    files = [str(tmp_path / "openapi.json"), "--output", str(tmp_path / "api.d.ts")]
    command = ["console", "exec", "--", "openapi-typescript", *files]
    subprocess.run([str(ROOT / "dev"), *command], check=True, capture_output=True)
    current = (CONSOLE / "src/generated/api.d.ts").read_text(encoding="utf-8")
    assert (tmp_path / "api.d.ts").read_text(encoding="utf-8") == current, "run ./dev console types"


def test_the_documentation_shows_every_page() -> None:
    text = (ROOT / "docs/console.md").read_text(encoding="utf-8")
    places = re.findall(r"path: '([a-z]+)'", (CONSOLE / "src/pages.ts").read_text(encoding="utf-8"))
    pictures = re.findall(r"\]\((images/console/([a-z]+)-[a-z]+\.png)\)", text)
    assert {place for _, place in pictures} >= set(places)
    assert not [file for file, _ in pictures if not (ROOT / "docs" / file).exists()]


def test_types_accessibility_and_units() -> None:
    """svelte-check has no error and no warning, and the unit tests pass."""
    for command in (["run", "check"], ["test"]):
        done = subprocess.run([ROOT / "dev", "console", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_wheel_has_the_console_also_when_it_is_built_from_the_sdist(page: str, tmp_path: Path) -> None:
    """Who installs Linkspan needs no Node."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=ROOT, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xf", archive, "-C", tmp_path], check=True)
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=source, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {name.removeprefix("linkspan/api/console/static/") for name in packed.namelist()}
    assert {path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()} <= names
