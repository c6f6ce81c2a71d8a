"""The API answers as the reference implementation does, except for the differences in golden_differences.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from linkspan.core.checks.weak_algorithms import WeakChoices
from tests.api.conftest import OpenApi
from tests.api.golden import GOLDEN, Difference, Ids, Replay, differences, load

LISTED = yaml.safe_load(Path(__file__).with_name("golden_differences.yaml").read_text(encoding="utf-8"))


def general(difference: Difference) -> str:
    """Returns the attribute if its absence on one side is listed once for all objects, else ""."""
    name = difference.at.rpartition(".")[2]
    side = {"only ours": "only_ours", "absent": "only_theirs"}.get(difference.ours)
    return name if side is not None and name in LISTED[side] else ""


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no recorded responses: {GOLDEN} is not there, set LINKSPAN_GOLDEN")
def test_every_difference_is_listed(open_api: OpenApi) -> None:
    records = load()
    with open_api(delete_wait=0.0, choices=WeakChoices(defaults="neutron")) as api:
        replayed = list(Replay(api, records).run())
    assert {general(difference) for difference in replayed} - {""} == {*LISTED["only_ours"], *LISTED["only_theirs"]}
    listed = {Difference(entry["record"], entry["at"], entry["ours"]) for entry in LISTED["records"]}
    assert {difference for difference in replayed if not general(difference)} == listed
    # Records that are not listed were compared and are equal.
    refused = {difference.record for difference in listed if difference.at == "status"}
    assert len(records) - len(refused) > 100


def test_every_listed_difference_has_a_reason() -> None:
    for entry in LISTED["records"]:
        assert sorted(entry) == ["at", "ours", "record", "why"]
        assert entry["why"]
    assert all(LISTED["only_ours"].values())
    assert all(LISTED["only_theirs"].values())


FIRST_ID = "11111111-1111-4111-8111-111111111111"
SECOND_ID = "22222222-2222-4222-8222-222222222222"
THEIRS: dict[str, Any] = {
    "id": FIRST_ID,
    "name": "a",
    "mtu": 1500,
    "up": True,
    "dpd": {"action": "hold", "interval": 30},
    "endpoints": ["10.0.0.0/24", "10.1.0.0/24"],
    "created_at": "2026-11-23T01:41:30Z",
    "href": "http://127.0.0.1:19696/v2.0/x?limit=1",
}


def changed(**more: Any) -> dict[str, Any]:
    """Returns a response that differs from the recorded one."""
    return json.loads(json.dumps(THEIRS | more))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("ours", "at"),
    [
        (changed(name="b"), "name"),
        (changed(mtu=1400), "mtu"),
        (changed(mtu="1500"), "mtu"),
        (changed(mtu=1500.0), "mtu"),
        (changed(up=1), "up"),
        (changed(up=None), "up"),
        (changed(dpd={"action": "hold"}), "dpd.interval"),
        (changed(dpd={"action": "clear", "interval": 30}), "dpd.action"),
        (changed(dpd=[]), "dpd"),
        (changed(endpoints=["10.1.0.0/24", "10.0.0.0/24"]), "endpoints"),
        (changed(endpoints=["10.0.0.0/24"]), "endpoints"),
        (changed(created_at=None), "created_at"),
        (changed(colour="red"), "colour"),
        (changed(href="http://127.0.0.1/v2.0/x?limit=2"), "href"),
    ],
)
def test_a_difference_is_detected(ours: dict[str, Any], at: str) -> None:
    """The negative control: a response that differs from the recorded one is reported."""
    assert [path for path, _ in differences(Ids(), THEIRS, ours)] == [at]


def test_values_that_vary_between_runs_are_no_difference() -> None:
    ids = Ids()
    ours = changed(id=SECOND_ID, created_at="2031-01-01T00:00:00Z", href="https://vpn.example.org/v2.0/x?limit=1")
    assert list(differences(ids, THEIRS, ours)) == []
    assert ids.replaced(f"/networks/{FIRST_ID}") == f"/networks/{SECOND_ID}"
    # From now on the recorded id corresponds to this id only.
    assert [at for at, _ in differences(ids, THEIRS, THEIRS)] == ["id"]


def test_lists_of_objects_are_compared_by_id() -> None:
    ids = Ids()
    pair = [{"id": FIRST_ID, "name": "a"}, {"id": SECOND_ID, "name": "b"}]
    assert list(differences(ids, pair, pair[::-1])) == []
    assert [ours for _, ours in differences(ids, pair, pair[::-1], ordered=True)] == ["order ['b', 'a']"]
    assert [ours for _, ours in differences(ids, pair, pair[:1])] == ["lacks b"]
    assert [ours for _, ours in differences(ids, pair[:1], pair)] == ["has b"]
