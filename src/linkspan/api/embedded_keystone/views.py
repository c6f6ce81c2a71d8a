"""Projects, users and role assignments as the embedded Keystone shows them, and its lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from linkspan.api.http.messages import Request, Response, ok
from linkspan.core import keystone_v3
from linkspan.core.schema import keystone_objects
from linkspan.store.identity.users import ProjectRow, UserRow


def project(request: Request, row: ProjectRow) -> dict[str, Any]:
    """A project."""
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "domain_id": keystone_v3.DOMAIN["id"],
        "parent_id": keystone_v3.DOMAIN["id"],
        "enabled": row["enabled"],
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": {"self": link(request, f"/projects/{row['id']}")},
    }


def user(request: Request, row: UserRow) -> dict[str, Any]:
    """A user, without the password."""
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "email": row["email"],
        "domain_id": keystone_v3.DOMAIN["id"],
        "default_project_id": row["project_id"],
        "enabled": row["enabled"],
        "password_expires_at": None,
        "options": {},
        "links": {"self": link(request, f"/users/{row['id']}")},
    }


def role(request: Request, name: str) -> dict[str, Any]:
    """A role by itself; in a token it has no links."""
    shown = {"description": None, "options": {}, "links": {"self": link(request, f"/roles/{name}")}}
    return keystone_v3.role_body(name) | shown


def domain(request: Request) -> dict[str, Any]:
    """The one domain."""
    return {
        **keystone_v3.DOMAIN,
        "description": "",
        "enabled": True,
        "tags": [],
        "options": {},
        "links": {"self": link(request, f"/domains/{keystone_v3.DOMAIN['id']}")},
    }


def link(request: Request, path: str) -> str:
    """The URL of a path."""
    return f"{request.base}/identity/v3{path}"


def listed(request: Request, name: str, objects: Iterable[Mapping[str, Any]], path: str) -> Response:
    """The objects that a request's filters select, one page of them if it has a limit, in Keystone's envelope."""
    parameters = request.parameters()
    found = [shown for shown in objects if keystone_objects.matches(shown, parameters)]
    return list_response(request, name, keystone_objects.page(found, parameters), path)


def list_response(request: Request, name: str, values: Iterable[Any], path: str) -> Response:
    """A list in Keystone's envelope."""
    return ok({name: list(values), "links": {"self": link(request, path), "next": None, "previous": None}})
