"""Compares the proposals of both ends, as charon selects one, and what the SAs are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from linkspan.core.diagnosis.codes import Code
from linkspan.core.ipsec import algorithms, proposals
from linkspan.core.peer_side.differences import Difference, of_cause
from linkspan.core.peer_side.parsers.proposals import is_aead
from linkspan.core.peer_side.site_config import SiteConfig, Suite
from linkspan.core.state.desired import Connection

_SHOWN: Final = 3
"""Proposals of the peer in a finding: the nearest ones."""
IKE_CODES: Final[Mapping[proposals.Kind, Code]] = {
    "encryption": "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
    "integrity": "IKE_PROPOSAL_MISMATCH_INTEGRITY",
    "prf": "IKE_PROPOSAL_MISMATCH_PRF",
    "group": "IKE_PROPOSAL_MISMATCH_DH",
}
ESP_CODES: Final[Mapping[proposals.Kind, Code]] = {
    "encryption": "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
    "integrity": "ESP_PROPOSAL_MISMATCH_INTEGRITY",
    "group": "PFS_MISMATCH",
}


def ike(ours: Connection, theirs: SiteConfig) -> Iterator[Difference]:
    """The proposals of the IKE SA."""
    policy = ours.ike
    own = Suite(policy.encryption_algorithm, policy.auth_algorithm, policy.pfs)
    if not theirs.ike or own in theirs.ike:
        return
    kinds, nearest = _nearest(own, theirs.ike, "IKE")
    code = IKE_CODES[next(iter(kinds))] if len(kinds) == 1 else "IKE_PROPOSAL_MISMATCH"
    yield of_cause(
        "ikepolicy", code, ours=suite_text(own), theirs=_list_text(nearest, theirs.ike), line=theirs.lines.get("ike")
    )


def child(ours: Connection, theirs: SiteConfig, version: Literal["v1", "v2"]) -> Iterator[Difference]:
    """Protocol, mode and proposals of the child SAs."""
    policy = ours.ipsec
    if theirs.encapsulation not in (None, policy.encapsulation_mode):
        yield of_cause(
            "encapsulation_mode",
            "ENCAPSULATION_MODE_MISMATCH",
            ours=policy.encapsulation_mode,
            theirs=str(theirs.encapsulation),
            line=theirs.lines.get("encapsulation"),
        )
    own = own_child(ours)
    if theirs.protocol not in (None, policy.transform_protocol):
        yield of_cause(
            "transform_protocol",
            "ESP_PROPOSAL_MISMATCH_PROTOCOL",
            ours=f"{policy.transform_protocol}: {suite_text(own)}",
            theirs=f"{theirs.protocol}: {_list_text(theirs.child, theirs.child)}",
            line=theirs.lines.get("protocol"),
        )
    elif theirs.child and own not in theirs.child:
        yield _child_proposals(own, theirs, version)


def _child_proposals(own: Suite, theirs: SiteConfig, version: Literal["v1", "v2"]) -> Difference:
    line = theirs.lines.get("child")
    # The first child of IKEv2 has no key exchange of its own (RFC 7296 1.2), so only a rekey shows its group.
    both = (own, *theirs.child) if version == "v1" else (_groupless(own), *map(_groupless, theirs.child))
    kinds = frozenset[proposals.Kind]() if both[0] in both[1:] else _nearest(both[0], both[1:], "ESP")[0]
    if kinds <= {"group"}:
        fitting = [suite for suite in theirs.child if _groupless(suite) == _groupless(own)]
        addition = "" if version == "v1" else "; the tunnel comes up, and fails when it is rekeyed"
        return of_cause(
            "ipsecpolicy.pfs",
            "PFS_MISMATCH",
            ours=suite_text(own),
            theirs=_list_text(fitting, fitting),
            line=line,
            severity="cannot" if version == "v1" else "impaired",
            addition=addition,
        )
    _, nearest = _nearest(own, theirs.child, "ESP")
    code = ESP_CODES[next(iter(kinds))] if len(kinds) == 1 else "ESP_PROPOSAL_MISMATCH"
    return of_cause("ipsecpolicy", code, ours=suite_text(own), theirs=_list_text(nearest, theirs.child), line=line)


def own_child(ours: Connection) -> Suite:
    """The suite of our child SAs."""
    policy = ours.ipsec
    if policy.transform_protocol == "ah":
        return Suite("", policy.auth_algorithm, policy.pfs)
    integrity = "" if algorithms.is_aead(policy.encryption_algorithm) else policy.auth_algorithm
    return Suite(policy.encryption_algorithm, integrity, policy.pfs)


def _groupless(suite: Suite) -> Suite:
    return msgspec.structs.replace(suite, group="")


def _nearest(
    own: Suite, others: Sequence[Suite], protocol: Literal["IKE", "ESP"]
) -> tuple[frozenset[proposals.Kind], list[Suite]]:
    """Differences between a suite and the nearest of others, and all that are so near."""
    configured = charon_text(own, protocol)
    found = [(proposals.differences(charon_text(other, protocol), configured), other) for other in others]
    least = min((kinds for kinds, _ in found), key=len)
    return least, [other for kinds, other in found if kinds == least]


def charon_text(suite: Suite, protocol: Literal["IKE", "ESP"]) -> str:
    """A suite as charon logs it. What the API has no name for gets one by its kind."""
    parts = [_cipher(suite.encryption)] if suite.encryption else []
    integrity, _, prf = suite.integrity.partition(" with PRF ")
    if integrity and not (protocol == "IKE" and is_aead(suite.encryption)):
        parts.append(_transform(algorithms.INTEGRITY, integrity, "HMAC_"))
    if protocol == "IKE":
        parts.append(f"PRF_{(prf or integrity).upper()}")
    if suite.group:
        parts.append(_transform(algorithms.GROUPS, suite.group, "MODP_"))
    return f"{protocol}:{'/'.join(parts)}"


def _cipher(name: str) -> str:
    return f"{name.upper().replace('/', '_')}"


def _transform(names: Mapping[str, str], name: str, prefix: str) -> str:
    return algorithms.TRANSFORMS[names[name]] if name in names else f"{prefix}{name.upper()}"


def suite_text(suite: Suite) -> str:
    """A suite in the API's names."""
    return ", ".join(part for part in (suite.encryption, suite.integrity, suite.group) if part) or "nothing"


def _list_text(nearest: Sequence[Suite], everything: Sequence[Suite]) -> str:
    """The nearest of some suites, and how many more there are."""
    texts = [suite_text(suite) for suite in nearest[:_SHOWN]]
    more = len(everything) - len(texts)
    return " or ".join(texts) + (f" or {more} more" if more > 0 else "")
