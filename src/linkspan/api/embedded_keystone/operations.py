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
from linkspan.core.schema.keystone_objects import LONGEST
from linkspan.core.secret import SHORTEST

TEXT: Final = {"type": "string"}
NAMED: Final = {"type": "string", "minLength": 1, "pattern": r"^[^\x00]*$"}
SHORT: Final = {"type": ["string", "null"], "maxLength": LONGEST, "pattern": r"^[^\x00]*$"}
_NEW_SECRET: Final = SHORT | {"pattern": rf"^([^\x00]{{{SHORTEST},}})?$"}
_TIME: Final = {"type": "string", "format": "date-time"}
_NULL: Final = {"type": "null"}
URL: Final = {"type": "string", "format": "uri"}
_EMPTY: Final = closed()
_SELF: Final = closed(self=URL)
DOMAIN_ID: Final = {"const": keystone_v3.DOMAIN["id"]}
_DOMAIN: Final = closed(**{name: {"const": value} for name, value in keystone_v3.DOMAIN.items()})


def many(schema: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": schema}


# --- what is read -------------------------------------------------------------------------------------------------

_VERSION: Final = closed(
    **{
        "id": TEXT,
        "status": {"const": "stable"},
        "updated": _TIME,
        "links": many(closed(rel={"const": "self"}, href=URL)),
        "media-types": many(closed(base=TEXT, type=TEXT)),
    }
)
_ENDPOINT: Final = closed(
    id=TEXT, interface={"enum": ["public", "internal", "admin"]}, region=TEXT, region_id=TEXT, url=URL
)
_CATALOG: Final = many(closed(type=TEXT, name=TEXT, id=TEXT, endpoints=many(_ENDPOINT)))
_PROPERTIES: Final = {
    "methods": many({"enum": list(keystone_v3.METHODS)}),
    "user": closed(id=TEXT, name=TEXT, domain=_DOMAIN, password_expires_at=_NULL),
    "audit_ids": many(TEXT),
    "issued_at": _TIME,
    "expires_at": _TIME,
}
_CREDENTIAL: Final = {
    "id": TEXT,
    "name": TEXT,
    "description": TEXT,
    "project_id": TEXT,
    "user_id": TEXT,
    "roles": many(ref("RoleOfToken")),
    "unrestricted": {"type": "boolean"},
    "expires_at": nullable(described(TEXT, "in UTC, without a zone")),
    "links": _SELF,
}
_SCHEMAS: Final[dict[str, Schema]] = {
    "IdentityVersion": _VERSION,
    "Role": closed(id=TEXT, name=TEXT, domain_id=_NULL, description=_NULL, options=_EMPTY, links=_SELF),
    "RoleOfToken": closed(id=TEXT, name=TEXT, domain_id=_NULL),
    "Token": {
        "type": "object",
        "description": "the user of a token; with a project, also the roles and the catalog",
        "properties": _PROPERTIES
        | {
            "project": closed(id=TEXT, name=TEXT, domain=_DOMAIN),
            "is_domain": {"const": False},
            "roles": many(ref("RoleOfToken")),
            "catalog": _CATALOG,
            "application_credential": closed(id=TEXT, name=TEXT, restricted={"type": "boolean"}),
        },
        "required": list(_PROPERTIES),
        "additionalProperties": False,
    },
    "Project": closed(
        id=TEXT,
        name=TEXT,
        description=TEXT,
        domain_id=DOMAIN_ID,
        parent_id=DOMAIN_ID,
        enabled={"type": "boolean"},
        is_domain={"const": False},
        tags=many(TEXT),
        options=_EMPTY,
        links=_SELF,
    ),
    "User": closed(
        id=TEXT,
        name=TEXT,
        description=TEXT,
        email=nullable(TEXT),
        domain_id=DOMAIN_ID,
        default_project_id=nullable(TEXT),
        enabled={"type": "boolean"},
        password_expires_at=_NULL,
        options=_EMPTY,
        links=_SELF,
    ),
    "Domain": closed(
        **{name: {"const": value} for name, value in keystone_v3.DOMAIN.items()},
        description=TEXT,
        enabled={"const": True},
        tags=many(TEXT),
        options=_EMPTY,
        links=_SELF,
    ),
    "ApplicationCredential": closed(**_CREDENTIAL),
    "NewApplicationCredential": closed(**_CREDENTIAL, secret=described(TEXT, "shown this once")),
}

# --- what is asked for --------------------------------------------------------------------------------------------

_BY_ID_OR_NAME: Final[list[Schema]] = [{"required": ["id"]}, {"required": ["name"]}]
_OF_DOMAIN: Final = {
    "type": ["object", "null"],
    "properties": {"id": NAMED, "name": NAMED},
    "anyOf": [{"type": "null"}, *_BY_ID_OR_NAME],
}
_WHO: Final = {"id": NAMED, "name": NAMED, "domain": _OF_DOMAIN}


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
                    "properties": _WHO | {"password": TEXT},
                    "required": ["password"],
                    "anyOf": _BY_ID_OR_NAME,
                }
            },
            required=["user"],
        ),
        _by("token", properties={"id": TEXT}, required=["id"]),
        _by(
            "application_credential",
            properties={
                "id": NAMED,
                "name": NAMED,
                "secret": TEXT,
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
_ROLE: Final[Schema] = {"type": "object", "properties": {"id": TEXT, "name": TEXT}, "anyOf": _BY_ID_OR_NAME}
_NEW: Final[Schema] = {
    "type": "object",
    "properties": {
        "application_credential": {
            "type": "object",
            "properties": {
                "name": SHORT | {"type": "string", "minLength": 1},
                "description": SHORT,
                "secret": described(_NEW_SECRET, "nothing: one is made"),
                "roles": described(nullable(many(_ROLE)), "nothing: all that the user has in the project"),
                "unrestricted": described(
                    {"type": ["boolean", "null"]}, "true: it may create and delete other credentials"
                ),
                "expires_at": described(
                    nullable(TEXT), "such as 2030-01-31T12:00:00Z, in UTC without a zone; nothing: never"
                ),
            },
            "required": ["name"],
        }
    },
    "required": ["application_credential"],
}

# --- operations ---------------------------------------------------------------------------------------------------

LINKS: Final = closed(self=URL, next=_NULL, previous=_NULL)
_BY_NAME: Final = tuple(
    parameter(name, TEXT, f"filter: only what {words}")
    for name, words in (
        ("name", "has this name"),
        ("name__contains", "has this in its name; name__icontains: in any case, and __startswith, __endswith"),
    )
)
_BY_DOMAIN: Final = parameter("domain_id", TEXT, "filter: only what is in this domain")
_PAGE: Final = (
    parameter("limit", {"type": "string", "pattern": "^[0-9]+$"}, "at most so many"),
    parameter("marker", TEXT, "only what follows the object with this id"),
)
_FILTERS: Final = (*_BY_NAME, _BY_DOMAIN, parameter("enabled", TEXT, "filter: true or false"), *_PAGE)
_SUBJECT: Final = parameter("X-Subject-Token", NAMED, "the token to show or revoke", place="header", required=True)
_SUBJECT_TOKEN: Final[Schema] = {
    "x-subject-token": {"description": "the token", "required": True, "schema": {"type": "string"}}
}
ANY_ID: Final = {"id": NAMED}
_TWO_IDS: Final = {"user_id": NAMED, "id": NAMED}
OTHERS: Final = ("PolicyNotAuthorized",)
NOT_THERE: Final = ("PolicyNotAuthorized", "HTTPNotFound")


def operation(id: str, summary: str, answer: Schema | None, **more: Any) -> Operation:
    """An operation of the identity service."""
    fixed: dict[str, Any] = {"tag": "identity", "login": True, "schemas": _SCHEMAS, "path_ids": ANY_ID}
    return Operation(id=id, summary=summary, answer=answer, **fixed | more)


def list_of(id: str, summary: str, name: str, of: Schema, **more: Any) -> Operation:
    """An operation that lists objects."""
    answer = closed(**{name: many(of)}, links=LINKS)
    refusals = ("BadRequest", *more.pop("refusals", ()))
    return operation(id, summary, answer, refusals=refusals, **{"parameters": _FILTERS} | more)


_OPEN: Final[dict[str, Any]] = {"login": False, "refusals": ("TooManyRequests",)}
VERSIONS: Final = operation(
    "list_identity_versions",
    "the versions of the identity service",
    closed(versions=closed(values=many(ref("IdentityVersion")))),
    **_OPEN,
)
VERSION: Final = operation("show_identity_version", "version 3", closed(version=ref("IdentityVersion")), **_OPEN)
ISSUE_TOKEN: Final = operation(
    "issue_token",
    "a token for a password, another token or an application credential",
    closed(token=ref("Token")),
    login=False,
    body=_AUTH,
    bodies=examples.LOGIN,
    parameters=(parameter("nocatalog", TEXT, "there: the answer has no catalog"),),
    status=201,
    headers=_SUBJECT_TOKEN,
    refusals=(*error_responses.ANY_BODY, *error_responses.ANY),
)
SHOW_TOKEN: Final = operation(
    "show_token",
    "show a token, for its user and for admins",
    closed(token=ref("Token")),
    parameters=(_SUBJECT, *ISSUE_TOKEN.parameters),
    headers=_SUBJECT_TOKEN,
    refusals=("BadRequest", *NOT_THERE),
)
REVOKE_TOKEN: Final = operation(
    "revoke_token",
    "revoke a token, for its user and for admins",
    None,
    status=204,
    parameters=(_SUBJECT,),
    refusals=("BadRequest", *NOT_THERE),
)
SHOW_CATALOG: Final = operation(
    "show_catalog",
    "the services there are, for a project",
    closed(catalog=_CATALOG, links=_SELF),
    refusals=OTHERS,
)
LIST_OWN_PROJECTS: Final = list_of(
    "list_own_projects",
    "the projects in which the user has a role",
    "projects",
    ref("Project"),
    refusals=("HTTPNotFound",),
)
LIST_OWN_DOMAINS: Final = list_of("list_own_domains", "none: roles are in projects", "domains", _EMPTY, parameters=())
LIST_DOMAINS: Final = list_of("list_domains", "the one domain", "domains", ref("Domain"))
SHOW_DOMAIN: Final = operation(
    "show_domain", "the one domain", closed(domain=ref("Domain")), refusals=("HTTPNotFound",)
)
LIST_PROJECTS: Final = list_of(
    "list_projects", "the projects that the caller may read", "projects", ref("Project"), refusals=("HTTPNotFound",)
)
SHOW_PROJECT: Final = operation(
    "show_project", "one project", closed(project=ref("Project")), refusals=("HTTPNotFound",)
)
LIST_USERS: Final = list_of("list_users", "the users that the caller may read", "users", ref("User"))
SHOW_USER: Final = operation("show_user", "one user", closed(user=ref("User")), refusals=NOT_THERE)
LIST_USER_PROJECTS: Final = list_of(
    "list_user_projects",
    "the projects in which a user has a role",
    "projects",
    ref("Project"),
    refusals=NOT_THERE,
)
LIST_ROLES: Final = list_of("list_roles", "the roles of the API", "roles", ref("Role"), parameters=(*_BY_NAME, *_PAGE))
SHOW_ROLE: Final = operation("show_role", "one role", closed(role=ref("Role")), refusals=("HTTPNotFound",))
LIST_CREDENTIALS: Final = list_of(
    "list_application_credentials",
    "a user's application credentials",
    "application_credentials",
    ref("ApplicationCredential"),
    path_ids={"user_id": NAMED},
    parameters=(*_BY_NAME, *_PAGE),
    refusals=OTHERS,
)
CREATE_CREDENTIAL: Final = operation(
    "create_application_credential",
    "make an application credential in the project of the token",
    closed(application_credential=ref("NewApplicationCredential")),
    path_ids={"user_id": NAMED},
    body=_NEW,
    bodies=examples.CREDENTIAL,
    status=201,
    refusals=(*error_responses.ANY_BODY, *OTHERS, "HTTPConflict"),
)
SHOW_CREDENTIAL: Final = operation(
    "show_application_credential",
    "one application credential",
    closed(application_credential=ref("ApplicationCredential")),
    path_ids=_TWO_IDS,
    refusals=NOT_THERE,
)
DELETE_CREDENTIAL: Final = operation(
    "delete_application_credential",
    "delete an application credential",
    None,
    path_ids=_TWO_IDS,
    status=204,
    refusals=NOT_THERE,
)
