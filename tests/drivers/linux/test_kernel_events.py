"""Which notices of the kernel may be about a change by another program. tests/drivers/test_drift.py has real ones."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from linkspan.drivers.linux import kernel_events, netlink
from linkspan.drivers.linux.kernel_events import NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM, Notice
from tests.drivers.machine import eventually

DELETED_ROUTE, DELETED_ADDRESS, NEW_ADDRESS, DELETED_POLICY = 25, 21, 20, 0x14
STRANGER = 2**22 - 1


def route(table: int, protocol: int, sender: int = STRANGER) -> bool:
    body = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, table, protocol, 0, 1, 0)
    return kernel_events.is_foreign(NETLINK_ROUTE, Notice(DELETED_ROUTE, 0, sender, body))


def test_removed_addresses_count_and_new_ones_do_not() -> None:
    assert kernel_events.is_foreign(NETLINK_ROUTE, Notice(DELETED_ADDRESS, 0, STRANGER, b""))
    assert not kernel_events.is_foreign(NETLINK_ROUTE, Notice(NEW_ADDRESS, 0, STRANGER, b""))


def test_changes_of_this_process_do_not_count() -> None:
    own = os.getpid() + (5 << 22)
    assert not kernel_events.is_foreign(NETLINK_ROUTE, Notice(DELETED_ADDRESS, 0, own, b""))


def test_routes_of_linkspan_and_charon_count_and_others_do_not() -> None:
    assert route(254, netlink.PROTOCOL)
    assert route(netlink.CHARON, 4)
    assert not route(254, 4)


def test_what_charon_removes_itself_does_not_count(tmp_path: Path) -> None:
    program = shutil.copy(shutil.which("sleep") or "", tmp_path / "charon-test")
    with subprocess.Popen([program, "60"]) as charon:
        try:
            # The kernel names a process a moment after its program has been started.
            eventually(lambda: not route(netlink.CHARON, 4, charon.pid))
            assert not kernel_events.is_foreign(NETLINK_XFRM, Notice(DELETED_POLICY, 0, charon.pid, b""))
        finally:
            charon.kill()
    assert route(netlink.CHARON, 4, charon.pid)
    assert not route(netlink.CHARON, 4, 1), "process 1 of its own namespace"
    assert kernel_events.is_foreign(NETLINK_XFRM, Notice(DELETED_POLICY, 0, STRANGER, b""))


def test_of_nftables_only_the_tables_of_linkspan_count() -> None:
    def table(name: bytes) -> bool:
        body = bytes(4) + struct.pack("=HH", 4 + len(name), 1) + name
        return kernel_events.is_foreign(NETLINK_NETFILTER, Notice(10 << 8 | 2, 0, STRANGER, body))

    assert table(b"linkspan\0")
    assert table(b"linkspan-ike\0")
    assert not table(b"theirs\0")


def test_messages_are_cut_where_they_end() -> None:
    one = struct.pack("=IHHII", 18, DELETED_ADDRESS, 0, 1, 7) + b"ab" + bytes(2)
    assert list(kernel_events.messages(one + one)) == [Notice(DELETED_ADDRESS, 0, 7, b"ab")] * 2
    assert list(kernel_events.messages(b"\0" * 20)) == []
