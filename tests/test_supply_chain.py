"""The bill of materials names exactly what requirements.lock installs, and a licence that is known for each."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PERMISSIVE = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}
NAMED_IN_NOTICE = {"LGPL-3.0-only", "MPL-2.0"}
"""Licences that ask something of whoever hands out an image with the package in it."""


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("sbom") / "linkspan.cdx.json"
    done = subprocess.run(["./dev", "sbom", file], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("known vulnerabilities: (not looked for, since|looked for in [1-9])", done.stderr)
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "linkspan")
    found: list[dict[str, Any]] = bill["components"]
    return found


def locked() -> set[tuple[str, str]]:
    """Return name and version of what the lock file installs on this machine."""
    lines = re.findall(r"^(\S+==[^\\]+?)\s*\\?$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    return {
        (canonicalize_name(one.name), next(iter(one.specifier)).version)
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


def unknown(component: dict[str, Any]) -> str:
    """Return the licences of a component if none of them is known, else nothing."""
    stated = [licence.get("expression") or licence["license"].get("id", "") for licence in component["licenses"]]
    choices = {choice.strip("() ") for licence in stated for choice in licence.split(" OR ")}
    return "" if choices & (PERMISSIVE | NAMED_IN_NOTICE) else f"{component['name']}: {', '.join(stated) or 'none'}"


@pytest.mark.slow
def test_the_bill_of_materials_has_what_the_lock_file_installs(components: list[dict[str, Any]]) -> None:
    assert {(canonicalize_name(one["name"]), one["version"]) for one in components} == locked()


@pytest.mark.security(
    "17",
    tried="packages of the lock file, and their licences",
    control="test_a_licence_that_nobody_has_read_is_seen",
)
@pytest.mark.slow
def test_each_package_has_a_licence_that_is_known(components: list[dict[str, Any]]) -> None:
    assert [text for one in components if (text := unknown(one))] == []
    notice = (ROOT / "NOTICE").read_text()
    for one in components:
        if any(licence.get("license", {}).get("id") in NAMED_IN_NOTICE for licence in one["licenses"]):
            assert one["name"] in notice


@pytest.mark.parametrize("licences", [[], [{"license": {"id": "AGPL-3.0-only"}}], [{"license": {"name": "mine"}}]])
def test_a_licence_that_nobody_has_read_is_seen(licences: list[Any]) -> None:
    """The control."""
    assert unknown({"name": "package", "licenses": licences})
