"""Compares a connection with the configuration of its other end, before the first packet. Pure.

It foretells what charon and its relatives do: each difference has the severity that it has on the wire, and the code
that the diagnosis would have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from linkspan.core.peer_side import algorithms_compared, networks_compared
from linkspan.core.peer_side.candidates import key_of, our_identity, own_identity
from linkspan.core.peer_side.differences import Difference, DifferenceField, of_cause, ordered
from linkspan.core.peer_side.parsers.reading import StatedKey
from linkspan.core.peer_side.peer_values import has_address, is_identity, is_translated
from linkspan.core.peer_side.site_config import SiteConfig
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection

KEYS_UNSEEN: Final[tuple[StatedKey, ...]] = (StatedKey((), Secret(""), 0),)
"""In the place of the keys, if nothing may be said about them."""
_CLOSE: Final = 10
"""Per cent by which lifetimes may differ without a word: each end rekeys somewhat before its own."""


def compare(
    ours: Connection, theirs: SiteConfig, keys: Sequence[StatedKey] = (), *, narrows_v1: bool = False
) -> tuple[Difference, ...]:
    """Findings, the worst first. `theirs`: its local end is the peer's; `keys`: those beside it; `narrows_v1`:
    its daemon narrows networks with IKEv1 too, as charon does."""
    version = ours.ike.ike_version
    return ordered(
        [
            *_versions(ours, theirs),
            *_addresses(ours, theirs),
            *algorithms_compared.ike(ours, theirs),
            *_identities(ours, theirs),
            *_authentication(ours, theirs, keys),
            *algorithms_compared.child(ours, theirs, version),
            *networks_compared.networks(ours, theirs, narrows_v1=narrows_v1),
            *_lifetimes(ours, theirs),
            *_liveness(ours, theirs),
        ]
    )


def _versions(ours: Connection, theirs: SiteConfig) -> Iterator[Difference]:
    version, mode = ours.ike.ike_version, ours.ike.phase1_negotiation_mode
    if theirs.versions and version not in theirs.versions:
        peer = " and ".join(f"IKE{known}" for known in theirs.versions)
        line = theirs.lines.get("versions")
        yield of_cause("ike_version", "IKE_VERSION_MISMATCH", ours=version, theirs=peer, line=line)
    elif version == "v1" and theirs.mode not in (None, mode):
        line = theirs.lines.get("mode")
        yield of_cause(
            "phase1_negotiation_mode", "EXCHANGE_MODE_MISMATCH", ours=mode, theirs=str(theirs.mode), line=line
        )


# --- addresses and identities -------------------------------------------------------------------------------------


def _addresses(ours: Connection, theirs: SiteConfig) -> Iterator[Difference]:
    yield from _address(ours.peer_address, theirs, "local_address")
    yield from _address(ours.local_address, theirs, "remote_address")


def _address(address: str, theirs: SiteConfig, side: str) -> Iterator[Difference]:
    """One end's address. `side`: the field of the peer's configuration that has it."""
    own = side == "local_address"
    stated: str = getattr(theirs, side)
    line = theirs.lines.get(side)
    field: DifferenceField = "peer_address" if own else "external_ip"
    match = has_address(stated, address)
    if match == "perhaps":
        text = f"a name has to resolve to the address that the other end has: {stated} there, and {address} here"
        yield Difference(field=field, severity="unknown", code="", text=text, ours=address, theirs=stated, line=line)
    elif match == "no" and is_translated(stated if own else address) != is_translated(address if own else stated):
        text = (
            f"the addresses differ, {address} here and {stated} there: a NAT between the ends has to translate one "
            "into the other, and to let UDP 500 and 4500 pass"
        )
        yield Difference(field=field, severity="differs", code="", text=text, ours=address, theirs=stated, line=line)
    elif match == "no" and own:
        yield of_cause(field, "UNKNOWN_SOURCE", ours=address, theirs=stated, line=line)
    elif match == "no":
        yield of_cause(
            field,
            "IKE_REFUSED",
            ours=address,
            theirs=stated,
            line=line,
            variant="bare",
            addition=f"; it expects us at {stated}, and we are at {address}",
        )


def _identities(ours: Connection, theirs: SiteConfig) -> Iterator[Difference]:
    own, us = own_identity(theirs, ours), our_identity(ours)
    line = theirs.lines.get("local_id")
    if own and not is_identity(own, ours.peer_id):
        yield of_cause("peer_id", "PEER_ID_MISMATCH", ours=ours.peer_id, theirs=own, line=line)
    elif not own:
        text = f"the peer is called as its certificate says: that has to carry peer_id, '{ours.peer_id}'"
        yield Difference(field="peer_id", severity="unknown", code="", text=text, ours=ours.peer_id, line=line)
    if not is_identity(theirs.remote_id, us):
        line = theirs.lines.get("remote_id")
        yield of_cause("local_id", "LOCAL_ID_REFUSED", ours=us, theirs=theirs.remote_id, line=line)


# --- authentication -----------------------------------------------------------------------------------------------


def _authentication(ours: Connection, theirs: SiteConfig, keys: Sequence[StatedKey]) -> Iterator[Difference]:
    if theirs.auth_mode not in (None, ours.auth_mode):
        line = theirs.lines.get("auth_mode")
        yield of_cause(
            "auth_mode", "AUTH_METHOD_MISMATCH", ours=ours.auth_mode, theirs=str(theirs.auth_mode), line=line
        )
    elif ours.auth_mode == "psk":
        yield from _key(ours, theirs, keys)
    if ours.ppk is not None:
        text = "the post-quantum key is not read from the text: ppk_id and ppk have to be the same at both ends"
        yield Difference(field="ppk_id", severity="unknown", code="", text=text, ours=ours.ppk.id)


def _key(ours: Connection, theirs: SiteConfig, keys: Sequence[StatedKey]) -> Iterator[Difference]:
    if keys is KEYS_UNSEEN:
        text = "the pre-shared keys are not compared: it takes who may read that of the connection"
        yield Difference(field="psk", severity="unknown", code="", text=text)
        return
    stated = key_of(keys, theirs, ours) if theirs.psk is None else StatedKey((), theirs.psk, theirs.lines.get("psk", 0))
    if stated is None and not keys:
        text = "the text has no pre-shared key: paste it too, or compare it yourself"
        yield Difference(field="psk", severity="unknown", code="", text=text)
    elif stated is None:
        yield of_cause("psk", "PSK_MISSING_AT_PEER", line=keys[0].line or None)
    elif stated.key == ours.psk:
        return
    elif ours.previous_psk is not None and stated.key == ours.previous_psk.key:
        text = "the peer has the previous pre-shared key, which counts for some time only"
        yield Difference(
            field="psk",
            severity="impaired",
            code="PSK_MISMATCH",
            text=text,
            line=stated.line or None,
            there="set the key to ours",
        )
    else:
        yield of_cause("psk", "PSK_MISMATCH", line=stated.line or None)


# --- what need not be equal ---------------------------------------------------------------------------------------


def _lifetimes(ours: Connection, theirs: SiteConfig) -> Iterator[Difference]:
    seconds = ours.ipsec.lifetime if ours.ipsec.lifetime_units == "seconds" else None
    kilobytes = ours.ipsec.lifetime if ours.ipsec.lifetime_units == "kilobytes" else None
    yield from _lifetime("ikepolicy.lifetime", ours.ike.lifetime, theirs, "ike_lifetime", "s")
    yield from _lifetime("ipsecpolicy.lifetime", seconds, theirs, "child_lifetime", "s")
    yield from _lifetime("ipsecpolicy.lifetime", kilobytes, theirs, "child_kilobytes", "kB")


def _lifetime(
    field: DifferenceField, ours: int | None, theirs: SiteConfig, name: str, unit: str
) -> Iterator[Difference]:
    stated: int | None = getattr(theirs, name)
    if ours is None or stated is None or 100 * abs(ours - stated) <= _CLOSE * max(ours, stated):
        return
    text = "the lifetimes differ, which they may: the end with the shorter one rekeys"
    yield Difference(
        field=field,
        severity="differs",
        code="",
        text=text,
        ours=f"{ours} {unit}",
        theirs=f"{stated} {unit}",
        line=theirs.lines.get(name),
    )


def _liveness(ours: Connection, theirs: SiteConfig) -> Iterator[Difference]:
    """Dead peer detection, who initiates, and the MTU."""
    # Nobody can initiate to an address that may be any.
    waits = theirs.initiates is False or (theirs.initiates and not theirs.remote_address)
    if ours.initiator == "response-only" and waits:
        yield of_cause(
            "initiator",
            "BOTH_RESPONSE_ONLY",
            ours=ours.initiator,
            theirs="does not initiate",
            line=theirs.lines.get("initiates" if theirs.initiates is False else "remote_address"),
        )
    if theirs.dpd_action is not None:
        mine, peer = _dpd(ours.dpd.action, ours.dpd.interval), _dpd(theirs.dpd_action, theirs.dpd_interval)
        if mine != peer:
            text = "dead peer detection differs, which it may: each end decides for itself when the other one is dead"
            line = theirs.lines.get("dpd_action", theirs.lines.get("dpd_interval"))
            yield Difference(field="dpd", severity="differs", code="", text=text, ours=mine, theirs=peer, line=line)
    if theirs.mtu not in (None, ours.mtu):
        text = "the MTU differs: the smaller one counts for what its end sends, so set the same at both"
        yield Difference(
            field="mtu",
            severity="differs",
            code="",
            text=text,
            ours=str(ours.mtu),
            theirs=str(theirs.mtu),
            line=theirs.lines.get("mtu"),
        )


def _dpd(action: str, interval: int | None) -> str:
    return action if action == "disabled" or interval is None else f"{action}, every {interval} s"
