"""Interface names fit the kernel's limits, and owner marks can be parsed again."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.drivers.linux import interface_names
from linkspan.drivers.linux.interface_names import OwnerMark, read_mark

INSTANCES = st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True)
NODES = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable())


@given(INSTANCES, NODES, st.uuids(), st.uuids())
def test_interface_names_fit_the_kernels_limit(
    instance: str, node: str, gateway: uuid.UUID, network: uuid.UUID
) -> None:
    names = (
        interface_names.bridge(instance, str(network)),
        interface_names.bridge_port(instance, node, str(gateway), "out0"),
        interface_names.inside_interface(str(network)),
    )
    for name in names:
        assert len(name) <= 15
        assert name.replace("-", "").isalnum()


@given(INSTANCES, NODES, st.uuids())
def test_an_owner_mark_survives_the_round_trip(instance: str, node: str, gateway: uuid.UUID) -> None:
    mark = OwnerMark(instance, node, str(gateway))
    assert read_mark(mark.text()) == mark


@pytest.mark.parametrize("alias", ["", "uplink", "linkspan", "linkspan/a/b", "linkspan/a/b/c/d", "other/a/b/c"])
def test_a_foreign_alias_is_no_owner_mark(alias: str) -> None:
    assert read_mark(alias) is None


def test_namespace_names_differ_by_instance_node_and_gateway() -> None:
    gateway = "5c1f9f1c-0c8c-4a47-9a3b-7a3f1f0e2d22"
    twin = "5c1f9f1c-ffff-4a47-9a3b-7a3f1f0e2d22"
    names = {
        interface_names.namespace("a1b2c3", "node-1", gateway),
        interface_names.namespace("a1b2c3", "node-2", gateway),
        interface_names.namespace("a1b2c3", "node-1", twin),
        interface_names.namespace("a1b2c4", "node-1", gateway),
    }
    assert len(names) == 4
    assert sum(name.startswith("ls-a1b2c3-5c1f9f1c") for name in names) == 3


@pytest.mark.parametrize("instance", ["", "a-b", "A", "elevenchars", "a/b", "ä"])
def test_an_invalid_instance_name_is_refused(instance: str) -> None:
    with pytest.raises(ValueError, match="an instance is named"):
        interface_names.check_instance(instance)
