"""What child SAs carry, compared with the wanted pairs; and the children that carry nothing beside others."""

from __future__ import annotations

import ipaddress
import itertools
import random
from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.tunnel import coverage, duplicate_sas
from linkspan.core.tunnel.actions import DeleteChildSa
from linkspan.core.tunnel.sas import ChildSa
from tests.core.samples import child, connection, ikev1, sa

LOCAL, REMOTE = ("10.1.0.0/24",), ("10.2.0.0/24", "10.3.0.0/24")
CONFIG = ipsec_config.build(connection(local_cidrs=LOCAL, peer_cidrs=REMOTE))
WHOLE = CONFIG.children[0].name


Selectors = str | tuple[str, ...]


def listed(
    local: Selectors = LOCAL, remote: Selectors = REMOTE, name: str = WHOLE, number: int = 1, **more: Any
) -> ChildSa:
    found = child(name, number=number, **more)
    local, remote = ((text,) if isinstance(text, str) else text for text in (local, remote))
    return msgspec.structs.replace(found, local_ts=local, remote_ts=remote)


def missing(*children: ChildSa, config: ipsec_config.IkeConfig = CONFIG) -> list[tuple[str, str]]:
    """The remote networks that are missing, and what is carried of them."""
    return [(part.pair.remote, part.part) for part in coverage.missing_pairs(config, (sa(config.name, *children),))]


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([listed()], []),
        ([listed(("0.0.0.0/0",), ("10.0.0.0/8",))], []),
        ([listed(remote=("10.2.0.0/16", "10.3.0.0/23"))], []),
        ([listed(remote="10.2.0.0/24"), listed(remote="10.3.0.0/24")], []),
        ([listed(remote=("10.2.0.0/25", "10.2.0.128/25", "10.3.0.0/24"))], []),
        ([listed(remote="10.2.0.0..10.3.0.255")], []),
        ([listed("10.1.0.0/25"), listed("10.1.0.128/25", "10.2.0.0..10.4.0.1")], []),
        ([listed(remote="10.2.0.0/24")], [("10.3.0.0/24", "")]),
        ([listed(remote=("10.3.0.0/24", "10.2.0.0/25"))], [("10.2.0.0/24", "10.1.0.0/24 - 10.2.0.0/25")]),
        ([listed(remote=("10.3.0.0/24", "10.2.0.7/32"))], [("10.2.0.0/24", "10.1.0.0/24 - 10.2.0.7/32")]),
        ([listed(remote=("10.3.0.0/24", "10.2.0.1..10.2.0.255"))],
         [("10.2.0.0/24", "10.1.0.0/24 - 10.2.0.1..10.2.0.255")]),
        ([listed(remote=("10.3.0.0/24", "10.2.0.0/24[tcp]"))], [("10.2.0.0/24", "10.1.0.0/24 - 10.2.0.0/24[tcp]")]),
        ([listed(remote=("10.3.0.0/24[udp/53]", "10.2.0.0/24"))],
         [("10.3.0.0/24", "10.1.0.0/24 - 10.3.0.0/24[udp/53]")]),
        ([listed("10.1.0.0/25"), listed("10.1.0.128/25", "10.2.0.0/24")],
         [("10.3.0.0/24", "10.1.0.0/25 - 10.3.0.0/24")]),
        ([listed(name=f"{WHOLE}x")], [("10.2.0.0/24", ""), ("10.3.0.0/24", "")]),
        ([listed(state="INSTALLING")], [("10.2.0.0/24", ""), ("10.3.0.0/24", "")]),
        ([listed(remote="something else")], [("10.2.0.0/24", ""), ("10.3.0.0/24", "")]),
        ([child(WHOLE)], []),
        ([], [("10.2.0.0/24", ""), ("10.3.0.0/24", "")]),
    ],
)  # fmt: skip
def test_what_is_missing(children: list[ChildSa], expected: list[tuple[str, str]]) -> None:
    assert missing(*children) == expected


