"""Resolves names and ids to objects through the API, as OpenStack's own clients do: by id, then by name.

An ambiguous name is refused with the ids of all matches, because a guess could change the wrong tunnel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from linkspan.cli.client import ApiError, Client, CliError
from linkspan.core.schema.attribute_types import is_uuid
from linkspan.core.schema.resources import Resource


def collection_path(resource: Resource) -> str:
    """Returns the path of a resource's collection."""
    return f"/v2.0/{resource.path}"


def member_path(resource: Resource, id: str) -> str:
    """Returns the path of one object."""
    return f"{collection_path(resource)}/{quote(id, safe='')}"


def list_objects(client: Client, resource: Resource, query: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yields every object that matches a query, following the links to further pages."""
    while True:
        answer = client.request("GET", collection_path(resource), query=query)
        yield from answer[resource.plural]
        following = [link["href"] for link in answer.get(f"{resource.plural}_links", ()) if link["rel"] == "next"]
        if not following or not answer[resource.plural]:
            return
        query = parse_qsl(urlsplit(following[0]).query)


def find_object(client: Client, resource: Resource, wanted: str) -> dict[str, Any]:
    """Returns the object with this id or name. Raises CliError if none or more than one matches."""
    if is_uuid(wanted):
        try:
            answer: dict[str, Any] = client.request("GET", member_path(resource, wanted))[resource.singular]
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            return answer
    matches = list(list_objects(client, resource, [("name", wanted)]))
    noun = resource.name.replace("_", " ")
    if not matches:
        raise CliError(f"no {noun} with the name or id '{wanted}': see 'linkspan {command_name(resource)} list'")
    if len(matches) > 1:
        raise CliError(
            f"'{wanted}' is the name of {len(matches)} {noun} objects; use an id: "
            + ", ".join(sorted(item["id"] for item in matches))
        )
    return matches[0]


def find_id(client: Client, resource: Resource, wanted: str) -> str:
    """Returns the id of the object with this id or name. An id is not looked up: the API refuses an unknown one."""
    return wanted if is_uuid(wanted) else str(find_object(client, resource, wanted)["id"])


def command_name(resource: Resource) -> str:
    """Returns a resource's name on the command line."""
    return resource.name.replace("_", "-")
