"""Tunnels of an `AgentSite` that certificates authenticate: what both ends have, and what pings tell of a change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
import vici
from cryptography import x509

from linkspan.core.state.credentials import Certificates
from linkspan.drivers.linux import esp_backend
from tests.harness import credentials
from tests.harness.agent_site import AgentSite, Link
from tests.harness.authorities import Ca, Issued
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

VERSIONS: Final = ["v2", pytest.param("v1", marks=needs_ikev1)]
US, THEM = "gw.example.org", "peer.example.org"
OUT: Final = 10.0
"""Seconds in which a revoked peer is out."""
COUNT, INTERVAL = 1600, 0.005
LOST: Final = 1 if esp_backend.detect() == "kernel" else 4
"""Of 1,600 pings: 1 is the aim of kernel ESP, and 2 of 1,000 of user-space ESP."""


def ours(ca: Ca, **options: Any) -> Issued:
    """Return a certificate of the gateway under test. `options`: as `Ca.issued`."""
    return ca.issued(US, subject="gw", **options)


def theirs(ca: Ca, **options: Any) -> Issued:
    """Return a certificate of the peer. `options`: as `Ca.issued`."""
    return ca.issued(THEM, subject="peer", **options)


def between(mine: Issued, *admitted: Ca, **options: Any) -> Certificates:
    """Return the certificates of a connection: our own, and the CAs of the peer. `options`: as `credentials.anchor`."""
    return credentials.certificates(mine, credentials.anchor(*admitted, **options))


def load(peer: Peer, site: AgentSite, issued: Issued, *cas: Ca, **options: Any) -> None:
    """Load the peer's side: its certificate, and the CAs that ours may be from."""
    ends = {"local": THEM, "remote": US} | options
    peer.load(site.v4, "", issued=issued, authorities=[ca.pem for ca in cas], **ends)


def load_ppk(peer: Peer, id: str, key: str) -> None:
    """Load a post-quantum key at the peer."""
    with peer.session() as session:
        session.load_shared({"id": f"ppk-{id}", "type": "ppk", "data": key, "owners": [id]})


def comes_up(peer: Peer, ike: str = "ours") -> bool:
    """Let the peer initiate; return whether it came up."""
    try:
        peer.initiate(ike=ike, seconds=5.0)
    except vici.exception.CommandException:
        return False
    return True


def initiate_until_up(link: Link) -> None:
    """Let the peer initiate again and again: our agent may not have the change yet that lets it in."""

    def is_up() -> bool:
        if comes_up(link.peer):
            with contextlib.suppress(AssertionError):
                link.wait("up", 2.0)
        if link.state != "up":
            # In IKEv1 nobody acknowledges a DELETE, and without DPD it would not miss its other end.
            with contextlib.suppress(vici.exception.CommandException):
                link.peer.terminate()
        return link.state == "up"

    until(is_up, 40.0, link.tell)


def loaded_keys(site: AgentSite) -> frozenset[str]:
    """Return the ids of the private keys in the gateway's charon."""
    with site.charon() as charon:
        return charon.keys()


def serials(peer: Peer) -> set[int]:
    """Return the serial numbers of the certificates that the peer's charon has seen."""
    with peer.session() as session:
        messages = list(session.list_certs({"type": "X509"}))
    return {x509.load_der_x509_certificate(message["data"]).serial_number for message in messages}


def assert_unbroken(link: Link, act: Callable[[], None]) -> None:
    """Assert that pings every 5 ms go on while something is done, all of them as ESP."""
    link.settle()
    with ThreadPoolExecutor() as pool, link.peer.recorder() as recorded:
        pings = pool.submit(link.ping, COUNT, INTERVAL)
        act()
        answer = pings.result()
    # With user-space ESP charon installs an SA when it gets a processor, and the other end may have used it already.
    early = sum(recorded.sent_too_early(version) for version in (1, 2))
    counts = f"ESP {recorded.esp}, sent too early {early}, plaintext {recorded.plaintext}"
    print(f"{len(answer.lost)} of {COUNT} pings were lost; {counts}")
    assert recorded.plaintext == 0
    assert len(answer.lost) <= LOST + early, (answer.lost, early, link.tell())
    assert recorded.esp >= 2 * (COUNT - LOST - early)
