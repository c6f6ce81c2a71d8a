"""The causes of the end of tunnels that were up."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import LOCAL, Declared

LIFE: Final = (
    Declared(
        code="DPD_TIMEOUT",
        layer="path",
        title="the peer went silent",
        sentence="the peer no longer answers (dead peer detection)",
        side="path",
        ours="check the way to the peer",
        peers="check that the gateway runs",
        depends_on=LOCAL,
        visible_after=0.0,
    ),
    Declared(
        code="PEER_DELETED",
        layer="ike",
        title="the peer ended the tunnel",
        sentence="the peer ended the tunnel",
        side="peer",
        peers="see its log",
    ),
    Declared(
        code="PEER_REAUTH_FAILED",
        layer="authentication",
        title="the peer has not authenticated again",
        sentence="the peer has not authenticated again",
        side="peer",
        peers="renew its certificate",
    ),
    Declared(
        code="FLAPPING",
        layer="path",
        title="it comes and goes",
        sentence="it went down {count} times in {minutes} minutes",
        variants={"cause": "it went down {count} times in {minutes} minutes; the last time: {cause}"},
        severity="warning",
        confidence=0.9,
        ours="see the causes of each time; compare lifetimes and dpd on both sides",
        peers="see its log at the same times",
        visible_after=0.0,
    ),
)
