"""Declarations of faults: the difference from a sound tunnel at either end or on the path, and the codes that name it.

A tunnel has two ends. *near* is the laboratory's left gateway. *far* is the right one, or a plain charon, which tells
nobody anything. Either may initiate. A fault in one such arrangement is a `Case`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

TunnelEnd = Literal["near", "far"]
Version = Literal["v2", "v1"]
Role = Literal["initiator", "responder"]
FarKind = Literal["ours", "plain"]
Act = Literal[
    "ping",
    "ping-back",
    "ping-large",
    "freeze-charon",
    "kill-charon",
    "stop-agent",
    "unplug",
    "forget",
    "delete",
    "delete-often",
    "deaf-host",
    "no-route-back",
    "prohibit",
    "translate",
    "router-down",
    "service-down",
]
"""Deeds beside configuration; `faults.acts` has a function for each."""

ENDS: Final[tuple[TunnelEnd, ...]] = ("near", "far")
OTHER: Final[Mapping[TunnelEnd, TunnelEnd]] = {"near": "far", "far": "near"}
NEGOTIATED: Final = 3.0
SILENCE: Final = 30.0
"""Seconds within which a cause is told that the ends have negotiated, and one that shows by silence alone."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of an end from a sound tunnel.

    `connection`, `ike`, `ipsec`: attributes of the connection and of its policies, in the API's words. A plain charon
    gets what they mean; `charon` and `child` are options of swanctl.conf(5) that it has besides. `{near}` and `{far}`
    in a text stand for the outside addresses.
    """

    connection: dict[str, Any] = {}
    ike: dict[str, Any] = {}
    ipsec: dict[str, Any] = {}
    charon: dict[str, Any] = {}
    child: dict[str, Any] = {}


class Codes(msgspec.Struct, frozen=True, kw_only=True):
    """The codes that are right: at an end, for the end that initiates or responds, or at any; the first that is given.

    `alone_…`: for the near end if the far one is a plain charon, which refuses without a reason; IKEv1 tells
    even less. Codes in `vague` are true of the fault and less exact; they count as vague. None: the end
    cannot know. An empty text: the end says nothing, and is right.
    """

    near: tuple[str, ...] | None = ()
    far: tuple[str, ...] | None = ()
    initiator: tuple[str, ...] | None = ()
    responder: tuple[str, ...] | None = ()
    alone_initiator: tuple[str, ...] | None = ()
    alone_initiator_v1: tuple[str, ...] | None = ()
    alone_responder: tuple[str, ...] | None = ()
    alone_responder_v1: tuple[str, ...] | None = ()
    any: tuple[str, ...] | None = ()
    vague: tuple[str, ...] = ()


class TunnelFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault. `roles`: of the near end; `both`: what both ends have, whether there is a fault or not.

    `certificates`: the name of a fault of certificates (`faults.certificates`). `path`: rules of nftables for packets
    between the gateways. `acts`: what is done at `at`. Path and acts wait for the tunnel if the fault is `late`.
    `seconds`: from the fault until its cause is told; if it is `lasting`, what is told at their end counts.
    """

    name: str
    title: str
    codes: Codes
    near: Change = Change()
    far: Change = Change()
    both: Change = Change()
    certificates: str = ""
    path: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()
    at: TunnelEnd = "far"
    late: bool = False
    lasting: bool = False
    versions: tuple[Version, ...] = ("v2", "v1")
    roles: tuple[Role, ...] = ("initiator", "responder")
    kinds: tuple[FarKind, ...] = ("ours", "plain")
    seconds: float = NEGOTIATED


class Case(msgspec.Struct, frozen=True):
    """A fault in one arrangement. `role`: of the near end; `kind`: of the far one."""

    fault: TunnelFault
    version: Version
    role: Role
    kind: FarKind

    @property
    def name(self) -> str:
        """The name of the case: psk:v2:initiator:ours."""
        return f"{self.fault.name}:{self.version}:{self.role}:{self.kind}"

    def role_of(self, end: TunnelEnd) -> Role:
        """The role of an end."""
        if end == "near":
            return self.role
        return "responder" if self.role == "initiator" else "initiator"

    def ends(self) -> tuple[TunnelEnd, ...]:
        """The ends that tell a cause."""
        return ENDS if self.kind == "ours" else ("near",)

    def right(self, end: TunnelEnd) -> tuple[str, ...] | None:
        """The codes that are right at an end; None if it cannot know."""
        role, codes = self.role_of(end), self.fault.codes
        words = (f"alone_{role}_{self.version}", f"alone_{role}") if self.kind == "plain" else ()
        for word in (*words, end, role, "any"):
            found: tuple[str, ...] | None = getattr(codes, word, ())
            if found != ():
                return found
        return None


def cases(faults: Iterable[TunnelFault]) -> Iterator[Case]:
    """Every arrangement of the faults."""
    for fault in faults:
        for kind in fault.kinds:
            for version in fault.versions:
                for role in fault.roles:
                    yield Case(fault, version, role, kind)
