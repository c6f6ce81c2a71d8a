"""Quotas: parsing of a PUT, and the check against the usage."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.checks import quota
from linkspan.core.errors import ApiError
from linkspan.core.schema.resources import RESOURCES


def test_every_writable_resource_has_a_quota() -> None:
    assert (
        set(quota.DEFAULTS) == set(quota.COUNTED) == {resource.singular for resource in RESOURCES if resource.writable}
    )


def test_quotas_are_integers_and_minus_one_is_unlimited() -> None:
    values = {"vpnservice": -1, "router": "12", "network": 0, "tenant_id": "x", "force": True}
    assert quota.parse_quotas(values) == {"vpnservice": -1, "router": 12, "network": 0}
    assert quota.parse_quotas({}) == {}


@pytest.mark.parametrize(
    "values",
    [{"vpnservice": -2}, {"router": "many"}, {"router": None}, {"router": 2**31}, {"router": True}, {"port": 5}],
)
def test_other_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        quota.parse_quotas(values)
    assert caught.value.type == "HTTPBadRequest"
    assert next(iter(values)) in caught.value.message


def test_the_usage_may_reach_the_quota_and_not_exceed_it() -> None:
    quota.check_room("router", 3, 3)
    quota.check_room("router", -1, 10**6)
    with pytest.raises(ApiError, match=r"Quota exceeded for resources: \['router'\]\."):
        quota.check_room("router", 3, 4)
    with pytest.raises(ApiError):
        quota.check_room("router", 0, 1)
