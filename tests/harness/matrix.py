"""Maps attributes to the tests that verify them, parsed from the `shows` marks in tests/wire and tests/api/resources.

docs/attributes.md is generated from it, and `harness.mutate` selects tests by it.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from linkspan.core.schema.resources import RESOURCES

ROOT: Final = Path(__file__).parents[2]
WIRE: Final = ROOT / "tests" / "wire"
API: Final = ROOT / "tests" / "api" / "resources"
MUTANTS: Final = WIRE / "mutants.json"
"""The last result of `./dev test --mutate`: {"attribute=way": the test that failed}."""
KERNEL: Final = {
    "the agent": ("test_backend.py", "test_leaks.py", "test_families.py", "test_survival.py", "test_nothing_left.py"),
    "drift": (
        "test_drift.py::test_flushed_policies_and_states_come_back",
        "test_drift.py::test_what_charon_changes_itself_is_no_change_by_another_program",
        "test_drift.py::test_nothing_leaves_in_plaintext_when_the_rules_are_gone_and_the_tunnel_ends",
        "test_drift.py::test_without_the_agent_everything_leaves_in_plaintext",
    ),
    "packets": (
        "test_neighbours.py::test_two_projects_with_equal_networks_are_isolated",
        *("test_admin.py", "test_mtu.py", "test_selectors.py", "test_addresses.py"),
    ),
    "overlapping selectors": ("test_wide_selectors.py", "test_spares.py", "test_succession.py"),
    "peers": (
        "test_dpd_backends.py",
        "test_policies.py::test_ah_and_transport_in_the_kernel",
        "test_generations.py",
        "test_pfs.py",
    ),
    "certificates": (
        "certificates/test_key_kinds.py::test_a_tunnel_of_each_kind_of_key",
        "certificates/test_renewal.py::test_a_certificate_is_renewed_under_traffic[v2-ecdsa-p256-bi-directional]",
        "certificates/test_renewal.py::test_a_key_is_replaced_by_certificates_under_traffic[bi-directional-v2]",
    ),
    "renewals": (
        "certificates/test_renewal.py",
        "test_certificate_resources.py::test_a_ca_of_the_projects_own_carries_tunnels",
    ),
    "algorithms": ("test_policies.py::test_every_algorithm_of_each_policy_is_negotiated",),
}
"""The parts of tests/wire that also run with kernel ESP (tests/kernel); each takes minutes."""

SAME_ON_EACH_RELEASE: Final = {
    "processes, signals and files of the service are the same; test_survival.py and test_units.py stay": (
        *("test_accidents.py", "test_api_processes.py", "test_keys.py", "test_node_certificate.py"),
        "test_node_holders.py",
    ),
    "the agent decides, and what charon does for it is in test_generations.py, test_edit.py and test_psk_rotation.py": (
        *("test_dry_runs.py", "test_edits_while_connecting.py", "test_pfs_replacement.py", "test_rollback.py"),
        *("test_psk_rotation_of_both_ends.py", "test_succession.py", "test_undisturbed.py", "test_what_ends.py"),
    ),
    "the agent reads the same lines of charon's log as in test_causes.py and test_refused_attempts.py": (
        "test_causes_of_both_ends.py",
    ),
    "the agent sends the packets itself, or resolves the names": ("test_names.py", "test_probes.py"),
    "another choice of what test_dpd.py, test_selectors.py and test_policies.py do": (
        *("test_admin.py", "test_descriptive_attributes.py", "test_dpd_backends.py", "test_dpd_hour.py"),
        *("test_families.py", "test_initiator.py", "test_ppk.py"),
    ),
    "another choice of what the other files of tests/wire/certificates do": (
        *("certificates/test_anchors.py", "certificates/test_expiry_while_up.py", "certificates/test_restarts.py"),
        *("test_certificate_renewal.py", "test_trust_anchor_resources.py"),
    ),
    "the texts of the README are those of one release": ("test_readme.py",),
}
"""The files of tests/wire that `--sample` leaves out, by why. A new file runs on each release until it is here."""


@functools.cache
def same_on_each_release() -> frozenset[str]:
    """Return the files that `--sample` leaves out, from the root of the repository."""
    names = [name for names in SAME_ON_EACH_RELEASE.values() for name in names]
    return frozenset(str((WIRE / name).relative_to(ROOT)) for name in names)


@functools.cache
def shown() -> dict[str, list[str]]:
    """Return the tests of each attribute, as `file::test`."""
    tests: dict[str, list[str]] = {}
    files = [(folder, file) for folder in (WIRE, API) for file in sorted(folder.rglob("test_*.py"))]
    for folder, file in files:
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
                    tests.setdefault(attribute, []).append(f"{file.relative_to(folder)}::{node.name}")
    return tests


def _marked(function: ast.FunctionDef, named: dict[str, ast.expr]) -> Iterator[str]:
    """Yield the attributes of a function's marks, also of marks that are assigned to a name in its file."""
    for decorator in function.decorator_list:
        mark = named.get(decorator.id) if isinstance(decorator, ast.Name) else decorator
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "shows":
            yield from (argument.value for argument in mark.args if isinstance(argument, ast.Constant))  # type: ignore[misc]


def of(attribute: str, tests: dict[str, list[str]]) -> list[str]:
    """Return the tests of an attribute and its parts (`connection.dpd` has `connection.dpd.action`), each once."""
    matching = [names for key, names in tests.items() if f"{key}.".startswith(f"{attribute}.")]
    return list(dict.fromkeys(name for names in matching for name in names))


def attributes() -> list[str]:
    """Return all attributes of all resources, as `resource.attribute`."""
    return [f"{resource.name}.{attribute.name}" for resource in RESOURCES for attribute in resource.attributes]


def mutants() -> dict[str, str]:
    """Return the last result of `./dev test --mutate`."""
    killers: dict[str, Any] = json.loads(MUTANTS.read_text(encoding="utf-8")) if MUTANTS.exists() else {}
    return killers
