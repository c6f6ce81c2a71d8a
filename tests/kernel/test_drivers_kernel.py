"""The tests of the drivers with kernel ESP."""

from __future__ import annotations

import sys

from tests.kernel.guest import MARKS, assert_passes, guest

pytestmark = MARKS
WAYS = (
    "nothing_passes_before_the_first_connection_but_between_inside_networks",
    "no_error_that_quotes_an_inner_packet_leaves_in_plaintext",
    "what_ipsec_needs_passes_the_guard",
)


def test_kernel_esp_is_detected() -> None:
    program = "from linkspan.drivers.linux import esp_backend; print('detected', esp_backend.detect())"
    assert "detected kernel" in guest(sys.executable, "-c", program, seconds=60)


def test_the_driver_tests_pass_with_kernel_esp() -> None:
    names = (
        *("test_contract", "test_packets", "test_exempt_traffic", "test_transport"),
        *("charon/test_daemon", "charon/test_confinement", "gateway/test_main_routing", "gateway/test_mtu_routing"),
    )
    # The other tests of the ways through a gateway are about neighbours and rules, which are the same.
    assert_passes(
        *(f"tests/drivers/{name}.py" for name in names),
        *(f"tests/drivers/test_ways_through.py::test_{name}" for name in WAYS),
    )
