"""Keystone v3 as far as it is words: what a client asks for when it authenticates, and what a token says.

There is one domain, `default`. Roles are their own ids, and imply each other as Keystone's do. Pure: it compares no
password and knows no user; what cannot be meant is a `Problem`, and whatever fits nobody becomes a name that nobody
has, so that it costs what a wrong password costs.
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
"""When a static token expires: clients want to read a time."""
TOKEN_LIFETIME: Final = 3600.0
"""Default of `api.token_lifetime`, seconds; the same as Keystone's."""
REGION: Final = "RegionOne"
"""Default of `api.region`."""
_IDS: Final = uuid.UUID("6e1c4f7a-4d0c-5a43-9a44-0f1c2f4a6f0e")


class User(msgspec.Struct, frozen=True):
    """Whom somebody says to be: one of the two; neither: nobody."""

    id: str = ""
    name: str = ""


class TokenScope(msgspec.Struct, frozen=True):
    """What a token is asked for: a project, by one of the two; `unscoped`; nothing: the default project."""

    project_id: str = ""
    project_name: str = ""
    unscoped: bool = False

    @property
    def given(self) -> bool:
        """Whether a project was asked for."""
        return bool(self.project_id or self.project_name)


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a token. `secret` is the password, the token or the credential's secret."""

    method: Method
    secret: Secret
    user: User = User()
    credential_id: str = ""
    credential_name: str = ""
    scope: TokenScope = TokenScope()


class ApplicationCredential(msgspec.Struct, frozen=True):
    """The application credential that a token was got by."""

    id: str
    name: str
    unrestricted: bool


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that holds. Times are seconds since 1970; `roles` with those that they imply."""

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
    """What a real Keystone says of a token; the project is None for one of a domain, of the system or of nothing."""

    user_id: str
    user_name: str
    project_id: str | None
    roles: frozenset[str]
    expires_at: float


# --- what is asked for --------------------------------------------------------------------------------------------


def parse_token_request(body: Any) -> TokenRequest:
    """What the body of a `POST /v3/auth/tokens` asks for. Raises Problem BadRequest, Unauthorized."""
    auth = _inside(body, "auth")
    identity = _inside(auth, "identity")
    methods = identity.get("methods")
    if not isinstance(methods, list) or not methods:
        raise _bad("auth.identity.methods has to be a list of one method")
    if len(methods) > 1 or methods[0] not in METHODS:
        raise ApiError("Unauthorized", f"Attempted to authenticate with an unsupported method: give {_or(METHODS)}.")
    method: Method = methods[0]
    given = _inside(identity, method)
    scope = _scope(auth.get("scope"))
    if method == "token":
        return TokenRequest(method=method, secret=_secret(given, "id"), scope=scope)
    if method == "password":
        user = _inside(given, "user")
        return TokenRequest(method=method, secret=_secret(user, "password"), user=_user(user), scope=scope)
    named = "" if "id" in given else _text(given, "name")
    return TokenRequest(
        method=method,
        secret=_secret(given, "secret"),
        user=_user(_inside(given, "user")) if named else User(),
        credential_id=_text(given, "id") if not named else "",
        credential_name=named,
        scope=scope,
    )


def _scope(given: Any) -> TokenScope:
    if given is None:
        return TokenScope()
    if given == "unscoped" or (isinstance(given, dict) and "unscoped" in given):
        return TokenScope(unscoped=True)
    if not isinstance(given, dict):
        raise _bad("auth.scope has to name a project, or be 'unscoped'")
    if "project" not in given:
        # A domain or the system: nobody has a role there.
        raise unauthorized()
    project = _inside(given, "project")
    if "id" in project:
        return TokenScope(project_id=_text(project, "id"))
    if not _ours(project):
        raise unauthorized()
    return TokenScope(project_name=_text(project, "name"))


def _user(given: Mapping[str, Any]) -> User:
    if "id" in given:
        return User(id=_text(given, "id"))
    name = _text(given, "name")
    return User(name=name) if _ours(given) else User()


def _ours(given: Mapping[str, Any]) -> bool:
    """Whether somebody or something is in the one domain there is."""
    if given.get("domain") is None:
        return True
    domain = _inside(given, "domain")
    if "id" in domain:
        return _text(domain, "id") == DOMAIN["id"]
    return _text(domain, "name").casefold() == DOMAIN["name"].casefold()


def _inside(given: Any, key: str) -> dict[str, Any]:
    inner = given.get(key) if isinstance(given, dict) else None
    if not isinstance(inner, dict):
        raise _bad(f"'{key}' has to be an object")
    return inner


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    # No database keeps a NUL in a text.
    if not isinstance(value, str) or not value or "\x00" in value:
        raise _bad(f"'{key}' has to be a text that is not empty")
    return value


def _secret(given: Mapping[str, Any], key: str) -> Secret:
    value = given.get(key)
    if not isinstance(value, str):
        raise _bad(f"'{key}' has to be a text")
    return Secret(value)


def _bad(message: str) -> ApiError:
    return ApiError("BadRequest", f"Expecting another request body: {message}.")


# --- roles --------------------------------------------------------------------------------------------------------


ADMIN: Final = "admin"
ROLES: Final = ("reader", "member", "manager", ADMIN)
"""Keystone's default roles; each implies those before it."""


def implied(roles: Iterable[str]) -> frozenset[str]:
    """Roles in lower case, with those that they imply: an admin is a member, a member is a reader."""
    held = frozenset(role.lower() for role in roles)
    highest = max((place for place, role in enumerate(ROLES) if role in held), default=0)
    return held.union(ROLES[:highest])


# --- what is said -------------------------------------------------------------------------------------------------


def token_body(token: Token, catalog: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What `/v3/auth/tokens` answers. `catalog` None: it was not wanted."""
    said: dict[str, Any] = {
        "methods": list(token.methods) or ["token"],
        "user": {"id": token.user_id, "name": token.user_name, "domain": DOMAIN, "password_expires_at": None},
        "audit_ids": [token.id],
        "issued_at": time_text(token.issued_at),
        "expires_at": NEVER if token.expires_at is None else time_text(token.expires_at),
    }
    if token.project_id is not None:
        said["project"] = {"id": token.project_id, "name": token.project_name, "domain": DOMAIN}
        said["is_domain"] = False
        said["roles"] = [role_body(role) for role in sorted(token.roles)]
        if catalog is not None:
            said["catalog"] = catalog
    if token.credential is not None:
        said["application_credential"] = {
            "id": token.credential.id,
            "name": token.credential.name,
            "restricted": not token.credential.unrestricted,
        }
    return {"token": said}


def role_body(role: str) -> dict[str, Any]:
    """A role; its name is its id."""
    return {"id": role, "name": role, "domain_id": None}


def parse_validated_token(body: Any) -> ValidatedToken:
    """The answer of a Keystone that was asked about a token. Raises ValueError for what is none."""
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
    """The services there are. The network's URL has no version: clients find that themselves, or put it there."""
    services = (("network", "linkspan", base), ("identity", "linkspan", f"{base}/identity/v3"))
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
    """Version 3, as a client that looks for it reads it."""
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def time_text(seconds: float) -> str:
    """A time as Keystone writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str) -> float:
    """Seconds since 1970 of a time as clients write it; without a zone it is UTC. Raises ValueError."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _or(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
