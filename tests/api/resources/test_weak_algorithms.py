"""Weak algorithms: accepted with a warning or refused, as configured; and Neutron's documented defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from linkspan.core.checks.weak_algorithms import WeakChoices
from tests.api.conftest import OpenApi
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite

IKE, IPSEC = "/vpn/ikepolicies", "/vpn/ipsecpolicies"
BAD = (400, "HTTPBadRequest")

WEAK: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    (IKE, "ikepolicy", {"auth_algorithm": "sha1"}, {"auth_algorithm": "sha1"}),
    (IKE, "ikepolicy", {"encryption_algorithm": "3des"}, {"encryption_algorithm": "3des"}),
    (IKE, "ikepolicy", {"pfs": "group2"}, {"pfs": "group2"}),
    (IKE, "ikepolicy", {"pfs": "group5"}, {"pfs": "group5"}),
    (
        IKE,
        "ikepolicy",
        {"ike_version": "v1", "phase1_negotiation_mode": "aggressive"},
        {"phase1_negotiation_mode": "aggressive"},
    ),
    (IPSEC, "ipsecpolicy", {"auth_algorithm": "sha1"}, {"auth_algorithm": "sha1"}),
    (IPSEC, "ipsecpolicy", {"encryption_algorithm": "3des"}, {"encryption_algorithm": "3des"}),
    (IPSEC, "ipsecpolicy", {"pfs": "group5", "auth_algorithm": "sha1"}, {"auth_algorithm": "sha1", "pfs": "group5"}),
]
STRONG: list[tuple[str, str, dict[str, Any]]] = [
    (IKE, "ikepolicy", {}),
    (IKE, "ikepolicy", {"phase1_negotiation_mode": "aggressive"}),
    (IPSEC, "ipsecpolicy", {}),
    # Set, but not in use.
    (IPSEC, "ipsecpolicy", {"auth_algorithm": "sha1", "encryption_algorithm": "aes-128-gcm-16"}),
    (IPSEC, "ipsecpolicy", {"encryption_algorithm": "3des", "transform_protocol": "ah"}),
]


def warnings(logs: Any) -> list[dict[str, Any]]:
    """Returns the warnings among log entries."""
    return [entry for entry in logs if entry["log_level"] == "warning"]


@pytest.mark.parametrize(("path", "key", "values", "choices"), WEAK)
def test_weak_algorithms_are_accepted_with_a_warning(
    api: Api, path: str, key: str, values: dict[str, Any], choices: dict[str, str]
) -> None:
    with capture_logs() as logs:
        response = api.send("POST", path, {key: values})
    assert response.status_code == 201
    created = response.json()[key]
    (entry,) = warnings(logs)
    assert (entry["event"], entry["id"], entry["project_id"]) == ("weak choices in a policy", created["id"], BLUE)
    assert entry["choices"] == choices
    assert entry["request_id"] == response.headers["x-openstack-request-id"]
    with capture_logs() as logs:
        api.update(f"{path}/{created['id']}", key, name="new")
    assert warnings(logs) == [], "a new name selects no algorithm"


@pytest.mark.parametrize(("path", "key", "values"), STRONG)
def test_strong_algorithms_cause_no_warning(open_api: OpenApi, path: str, key: str, values: dict[str, Any]) -> None:
    with open_api(choices=WeakChoices(weak="refuse")) as api, capture_logs() as logs:
        api.create(path, key, **values)
        assert warnings(logs) == []


@pytest.mark.parametrize(("path", "key", "values", "choices"), WEAK)
def test_an_operator_can_forbid_weak_algorithms(
    open_api: OpenApi, path: str, key: str, values: dict[str, Any], choices: dict[str, str]
) -> None:
    with open_api(choices=WeakChoices(weak="refuse")) as api:
        response = api.send("POST", path, {key: values})
        assert response.status_code == 400
        error = response.json()["NeutronError"]
        name, value = next(iter(choices.items()))
        assert error["type"] == "HTTPBadRequest"
        assert error["message"].startswith(f"Invalid input for {name}. Reason: {value} is weak")
        created = api.create(path, key)
        assert api.refused("PUT", f"{path}/{created['id']}", {key: values}) == BAD


def test_an_existing_weak_policy_can_be_strengthened_step_by_step(open_api: OpenApi) -> None:
    with open_api() as api:
        path = f"{IPSEC}/{api.ipsec(auth_algorithm='sha1', pfs='group5')['id']}"
    with open_api(choices=WeakChoices(weak="refuse")) as api:
        assert api.update(path, "ipsecpolicy", name="old")["name"] == "old"
        assert api.update(path, "ipsecpolicy", pfs="group14")["auth_algorithm"] == "sha1"
        assert api.refused("PUT", path, {"ipsecpolicy": {"pfs": "group2"}}) == BAD
        assert api.update(path, "ipsecpolicy", auth_algorithm="sha256")["pfs"] == "group14"


def test_a_weak_value_that_another_attribute_activates_is_refused(open_api: OpenApi) -> None:
    """An algorithm that was set but not in use comes into use when another attribute changes."""
    with open_api(choices=WeakChoices(weak="refuse")) as api:
        ike = api.ike(phase1_negotiation_mode="aggressive")
        assert api.refused("PUT", f"{IKE}/{ike['id']}", {"ikepolicy": {"ike_version": "v1"}}) == BAD
        ipsec = api.ipsec(auth_algorithm="sha1", encryption_algorithm="aes-128-gcm-16")
        values = {"ipsecpolicy": {"encryption_algorithm": "aes-128"}}
        assert api.refused("PUT", f"{IPSEC}/{ipsec['id']}", values) == BAD


def test_a_setting_restores_neutrons_defaults(open_api: OpenApi) -> None:
    with open_api(choices=WeakChoices(defaults="neutron")) as api:
        ike, ipsec = api.ike(), api.ipsec()
    shown = {name: ike[name] for name in ("auth_algorithm", "encryption_algorithm", "pfs", "ike_version")}
    assert shown == {"auth_algorithm": "sha1", "encryption_algorithm": "aes-128", "pfs": "group5", "ike_version": "v1"}
    assert (ike["phase1_negotiation_mode"], ike["lifetime"]) == ("main", {"units": "seconds", "value": 3600})
    shown = {name: ipsec[name] for name in ("auth_algorithm", "encryption_algorithm", "pfs", "transform_protocol")}
    assert shown == {
        "auth_algorithm": "sha1",
        "encryption_algorithm": "aes-128",
        "pfs": "group5",
        "transform_protocol": "esp",
    }


def test_a_short_pre_shared_key_is_accepted_with_a_warning(site: LocalSite) -> None:
    def warnings(logs: Sequence[Mapping[str, Any]]) -> list[str]:
        return [entry["id"] for entry in logs if entry["event"] == "a pre-shared key is short"]

    with capture_logs() as logs:
        short = site.connection(psk="elevenchars")["id"]
        path = f"{CONNECTIONS}/{short}"
        assert warnings(logs) == [short]
        site.api.update(path, "ipsec_site_connection", name="renamed")
        site.api.update(path, "ipsec_site_connection", psk="elevenchars")
        assert warnings(logs) == [short], "only when the key is new"
        site.api.update(path, "ipsec_site_connection", psk="twelve chars")
        assert warnings(logs) == [short]
        site.api.update(path, "ipsec_site_connection", psk="x")
        assert warnings(logs) == [short, short]
    assert "elevenchars" not in repr(logs)
