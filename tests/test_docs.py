"""The generated pages are up to date, and every attribute has a test that shows its effect, or is informational."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from linkspan.core.schema.resources import CERTIFICATE, RESOURCES, TRUST_ANCHOR, VPN
from tests.harness import matrix, mutations

ROOT = Path(__file__).parent.parent
LABELS = {resource.name: resource.label for resource in RESOURCES}


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


MAY_BE_INFORMATIONAL = {"network.mtu", "subnet.enable_dhcp", "subnet.dns_nameservers", "subnet.host_routes"}
"""No other attribute is taken or shown without an effect."""


@pytest.mark.parametrize("attribute", matrix.attributes())
def test_every_attribute_is_shown_by_a_test_or_informational(attribute: str) -> None:
    resource, _, name = attribute.partition(".")
    page = (ROOT / "docs" / "attributes.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {LABELS[resource]}\n")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| `{name}` |")]
    informational = row.startswith(f"| `{name}` | informational: ")
    assert informational == (attribute in MAY_BE_INFORMATIONAL)
    assert informational != bool(matrix.of(attribute, matrix.shown()))


def test_tests_show_only_existing_attributes() -> None:
    parts = {name for name in mutations.FIELDS if name.count(".") > 1}
    assert set(matrix.shown()) <= {*matrix.attributes(), *parts}


def test_every_mutant_was_killed() -> None:
    """In the results of the last `./dev test --mutate` no mutant survives or is missing, and killing tests exist."""
    killers = matrix.mutants()
    assert set(killers) == {
        f"{attribute}={way}" for attribute in mutations.MUTABLE for way in mutations.ways(attribute)
    }
    tests = {name for names in matrix.shown().values() for name in names}
    assert {killer.partition("[")[0] for killer in killers.values()} <= tests


IN_THE_CERTIFICATE = {
    *(f"certificate.{name}" for name in ("source", "key_algorithm", "subject", "subject_alt_names", "issuer_id")),
    *(f"trust_anchor.{name}" for name in ("source", "subject")),
}
"""What they decide is in `certificate` and `ca_bundle`, which is all that nodes get of them."""
WITH_NODES = (*VPN, CERTIFICATE, TRUST_ANCHOR)
"""The resources with attributes that reach the nodes' connections."""


def test_every_attribute_with_an_effect_on_the_wire_has_a_mutant() -> None:
    mutable = {f"{resource.name}.{item.name}" for resource in WITH_NODES for item in resource.attributes if item.post}
    reach_nothing = {
        name for name in mutable if name.rpartition(".")[2] in {"project_id", "name", "description", "flavor_id"}
    }
    # The store keeps and the agent gets only the algorithms that a profile stands for.
    reach_nothing |= {name for name in mutable if name.endswith(".crypto_profile")}
    references = {"connection.vpnservice_id", "connection.ikepolicy_id", "connection.ipsecpolicy_id"}
    mutated = {".".join(name.split(".")[:2]) for name in mutations.FIELDS}
    assert mutable - reach_nothing - references - IN_THE_CERTIFICATE == mutated
