"""Our answers are those of the reference implementation, but for what golden_differences.yaml lists."""

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
    """The attribute whose absence on one side is listed once for all objects; "" for anything else."""
    name = difference.at.rpartition(".")[2]
    side = {"only ours": "only_ours", "absent": "only_theirs"}.get(difference.ours)
    return name if side is not None and name in LISTED[side] else ""


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no recorded answers: {GOLDEN} is not there, set LINKSPAN_GOLDEN")
def test_every_difference_is_on_purpose(open_api: OpenApi) -> None:
    records = load()
    with open_api(delete_wait=0.0, choices=WeakChoices(defaults="neutron")) as api:
        found = list(Replay(api, records).run())
    assert {general(each) for each in found} - {""} == {*LISTED["only_ours"], *LISTED["only_theirs"]}
    listed = {Difference(each["record"], each["at"], each["ours"]) for each in LISTED["records"]}
    assert {each for each in found if not general(each)} == listed
    # Whatever is not listed was compared and found equal.
    refused = {each.record for each in listed if each.at == "status"}
    assert len(records) - len(refused) > 100


def test_every_difference_says_why() -> None:
    for each in LISTED["records"]:
        assert sorted(each) == ["at", "ours", "record", "why"]
        assert each["why"]
    assert all(LISTED["only_ours"].values())
    assert all(LISTED["only_theirs"].values())


ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
THEIRS: dict[str, Any] = {
    "id": ONE,
    "name": "a",
    "mtu": 1500,
    "up": True,
    "dpd": {"action": "hold", "interval": 30},
    "endpoints": ["10.0.0.0/24", "10.1.0.0/24"],
    "created_at": "2026-11-23T01:41:30Z",
    "href": "http://127.0.0.1:19696/v2.0/x?limit=1",
}


def changed(**more: Any) -> dict[str, Any]:
    """An answer that differs."""
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
def test_a_difference_is_seen(ours: dict[str, Any], at: str) -> None:
    """The negative control: an answer that is not the recorded one is not taken for it."""
    assert [where for where, _ in differences(Ids(), THEIRS, ours)] == [at]


def test_what_a_run_decides_is_no_difference() -> None:
    ids = Ids()
    ours = changed(id=TWO, created_at="2031-01-01T00:00:00Z", href="https://vpn.example.org/v2.0/x?limit=1")
    assert list(differences(ids, THEIRS, ours)) == []
    assert ids.told(f"/networks/{ONE}") == f"/networks/{TWO}"
    # From now on the recorded id is this one of ours and no other.
    assert [at for at, _ in differences(ids, THEIRS, THEIRS)] == ["id"]


def test_lists_of_objects_are_compared_by_id() -> None:
    ids = Ids()
    pair = [{"id": ONE, "name": "a"}, {"id": TWO, "name": "b"}]
    assert list(differences(ids, pair, pair[::-1])) == []
    assert [ours for _, ours in differences(ids, pair, pair[::-1], ordered=True)] == ["order ['b', 'a']"]
    assert [ours for _, ours in differences(ids, pair, pair[:1])] == ["lacks b"]
    assert [ours for _, ours in differences(ids, pair[:1], pair)] == ["has b"]
