"""nftables' rules in real namespaces, through the server, also after accidents."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.linux import netns, nft, nft_server
from linkspan.drivers.ports import DriverError
from tests.harness.world import until

pytestmark = pytest.mark.root

PAIR = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
TABLE = "inet t"
ADD = f"add table {TABLE}\nadd set {TABLE} s_24_24 {{ type ipv4_addr . ipv4_addr; flags interval; }}\n" + (
    nft.element_command("add", TABLE, "s_24_24", [PAIR])
)


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"ls-nft-{os.urandom(3).hex()}"
    netns.create(name, lambda: None)
    yield name
    netns.delete(name)


def add(name: str) -> None:
    netns.run_inside(name, lambda: nft.apply(ADD, "test"))


def pairs(name: str) -> list[SelectorPair]:
    return netns.run_inside(name, lambda: [pair for each in nft.list_sets("t") for pair in nft.pairs_in(each)])


def workers(name: str) -> list[int]:
    return netns.processes(name)


def server_of(name: str) -> int:
    """The pid of the server, the parent of a namespace's worker."""
    (worker,) = workers(name)
    return int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])


def test_one_worker_serves_a_namespace(namespace: str) -> None:
    assert pairs(namespace) == []
    add(namespace)
    assert pairs(namespace) == [PAIR]
    assert len(workers(namespace)) == 1


def test_a_refused_transaction_changes_nothing_and_says_why(namespace: str) -> None:
    with pytest.raises(DriverError, match="nftables refused the test: "):
        netns.run_inside(namespace, lambda: nft.apply(f"{ADD}\nadd rule {TABLE} does_not_exist drop\n", "test"))
    assert pairs(namespace) == []


def test_a_worker_without_requests_ends_and_leaves_the_namespace_to_go(namespace: str) -> None:
    add(namespace)
    assert workers(namespace)
    until(lambda: not workers(namespace), nft_server.LINGER + 10.0)
    assert pairs(namespace) == [PAIR]


@pytest.mark.parametrize("victim", ["worker", "server", "both"])
def test_what_is_killed_is_started_again(namespace: str, victim: str) -> None:
    add(namespace)
    server, (worker,) = server_of(namespace), workers(namespace)
    for pid in {"worker": [worker], "server": [server], "both": [server, worker]}[victim]:
        os.kill(pid, signal.SIGKILL)
    if victim != "server":
        until(lambda: worker not in workers(namespace), 10.0)
    assert pairs(namespace) == [PAIR]
    assert workers(namespace)


def test_a_worker_that_hangs_is_given_up_at_the_deadline(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_server, "DEADLINE", 0.3)
    add(namespace)
    (worker,) = workers(namespace)
    os.kill(worker, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(DriverError, match="nftables did not answer"):
            pairs(namespace)
        assert time.monotonic() - started < 10
    finally:
        os.kill(worker, signal.SIGKILL)
    assert pairs(namespace) == [PAIR]


def test_threads_share_the_server(namespace: str) -> None:
    other = f"{namespace}-b"
    netns.create(other, lambda: None)
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(add, [namespace, other] * 40))
            assert list(pool.map(pairs, [namespace, other])) == [[PAIR], [PAIR]]
    finally:
        netns.delete(other)


def test_an_answer_that_does_not_fit_a_pipe_arrives_whole(namespace: str) -> None:
    many = [SelectorPair(f"10.{n // 250}.{n % 250}.0/24", "10.255.0.0/24") for n in range(5000)]
    add(namespace)
    netns.run_inside(namespace, lambda: nft.apply(nft.element_command("add", TABLE, "s_24_24", many), "test"))
    assert sorted(pairs(namespace)) == sorted({*many, PAIR})
