"""The causes of the way to the peer."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import LOCAL, Declared
from linkspan.core.diagnosis.codes import Code

_PATH: Final[tuple[Code, ...]] = (*LOCAL, "PEER_UNREACHABLE_ICMP", "PEER_PORT_CLOSED")
PATH: Final = (
    Declared(
        code="NO_ROUTE_TO_PEER",
        layer="path",
        title="no route to the peer",
        sentence="the gateway has no route to the peer's address {peer}: check the external network and peer_address",
        side="ours",
        ours="give the external network's subnet a gateway_ip, or a route to the peer",
        depends_on=("LOCAL_LINK_DOWN", "LOCAL_ADDRESS_ABSENT"),
    ),
    Declared(
        code="PEER_NO_REPLY",
        layer="path",
        title="the peer does not answer",
        sentence="the peer does not answer: check peer_address, routing and that UDP 500 and 4500 pass",
        side="path",
        confidence=0.9,
        ours="check peer_address, and that UDP 500 and 4500 leave this network",
        peers="check that the gateway runs, and that its firewall admits UDP 500 and 4500 from us",
        depends_on=_PATH,
        visible_after=30.0,
    ),
    Declared(
        code="PEER_UNREACHABLE_ICMP",
        layer="path",
        title="the network says that the peer is unreachable",
        sentence="{reporter} says that the peer's address {peer} is unreachable (ICMP)",
        variants={"neighbour": "nothing on the external network answers for the next hop to the peer's address {peer}"},
        side="path",
        confidence=0.9,
        ours="check peer_address, and the router that says so",
        depends_on=LOCAL,
        visible_after=30.0,
    ),
    Declared(
        code="PEER_PORT_CLOSED",
        layer="path",
        title="nothing listens at the peer",
        sentence="{reporter} says that nothing listens on the IKE ports of the peer's address {peer} (ICMP port "
        "unreachable)",
        side="peer",
        confidence=0.9,
        ours="check peer_address",
        peers="start the IKE daemon, or redirect UDP 500 and 4500 to it",
        depends_on=LOCAL,
        visible_after=30.0,
    ),
    Declared(
        code="UDP_4500_BLOCKED",
        layer="path",
        title="UDP 4500 does not pass",
        sentence="the peer answers on UDP 500 and not on UDP 4500: check that UDP 500 and 4500 pass in both directions",
        variants={
            "theirs": (
                "the peer began on UDP 500, and its next message, on UDP 4500, has not come: check that UDP 500 and "
                "4500 pass, and see the peer's own log"
            )
        },
        side="path",
        confidence=0.8,
        ours="let UDP 4500 pass out of and into this network",
        peers="let UDP 4500 pass out of and into the peer's network",
        depends_on=_PATH,
    ),
    Declared(
        code="IKE_FRAGMENTS_LOST",
        layer="path",
        title="large IKE messages do not pass",
        sentence="the peer answers on UDP 500 and not to our large message, which went in {ours} parts: check that "
        "UDP 4500 and fragments of IP packets pass in both directions",
        variants={
            "certificates": (
                "the peer answers on UDP 500, and messages with certificates, which are large and use UDP 4500, do not "
                "pass: check that UDP 4500 and fragments of IP packets pass in both directions"
            )
        },
        side="path",
        confidence=0.6,
        ours="let UDP 4500 and fragments pass out of and into this network",
        peers="let UDP 4500 and fragments pass, and enable IKE fragmentation (RFC 7383)",
        depends_on=_PATH,
    ),
    Declared(
        code="PEER_NAME_UNRESOLVED",
        layer="path",
        title="the peer's name has no address",
        sentence="the peer's name has no address",
        side="path",
        ours="check peer_address, and the name servers of the node",
        visible_after=15.0,
    ),
    Declared(
        code="WAITING_FOR_PEER",
        layer="path",
        title="waits for the peer",
        sentence="waits for the peer to initiate (initiator is response-only)",
        severity="info",
        side="peer",
        ours="or set initiator to bi-directional",
        peers="initiate the tunnel",
        visible_after=1.0,
    ),
    Declared(
        code="NEGOTIATING",
        layer="path",
        title="being negotiated",
        sentence="initiating to {peer}",
        severity="info",
        visible_after=1.0,
    ),
)
