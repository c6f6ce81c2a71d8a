"""The messages of Keystone v3: parses authentication requests, builds token responses.

There is one domain, `default`. The id of a role is its name, and roles imply each other as in Keystone. This module
checks no password and knows no user. A malformed request raises `ApiError`; a well-formed one that can match no user
(another domain) parses to an empty user name, so that it takes as long as a wrong password.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from linkspan.core.errors import ApiError, unauthorized
from linkspan.core.secret import Secret

Method = Literal["password", "token", "application_credential"]
METHODS: Final[tuple[Method, ...]] = ("password", "token", "application_credential")
DOMAIN: Final = {"id": "default", "name": "Default"}
NEVER: Final = "9999-12-31T23:59:59.000000Z"
"""The expiry of a static token, which has none: clients require a time."""
TOKEN_LIFETIME: Final = 3600.0
"""Default of `api.token_lifetime`, seconds; the same as Keystone's."""
STATIC_DAYS: Final = 90
"""Days that a static token lasts unless its maker says otherwise."""
REGION: Final = "RegionOne"
"""Default of `api.region`."""
_IDS: Final = uuid.UUID("6e1c4f7a-4d0c-5a43-9a44-0f1c2f4a6f0e")


class User(msgspec.Struct, frozen=True):
    """The claimed user, by id or by name. With neither, it matches no user."""

    id: str = ""
    name: str = ""


class TokenScope(msgspec.Struct, frozen=True):
    """The requested scope: a project by id or by name, `unscoped`, or, with neither, the user's default project."""

    project_id: str = ""
    project_name: str = ""
    unscoped: bool = False


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a token. `secret` is the password, the token or the secret of the application credential."""

    method: Method
    secret: Secret
    user: User = User()
    credential_id: str = ""
    credential_name: str = ""
    scope: TokenScope = TokenScope()


class ApplicationCredential(msgspec.Struct, frozen=True):
    """The application credential with which a token was issued."""

    id: str
    name: str
    unrestricted: bool


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A valid token. Times are seconds since 1970; `roles` include the implied ones."""

    id: str
    user_id: str
    user_name: str
    project_id: str | None
    project_name: str | None
    roles: frozenset[str]
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float | None
    credential: ApplicationCredential | None = None


class ValidatedToken(msgspec.Struct, frozen=True):
    """A token as an external Keystone describes it. The project is None if the token is scoped to no project."""

    user_id: str
    user_name: str
    project_id: str | None
    roles: frozenset[str]
    expires_at: float


# --- requests -----------------------------------------------------------------------------------------------------


def parse_token_request(body: Any) -> TokenRequest:
    """Parses the body of `POST /v3/auth/tokens`. Raises ApiError BadRequest, Unauthorized."""
    auth = _inside(body, "auth")
    identity = _inside(auth, "identity")
    methods = identity.get("methods")
    if not isinstance(methods, list) or not methods:
        raise _bad("auth.identity.methods must be a list of one method")
    if len(methods) > 1 or methods[0] not in METHODS:
        raise ApiError("Unauthorized", f"Attempted to authenticate with an unsupported method: give {_or(METHODS)}.")
    method: Method = methods[0]
    proof = _inside(identity, method)
    scope = _scope(auth.get("scope"))
    if method == "token":
        return TokenRequest(method=method, secret=_secret(proof, "id"), scope=scope)
    if method == "password":
        user = _inside(proof, "user")
        return TokenRequest(method=method, secret=_secret(user, "password"), user=_user(user), scope=scope)
    name = "" if "id" in proof else _text(proof, "name")
    return TokenRequest(
        method=method,
        secret=_secret(proof, "secret"),
        user=_user(_inside(proof, "user")) if name else User(),
        credential_id=_text(proof, "id") if not name else "",
        credential_name=name,
        scope=scope,
    )


def _scope(scope: Any) -> TokenScope:
    if scope is None:
        return TokenScope()
    if scope == "unscoped" or (isinstance(scope, dict) and "unscoped" in scope):
        return TokenScope(unscoped=True)
    if not isinstance(scope, dict):
        raise _bad("auth.scope must name a project or be 'unscoped'")
    if "project" not in scope:
        # A domain or the system: no user has a role there.
        raise unauthorized()
    project = _inside(scope, "project")
    if "id" in project:
        return TokenScope(project_id=_text(project, "id"))
    if not _in_our_domain(project):
        raise unauthorized()
    return TokenScope(project_name=_text(project, "name"))


def _user(user: Mapping[str, Any]) -> User:
    if "id" in user:
        return User(id=_text(user, "id"))
    name = _text(user, "name")
    return User(name=name) if _in_our_domain(user) else User()


