"""Names to objects, through the API, as OpenStack's own clients do it: by id, then by name.

A name that means several objects is refused with the ids, because guessing would change the wrong tunnel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from linkspan.cli.client import ApiError, Client, CliError
from linkspan.core.schema.attribute_types import is_uuid
from linkspan.core.schema.resources import Resource


def collection_path(resource: Resource) -> str:
    """The path of a resource's collection."""
    return f"/v2.0/{resource.path}"


def member_path(resource: Resource, id: str) -> str:
    """The path of one object."""
    return f"{collection_path(resource)}/{quote(id, safe='')}"


def list_objects(client: Client, resource: Resource, query: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Every object that a query finds, page after page."""
    while True:
        answer = client.request("GET", collection_path(resource), query=query)
        yield from answer[resource.plural]
        following = [link["href"] for link in answer.get(f"{resource.plural}_links", ()) if link["rel"] == "next"]
        if not following or not answer[resource.plural]:
            return
        query = parse_qsl(urlsplit(following[0]).query)


def find_object(client: Client, resource: Resource, wanted: str) -> dict[str, Any]:
    """The one object of that id or name. Raises CliError if there is none, or more than one."""
    if is_uuid(wanted):
        try:
            answer: dict[str, Any] = client.request("GET", member_path(resource, wanted))[resource.singular]
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            return answer
    found = list(list_objects(client, resource, [("name", wanted)]))
    noun = resource.name.replace("_", " ")
    if not found:
        raise CliError(f"no {noun} with the name or id '{wanted}': see 'linkspan {command_name(resource)} list'")
    if len(found) > 1:
        raise CliError(
            f"'{wanted}' is the name of {len(found)} {noun} objects; give one's id: "
            + ", ".join(sorted(item["id"] for item in found))
        )
    return found[0]


def find_id(client: Client, resource: Resource, wanted: str) -> str:
    """The id of the one object of that id or name. An id is taken as it is: the API says if it is wrong."""
    return wanted if is_uuid(wanted) else str(find_object(client, resource, wanted)["id"])


def command_name(resource: Resource) -> str:
    """A resource's name on the command line."""
    return resource.name.replace("_", "-")
