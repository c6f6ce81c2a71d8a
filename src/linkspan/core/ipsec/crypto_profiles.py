"""Crypto profiles: names for the algorithms of an IKE and an IPsec policy that belong together. Pure.

A policy may name a profile in place of the attributes that a profile sets. Nothing is stored of it: a policy has the
profile whose values it has, so an edit of one algorithm takes it out of the profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.core.errors import invalid
from linkspan.core.ipsec import algorithms

ATTRIBUTE: Final = "crypto_profile"


class CryptoProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile. `ikepolicy`, `ipsecpolicy`: the values that it sets, as the API names them; `source`: where they are
    from."""

    name: str
    description: str
    source: str
    ikepolicy: Mapping[str, str]
    ipsecpolicy: Mapping[str, str]

    @property
    def ike_proposal(self) -> str:
        """The proposal of the IKE SA, in charon's keywords."""
        ike = self.ikepolicy
        return algorithms.ike_proposal(ike["encryption_algorithm"], ike["auth_algorithm"], ike["pfs"])

    @property
    def esp_proposal(self) -> str:
        """The proposal of the child SAs, in charon's keywords."""
        esp = self.ipsecpolicy
        return algorithms.esp_proposal(esp["encryption_algorithm"], esp["auth_algorithm"], esp["pfs"])

    def values(self, policy: str) -> Mapping[str, str]:
        """The values for a policy, by the name of its resource: `ike_policy` or `ipsec_policy`."""
        return self.ikepolicy if policy == "ike_policy" else self.ipsecpolicy


def _profile(
    name: str, description: str, source: str, *, version: str, encryption: str, integrity: str, group: str
) -> CryptoProfile:
    common = {"encryption_algorithm": encryption, "auth_algorithm": integrity, "pfs": group}
    return CryptoProfile(
        name=name,
        description=description,
        source=source,
        ikepolicy={"ike_version": version, **common},
        ipsecpolicy={"transform_protocol": "esp", **common},
    )


PROFILES: Final = {
    profile.name: profile
    for profile in (
        _profile(
            "recommended",
            "for every peer that speaks IKEv2 with AEAD algorithms",
            "RFC 8247, RFC 8221",
            version="v2",
            encryption="aes-256-gcm-16",
            integrity="sha256",
            group="group19",
        ),
        _profile(
            "cnsa1",
            "Commercial National Security Algorithm Suite 1.0",
            "RFC 9206",
            version="v2",
            encryption="aes-256-gcm-16",
            integrity="sha384",
            group="group20",
        ),
        _profile(
            "cnsa2-transition",
            "the algorithms of CNSA 2.0 but for the key exchange, which no node can do yet: it needs ML-KEM-1024 "
            "(RFC 9370)",
            "CNSA 2.0",
            version="v2",
            encryption="aes-256-gcm-16",
            integrity="sha512",
            group="group20",
        ),
        _profile(
            "compat-2013",
            "the first defaults of Neutron, for old peers only: SHA-1 and group 5 are weak",
            "OpenStack Networking API v2.0",
            version="v1",
            encryption="aes-128",
            integrity="sha1",
            group="group5",
        ),
    )
}


def name_of(policy: str, values: Mapping[str, Any]) -> str | None:
    """The profile whose values a policy has. `policy`: the name of its resource."""
    for profile in PROFILES.values():
        if all(values.get(name) == value for name, value in profile.values(policy).items()):
            return profile.name
    return None


def expanded(policy: str, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of a request with the values of the profile that it names in the place of the name.

    Raises ApiError for an unknown profile, and for an attribute that differs from the profile's.
    """
    if ATTRIBUTE not in raw:
        return raw
    others = {name: value for name, value in raw.items() if name != ATTRIBUTE}
    wanted = raw[ATTRIBUTE]
    if wanted is None:
        return others
    profile = PROFILES.get(wanted) if isinstance(wanted, str) else None
    if profile is None:
        raise invalid(ATTRIBUTE, f"'{wanted}' is not in {list(PROFILES)}")
    for name, value in profile.values(policy).items():
        if name in others and others[name] != value:
            raise invalid(ATTRIBUTE, f"{profile.name} has {name} {value}: leave out {name}, or crypto_profile")
    return {**others, **profile.values(policy)}
