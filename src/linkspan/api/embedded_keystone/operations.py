"""OpenAPI operations and schemas of the embedded Keystone.

The schemas accept what the handlers accept: attributes may be missing, and unknown ones are ignored.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.openapi.crud import parameter
from linkspan.core import keystone_v3
from linkspan.core.schema import error_responses, examples
from linkspan.core.schema.attribute_types import nullable
from linkspan.core.secret import SHORTEST

LONGEST: Final = 255
"""Characters of a text that a credential has."""

_TEXT: Final = {"type": "string"}
_NAMED: Final = {"type": "string", "minLength": 1, "pattern": r"^[^\x00]*$"}
_SHORT: Final = {"type": ["string", "null"], "maxLength": LONGEST, "pattern": r"^[^\x00]*$"}
_NEW_SECRET: Final = _SHORT | {"pattern": rf"^([^\x00]{{{SHORTEST},}})?$"}
_TIME: Final = {"type": "string", "format": "date-time"}
_NULL: Final = {"type": "null"}
_URL: Final = {"type": "string", "format": "uri"}
_ENABLED: Final = {"const": True}
_EMPTY: Final = closed()
_SELF: Final = closed(self=_URL)
_DOMAIN_ID: Final = {"const": keystone_v3.DOMAIN["id"]}
_DOMAIN: Final = closed(**{name: {"const": value} for name, value in keystone_v3.DOMAIN.items()})


def _many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


# --- what is read -------------------------------------------------------------------------------------------------

_VERSION: Final = closed(
    **{
        "id": _TEXT,
        "status": {"const": "stable"},
        "updated": _TIME,
        "links": _many(closed(rel={"const": "self"}, href=_URL)),
        "media-types": _many(closed(base=_TEXT, type=_TEXT)),
    }
)
_ENDPOINT: Final = closed(
    id=_TEXT, interface={"enum": ["public", "internal", "admin"]}, region=_TEXT, region_id=_TEXT, url=_URL
)
_CATALOG: Final = _many(closed(type=_TEXT, name=_TEXT, id=_TEXT, endpoints=_many(_ENDPOINT)))
_PROPERTIES: Final = {
    "methods": _many({"enum": list(keystone_v3.METHODS)}),
    "user": closed(id=_TEXT, name=_TEXT, domain=_DOMAIN, password_expires_at=_NULL),
    "audit_ids": _many(_TEXT),
    "issued_at": _TIME,
    "expires_at": _TIME,
}
_CREDENTIAL: Final = {
    "id": _TEXT,
    "name": _TEXT,
    "description": _TEXT,
    "project_id": _TEXT,
    "user_id": _TEXT,
    "roles": _many(ref("Role")),
    "unrestricted": {"type": "boolean"},
    "expires_at": nullable(_TIME),
    "links": _SELF,
}
_SCHEMAS: Final[dict[str, Schema]] = {
    "IdentityVersion": _VERSION,
    "Role": closed(id=_TEXT, name=_TEXT, domain_id=_NULL),
    "Token": {
        "type": "object",
        "description": "the user of a token; with a project, also the roles and the catalog",
        "properties": _PROPERTIES
        | {
            "project": closed(id=_TEXT, name=_TEXT, domain=_DOMAIN),
            "is_domain": {"const": False},
            "roles": _many(ref("Role")),
            "catalog": _CATALOG,
            "application_credential": closed(id=_TEXT, name=_TEXT, restricted={"type": "boolean"}),
        },
        "required": list(_PROPERTIES),
        "additionalProperties": False,
    },
    "Project": closed(
        id=_TEXT,
        name=_TEXT,
        description=_TEXT,
        domain_id=_DOMAIN_ID,
        parent_id=_DOMAIN_ID,
        enabled=_ENABLED,
        is_domain={"const": False},
        tags=_many(_TEXT),
        options=_EMPTY,
        links=_SELF,
    ),
    "User": closed(
        id=_TEXT,
        name=_TEXT,
        domain_id=_DOMAIN_ID,
        default_project_id=nullable(_TEXT),
        enabled=_ENABLED,
        password_expires_at=_NULL,
        options=_EMPTY,
        links=_SELF,
    ),
    "ApplicationCredential": closed(**_CREDENTIAL),
    "NewApplicationCredential": closed(**_CREDENTIAL, secret=described(_TEXT, "shown this once")),
}

# --- what is asked for --------------------------------------------------------------------------------------------

_BY_ID_OR_NAME: Final[list[Schema]] = [{"required": ["id"]}, {"required": ["name"]}]
_OF_DOMAIN: Final = {
    "type": ["object", "null"],
    "properties": {"id": _NAMED, "name": _NAMED},
    "anyOf": [{"type": "null"}, *_BY_ID_OR_NAME],
}
_WHO: Final = {"id": _NAMED, "name": _NAMED, "domain": _OF_DOMAIN}


def _by(method: keystone_v3.Method, **schema: Any) -> Schema:
    inner = {"type": "object", **schema}
    properties = {"methods": {"const": [method]}, method: inner}
    return {"type": "object", "properties": properties, "required": ["methods", method]}


_SCOPE: Final[Schema] = {
    "description": "a project; nothing: the user's default project",
    "anyOf": [
        _NULL,
        {"const": "unscoped"},
        {"type": "object", "required": ["unscoped"]},
        {
            "type": "object",
            "properties": {"project": {"type": "object", "properties": _WHO, "anyOf": _BY_ID_OR_NAME}},
            "required": ["project"],
        },
    ],
}
_IDENTITY: Final[Schema] = {
    "oneOf": [
        _by(
            "password",
            properties={
                "user": {
                    "type": "object",
                    "properties": _WHO | {"password": _TEXT},
                    "required": ["password"],
                    "anyOf": _BY_ID_OR_NAME,
                }
            },
            required=["user"],
        ),
        _by("token", properties={"id": _TEXT}, required=["id"]),
        _by(
            "application_credential",
            properties={
                "id": _NAMED,
                "name": _NAMED,
                "secret": _TEXT,
                "user": {"type": "object", "properties": _WHO, "anyOf": _BY_ID_OR_NAME},
            },
            required=["secret"],
            anyOf=[{"required": ["id"]}, {"required": ["name", "user"]}],
        ),
    ]
}
_AUTH: Final[Schema] = {
    "type": "object",
    "properties": {
        "auth": {
            "type": "object",
            "properties": {"identity": _IDENTITY, "scope": _SCOPE},
            "required": ["identity"],
        }
    },
    "required": ["auth"],
}
_ROLE: Final[Schema] = {"type": "object", "properties": {"id": _TEXT, "name": _TEXT}, "anyOf": _BY_ID_OR_NAME}
_NEW: Final[Schema] = {
    "type": "object",
    "properties": {
        "application_credential": {
            "type": "object",
            "properties": {
                "name": _SHORT | {"type": "string", "minLength": 1},
                "description": _SHORT,
                "secret": described(_NEW_SECRET, "nothing: one is made"),
                "roles": described(nullable(_many(_ROLE)), "nothing: all that the user has in the project"),
                "unrestricted": described(
                    {"type": ["boolean", "null"]}, "true: it may create and delete other credentials"
                ),
                "expires_at": described(
                    nullable(_TEXT), "such as 2030-01-31T12:00:00Z, in UTC without a zone; nothing: never"
                ),
            },
            "required": ["name"],
        }
    },
    "required": ["application_credential"],
}

# --- operations ---------------------------------------------------------------------------------------------------

_LINKS: Final = closed(self=_URL, next=_NULL, previous=_NULL)
_FILTERS: Final = tuple(
    parameter(name, _TEXT, f"filter: only what has this {word}")
    for name, word in (("name", "name"), ("domain_id", "domain"))
)
_SUBJECT: Final = parameter("X-Subject-Token", _NAMED, "the token to show or revoke", place="header", required=True)
_SUBJECT_TOKEN: Final[Schema] = {
    "x-subject-token": {"description": "the token", "required": True, "schema": {"type": "string"}}
}
_ANY_ID: Final = {"id": _NAMED}
_TWO_IDS: Final = {"user_id": _NAMED, "id": _NAMED}
_OTHERS: Final = ("PolicyNotAuthorized",)
_NOT_THERE: Final = ("PolicyNotAuthorized", "HTTPNotFound")


def _operation(id: str, summary: str, answer: Schema | None, **more: Any) -> Operation:
    fixed: dict[str, Any] = {"tag": "identity", "login": True, "schemas": _SCHEMAS, "path_ids": _ANY_ID}
    return Operation(id=id, summary=summary, answer=answer, **fixed | more)


def _list(id: str, summary: str, name: str, of: Schema, **more: Any) -> Operation:
    answer = closed(**{name: _many(of)}, links=_LINKS)
    return _operation(id, summary, answer, **{"parameters": _FILTERS} | more)


_OPEN: Final[dict[str, Any]] = {"login": False, "refusals": ("TooManyRequests",)}
VERSIONS: Final = _operation(
    "list_identity_versions",
    "the versions of the identity service",
    closed(versions=closed(values=_many(ref("IdentityVersion")))),
    **_OPEN,
)
VERSION: Final = _operation("show_identity_version", "version 3", closed(version=ref("IdentityVersion")), **_OPEN)
ISSUE_TOKEN: Final = _operation(
    "issue_token",
    "a token for a password, another token or an application credential",
    closed(token=ref("Token")),
    login=False,
    body=_AUTH,
    bodies=examples.LOGIN,
    parameters=(parameter("nocatalog", _TEXT, "there: the answer has no catalog"),),
    status=201,
    headers=_SUBJECT_TOKEN,
    refusals=(*error_responses.ANY_BODY, *error_responses.ANY),
)
SHOW_TOKEN: Final = _operation(
    "show_token",
    "show a token, for its user and for admins",
    closed(token=ref("Token")),
    parameters=(_SUBJECT, *ISSUE_TOKEN.parameters),
    headers=_SUBJECT_TOKEN,
    refusals=("BadRequest", *_NOT_THERE),
)
REVOKE_TOKEN: Final = _operation(
    "revoke_token",
    "revoke a token, for its user and for admins",
    None,
    status=204,
    parameters=(_SUBJECT,),
    refusals=("BadRequest", *_NOT_THERE),
)
SHOW_CATALOG: Final = _operation(
    "show_catalog",
    "the services there are, for a project",
    closed(catalog=_CATALOG, links=_SELF),
    refusals=_OTHERS,
)
LIST_OWN_PROJECTS: Final = _list(
    "list_own_projects",
    "the projects in which the user has a role",
    "projects",
    ref("Project"),
    refusals=("HTTPNotFound",),
)
LIST_OWN_DOMAINS: Final = _list("list_own_domains", "none: roles are in projects", "domains", _EMPTY, parameters=())
LIST_PROJECTS: Final = _list(
    "list_projects", "the projects that the caller may read", "projects", ref("Project"), refusals=("HTTPNotFound",)
)
SHOW_PROJECT: Final = _operation(
    "show_project", "one project", closed(project=ref("Project")), refusals=("HTTPNotFound",)
)
LIST_USERS: Final = _list("list_users", "the users that the caller may read", "users", ref("User"))
SHOW_USER: Final = _operation("show_user", "one user", closed(user=ref("User")), refusals=_NOT_THERE)
LIST_USER_PROJECTS: Final = _list(
    "list_user_projects",
    "the projects in which a user has a role",
    "projects",
    ref("Project"),
    refusals=_NOT_THERE,
)
LIST_ROLES: Final = _list("list_roles", "the roles of the API", "roles", ref("Role"), parameters=_FILTERS[:1])
SHOW_ROLE: Final = _operation("show_role", "one role", closed(role=ref("Role")), refusals=("HTTPNotFound",))
LIST_CREDENTIALS: Final = _list(
    "list_application_credentials",
    "a user's application credentials",
    "application_credentials",
    ref("ApplicationCredential"),
    path_ids={"user_id": _NAMED},
    parameters=_FILTERS[:1],
    refusals=_OTHERS,
)
CREATE_CREDENTIAL: Final = _operation(
    "create_application_credential",
    "make an application credential in the project of the token",
    closed(application_credential=ref("NewApplicationCredential")),
    path_ids={"user_id": _NAMED},
    body=_NEW,
    bodies=examples.CREDENTIAL,
    status=201,
    refusals=(*error_responses.ANY_BODY, *_OTHERS, "HTTPConflict"),
)
SHOW_CREDENTIAL: Final = _operation(
    "show_application_credential",
    "one application credential",
    closed(application_credential=ref("ApplicationCredential")),
    path_ids=_TWO_IDS,
    refusals=_NOT_THERE,
)
DELETE_CREDENTIAL: Final = _operation(
    "delete_application_credential",
    "delete an application credential",
    None,
    path_ids=_TWO_IDS,
    status=204,
    refusals=_NOT_THERE,
)
