"""Replays requests that were recorded from the reference implementation, and reports the differences.

The records lie outside the repository: `LINKSPAN_GOLDEN` names their folder (default: ../shared/golden beside it). Ids
differ from run to run, so recorded ids are mapped to the API's ids as they appear. Some requests between the records
were not recorded: the objects that they created are created from their first appearance in a response; the other
requests are listed in `GAPS`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from linkspan.core.schema.resources import RESOURCES, VPN, Resource
from tests.api.world import ADMIN, BLUE, CONNECTIONS, RED, Api

ROOT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("LINKSPAN_GOLDEN", ROOT.parent / "shared" / "golden"))

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PROJECTS: Final = {"9" * 32: ADMIN, "a" * 32: BLUE, "b" * 32: RED}
OWNERS: Final = {"9" * 32: "admin", "a" * 32: "alice", "b" * 32: "bob"}
OF_THE_RUN: Final = frozenset(
    {"created_at", "updated_at", "revision_number", "external_v4_ip", "ip_address", "message"}
)
"""Values that differ from run to run, and error messages, which no client matches on: only their type is compared."""

BY_KEY: Final[dict[str, Resource]] = {
    **{resource.singular: resource for resource in RESOURCES},
    **{resource.plural: resource for resource in RESOURCES},
}


class Record(msgspec.Struct, frozen=True):
    """A recorded request and its response."""

    number: int
    case: str
    user: str
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: str | None
    status: int
    content_type: str | None
    response: Any


class Difference(msgspec.Struct, frozen=True, order=True):
    """A difference between the API's response and the recorded one; `at` is a path in the body."""

    record: int
    at: str
    ours: str


class Gap(msgspec.Struct, frozen=True):
    """A request between two records, with recorded ids."""

    before: int
    user: str
    method: str
    path: str
    body: Any = None


def load(folder: Path = GOLDEN) -> list[Record]:
    """All records, in the order in which they were sent."""
    records = []
    for file in sorted(folder.glob("*.json")):
        raw = json.loads(file.read_text(encoding="utf-8"))
        records.append(
            Record(
                number=int(file.name.partition("-")[0]),
                case=raw["case"],
                user=raw["as"],
                method=raw["method"],
                path=raw["path"],
                headers={
                    key: raw["request_headers"][key]
                    for key in ("Accept", "Content-Type")
                    if key in raw["request_headers"]
                },
                body=raw["request_body"],
                raw=raw["request_raw"],
                status=raw["status"],
                content_type=raw["response_headers"].get("content-type"),
                response=raw["response_body"],
            )
        )
    return records


def _deleted(before: int, *connections: str) -> tuple[Gap, ...]:
    return tuple(Gap(before, "alice", "DELETE", f"{CONNECTIONS}/{id}") for id in connections)


GAPS: Final = (
    Gap(
        148,
        "alice",
        "PUT",
        f"{CONNECTIONS}/4ebcd9a7-3b20-4583-b0c1-bc325d0e7ef2",
        {"ipsec_site_connection": {"admin_state_up": False}},
    ),
    # Each was created to be shown once. Equal connections of a gateway conflict here, so it is deleted before the next.
    *_deleted(163, "886a83b6-3b23-45b3-84da-f40b6441610d"),
    *_deleted(169, "a3398751-6ff5-44d9-95a2-086aadde3571"),
    *_deleted(170, "c233f398-2c99-45f9-8e50-cd9a9dba419c"),
    *_deleted(205, "aed54701-8cc9-4644-9a2e-15804b7ea004"),
    *_deleted(236, "349aeb3c-f9df-498b-825a-0d5c180f7963"),
)


# --- comparing ----------------------------------------------------------------------------------------------------


class Ids:
    """The API's ids of the recorded ids."""

    def __init__(self) -> None:
        self.ours: dict[str, str] = dict(PROJECTS)

    def replaced(self, text: str) -> str:
        """Returns a text with the API's ids in place of the recorded ones."""
        return re.sub(UUID.pattern + "|[9ab]{32}", lambda match: self.ours.get(match[0], match[0]), text)

    def same(self, theirs: str, ours: str) -> bool:
        """True if two texts are equal apart from ids. A new recorded id is mapped to the id it is compared with."""
        if UUID.fullmatch(theirs) and UUID.fullmatch(ours):
            return self.ours.setdefault(theirs, ours) == ours
        return self.replaced(theirs) == ours


