"""Admin states of router and networks: what they close, and which connections they disable."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.state import admin_state
from linkspan.core.state.desired import Gateway, InsideInterface
from tests.core.samples import GATEWAY, connection

replace = msgspec.structs.replace
ROUTER = "admin_state_up of the router is false"
OUTSIDE = "admin_state_up of the external network is false"


def gateway(*inside: bool, router: bool = True, outside: bool = True) -> Gateway:
    """A gateway with the inside networks 10.1.N.0/24 and fd00:N::/64, and these admin states."""
    interfaces = tuple(
        InsideInterface(f"{number}a", (f"10.1.{number}.1/24", f"fd00:{number}::1/64"), enabled)
        for number, enabled in enumerate(inside)
    )
    return replace(GATEWAY, enabled=router, outside=replace(GATEWAY.outside, enabled=outside), inside=interfaces)


@pytest.mark.parametrize(
    ("gateway", "local", "enabled", "reason"),
    [
        (gateway(True, True), ("10.1.0.0/24", "10.1.1.0/24"), True, ""),
        (gateway(True, router=False), ("10.1.0.0/24",), False, ROUTER),
        (gateway(True, outside=False), ("10.1.0.0/24",), False, OUTSIDE),
        (gateway(False, router=False, outside=False), ("10.1.0.0/24",), False, ROUTER),
        (gateway(False, outside=False), ("10.1.0.0/24",), False, OUTSIDE),
        (gateway(False), ("10.1.0.0/24",), False, "admin_state_up of the network of 10.1.0.0/24 is false"),
        (gateway(False, True), ("10.1.1.0/24",), True, ""),
        (gateway(False, True), ("10.1.0.0/24", "10.1.1.0/24"), True, "of the network of 10.1.0.0/24 is false"),
        (gateway(False, False), ("10.1.0.0/24", "10.1.1.0/24"), False, "of 10.1.0.0/24, 10.1.1.0/24 is false"),
        (gateway(False), ("10.1.0.0/24", "fd00:0::/64"), False, "10.1.0.0/24, fd00:0::/64"),
        (gateway(True, False), ("fd00:1::/64",), False, "fd00:1::/64"),
        (gateway(False), (), True, ""),
    ],
)
def test_a_connection_is_disabled_if_it_can_carry_nothing(
    gateway: Gateway, local: tuple[str, ...], enabled: bool, reason: str
) -> None:
    (state,) = admin_state.effective({"c": connection(local_cidrs=local)}, gateway, {}).values()
    assert (state.enabled, bool(state.admin_reason)) == (enabled, bool(reason))
    assert reason in state.admin_reason
    (off,) = admin_state.effective({"c": connection(local_cidrs=local, enabled=False)}, gateway, {}).values()
    assert (off.enabled, off.admin_reason) == (False, ""), "its own state is the reason"


def test_equal_connections_stay_the_same_objects() -> None:
    down = gateway(True, router=False)
    first = admin_state.effective({"c": connection()}, down, {})
    assert admin_state.effective({"c": connection()}, down, first)["c"] is first["c"]
    assert admin_state.effective({"c": connection(revision=2)}, down, first)["c"].revision == 2
    up = connection()
    assert admin_state.effective({"c": up}, gateway(True), first)["c"] is up


@given(st.booleans(), st.booleans(), st.lists(st.booleans(), min_size=1, max_size=4))
def test_while_sas_are_deleted_only_the_outside_is_open(router: bool, outside: bool, inside: list[bool]) -> None:
    wanted = gateway(*inside, router=router, outside=outside)
    meanwhile = admin_state.draining(wanted)
    assert not admin_state.outside_reason(meanwhile)
    assert admin_state.closed_networks(meanwhile) == admin_state.closed_networks(wanted)
    assert admin_state.is_open(wanted) == (router and outside and all(inside))
    if router:
        assert [interface.enabled for interface in meanwhile.inside] == inside
    else:
        assert not any(interface.enabled for interface in meanwhile.inside)