def test_ipv6_is_compared_by_its_numbers() -> None:
    config = ipsec_config.build(connection(local_cidrs=("fd00:1::/64",), peer_cidrs=("FD00:2:0::/64", "fd00:3::/64")))
    name = config.children[0].name
    assert missing(listed("fd00:1:0:0::/64", "fd00:2::/63", name), config=config) == [("fd00:3::/64", "")]


def test_ikev1_has_a_child_for_each_pair() -> None:
    config = ipsec_config.build(connection(peer_cidrs=REMOTE, ike=ikev1()))
    one, two = (part.name for part in config.children)
    assert missing(child(one), child(two), config=config) == []
    assert missing(child(two), config=config) == [("10.2.0.0/24", "")]
    narrowed = listed(remote="10.2.0.0/25", name=one)
    assert missing(narrowed, child(two), config=config) == [("10.2.0.0/24", "10.1.0.0/24 - 10.2.0.0/25")]


def test_transport_mode_carries_what_passes_between_the_gateways() -> None:
    ipsec = msgspec.structs.replace(connection().ipsec, encapsulation_mode="transport")
    config = ipsec_config.build(
        connection(local_cidrs=("198.51.100.0/24",), peer_cidrs=("198.51.100.0/24",), ipsec=ipsec)
    )
    assert missing(listed("198.51.100.1/32", "198.51.100.2/32", config.children[0].name), config=config) == []


@pytest.mark.parametrize("seed", range(200))
def test_a_pair_is_covered_if_every_address_of_it_is(seed: int) -> None:
    """Compared with every single address: networks of 16 addresses, children with random parts of them."""
    chance = random.Random(seed)
    base = int(ipaddress.ip_address("10.0.0.0"))

    def part() -> str:
        first, last = sorted(chance.choices(range(16), k=2))
        return f"{ipaddress.ip_address(base + first)}..{ipaddress.ip_address(base + last)}"

    config = ipsec_config.build(connection(local_cidrs=("10.0.0.0/28",), peer_cidrs=("10.0.0.0/28",)))
    children = [listed(part(), part(), config.children[0].name) for _ in range(chance.randint(1, 12))]
    children += [listed(part(), "10.0.0.0/28", config.children[0].name) for _ in range(chance.randint(0, 3))]

    def numbers(selector: str) -> range:
        first, _, last = selector.partition("..")
        if not last:
            return range(16)
        return range(int(ipaddress.ip_address(first)) - base, int(ipaddress.ip_address(last)) - base + 1)

    carried = {
        address
        for found in children
        for address in itertools.product(numbers(found.local_ts[0]), numbers(found.remote_ts[0]))
    }
    assert (missing(*children, config=config) == []) == (len(carried) == 256)


# --- children that carry nothing beside others --------------------------------------------------------------------

BY_PAIRS = ipsec_config.with_pair_children(CONFIG, 256)
FIRST, AGAIN, SECOND, _ = (part.name for part in BY_PAIRS.children[1:])


