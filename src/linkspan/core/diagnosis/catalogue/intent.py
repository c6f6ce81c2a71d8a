"""The causes of what its user and the database want."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import Declared

INTENT: Final = (
    Declared(
        code="CONFIG_INCOMPLETE",
        layer="intent",
        title="the configuration cannot be used",
        sentence="the connection cannot be read from the database",
        side="ours",
        ours="follow the status reason",
    ),
    Declared(
        code="ADMIN_DISABLED",
        layer="intent",
        title="switched off",
        sentence="admin_state_up is false",
        severity="info",
        side="ours",
        ours="set admin_state_up of the connection, its service, its router and the external network to true",
        visible_after=1.0,
    ),
    Declared(
        code="PEER_END_DISABLED",
        layer="intent",
        title="the other end is switched off",
        sentence="the other end, which this service runs too, is switched off: its admin_state_up is false",
        severity="info",
        side="peer",
        peers="set admin_state_up of the other end to true",
        visible_after=5.0,
    ),
    Declared(
        code="BOTH_RESPONSE_ONLY",
        layer="intent",
        title="neither end initiates",
        sentence="both ends wait for the other one to initiate: initiator is response-only on both",
        side="ours",
        ours="set initiator to bi-directional here",
        peers="or set initiator to bi-directional at the other end",
        visible_after=5.0,
    ),
    Declared(
        code="PEER_ADDRESS_IS_OURS",
        layer="intent",
        title="the peer's address is our own",
        sentence="peer_address {peer} is the address of this gateway itself",
        side="ours",
        ours="set peer_address to the address of the other gateway",
    ),
    Declared(
        code="PROVISIONING",
        layer="intent",
        title="being set up",
        sentence="the node sets it up",
        severity="info",
        side="ours",
        visible_after=1.0,
    ),
    Declared(
        code="UPDATE_IN_PROGRESS",
        layer="intent",
        title="an edit is being applied",
        sentence="the node applies the newest revision",
        severity="info",
        side="ours",
        visible_after=1.0,
    ),
    Declared(
        code="EDIT_RENEGOTIATES",
        layer="intent",
        title="an edit waits for the peer",
        sentence="the newest revision waits for the peer; the previous one is in use",
        severity="info",
        side="peer",
        peers="make the same edit at the peer",
    ),
    Declared(
        code="DEPROVISIONING",
        layer="intent",
        title="being deleted",
        sentence="waits for its node to confirm the deletion",
        severity="info",
        side="ours",
        visible_after=1.0,
    ),
    Declared(
        code="PREFIX_CONFLICT",
        layer="intent",
        title="another connection has the same peer and networks",
        sentence="another connection with the same peer and networks is in use",
        side="ours",
        ours="delete one of the two connections, or give them different networks",
    ),
    Declared(
        code="KEY_OF_ANOTHER_CONNECTION",
        layer="intent",
        title="the key of another connection is in use",
        sentence="the psk of another connection with the same identities is in use for both",
        severity="warning",
        side="ours",
        ours="change the psk of this connection too",
    ),
)
