"""Tags of the inventory's objects, as Neutron's `standard-attr-tag`: all at once, or one by one in the path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from linkspan.api.http import body
from linkspan.api.http.messages import Handler, Request, Response, no_content, ok
from linkspan.api.http.route import Route
from linkspan.api.resources.collection import Collection, find, not_found
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError, invalid_input
from linkspan.core.schema.operations import REQUEST_LINES, ResourceOperation
from linkspan.core.schema.tags import check_number, check_tag
from linkspan.store.rows import writing

NAME: Final = "tags"


class TaggedCollection(Collection):
    """A resource whose objects have tags."""

    def routes(self) -> list[Route]:
        crud, routes = self.crud(), super().routes()
        handlers: dict[ResourceOperation, Handler] = {
            "list_tags": self.list_tags,
            "show_tag": self.show_tag,
            "replace_tags": self.replace_tags,
            "add_tags": self.add_tags,
            "add_tag": self.add_tag,
            "delete_tags": self.delete_tags,
            "delete_tag": self.delete_tag,
        }
        for operation, handler in handlers.items():
            line = REQUEST_LINES[operation]
            path = f"/v2.0/{self.resource.path}{line.path}"
            described = crud.tags(operation)
            routes.append(Route(line.method, path, handler, bodiless=operation == "add_tag", operation=described))
        return routes

    def list_tags(self, request: Request) -> Response:
        """All tags of an object."""
        return ok({NAME: self._tags(request, request.id)})

    def show_tag(self, request: Request) -> Response:
        """Tells whether an object has a tag."""
        id, tag = _id_and_tag(request)
        if tag not in self._tags(request, id):
            raise _no_tag(tag)
        return no_content()

    def replace_tags(self, request: Request) -> Response:
        """Gives an object these tags and no others."""
        tags = self._converted(request)
        self._change(request, request.id, lambda _tags: tags)
        return ok({NAME: tags})

    def add_tags(self, request: Request) -> Response:
        """Adds tags to those that an object has."""
        tags = self._converted(request)
        self._change(request, request.id, lambda current: [*current, *tags])
        return ok({NAME: tags}, 201)

    def add_tag(self, request: Request) -> Response:
        """Adds one tag."""
        id, tag = _id_and_tag(request)
        self._change(request, id, lambda current: [*current, check_tag(tag)])
        return Response(201)

    def delete_tags(self, request: Request) -> Response:
        """Takes all tags from an object."""
        self._change(request, request.id, lambda _tags: [])
        return no_content()

    def delete_tag(self, request: Request) -> Response:
        """Takes one tag from an object that has it."""
        id, tag = _id_and_tag(request)

        def without(current: list[str]) -> list[str]:
            if tag not in current:
                raise _no_tag(tag)
            return [other for other in current if other != tag]

        self._change(request, id, without)
        return no_content()

    def _converted(self, request: Request) -> list[str]:
        """The tags of a body. Raises ApiError, for a caller that may change no tags before it looks at them."""
        self._require_any(request, "update")
        raw = body.json_object(request.body)
        if NAME not in raw:
            raise invalid_input("Invalid tags body")
        tags: list[str] = self.resource[NAME].kind.convert(NAME, raw[NAME])
        return tags

    def _tags(self, request: Request, id: str) -> list[str]:
        policy.require(request.caller, "get", self.resource)
        with self._store.read() as tx:
            row = find(tx, self.resource, id, request.caller)
        if row is None:
            raise not_found(self.resource, id)
        tags: list[str] = row[NAME] or []
        return tags

    def _change(self, request: Request, id: str, change: Callable[[list[str]], list[str]]) -> None:
        self._require_any(request, "update", id)
        with self._store.write() as tx:
            row = self._owned(tx, request, "update", id)
            current: list[str] = row[NAME] or []
            tags = list(dict.fromkeys(change(current)))
            if tags == current:
                return
            check_number(tags)
            writing.update(tx, self.resource, row["id"], {NAME: tags})
            self._audit(tx, request, "update", row, [NAME])


def _id_and_tag(request: Request) -> tuple[str, str]:
    id, _, tag = request.id.partition("/")
    return id, tag


def _no_tag(tag: str) -> ApiError:
    return ApiError("TagNotFound", f"Tag {tag} could not be found.")
