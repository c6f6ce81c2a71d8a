"""Crypto profiles as objects of the API, which are only read: `core.ipsec.crypto_profiles` declares them."""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.crypto_profiles import CryptoProfile
from linkspan.core.schema.attribute_types import Text
from linkspan.core.schema.resources import Attribute, Resource


def _shown(name: str, help: str) -> Attribute:
    return Attribute(name=name, kind=Text(), help=help, post=False, put=False, default=None, stored=False)


CRYPTO_PROFILE: Final = Resource(
    name="crypto_profile",
    singular="crypto_profile",
    plural="crypto_profiles",
    path="vpn/crypto-profiles",
    label="CryptoProfile",
    not_found="CryptoProfileNotFound",
    help="a name for algorithms of policies that belong together",
    writable=False,
    table_columns=("name", "ike_proposal", "esp_proposal", "weak", "description"),
    attributes=(
        _shown("id", "the same as name"),
        _shown("name", "what a policy's crypto_profile takes"),
        _shown("description", "what it is for"),
        _shown("source", "where its algorithms are from"),
        _shown("ike_proposal", "the proposal of the IKE SA, as swanctl.conf has it"),
        _shown("esp_proposal", "the proposal of the child SAs, as swanctl.conf has it"),
    ),
)
"""`ikepolicy`, `ipsecpolicy` and `weak` are beside these."""


def shown(profile: CryptoProfile) -> dict[str, Any]:
    """A profile as clients read it."""
    values = {*profile.ikepolicy.values(), *profile.ipsecpolicy.values()}
    return {
        "id": profile.name,
        "name": profile.name,
        "description": profile.description,
        "source": profile.source,
        "ikepolicy": dict(profile.ikepolicy),
        "ipsecpolicy": dict(profile.ipsecpolicy),
        "ike_proposal": profile.ike_proposal,
        "esp_proposal": profile.esp_proposal,
        "weak": sorted(values & algorithms.WEAK),
    }
