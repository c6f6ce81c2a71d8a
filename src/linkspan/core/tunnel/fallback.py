"""The fallback: while an edit is rolled out, a gateway also accepts the previous version from a peer that still has it.

Of several children with the same traffic selectors a responder can select only the first that was loaded. So the
strict child, which this end initiates, is loaded after a fallback child that responds with the proposals [new, old].
The algorithms of its SA show which version was negotiated. IKE connections that a peer can distinguish are loaded side
by side. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from linkspan.core.ipsec import algorithms as ipsec_algorithms
from linkspan.core.ipsec.config import ChildConfig, IkeConfig
from linkspan.core.tunnel.sas import ChildSa, IkeSa

_set = msgspec.structs.replace


def fallback_name(name: str) -> str:
    """The name of the fallback of a child; it sorts, and is loaded, before the child."""
    id, _, tag = name.partition(".")
    return f"{id}.+{tag}"


def same_peer(one: IkeConfig, other: IkeConfig) -> bool:
    """True if two configurations have the same addresses and identities, whatever the IKE version."""
    return _ends(one) == _ends(other)


def distinguishable(new: IkeConfig, old: IkeConfig) -> bool:
    """True if a peer can choose between the IKE connections of two versions, so that both have to be loaded."""
    return old.name != new.name and _phase1(old) != _phase1(new)


def needs_fallback(new: IkeConfig, old: IkeConfig) -> bool:
    """True if a peer that still has the old version needs anything beside the new one."""
    return distinguishable(new, old) or with_fallback(new, old) != new


def same_trust(one: IkeConfig, other: IkeConfig) -> bool:
    """True if whoever is admitted by one of two IKE connections is admitted by the other too."""
    return _trust(one) == _trust(other)


def is_local_renewal(new: IkeConfig, old: IkeConfig) -> bool:
    """True if this end has another certificate in the new version than in the old one."""
    return bool(new.certificates and old.certificates and new.certificates.chain != old.certificates.chain)


def distrusts(new: IkeConfig, old: IkeConfig) -> bool:
    """True if the old version admits certificates of the peer that the new one does not."""
    now, before = new.certificates, old.certificates
    if now is None or before is None:
        return False
    pins = bool(now.pins) and not (before.pins and {*before.pins} <= {*now.pins})
    return pins or not {*before.issuers} <= {*now.issuers}


def with_fallback(new: IkeConfig, old: IkeConfig | None) -> IkeConfig:
    """The new version as it is loaded while the old one is accepted too."""
    if old is None or distinguishable(new, old):
        return new
    fallbacks: list[ChildConfig] = []
    before = {(child.local_ts, child.remote_ts): child for child in old.children}
    for child in new.children:
        twin = before.pop((child.local_ts, child.remote_ts), None)
        if twin and twin.mode == child.mode and _proposals(twin) != _proposals(child):
            both = {
                "esp_proposals": _joined(child.esp_proposals, twin.esp_proposals),
                "ah_proposals": _joined(child.ah_proposals, twin.ah_proposals),
            }
            fallbacks.append(_set(child, name=fallback_name(child.name), **both))
    if not fallbacks and not before:
        return new
    return _set(new, children=(*fallbacks, *new.children, *before.values()))


def relabel(sas: Iterable[IkeSa], new: IkeConfig, old: IkeConfig | None) -> tuple[IkeSa, ...]:
    """Relabels children negotiated through the fallback with the version whose algorithms they use.

    A child created in IKE_AUTH has no group yet; if only the group differs, it counts as the previous version.
    """
    names = {fallback_name(child.name): _versions(child, old) for child in new.children}
    if old:
        names = {fallback_name(child.name): (child,) for child in old.children} | names
    return tuple(
        _set(sa, children=tuple(_named(child, names.get(child.name, ())) for child in sa.children)) for sa in sas
    )


def _versions(child: ChildConfig, old: IkeConfig | None) -> tuple[ChildConfig, ...]:
    before = old.children if old else ()
    twins = (one for one in before if (one.local_ts, one.remote_ts) == (child.local_ts, child.remote_ts))
    return (*twins, child)


def _named(child: ChildSa, versions: tuple[ChildConfig, ...]) -> ChildSa:
    for version in versions:
        if _agreed(child, version):
            return _set(child, name=version.name)
    return child


def _agreed(child: ChildSa, config: ChildConfig) -> bool:
    for proposal in (*config.esp_proposals, *config.ah_proposals):
        *algorithms, group = ipsec_algorithms.transforms(proposal)
        if algorithms == [child.encryption, child.bits, child.integrity] and child.group in ("", group):
            return True
    return False


def _trust(config: IkeConfig) -> tuple[object, ...]:
    admits = config.certificates
    return config.auth, *((frozenset(admits.issuers), frozenset(admits.pins), admits.strict) if admits else ())


def _joined(new: tuple[str, ...], old: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*new, *old)))


def _proposals(child: ChildConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return child.esp_proposals, child.ah_proposals


def _ends(config: IkeConfig) -> tuple[str, str, str, str]:
    return config.local_address, config.remote_address, config.local_id, config.remote_id


def _phase1(config: IkeConfig) -> tuple[int, bool, tuple[str, ...], str]:
    return config.version, config.aggressive, config.proposals, config.auth
