"""Faults of authentication without certificates: keys, identities, methods."""

from __future__ import annotations

from typing import Any, Final

from linkspan.lab.faults.declaration import Change, Codes, TunnelFault

REFUSED: Final = ("AUTHENTICATION_REFUSED",)
"""Of a peer that refuses without saying why (RFC 7296, section 2.21.2)."""
_OTHER_KEY: Final = Change(connection={"psk": "a key that nobody else has"})
_AGGRESSIVE: Final = Change(ike={"phase1_negotiation_mode": "aggressive"})
_PPK: Final = {"ppk_id": "ppk@example.org", "ppk": "a post-quantum key of some length"}


def _ids(name: str, title: str, near: dict[str, str], far: dict[str, str], at: str, **more: Any) -> TunnelFault:
    """Identities that do not fit. `at`: the end whose peer_id is not the identity of its peer."""
    expects, is_other = ("PEER_ID_MISMATCH",), ("LOCAL_ID_REFUSED",)
    codes = (
        Codes(near=expects, far=is_other, alone_initiator=(*REFUSED, *expects))
        if at == "near"
        else Codes(
            near=is_other,
            far=expects,
            alone_initiator=(*REFUSED, *is_other),
            # It has told its identity, and the peer has gone without a word.
            alone_responder_v1=("PEER_BROKE_OFF", *is_other),
        )
    )
    return TunnelFault(
        name=name, title=title, codes=codes, near=Change(connection=near), far=Change(connection=far), **more
    )


AUTHENTICATION: Final = (
    TunnelFault(
        name="psk",
        title="the pre-shared keys differ",
        far=_OTHER_KEY,
        codes=Codes(any=("PSK_MISMATCH",), alone_initiator=(*REFUSED, "PSK_MISMATCH")),
    ),
    TunnelFault(
        name="psk-aggressive",
        title="the pre-shared keys differ, in aggressive mode",
        both=_AGGRESSIVE,
        far=_OTHER_KEY,
        codes=Codes(any=("PSK_MISMATCH",), alone_responder=("PSK_MISMATCH", "PEER_BROKE_OFF")),
        versions=("v1",),
    ),
    TunnelFault(
        name="psk-blank",
        title="the far end has the key with a blank behind it",
        far=Change(connection={"psk": "{psk} "}),
        codes=Codes(any=("PSK_MISMATCH",), alone_initiator=(*REFUSED, "PSK_MISMATCH")),
        versions=("v2",),
    ),
    TunnelFault(
        name="psk-absent",
        title="the far end has no key for the near one",
        far=Change(connection={"psk": None}),
        codes=Codes(any=("PSK_MISSING_AT_PEER", *REFUSED)),
        kinds=("plain",),
        roles=("initiator",),
    ),
    _ids(
        "peer-id",
        "the near end expects another identity of its peer",
        {"peer_id": "branch.example.org"},
        {},
        "near",
    ),
    _ids(
        "peer-id-far",
        "the far end expects another identity of its peer",
        {},
        {"peer_id": "branch.example.org"},
        "far",
    ),
    _ids(
        "local-id", "the near end has another identity than its peer expects", {"local_id": "hq.example.org"}, {}, "far"
    ),
    _ids(
        "local-id-far",
        "the far end has another identity than its peer expects",
        {},
        {"local_id": "hq.example.org"},
        "near",
    ),
    _ids(
        "id-type",
        "the identities have the same text and another type",
        {"peer_id": "keyid:branch.example.org"},
        {"local_id": "fqdn:branch.example.org"},
        "near",
    ),
    _ids(
        "id-mail",
        "the near end is known by a mail address, and its peer expects another one",
        {"local_id": "us@example.org"},
        {"peer_id": "you@example.org"},
        "far",
        versions=("v2",),
    ),
    TunnelFault(
        name="ppk-required",
        title="the near end requires a post-quantum key, and the far one has none",
        near=Change(connection=_PPK | {"ppk_required": True}),
        codes=Codes(any=("PPK_REQUIRED",), alone_initiator=("PPK_REQUIRED",)),
        versions=("v2",),
    ),
    TunnelFault(
        name="ppk",
        title="the post-quantum keys differ",
        both=Change(connection=_PPK | {"ppk_required": True}),
        far=Change(connection={"ppk": "another post-quantum key"}),
        codes=Codes(any=("PPK_MISMATCH",), alone_initiator=(*REFUSED, "PPK_MISMATCH"), vague=("PSK_MISMATCH",)),
        versions=("v2",),
        kinds=("ours",),
    ),
    TunnelFault(
        name="ppk-id",
        title="the names of the post-quantum keys differ",
        both=Change(connection=_PPK | {"ppk_required": True}),
        far=Change(connection={"ppk_id": "other@example.org"}),
        codes=Codes(any=("PPK_MISMATCH",), vague=("PPK_REQUIRED",)),
        versions=("v2",),
        kinds=("ours",),
    ),
)