def differences(
    ids: Ids, theirs: Any, ours: Any, at: str = "", key: str = "", ordered: bool = False
) -> Iterator[tuple[str, str]]:
    """Yields (path, our value) of each difference between two bodies: keys, types, nesting, values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted({*theirs, *ours}):
            path = f"{at}.{name}" if at else name
            if name not in ours:
                yield path, "absent"
            elif name not in theirs:
                yield path, "only ours"
            else:
                yield from differences(ids, theirs[name], ours[name], path, name, ordered)
    elif isinstance(theirs, list) and isinstance(ours, list):
        if any(isinstance(item, dict) and "id" in item for item in [*theirs, *ours]):
            yield from _objects(ids, theirs, ours, at, ordered)
        elif len(theirs) != len(ours):
            yield at, json.dumps(ours)
        elif theirs != ours and all(isinstance(item, str) for item in theirs) and _same_set(ids, theirs, ours):
            if [ids.replaced(item) for item in theirs] != ours:
                yield at, "in another order"
        else:
            for place, (left, right) in enumerate(zip(theirs, ours, strict=True)):
                yield from differences(ids, left, right, f"{at}[{place}]", key, ordered)
    elif type(theirs) is not type(ours):
        yield at, json.dumps(ours)
    elif key == "href":
        if not ids.same(_local(theirs), _local(ours)):
            yield at, json.dumps(_local(ours))
    elif key not in OF_THE_RUN and not (ids.same(theirs, ours) if isinstance(theirs, str) else theirs == ours):
        yield at, json.dumps(ours)


def _objects(ids: Ids, theirs: list[Any], ours: list[Any], at: str, ordered: bool) -> Iterator[tuple[str, str]]:
    recorded = {ids.replaced(item["id"]): item for item in theirs}
    for id, item in recorded.items():
        own = next((candidate for candidate in ours if candidate["id"] == id), None)
        if own is None:
            yield f"{at}[]", f"lacks {item.get('name')}"
        else:
            yield from differences(ids, item, own, f"{at}[]")
    yield from ((f"{at}[]", f"has {item.get('name')}") for item in ours if item["id"] not in recorded)
    names = [item.get("name") for item in theirs], [item.get("name") for item in ours]
    if ordered and names[0] != names[1]:
        yield f"{at}[]", f"order {names[1]}"


def _same_set(ids: Ids, theirs: list[str], ours: list[str]) -> bool:
    return sorted(map(ids.replaced, theirs)) == sorted(ours)


def _local(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


# --- replaying ----------------------------------------------------------------------------------------------------


class Replay:
    """Sends the records one after the other to an empty API."""

    def __init__(self, api: Api, records: list[Record]) -> None:
        self._api = api
        self._records = records
        self._ids = Ids()
        self._node = api.node()
        self._unrecorded = dict(_unrecorded_objects(records))

    def run(self) -> Iterator[Difference]:
        """Yields the differences, in the order of the records."""
        for record in self._records:
            for gap in GAPS:
                if gap.before == record.number:
                    self._send(gap.user, gap.method, gap.path, gap.body)
            self._create_unrecorded(record)
            if _shows_active(record):
                self._node.apply_desired()
            response = self._api.as_(record.user).send(
                record.method, self._ids.replaced(record.path), headers=record.headers, content=self._content(record)
            )
            if record.method == "DELETE":
                self._node.apply_desired()
            for at, ours in self._compared(record, response):
                yield Difference(record.number, at, ours)

    def _content(self, record: Record) -> bytes | None:
        if record.raw is not None:
            return record.raw.encode("latin-1")
        return None if record.body is None else self._ids.replaced(json.dumps(record.body)).encode()

    def _compared(self, record: Record, response: Any) -> Iterator[tuple[str, str]]:
        assert response.headers["x-openstack-request-id"].startswith("req-")
        ours = response.json() if response.content else None
        type = ours.get("NeutronError", {}).get("type", "") if isinstance(ours, dict) else ""
        if response.status_code != record.status:
            yield "status", f"{response.status_code} {type}".strip()
            if response.status_code < 400 <= record.status:
                self._forget(record, ours)
        else:
            if (content_type := response.headers.get("content-type")) != record.content_type:
                yield "content-type", str(content_type)
            yield from differences(self._ids, record.response, ours, ordered="sort_key=" in record.path)

    def _forget(self, record: Record, ours: Any) -> None:
        """Deletes an object whose creation the reference implementation refused."""
        if record.method != "POST":
            return
        created = next(iter(ours.values()))
        for item in created if isinstance(created, list) else [created]:
            self._api.delete(f"{record.path}/{item['id']}")

    def _send(self, user: str, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.loads(self._ids.replaced(json.dumps(body)))
        response = self._api.as_(user).send(method, self._ids.replaced(path), content)
        assert response.status_code < 300, (method, path, response.text)
        return response.json() if response.content else None

    def _create_unrecorded(self, record: Record) -> None:
        """Creates the objects that this record refers to and no record creates."""
        mentioned = UUID.findall(json.dumps([record.path, record.body, record.response]))
        for id in mentioned:
            if id in self._unrecorded:
                resource, shown = self._unrecorded.pop(id)
                values = {a.name: shown[a.name] for a in resource.attributes if a.post and a.name in shown}
                user = OWNERS[values.pop("project_id")]
                created = self._send(user, "POST", f"/{resource.path}", {resource.singular: values})
                self._ids.ours[id] = created[resource.singular]["id"]


def _unrecorded_objects(records: list[Record]) -> Iterator[tuple[str, tuple[Resource, dict[str, Any]]]]:
    created: set[str] = set()
    shown: dict[str, tuple[Resource, dict[str, Any]]] = {}
    for record in records:
        for resource, item in _shown(record):
            if record.method == "POST":
                created.add(item["id"])
            elif "project_id" in item:
                shown.setdefault(item["id"], (resource, item))
    yield from ((id, first) for id, first in shown.items() if id not in created)


def _shown(record: Record) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Yields the objects in a recorded response, with their resources."""
    for key, value in (record.response or {}).items():
        for item in value if isinstance(value, list) else [value]:
            if key in BY_KEY and isinstance(item, dict) and "id" in item:
                yield BY_KEY[key], item


def _shows_active(record: Record) -> bool:
    return any(resource in VPN and item.get("status") == "ACTIVE" for resource, item in _shown(record))
