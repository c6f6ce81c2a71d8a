"""`/v2.0/vpn/crypto-profiles`: the names that policies may have in place of algorithms. Every caller may read them."""

from __future__ import annotations

from typing import Final

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import list_of
from linkspan.api.resources.collection import only
from linkspan.core import printable
from linkspan.core.errors import ApiError
from linkspan.core.ipsec.crypto_profiles import PROFILES
from linkspan.core.schema import list_query
from linkspan.core.schema.attribute_types import Text
from linkspan.core.schema.crypto_profiles import CRYPTO_PROFILE, shown
from linkspan.core.schema.resources import IKE_POLICY, IPSEC_POLICY, Resource

PATH: Final = f"/v2.0/{CRYPTO_PROFILE.path}"


def routes(page: int = list_query.PAGE) -> list[Route]:
    """All paths. `page`: largest number of profiles in one answer."""

    def profiles(request: Request) -> Response:
        query = list_query.parse(CRYPTO_PROFILE, request.parameters(), page)
        found = list_query.page(query, [shown(profile) for profile in PROFILES.values()])
        return ok({CRYPTO_PROFILE.plural: [only(query.fields, each) for each in found]})

    return [
        Route("GET", PATH, profiles, operation=_LIST),
        Route("GET", f"{PATH}/{{id}}", _show, operation=_SHOW),
    ]


def _show(request: Request) -> Response:
    profile = PROFILES.get(request.id)
    if profile is None:
        message = f"CryptoProfile {printable.harmless(request.id)} could not be found: there are {', '.join(PROFILES)}"
        raise ApiError(CRYPTO_PROFILE.not_found, message)
    return ok({CRYPTO_PROFILE.singular: shown(profile)})


# --- OpenAPI ------------------------------------------------------------------------------------------------------


def _values(policy: Resource) -> Schema:
    """What a profile sets in a policy."""
    names = next(iter(PROFILES.values())).values(policy.name)
    return closed(**{name: policy[name].kind.shown() for name in names})


_TEXT: Final = {"type": "string", "pattern": r"^[^\x00]*$"}
_PROFILE: Final[dict[str, Schema]] = {
    attribute.name: described(attribute.kind.shown(), attribute.help) for attribute in CRYPTO_PROFILE.attributes
} | {
    "ikepolicy": described(_values(IKE_POLICY), "what it sets in an IKE policy"),
    "ipsecpolicy": described(_values(IPSEC_POLICY), "what it sets in an IPsec policy"),
    "weak": {"type": "array", "items": Text().shown(), "description": "the algorithms in it to avoid"},
}
_FILTERS: Final = tuple(
    list_of(attribute.name, _TEXT, f"filter: {attribute.help}") for attribute in CRYPTO_PROFILE.attributes
)
_FIELDS: Final[Schema] = {"type": "object", "properties": _PROFILE, "additionalProperties": False}
_LIST: Final = Operation(
    id="list_crypto_profiles",
    tag="crypto profile",
    summary="the crypto profiles that policies may name",
    parameters=(*(ref(name, "parameters") for name in ("fields", "limit", "marker", "page_reverse")), *_FILTERS),
    answer=closed(crypto_profiles={"type": "array", "items": _FIELDS}),
    refusals=("BadRequest", "HTTPBadRequest", "InvalidInput"),
)
_SHOW: Final = Operation(
    id="show_crypto_profile",
    tag="crypto profile",
    summary="one crypto profile, by its name",
    answer=closed(crypto_profile=closed(**_PROFILE)),
    path_ids={"id": {"type": "string", "enum": list(PROFILES)}},
    refusals=(CRYPTO_PROFILE.not_found,),
)
