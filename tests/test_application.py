"""Each setting of the API changes the responses of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from linkspan.bootstrap import wiring
from linkspan.settings import load

IKE, GROUPS = "/v2.0/vpn/ikepolicies", "/v2.0/vpn/endpoint-groups"


def status_codes(state: Path, settings: dict[str, Any], *requests: tuple[str, str, Any]) -> list[int]:
    """Sends requests to an API with these settings and without authentication; returns the status codes."""
    overrides = {"state": state, "api.auth": "none", "log.terminal": "off", "api.hosts": "testserver"} | settings
    with wiring.open_application(load(environment={}, overrides=overrides)) as (app, _), TestClient(app) as client:
        return [client.request(method, path, json=body).status_code for method, path, body in requests]


def policies(count: int) -> tuple[str, str, Any]:
    """Returns a request that creates `count` policies."""
    return "POST", IKE, {"ikepolicies": [{}] * count}


ONE: tuple[str, str, Any] = ("POST", IKE, {"ikepolicy": {}})
CASES: list[tuple[dict[str, Any], list[tuple[str, str, Any]], list[int]]] = [
    ({}, [policies(100), policies(101)], [201, 400]),
    ({"limits.bulk": 1}, [policies(1), policies(2)], [201, 400]),
    ({"quota.ikepolicy": 1}, [ONE, ONE], [201, 409]),
    ({"limits.body": 200}, [("POST", IKE, {"ikepolicy": {"description": "d" * 200}})], [413]),
    (
        {"limits.cidrs": 1},
        [("POST", GROUPS, {"endpoint_group": {"type": "cidr", "endpoints": ["10.0.0.0/24", "10.1.0.0/24"]}})],
        [400],
    ),
    ({"limits.project_rate": 0.001, "limits.project_burst": 2}, [ONE, ONE, ONE], [201, 201, 429]),
    ({"api.weak_choices": "refuse"}, [ONE, ("POST", IKE, {"ikepolicy": {"pfs": "group2"}})], [201, 400]),
    ({"api.weak_choices": "refuse", "api.policy_defaults": "neutron"}, [ONE], [400]),
]


@pytest.mark.parametrize(("settings", "requests", "expected"), CASES)
def test_a_setting_changes_the_response(
    tmp_path: Path, settings: dict[str, Any], requests: list[tuple[str, str, Any]], expected: list[int]
) -> None:
    assert status_codes(tmp_path, settings, *requests) == expected


def test_limits_page_is_the_size_of_a_page(tmp_path: Path) -> None:
    settings = load(
        environment={},
        overrides={
            "state": tmp_path,
            "api.auth": "none",
            "api.hosts": "testserver",
            "log.terminal": "off",
            "limits.page": 2,
        },
    )
    with wiring.open_application(settings) as (app, _), TestClient(app) as client:
        client.post(IKE, json={"ikepolicies": [{}] * 3})
        assert len(client.get(IKE).json()["ikepolicies"]) == 2


def test_failed_logins_from_an_address_are_limited(tmp_path: Path) -> None:
    limits = {"limits.failure_burst": 2, "limits.failure_rate": 0.001}
    overrides = {"state": tmp_path, "log.terminal": "off", "api.hosts": "testserver"} | limits
    settings = load(environment={}, overrides=overrides)
    with wiring.open_application(settings) as (app, _), TestClient(app) as client:
        codes = [client.get(IKE, auth=(f"mallory {number}", "wrong")).status_code for number in range(3)]
    assert codes == [401, 401, 429]


def test_failed_logins_with_a_name_are_limited(tmp_path: Path) -> None:
    limits = {"limits.name_failure_burst": 2, "limits.name_failure_rate": 0.001}
    overrides = {"state": tmp_path, "log.terminal": "off", "api.hosts": "testserver"} | limits
    settings = load(environment={}, overrides=overrides)
    with wiring.open_application(settings) as (app, _), TestClient(app) as client:
        names = ("mallory", "mallory", "mallory", "eve")
        assert [client.get(IKE, auth=(name, "wrong")).status_code for name in names] == [401, 401, 429, 401]
