"""Exported ipsec.conf and ipsec.secrets bring tunnels up, against libreswan.

It needs ESP in the kernel and the unpacked packages: tests/kernel/test_libreswan_kernel.py runs these tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkspan.core.peer_side.formats import ipsec_conf
from tests.harness.exports import Combination, Exported, assert_all_up, combinations, connect, exported, files_of
from tests.harness.libreswan import Libreswan
from tests.harness.ours import LOCAL4, Ours
from tests.wire import test_libreswan
from tests.wire.test_libreswan import libreswan

__all__ = ["libreswan"]

pytestmark = test_libreswan.pytestmark

KEY = 'a "key" # with {braces}\\, \t and 0x'
USUAL = Combination("v2", ("aes-128", "sha256", "group14"), ("aes-128", "sha256", "group14"))


def load(peer: Libreswan, cases: Sequence[Exported]) -> None:
    """Load the files of connections."""
    conf, secrets = ([case.files[name] for case in cases] for name in ("ipsec.conf", "ipsec.secrets"))
    peer.load_exported(conf, secrets, [LOCAL4])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.whole)], ids=["some", "every"])
def test_libreswan_takes_the_exported_files_and_every_algorithm_comes_up(
    ours: Ours, libreswan: Libreswan, step: int
) -> None:
    cases = combinations(ipsec_conf.DEVICE)[::step]
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(lambda place: connect(ours, libreswan, place, cases[place], "libreswan"), range(len(cases)))
        )
    load(libreswan, made)
    assert_all_up(ours, libreswan, made, 120.0)


def test_libreswan_initiates_to_a_response_only_connection_with_a_key_of_any_characters(
    ours: Ours, libreswan: Libreswan
) -> None:
    both: dict[str, Any] = {
        "initiator": "response-only",
        "psk": KEY,
        "dpd": {"action": "hold", "interval": 10, "timeout": 30},
    }
    made = connect(ours, libreswan, 1, USUAL, "libreswan", **both)
    made.link.wait_reason("waits for the peer to initiate")
    load(libreswan, [made])
    assert_all_up(ours, libreswan, [made], 20.0)


@pytest.mark.parametrize(
    ("theirs", "our_own"),
    [
        pytest.param("keyid:branch #7 {left}", 'keyid:"ours"', id="key ids"),
        pytest.param("ops@theirs.example.org", "ops@ours.example.org", id="mail addresses"),
        pytest.param("keyid:Büro", "", id="not ASCII, and the address"),
    ],
)
def test_libreswan_takes_identities_of_every_kind(ours: Ours, libreswan: Libreswan, theirs: str, our_own: str) -> None:
    libreswan.run("ip", "address", "replace", "10.201.0.1/24", "dev", "lo")
    link = ours.connect(libreswan, peer_cidrs=["10.201.0.0/24"], peer_id=theirs, local_id=our_own)
    made = Exported(link, "10.201.0.1", files_of(exported(ours, link.id, "libreswan")))
    load(libreswan, [made])
    assert_all_up(ours, libreswan, [made], 20.0)
