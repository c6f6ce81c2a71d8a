"""Certificates whose chain has a fault: refused with the cause, while a sound one is let in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness.agent_site import AgentSite
from tests.harness.certificate_faults import CHAINS, assert_refused, cases
from tests.harness.peer import Peer

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.parametrize("initiator", ["ours", "peer"])
@pytest.mark.parametrize(("fault", "version"), cases(CHAINS))
def test_a_chain_with_a_fault_is_refused_with_its_cause(
    site: AgentSite, peers: Callable[..., Peer], fault: str, version: str, initiator: str
) -> None:
    assert_refused(site, peers, CHAINS[fault], version, peer_initiates=initiator == "peer")
