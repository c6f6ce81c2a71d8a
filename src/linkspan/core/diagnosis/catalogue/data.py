"""The causes of the packets of a tunnel that is up."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import LOCAL, Declared

DATA: Final = (
    Declared(
        code="UP_NO_TRAFFIC_IN",
        layer="data",
        title="packets go out and none come in",
        sentence="{packets} went out and none came in, in {time}: check routes and packet filters behind the peer, and "
        "that ESP or UDP 4500 passes towards us",
        severity="warning",
        side="peer",
        confidence=0.7,
        ours="check that ESP, or UDP 4500, passes into this network",
        peers="check its routes back to our networks, and its packet filters",
        depends_on=LOCAL,
        visible_after=30.0,
    ),
    Declared(
        code="UP_NO_TRAFFIC_OUT",
        layer="data",
        title="packets come in and none go out",
        sentence="{packets} came in and none went out, in {time}: check the routes of the hosts behind this gateway",
        severity="warning",
        side="ours",
        confidence=0.7,
        ours="check that the hosts here answer, and route to the peer's networks through this gateway",
        depends_on=LOCAL,
        visible_after=30.0,
    ),
)
