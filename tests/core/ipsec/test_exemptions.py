"""Exemptions of attached networks: for every remote prefix that is wider than one, and for nothing else."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import exemptions
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import InsideInterface
from tests.core.samples import GATEWAY

BRANCH = msgspec.structs.replace(
    GATEWAY,
    inside=(
        InsideInterface("6f1a", ("10.1.0.1/24", "fd00:1::1/64")),
        InsideInterface("6f1b", ("10.60.0.7/24", "fd00:60::1/64")),
    ),
)
LOCAL4, LOCAL6 = "10.1.0.0/24", "fd00:1::/64"


def exempt(local: str, *remotes: str) -> set[str]:
    """The remote sides of the exempt pairs, all of which have this local side."""
    pairs = exemptions.exempt_pairs(BRANCH, [SelectorPair(local, remote) for remote in remotes])
    assert {pair.local for pair in pairs} <= {local}
    return {pair.remote for pair in pairs}


def test_attached_networks_are_those_inside_with_host_bits_masked() -> None:
    networks = {str(network) for network in exemptions.attached_networks(BRANCH)}
    assert networks == {"10.1.0.0/24", "10.60.0.0/24", "fd00:1::/64", "fd00:60::/64"}


@pytest.mark.parametrize(
    ("local", "remotes", "expected"),
    [
        (LOCAL4, ("0.0.0.0/0",), {"10.1.0.0/24", "10.60.0.0/24"}),
        (LOCAL4, ("0.0.0.0/1", "128.0.0.0/1"), {"10.1.0.0/24", "10.60.0.0/24"}),
        (LOCAL4, ("10.0.0.0/8",), {"10.1.0.0/24", "10.60.0.0/24"}),
        (LOCAL4, ("10.60.0.0/16",), {"10.60.0.0/24"}),
        (LOCAL4, ("10.60.0.0/23", "10.60.0.0/22"), {"10.60.0.0/24"}),
        (LOCAL4, ("10.2.0.0/16", "198.51.100.0/24", "128.0.0.0/1"), set()),
        # Equal or inside: refused by the API; a tunnel that has it all the same keeps it.
        (LOCAL4, ("10.60.0.0/24", "10.60.0.7/32"), set()),
        (LOCAL6, ("::/0",), {"fd00:1::/64", "fd00:60::/64", "fe80::/10", "ff00::/8"}),
        (LOCAL6, ("8000::/1",), {"fd00:1::/64", "fd00:60::/64", "fe80::/10", "ff00::/8"}),
        (LOCAL6, ("fd00::/8",), {"fd00:1::/64", "fd00:60::/64"}),
        (LOCAL6, ("fd00:2::/64", "2001:db8::/32"), set()),
    ],
)
def test_what_a_wide_prefix_would_catch_is_exempt(local: str, remotes: tuple[str, ...], expected: set[str]) -> None:
    assert exempt(local, *remotes) == expected


@given(number=st.integers(0, 2**32 - 1), length=st.integers(0, 32))
def test_exempt_networks_are_attached_and_strictly_inside_the_prefix(number: int, length: int) -> None:
    remote = ipaddress.ip_network((number, length), strict=False)
    attached = exemptions.attached_networks(BRANCH)
    wanted = {str(n) for n in attached if n.version == 4 and n != remote and n.subnet_of(remote)}  # type: ignore[arg-type]
    assert exempt(LOCAL4, str(remote)) == wanted
