"""OpenAPI operations of the embedded Keystone that write projects, users and role assignments.

The schemas accept what the handlers accept, and clients' values for what cannot be chosen.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.api.embedded_keystone.operations import (
    ANY_ID,
    DOMAIN_ID,
    LINKS,
    NAMED,
    NOT_THERE,
    OTHERS,
    TEXT,
    URL,
    list_of,
    many,
    operation,
)
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.openapi.crud import parameter
from linkspan.core import keystone_v3
from linkspan.core.schema import error_responses, examples
from linkspan.core.schema.keystone_objects import LONGEST, LONGEST_PASSWORD
from linkspan.core.secret import SHORTEST

_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": r"\S"}
_SHORT: Final[Schema] = {"type": ["string", "null"], "maxLength": LONGEST}
_PASSWORD: Final[Schema] = {"type": ["string", "null"], "minLength": SHORTEST, "maxLength": LONGEST_PASSWORD}
_ENABLED: Final[Schema] = {"type": ["boolean", "null"]}
_FIXED: Final[dict[str, Schema]] = {
    "domain_id": {"enum": [keystone_v3.DOMAIN["id"], None]},
    "parent_id": {"enum": [keystone_v3.DOMAIN["id"], None]},
    "is_domain": {"enum": [False, None]},
    "tags": {"type": ["array", "null"], "maxItems": 0},
    "options": {"type": ["object", "null"], "maxProperties": 0},
    "federated": {"type": ["array", "null"], "maxItems": 0},
    "password_expires_at": {"type": "null"},
}
_PROJECT: Final[dict[str, Schema]] = {"name": _NAME, "description": _SHORT, "enabled": _ENABLED}
_USER: Final[dict[str, Schema]] = _PROJECT | {
    "email": _SHORT,
    "default_project_id": described(_SHORT, "where a token is for that names no project; gives no role there"),
    "project_id": described(_SHORT, "the same, as some clients call it"),
    "password": described(_PASSWORD, "nothing: nobody can log in as the user"),
}


def _body(key: str, properties: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    inner = {
        "type": "object",
        "properties": properties | _FIXED,
        "required": list(required),
        "additionalProperties": False,
    }
    return {"type": "object", "properties": {key: inner}, "required": [key]}


def _write(id: str, summary: str, answer: Schema | None, **more: Any) -> Operation:
    refusals = (*error_responses.ANY_BODY, *OTHERS, "HTTPConflict", *more.pop("refusals", ("HTTPNotFound",)))
    bodies = examples.IDENTITY[id.replace("_", " ")]
    return operation(id, summary, answer, bodies=bodies, refusals=refusals, **more)


def _removal(id: str, summary: str, **more: Any) -> Operation:
    return operation(id, summary, None, status=204, refusals=(*NOT_THERE, "HTTPConflict"), **more)


CREATE_PROJECT: Final = _write(
    "create_project",
    "create a project, for admins",
    closed(project=ref("Project")),
    body=_body("project", _PROJECT, ("name",)),
    status=201,
    refusals=(),
)
UPDATE_PROJECT: Final = _write(
    "update_project",
    "change a project, for admins; a disabled one loses its tokens",
    closed(project=ref("Project")),
    body=_body("project", _PROJECT),
)
DELETE_PROJECT: Final = _removal("delete_project", "delete a project that has no objects, for admins")
CREATE_USER: Final = _write(
    "create_user",
    "create a user without a role, for admins",
    closed(user=ref("User")),
    body=_body("user", _USER, ("name",)),
    status=201,
    refusals=(),
)
UPDATE_USER: Final = _write(
    "update_user",
    "change a user, for admins; a disabled one loses its tokens",
    closed(user=ref("User")),
    body=_body("user", _USER),
)
DELETE_USER: Final = _removal("delete_user", "delete a user with roles, tokens and credentials, for admins")
CHANGE_PASSWORD: Final = _write(
    "change_password",
    "change one's own password",
    None,
    body=_body("user", {"original_password": TEXT, "password": _PASSWORD | {"type": "string"}}, ("original_password",)),
    status=204,
)

_TWO_IDS: Final = {"project_id": NAMED, "user_id": NAMED}
_THREE_IDS: Final = _TWO_IDS | ANY_ID
_OF: Final[Schema] = {
    "type": "object",
    "properties": {"id": TEXT, "name": TEXT, "domain": closed(id=DOMAIN_ID, name=TEXT)},
    "required": ["id"],
    "additionalProperties": False,
}
_ASSIGNMENT: Final = closed(
    role=_OF,
    user=_OF,
    scope=closed(project=_OF),
    links={
        "type": "object",
        "properties": {"assignment": URL, "prior_role": URL},
        "required": ["assignment"],
        "additionalProperties": False,
    },
)
LIST_ASSIGNMENTS: Final = operation(
    "list_role_assignments",
    "the roles of all users in all projects, for admins",
    closed(role_assignments=many(_ASSIGNMENT), links=LINKS),
    refusals=OTHERS,
    parameters=tuple(
        parameter(name, TEXT, words)
        for name, words in (
            ("user.id", "filter: only of this user"),
            ("role.id", "filter: only this role"),
            ("scope.project.id", "filter: only in this project"),
            ("include_names", "there: with names"),
            ("effective", "there: with the roles that a granted one implies"),
        )
    ),
)
LIST_PROJECT_ROLES: Final = list_of(
    "list_project_roles",
    "the roles of a user in a project, for admins",
    "roles",
    ref("Role"),
    path_ids=_TWO_IDS,
    parameters=(),
    refusals=NOT_THERE,
)
CHECK_ROLE: Final = operation(
    "check_role",
    "204 if a user has the role in the project, for admins",
    None,
    path_ids=_THREE_IDS,
    status=204,
    refusals=NOT_THERE,
)
GRANT_ROLE: Final = operation(
    "grant_role",
    "grant a role in a project, for admins",
    None,
    path_ids=_THREE_IDS,
    status=204,
    refusals=NOT_THERE,
)
REVOKE_ROLE: Final = _removal("revoke_role", "take a role in a project away, for admins", path_ids=_THREE_IDS)