def _in_our_domain(entity: Mapping[str, Any]) -> bool:
    """True if a user or project is in the domain `default`, or names no domain."""
    if entity.get("domain") is None:
        return True
    domain = _inside(entity, "domain")
    if "id" in domain:
        return _text(domain, "id") == DOMAIN["id"]
    return _text(domain, "name").casefold() == DOMAIN["name"].casefold()


def _inside(outer: Any, key: str) -> dict[str, Any]:
    inner = outer.get(key) if isinstance(outer, dict) else None
    if not isinstance(inner, dict):
        raise _bad(f"'{key}' must be an object")
    return inner


def _text(section: Mapping[str, Any], key: str) -> str:
    value = section.get(key)
    # PostgreSQL stores no NUL in text.
    if not isinstance(value, str) or not value or "\x00" in value:
        raise _bad(f"'{key}' must be a non-empty string")
    return value


def _secret(section: Mapping[str, Any], key: str) -> Secret:
    value = section.get(key)
    if not isinstance(value, str):
        raise _bad(f"'{key}' must be a string")
    return Secret(value)


def _bad(message: str) -> ApiError:
    return ApiError("BadRequest", f"Malformed request body: {message}.")


# --- roles --------------------------------------------------------------------------------------------------------


ADMIN: Final = "admin"
ROLES: Final = ("reader", "member", "manager", ADMIN)
"""Keystone's default roles; each implies the ones before it."""


def implied(roles: Iterable[str]) -> frozenset[str]:
    """Roles in lower case, with the roles that they imply: an admin is a member, a member is a reader."""
    held = frozenset(role.lower() for role in roles)
    highest = max((rank for rank, role in enumerate(ROLES) if role in held), default=0)
    return held.union(ROLES[:highest])


# --- responses ----------------------------------------------------------------------------------------------------


def token_body(token: Token, catalog: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The response of `/v3/auth/tokens`. `catalog` is None if the request asked for none."""
    response: dict[str, Any] = {
        "methods": list(token.methods) or ["token"],
        "user": {"id": token.user_id, "name": token.user_name, "domain": DOMAIN, "password_expires_at": None},
        "audit_ids": [token.id],
        "issued_at": time_text(token.issued_at),
        "expires_at": NEVER if token.expires_at is None else time_text(token.expires_at),
    }
    if token.project_id is not None:
        response["project"] = {"id": token.project_id, "name": token.project_name, "domain": DOMAIN}
        response["is_domain"] = False
        response["roles"] = [role_body(role) for role in sorted(token.roles)]
        if catalog is not None:
            response["catalog"] = catalog
    if token.credential is not None:
        response["application_credential"] = {
            "id": token.credential.id,
            "name": token.credential.name,
            "restricted": not token.credential.unrestricted,
        }
    return {"token": response}


def role_body(role: str) -> dict[str, Any]:
    """A role as Keystone represents it; its id is its name."""
    return {"id": role, "name": role, "domain_id": None}


def parse_validated_token(body: Any) -> ValidatedToken:
    """Parses the response of an external Keystone that validated a token. Raises ValueError if it is not a token."""
    try:
        token = body["token"]
        user, project = token["user"], token.get("project")
        texts = [user["id"], user["name"], *([] if project is None else [project["id"]])]
        roles = [role["name"] for role in token.get("roles", ())]
        expires_at = time_of(token["expires_at"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no {error}" if isinstance(error, KeyError) else "of another shape") from None
    if not all(isinstance(text, str) and text for text in (*texts, *roles)):
        raise ValueError("names or ids that are no text")
    return ValidatedToken(texts[0], texts[1], None if project is None else texts[2], implied(roles), expires_at)


def catalog(base: str, region: str) -> list[dict[str, Any]]:
    """The service catalog. The URL of the network service has no version: clients discover or append it."""
    services = (("network", "linkspan", base), ("identity", "linkspan-identity", f"{base}/identity/v3"))
    return [
        {
            "type": type,
            "name": name,
            "id": uuid.uuid5(_IDS, type).hex,
            "endpoints": [
                {
                    "id": uuid.uuid5(_IDS, f"{type} {interface}").hex,
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": url,
                }
                for interface in ("public", "internal", "admin")
            ],
        }
        for type, name, url in services
    ]


def version_body(base: str) -> dict[str, Any]:
    """The description of version 3 for version discovery."""
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def time_text(seconds: float) -> str:
    """A time in Keystone's format."""
    return f"{time_text_without_zone(seconds)}Z"


def time_text_without_zone(seconds: float) -> str:
    """A time as Keystone writes it in application credentials; clients in Go accept no other form there."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def time_of(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _or(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"
