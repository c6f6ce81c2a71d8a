"""`If-Match: revision_number=N`: a write for another revision changes nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.api.resources.test_races import AT_ONCE, together
from tests.api.world import Api, LocalSite

IKE = "/vpn/ikepolicies"
FAILED = (412, "RevisionNumberConstraintFailed")


def at(number: int | str) -> dict[str, str]:
    """Returns the header of a write for this revision."""
    return {"if-match": f"revision_number={number}"}


def test_a_write_for_the_current_revision_succeeds(api: Api) -> None:
    policy = api.ike()
    path = f"{IKE}/{policy['id']}"
    response = api.send("PUT", path, {"ikepolicy": {"name": "new"}}, headers=at(policy["revision_number"]))
    assert response.json()["ikepolicy"]["revision_number"] == policy["revision_number"] + 1
    assert api.send("DELETE", path, headers=at(policy["revision_number"] + 1)).status_code == 204


def test_a_write_for_another_revision_changes_nothing(site: LocalSite) -> None:
    api = site.api
    for path, key in (
        (f"{IKE}/{site.ike['id']}", "ikepolicy"),
        (f"/vpn/vpnservices/{site.service['id']}", "vpnservice"),
        (f"/routers/{site.router['id']}", "router"),
    ):
        created = api.get(path)[key]
        for number in (0, created["revision_number"] - 1, created["revision_number"] + 1):
            assert api.refused("PUT", path, {key: {"name": "new"}}, headers=at(number)) == FAILED
            assert api.refused("DELETE", path, headers=at(number)) == FAILED
        assert api.get(path)[key] == created
        # The same request without the header succeeds.
        assert api.update(path, key, name="new")["name"] == "new"


def test_if_match_does_not_reveal_an_invisible_object(api: Api) -> None:
    path = f"{IKE}/{api.ike()['id']}"
    assert api.as_("bob").refused("DELETE", path, headers=at(7)) == (404, "IKEPolicyNotFound")
    assert api.as_("reader").refused("DELETE", path, headers=at(7)) == (403, "PolicyNotAuthorized")


@pytest.mark.parametrize("header", ["revision_number=x", "revision_number=", "revision=1", "1", '"etag"', "*", "\xff"])
def test_an_unknown_condition_is_refused(api: Api, header: str) -> None:
    path = f"{IKE}/{api.ike()['id']}"
    assert api.refused("DELETE", path, headers={"if-match": header.encode("latin-1")}) == (400, "HTTPBadRequest")


def test_of_concurrent_writes_for_one_revision_one_succeeds(api: Api) -> None:
    policy = api.ike()

    def send(number: int) -> int:
        body = {"ikepolicy": {"name": f"{number}"}}
        return api.send("PUT", f"{IKE}/{policy['id']}", body, headers=at(policy["revision_number"])).status_code

    assert Counter(together(send)) == {200: 1, 412: AT_ONCE - 1}
