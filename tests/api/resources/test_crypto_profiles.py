"""Crypto profiles: they are listed, set the algorithms of policies, and are shown for policies that have these."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.checks.weak_algorithms import WeakChoices
from linkspan.core.ipsec.crypto_profiles import PROFILES, CryptoProfile
from tests.api.conftest import OpenApi
from tests.api.world import Api

POLICIES = [("/vpn/ikepolicies", "ikepolicy"), ("/vpn/ipsecpolicies", "ipsecpolicy")]
EVERY_POLICY = pytest.mark.parametrize(("path", "key"), POLICIES)
EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)


def of(profile: CryptoProfile, key: str) -> dict[str, str]:
    """The values that a profile has for a policy."""
    return dict(profile.ikepolicy if key == "ikepolicy" else profile.ipsecpolicy)


def test_profiles_are_listed(api: Api) -> None:
    listed = api.get("/vpn/crypto-profiles")["crypto_profiles"]
    assert [profile["name"] for profile in listed] == ["cnsa1", "cnsa2-transition", "compat-2013", "recommended"]
    by_name = {profile["name"]: profile for profile in listed}
    assert by_name["cnsa1"]["ike_proposal"] == "aes256gcm16-prfsha384-ecp384"
    assert by_name["cnsa1"]["esp_proposal"] == "aes256gcm16-ecp384"
    assert {name: profile["weak"] for name, profile in by_name.items() if profile["weak"]} == {
        "compat-2013": ["group5", "sha1"]
    }
    for profile in listed:
        assert api.get(f"/vpn/crypto-profiles/{profile['id']}") == {"crypto_profile": profile}
    assert api.get("/vpn/crypto-profiles?name=cnsa1&fields=id") == {"crypto_profiles": [{"id": "cnsa1"}]}
    assert api.as_("reader").get("/vpn/crypto-profiles")["crypto_profiles"] == listed


def test_an_unknown_profile_is_not_found(api: Api) -> None:
    assert api.refused("GET", "/vpn/crypto-profiles/best") == (404, "CryptoProfileNotFound")
    assert api.refused("GET", "/vpn/crypto-profiles?colour=red") == (400, "HTTPBadRequest")


def test_profiles_are_distinct() -> None:
    for key in ("ikepolicy", "ipsecpolicy"):
        assert len({tuple(of(profile, key).items()) for profile in PROFILES.values()}) == len(PROFILES)


@EVERY_PROFILE
@EVERY_POLICY
def test_a_policy_takes_the_values_of_its_profile(api: Api, path: str, key: str, profile: CryptoProfile) -> None:
    created = api.create(path, key, name="p", crypto_profile=profile.name)
    values = of(profile, key)
    assert {name: created[name] for name in values} == values
    assert created["crypto_profile"] == profile.name
    member = f"{path}/{created['id']}"
    assert api.get(member)[key]["crypto_profile"] == profile.name
    (listed,) = [each for each in api.get(path)[f"{path.rpartition('/')[2]}"] if each["id"] == created["id"]]
    assert listed["crypto_profile"] == profile.name
    # An edit of one algorithm leaves the profile, and naming it again comes back to it.
    edited = api.update(member, key, pfs="group31")
    assert (edited["crypto_profile"], edited["pfs"]) == (None, "group31")
    again = api.update(member, key, crypto_profile=profile.name)
    assert {name: again[name] for name in (*values, "crypto_profile")} == values | {"crypto_profile": profile.name}
    assert again["revision_number"] > edited["revision_number"]
    # A client that sends back what it has read changes nothing.
    same = api.update(member, key, crypto_profile=profile.name, **values)
    assert same["revision_number"] == again["revision_number"]


@EVERY_POLICY
def test_a_policy_without_a_profile_has_its_own_values(api: Api, path: str, key: str) -> None:
    created = api.create(path, key, crypto_profile=None)
    assert (created["crypto_profile"], created["encryption_algorithm"]) == (None, "aes-128")
    assert api.update(f"{path}/{created['id']}", key, crypto_profile=None)["encryption_algorithm"] == "aes-128"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crypto_profile": "best"}, "'best' is not in"),
        ({"crypto_profile": ["cnsa1"]}, "is not in"),
        ({"crypto_profile": 1}, "is not in"),
        ({"crypto_profile": "cnsa1", "pfs": "group14"}, "cnsa1 has pfs group20: leave out pfs, or crypto_profile"),
    ],
)
@EVERY_POLICY
def test_what_contradicts_a_profile_is_refused(
    api: Api, path: str, key: str, values: dict[str, Any], message: str
) -> None:
    id = api.create(path, key)["id"]
    for method, target in (("POST", path), ("PUT", f"{path}/{id}")):
        response = api.send(method, target, {key: values})
        assert response.status_code == 400
        assert message in response.json()["NeutronError"]["message"]


def test_a_weak_profile_is_refused_where_weak_choices_are(open_api: OpenApi) -> None:
    alias = "vpn-no-sha1-3des"
    for weak in ("warn", "refuse"):
        with open_api(choices=WeakChoices(weak=weak)) as api:
            refuses = weak == "refuse"
            aliases = {each["alias"] for each in api.get("/extensions")["extensions"]}
            assert (alias in aliases) == refuses
            assert api.send("GET", f"/extensions/{alias}").status_code == (200 if refuses else 404)
            for path, key in POLICIES:
                response = api.send("POST", path, {key: {"crypto_profile": "compat-2013"}})
                assert response.status_code == (400 if refuses else 201)
                assert api.send("POST", path, {key: {"crypto_profile": "recommended"}}).status_code == 201
