"""Quotas as values: what a PUT may say, and when there is no more room."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.checks import quota
from linkspan.core.errors import ApiError
from linkspan.core.schema.resources import RESOURCES


def test_everything_that_can_be_made_has_a_quota() -> None:
    assert set(quota.DEFAULTS) == set(quota.COUNTED) == {each.singular for each in RESOURCES if each.writable}


def test_quotas_are_integers_and_minus_one_is_any_number() -> None:
    given = {"vpnservice": -1, "router": "12", "network": 0, "tenant_id": "x", "force": True}
    assert quota.parse_quotas(given) == {"vpnservice": -1, "router": 12, "network": 0}
    assert quota.parse_quotas({}) == {}


@pytest.mark.parametrize(
    "given",
    [{"vpnservice": -2}, {"router": "many"}, {"router": None}, {"router": 2**31}, {"router": True}, {"port": 5}],
)
def test_anything_else_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        quota.parse_quotas(given)
    assert caught.value.type == "HTTPBadRequest"
    assert next(iter(given)) in caught.value.message


def test_the_last_place_may_be_taken_and_no_more() -> None:
    quota.check_room("router", 3, 3)
    quota.check_room("router", -1, 10**6)
    with pytest.raises(ApiError, match=r"Quota exceeded for resources: \['router'\]\."):
        quota.check_room("router", 3, 4)
    with pytest.raises(ApiError):
        quota.check_room("router", 0, 1)
