"""Child SAs that charon lists and the kernel has lost."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.tunnel import kernel_sas
from linkspan.core.tunnel.actions import DeleteIkeSa, Rekey
from linkspan.core.tunnel.kernel_sas import KernelSas
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from linkspan.core.tunnel.tunnel import Tunnels, new_tunnel
from tests.drivers.machine import connection

CONNECTION = connection(1, 2)
CONFIG = ipsec_config.build(CONNECTION)
TUNNELS = {CONNECTION.id: new_tunnel(CONNECTION, CONFIG, "")}
PAIR = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
CHILD = ChildSa(
    CONFIG.children[0].name, 7, "INSTALLED", "c0000001", "c0000002", 0, 0, 0, 0, -1,
    local_ts=("10.1.0.0/24",), remote_ts=("10.2.0.0/24",),
)  # fmt: skip
NOTHING = KernelSas(frozenset(), frozenset())
WHOLE = KernelSas(frozenset({0xC0000001, 0xC0000002}), frozenset({PAIR}))


def sa(child: ChildSa = CHILD) -> IkeSa:
    return IkeSa(CONFIG.name, 3, "ESTABLISHED", True, "203.0.113.1", "203.0.113.2", 0, (child,))


def mend(kernel: KernelSas, child: ChildSa = CHILD, tunnels: Tunnels = TUNNELS) -> list[Rekey | DeleteIkeSa]:
    return kernel_sas.mend(kernel_sas.lost_children([sa(child)], kernel), tunnels)


def test_what_the_kernel_has_is_left_alone() -> None:
    assert mend(WHOLE) == []


@pytest.mark.parametrize(
    "kernel",
    [
        KernelSas(frozenset(), frozenset()),
        KernelSas(WHOLE.spis, frozenset()),
        KernelSas(frozenset(), WHOLE.outbound),
        KernelSas(frozenset({0xC0000002}), WHOLE.outbound),
        KernelSas(WHOLE.spis, frozenset({SelectorPair("10.1.0.0/24", "10.3.0.0/24")})),
    ],
)
def test_a_lost_child_is_rekeyed(kernel: KernelSas) -> None:
    assert mend(kernel) == [Rekey(7)]


def test_a_child_that_is_being_replaced_or_narrowed_to_ports_is_not_judged() -> None:
    rekeyed = msgspec.structs.replace(CHILD, state="REKEYED")
    assert mend(NOTHING, rekeyed) == []
    narrowed = msgspec.structs.replace(CHILD, remote_ts=("10.2.0.0/24[tcp/443]",))
    assert mend(KernelSas(WHOLE.spis, frozenset()), narrowed) == []


@pytest.mark.parametrize(
    "after",
    [
        [],
        [sa(msgspec.structs.replace(CHILD, state="DELETING"))],
        [sa(msgspec.structs.replace(CHILD, state="REKEYED")), sa(msgspec.structs.replace(CHILD, unique_id=8))],
        [sa(msgspec.structs.replace(CHILD, spi_in="c0000003", spi_out="c0000004"))],
    ],
    ids=["deleted", "being deleted", "rekeyed", "other SPIs"],
)
def test_a_child_that_ends_between_two_listings_is_not_lost(after: list[IkeSa]) -> None:
    lost = kernel_sas.lost_children([sa()], NOTHING)
    assert kernel_sas.still_installed(lost, after) == []
    assert kernel_sas.still_installed(lost, [sa()]) == lost != []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_response_only_connection_of_ikev1_initiates_nothing(version: str) -> None:
    ike = msgspec.structs.replace(CONNECTION.ike, ike_version=version)
    waiting = msgspec.structs.replace(CONNECTION, initiator="response-only", ike=ike)
    tunnels = {waiting.id: new_tunnel(waiting, ipsec_config.build(waiting), "")}
    expected = DeleteIkeSa(3) if version == "v1" else Rekey(7)
    assert mend(NOTHING, tunnels=tunnels) == [expected]


def test_the_networks_of_installed_children_need_routes() -> None:
    assert kernel_sas.remote_networks([sa()]) == {"10.2.0.0/24"}
    assert kernel_sas.remote_networks([sa(msgspec.structs.replace(CHILD, state="DELETING"))]) == frozenset()