@pytest.mark.parametrize(
    ("children", "deleted"),
    [
        # The peer answers a question for the rest as before.
        ([listed(remote="10.2.0.0/25"), listed(remote="10.2.0.0/25", name=FIRST, number=2)], [2]),
        ([listed(remote=("10.2.0.0/25", "10.3.0.0/24")), listed(remote="10.2.0.0/25", name=FIRST, number=2)], [2]),
        ([listed(remote="10.2.0.0/24[tcp]"), listed(remote="10.2.0.0/24[tcp]", name=FIRST, number=2)], [2]),
        # It gives the whole pair now.
        ([listed(remote="10.2.0.0/25"), listed(remote="10.2.0.0/24", name=FIRST, number=2)], []),
        ([listed(remote="10.2.0.0/24[tcp]"), listed(remote="10.2.0.0/24", name=FIRST, number=2)], []),
        ([listed(remote="10.2.0.0/25", name=FIRST), listed(remote="10.2.0.0/25", name=AGAIN, number=2)], [2]),
        ([listed(remote="10.2.0.0/25", name=FIRST), listed(remote="10.2.0.0/24", name=AGAIN, number=2)], []),
        # The peer initiates the list, or a pair that this end has asked for.
        ([listed(remote="10.2.0.0/24", name=FIRST), listed(number=2)], [1]),
        ([listed(remote="10.2.0.0/24", name=FIRST), listed(remote="10.2.0.0/24", number=2)], [1]),
        # One child a pair, whoever initiated.
        ([listed(remote="10.2.0.0/24"), listed(remote="10.3.0.0/24", name=SECOND, number=2)], []),
        ([listed(remote="10.2.0.0/24"), listed(remote="10.3.0.0/24", number=2)], []),
        # Equal children of one name are the business of `redundant_children`.
        ([listed(remote="10.2.0.0/25"), listed(remote="10.2.0.0/25", number=2)], []),
        # A rekeyed child is charon's to delete.
        ([listed(remote="10.2.0.0/24", name=FIRST, state="REKEYED"), listed(number=2)], []),
    ],
)
def test_superfluous_children(children: list[ChildSa], deleted: list[int]) -> None:
    found = duplicate_sas.superfluous_children(BY_PAIRS, (sa(BY_PAIRS.name, *children),))
    assert found == tuple(DeleteChildSa(number) for number in deleted)


def test_children_of_one_name_are_equal_if_their_selectors_are() -> None:
    """A peer may create a child for each pair of a list: all of them have the name of the list."""
    pairs = [listed(remote=remote, number=number) for number, remote in enumerate(REMOTE, 1)]
    names = frozenset({WHOLE})
    assert duplicate_sas.redundant_children([sa(CONFIG.name, *pairs)], names) == ()
    twin = listed(remote=REMOTE[0], number=3)
    assert duplicate_sas.redundant_children([sa(CONFIG.name, *pairs, twin)], names) == (DeleteChildSa(3),)


# --- the configuration with a child for each pair -----------------------------------------------------------------


def test_children_for_single_pairs_stay_the_same_when_the_list_is_edited() -> None:
    less = ipsec_config.with_pair_children(
        ipsec_config.build(connection(local_cidrs=LOCAL, peer_cidrs=REMOTE[1:])), 256
    )
    assert less.children[0].name != WHOLE
    assert less.children[1:] == BY_PAIRS.children[3:]
    stronger = msgspec.structs.replace(connection().ipsec, encryption_algorithm="aes-256")
    other = ipsec_config.with_pair_children(ipsec_config.build(connection(peer_cidrs=REMOTE, ipsec=stronger)), 256)
    assert not {part.name for part in other.children} & {part.name for part in BY_PAIRS.children}


def test_no_child_for_a_pair_equals_the_child_for_all_of_them() -> None:
    """charon would not initiate it while the other one is up."""
    for units in ("seconds", "kilobytes"):
        ipsec = msgspec.structs.replace(connection().ipsec, lifetime_units=units)
        children = ipsec_config.with_pair_children(ipsec_config.build(connection(ipsec=ipsec)), 256).children
        assert len({(part.local_ts, part.remote_ts) for part in children}) == 1
        assert len({msgspec.structs.replace(part, name="") for part in children}) == 3


def test_the_number_of_children_is_limited_and_the_child_for_all_pairs_is_the_first() -> None:
    limited = ipsec_config.with_pair_children(CONFIG, 1)
    assert [part.name for part in limited.children] == [WHOLE, FIRST, AGAIN]
    assert ipsec_config.pairs_of(limited) == tuple(SelectorPair(LOCAL[0], remote) for remote in REMOTE)
    assert min(part.name for part in BY_PAIRS.children) == WHOLE
    assert ipsec_config.without_pair_children(limited) == CONFIG
    assert ipsec_config.same_version(BY_PAIRS, CONFIG)
