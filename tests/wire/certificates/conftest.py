"""A gateway of the agent below the API for the tests of a file, and plain peers with certificates.

The desired state is given to the agent directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.peer import Peer
from tests.wire.conftest import need_charon


@pytest.fixture(scope="module")
def site() -> Iterator[AgentSite]:
    """The gateway under test."""
    need_charon()
    running = AgentSite()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def peers(site: AgentSite) -> Iterator[Callable[..., Peer]]:
    """Creates a peer with its own charon."""
    with ExitStack() as made:

        def make(**arguments: Any) -> Peer:
            peer = Peer(site, **arguments)
            made.callback(peer.close)
            return peer

        yield make
        # Connections first: charon waits for a removed peer's response to its delete.
        site.clear()


@pytest.fixture
def peer(peers: Callable[..., Peer]) -> Peer:
    """One peer."""
    return peers()


@pytest.fixture(scope="module")
def root() -> Ca:
    """The CA of both ends."""
    return Ca()
