"""Replays requests that were recorded from the reference implementation, and says what we answer differently.

The records lie outside the repository: `LINKSPAN_GOLDEN` names their folder (default: ../shared/golden beside it). Ids
differ from run to run, so recorded ones are mapped to ours as they appear. Some requests between the records are not
there: objects that they made are made here from the way in which they are first shown, the rest stands in `GAPS`.
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
"""Values that differ from run to run, and the words of an error, which no client matches on: only their type counts."""

BY_KEY: Final[dict[str, Resource]] = {
    **{resource.singular: resource for resource in RESOURCES},
    **{resource.plural: resource for resource in RESOURCES},
}


class Record(msgspec.Struct, frozen=True):
    """One recorded request and its answer."""

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
    answer: Any


class Difference(msgspec.Struct, frozen=True, order=True):
    """Something in our answer to a record that is not as in the recorded one; `at` is a path in the body."""

    record: int
    at: str
    ours: str


class Gap(msgspec.Struct, frozen=True):
    """A request between two records; ids are recorded ones."""

    before: int
    user: str
    method: str
    path: str
    body: Any = None


def load(folder: Path = GOLDEN) -> list[Record]:
    """All records, in the order in which they were sent."""
    found = []
    for file in sorted(folder.glob("*.json")):
        raw = json.loads(file.read_text(encoding="utf-8"))
        found.append(
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
                answer=raw["response_body"],
            )
        )
    return found


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
    # Each was made to be looked at once. Equal connections of one gateway are a conflict here: it goes before the next.
    *_deleted(163, "886a83b6-3b23-45b3-84da-f40b6441610d"),
    *_deleted(169, "a3398751-6ff5-44d9-95a2-086aadde3571"),
    *_deleted(170, "c233f398-2c99-45f9-8e50-cd9a9dba419c"),
    *_deleted(199, "07cfc00f-8dbd-4959-b50b-b9514aa84514"),
    *_deleted(205, "aed54701-8cc9-4644-9a2e-15804b7ea004"),
    *_deleted(236, "349aeb3c-f9df-498b-825a-0d5c180f7963"),
)


# --- comparing ----------------------------------------------------------------------------------------------------


class Ids:
    """Recorded ids and ours."""

    def __init__(self) -> None:
        self.ours: dict[str, str] = dict(PROJECTS)

    def told(self, text: str) -> str:
        """A text with our ids in place of the recorded ones."""
        return re.sub(UUID.pattern + "|[9ab]{32}", lambda found: self.ours.get(found[0], found[0]), text)

    def same(self, theirs: str, ours: str) -> bool:
        """Whether two texts are the same but for ids; a recorded id that was not seen before is the one beside it."""
        if UUID.fullmatch(theirs) and UUID.fullmatch(ours):
            return self.ours.setdefault(theirs, ours) == ours
        return self.told(theirs) == ours


def differences(
    ids: Ids, theirs: Any, ours: Any, at: str = "", key: str = "", ordered: bool = False
) -> Iterator[tuple[str, str]]:
    """(path, ours) of whatever differs between two bodies: keys, types, nesting, values that no run decides."""
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
        if any(isinstance(each, dict) and "id" in each for each in [*theirs, *ours]):
            yield from _objects(ids, theirs, ours, at, ordered)
        elif len(theirs) != len(ours):
            yield at, json.dumps(ours)
        elif theirs != ours and all(isinstance(each, str) for each in theirs) and _same_set(ids, theirs, ours):
            if [ids.told(each) for each in theirs] != ours:
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
    wanted = {ids.told(each["id"]): each for each in theirs}
    for id, each in wanted.items():
        twin = next((one for one in ours if one["id"] == id), None)
        if twin is None:
            yield f"{at}[]", f"lacks {each.get('name')}"
        else:
            yield from differences(ids, each, twin, f"{at}[]")
    yield from ((f"{at}[]", f"has {each.get('name')}") for each in ours if each["id"] not in wanted)
    names = [each.get("name") for each in theirs], [each.get("name") for each in ours]
    if ordered and names[0] != names[1]:
        yield f"{at}[]", f"order {names[1]}"


def _same_set(ids: Ids, theirs: list[str], ours: list[str]) -> bool:
    return sorted(map(ids.told, theirs)) == sorted(ours)


def _local(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


# --- replaying ----------------------------------------------------------------------------------------------------


class Replay:
    """The records, sent one after the other to an API with nothing in it."""

    def __init__(self, api: Api, records: list[Record]) -> None:
        self._api = api
        self._records = records
        self._ids = Ids()
        self._node = api.node()
        self._unseen = dict(_made_between(records))

    def run(self) -> Iterator[Difference]:
        """What differs, in order."""
        for record in self._records:
            for gap in GAPS:
                if gap.before == record.number:
                    self._send(gap.user, gap.method, gap.path, gap.body)
            self._make_unseen(record)
            if _shows_active(record):
                self._node.apply_desired()
            answer = self._api.as_(record.user).send(
                record.method, self._ids.told(record.path), headers=record.headers, content=self._content(record)
            )
            if record.method == "DELETE":
                self._node.apply_desired()
            for at, ours in self._compared(record, answer):
                yield Difference(record.number, at, ours)

    def _content(self, record: Record) -> bytes | None:
        if record.raw is not None:
            return record.raw.encode("latin-1")
        return None if record.body is None else self._ids.told(json.dumps(record.body)).encode()

    def _compared(self, record: Record, answer: Any) -> Iterator[tuple[str, str]]:
        assert answer.headers["x-openstack-request-id"].startswith("req-")
        ours = answer.json() if answer.content else None
        type = ours.get("NeutronError", {}).get("type", "") if isinstance(ours, dict) else ""
        if answer.status_code != record.status:
            yield "status", f"{answer.status_code} {type}".strip()
            if answer.status_code < 400 <= record.status:
                self._forget(record, ours)
        else:
            if (content_type := answer.headers.get("content-type")) != record.content_type:
                yield "content-type", str(content_type)
            yield from differences(self._ids, record.answer, ours, ordered="sort_key=" in record.path)

    def _forget(self, record: Record, ours: Any) -> None:
        """What is made here and was refused there is not there for the records that follow."""
        if record.method != "POST":
            return
        made = next(iter(ours.values()))
        for each in made if isinstance(made, list) else [made]:
            self._api.delete(f"{record.path}/{each['id']}")

    def _send(self, user: str, method: str, path: str, body: Any = None) -> Any:
        told = None if body is None else json.loads(self._ids.told(json.dumps(body)))
        answer = self._api.as_(user).send(method, self._ids.told(path), told)
        assert answer.status_code < 300, (method, path, answer.text)
        return answer.json() if answer.content else None

    def _make_unseen(self, record: Record) -> None:
        """Makes what this record names and nobody was seen to make."""
        mentioned = UUID.findall(json.dumps([record.path, record.body, record.answer]))
        for id in mentioned:
            if id in self._unseen:
                resource, shown = self._unseen.pop(id)
                given = {a.name: shown[a.name] for a in resource.attributes if a.post and a.name in shown}
                user = OWNERS[given.pop("project_id")]
                made = self._send(user, "POST", f"/{resource.path}", {resource.singular: given})
                self._ids.ours[id] = made[resource.singular]["id"]


def _made_between(records: list[Record]) -> Iterator[tuple[str, tuple[Resource, dict[str, Any]]]]:
    made: set[str] = set()
    shown: dict[str, tuple[Resource, dict[str, Any]]] = {}
    for record in records:
        for resource, each in _shown(record):
            if record.method == "POST":
                made.add(each["id"])
            elif "project_id" in each:
                shown.setdefault(each["id"], (resource, each))
    yield from ((id, found) for id, found in shown.items() if id not in made)


def _shown(record: Record) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """The objects in a recorded answer, with their resources."""
    for key, value in (record.answer or {}).items():
        for each in value if isinstance(value, list) else [value]:
            if key in BY_KEY and isinstance(each, dict) and "id" in each:
                yield BY_KEY[key], each


def _shows_active(record: Record) -> bool:
    return any(resource in VPN and each.get("status") == "ACTIVE" for resource, each in _shown(record))
