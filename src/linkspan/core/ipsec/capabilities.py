"""The capabilities of a node: from what its strongSwan lists, to the connections that it cannot run. Pure.

Distributions build strongSwan with and without parts: without IKEv1 since 6.1 in Debian, for example, where it loads an
IKEv1 configuration and refuses to initiate it. So nothing is assumed from its version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from linkspan.core.diagnosis.codes import Code
from linkspan.core.ipsec import algorithms
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import Backend, Capabilities


def from_charon(
    listed: Mapping[str, Collection[str]], backend: Backend, *, ikev1: bool, ah: bool, transport: bool
) -> Capabilities:
    """The capabilities of a node. `listed`: the answer of VICI `get-algorithms`, charon's names by kind."""
    ciphers = {*listed.get("encryption", ()), *listed.get("aead", ())}
    exchanges = {*listed.get("ke", ()), *listed.get("dh", ())}  # dh: until strongSwan 5
    return Capabilities(
        ikev1=ikev1,
        ah=ah,
        transport=transport,
        traps=backend == "kernel",
        encryption=_available(algorithms.ENCRYPTION, ciphers),
        integrity=_available(algorithms.INTEGRITY, listed.get("integrity", ())),
        key_exchanges=_available(algorithms.GROUPS, exchanges),
    )


class NodeFault(NamedTuple):
    """The reason that a node cannot run a connection, with the remedy; empty if it can."""

    text: str = ""
    code: Code = "CONFIG_REFUSED_HERE"


def missing(connection: Connection, node: Capabilities) -> NodeFault:
    """The capability that a node lacks for a connection."""
    ipsec = connection.ipsec
    if connection.ike.ike_version == "v1" and not node.ikev1:
        text = "IKEv1 is not possible: this node's strongSwan is built without it; set ike_version to v2"
        return NodeFault(text, "IKE_VERSION_UNSUPPORTED_HERE")
    if ipsec.transform_protocol == "ah" and not node.ah:
        text = "AH is not possible: this node's kernel has none; set transform_protocol to esp"
        return NodeFault(text, "KERNEL_LACKS_FEATURE")
    if ipsec.encapsulation_mode == "transport" and not node.transport:
        text = "transport mode is not possible: this node's kernel has none; set encapsulation_mode to tunnel"
        return NodeFault(text, "KERNEL_LACKS_FEATURE")
    for policy, attribute, name, available in _used(connection, node):
        if name not in available:
            others = ", ".join(sorted(available)) or "none"
            text = f"this node's strongSwan has no {name}: set {attribute} of the {policy} policy to one of {others}"
            return NodeFault(text, "ALGORITHM_UNSUPPORTED_HERE")
    return NodeFault()


def lacks(node: Capabilities) -> tuple[str, ...]:
    """The names of what the API offers and a node cannot do."""
    features = {"IKEv1": node.ikev1, "AH": node.ah, "transport mode": node.transport, "traps": node.traps}
    names = [*algorithms.ENCRYPTION, *algorithms.INTEGRITY, *algorithms.GROUPS]
    available = {*node.encryption, *node.integrity, *node.key_exchanges}
    return (*(name for name, has in features.items() if not has), *(name for name in names if name not in available))


def _available(keywords: Mapping[str, str], names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name, keyword in keywords.items() if algorithms.TRANSFORMS[keyword] in names)


def _used(connection: Connection, node: Capabilities) -> Iterator[tuple[str, str, str, Collection[str]]]:
    """The algorithms of a connection: policy, attribute and value, and the values that the node has."""
    ike, ipsec = connection.ike, connection.ipsec
    for policy, protocol, values in (("IKE", "esp", ike), ("IPsec", ipsec.transform_protocol, ipsec)):
        is_aead = protocol == "esp" and algorithms.is_aead(values.encryption_algorithm)
        if protocol == "esp":
            yield policy, "encryption_algorithm", values.encryption_algorithm, node.encryption
        if policy == "IKE" or not is_aead:
            yield policy, "auth_algorithm", values.auth_algorithm, node.integrity
        yield policy, "pfs", values.pfs, node.key_exchanges
