"""Rollback of connections: everything is as before, others are not touched, and what cannot be says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from linkspan.core.checks.weak_algorithms import WeakChoices
from linkspan.core.schema.configurations import OWN, PARTS
from linkspan.core.state.observed import ConnectionReport
from linkspan.store.rows import encryption_keys
from linkspan.store.timeline import GROWN
from linkspan.store.timeline_ticker import TimelineTicker
from tests.api.conftest import OpenApi
from tests.api.resources.test_connection_credentials import CertifiedSite
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite, Node

KEY = "ipsec_site_connection"
POLICIES = {
    "ikepolicy": ("/vpn/ikepolicies", "ike"),
    "ipsecpolicy": ("/vpn/ipsecpolicies", "ipsec"),
}
MOVING = ("revision", "revision_number", "updated_at", "last_good_revision", "psk_written_at", "status", "status_code")
PPK = {"ppk_id": "ppk-1", "ppk": "a post-quantum key"}


def without_moving(shown: dict[str, Any]) -> dict[str, Any]:
    """Returns an object without what tells times and revisions."""
    return {name: value for name, value in shown.items() if name not in MOVING and name != "status_reason"}


def state(api: Api, node: Node, connection: dict[str, Any]) -> tuple[Any, ...]:
    """Everything that is shown of a connection and of what it references, and what its node reads."""
    shown = api.as_("admin").get(f"{CONNECTIONS}/{connection['id']}")[KEY]
    policies = [without_moving(api.get(f"{path}/{shown[f'{name}_id']}")[name]) for name, (path, _) in POLICIES.items()]
    (desired,) = [each for each in node.desired()["connections"] if each["id"] == connection["id"]]
    return without_moving(shown), policies, without_moving(desired)


def change(api: Api, connection: dict[str, Any], **values: Any) -> dict[str, Any]:
    return api.update(f"{CONNECTIONS}/{connection['id']}", KEY, **values)


def rollback(api: Api, connection: dict[str, Any], revision: int | None = None) -> Any:
    """Brings a revision back; asserts 200."""
    body = {} if revision is None else {"revision": revision}
    response = api.send("POST", f"{CONNECTIONS}/{connection['id']}/rollback", body)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(api: Api, connection: dict[str, Any], body: Any = None) -> tuple[int, str, str]:
    """Returns status, type and words of a refused rollback."""
    response = api.send("POST", f"{CONNECTIONS}/{connection['id']}/rollback", {} if body is None else body)
    fault = response.json()["NeutronError"]
    return response.status_code, fault["type"], fault["message"]


def revisions(api: Api, connection: dict[str, Any]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = api.get(f"{CONNECTIONS}/{connection['id']}/revisions")["revisions"]
    return shown


# --- every attribute ------------------------------------------------------------------------------------------------

EDITS: dict[str, Callable[[CertifiedSite], dict[str, Any]]] = {
    "peer_address": lambda _: {"peer_address": "203.0.113.10"},
    "peer_id": lambda _: {"peer_id": "fqdn:peer.example.net"},
    "local_id": lambda _: {"local_id": "ops@example.org"},
    "peer_cidrs": lambda _: {"peer_cidrs": ["10.9.0.0/24", "10.10.0.0/24"]},
    "psk": lambda _: {"psk": "another secret of both"},
    "mtu": lambda _: {"mtu": 1400},
    "initiator": lambda _: {"initiator": "response-only"},
    "dpd": lambda _: {"dpd": {"action": "restart", "interval": 5}},
    "admin_state_up": lambda _: {"admin_state_up": False},
    "auth_mode": lambda site: {
        "auth_mode": "certs",
        "local_id": "gw.example.org",
        "peer_id": "peer.example.org",
        "local_certificate_id": site.certificate["id"],
        "trust_anchor_id": site.anchor["id"],
    },
    "local_certificate_id": lambda site: {"local_certificate_id": site.certified("gw.example.org")["id"]},
    "trust_anchor_id": lambda site: {"trust_anchor_id": site.anchored(site.ca.pem, name="second")["id"]},
    "peer_certificates": lambda site: {"peer_certificates": [site.pin()]},
    "ppk_id": lambda _: {"ppk_id": "ppk-2"},
    "ppk": lambda _: {"ppk": "another post-quantum key"},
    "ppk_required": lambda _: {"ppk_required": True},
    "ikepolicy.auth_algorithm": lambda _: {"auth_algorithm": "sha512"},
    "ikepolicy.encryption_algorithm": lambda _: {"encryption_algorithm": "aes-256"},
    "ikepolicy.pfs": lambda _: {"pfs": "group20"},
    "ikepolicy.lifetime": lambda _: {"lifetime": {"value": 7200}},
    "ikepolicy.phase1_negotiation_mode": lambda _: {"phase1_negotiation_mode": "aggressive"},
    "ikepolicy.ike_version": lambda _: {"ike_version": "v1"},
    "ipsecpolicy.auth_algorithm": lambda _: {"auth_algorithm": "sha512"},
    "ipsecpolicy.encryption_algorithm": lambda _: {"encryption_algorithm": "aes-256"},
    "ipsecpolicy.pfs": lambda _: {"pfs": "group20"},
    "ipsecpolicy.lifetime": lambda _: {"lifetime": {"units": "kilobytes", "value": 100000}},
    "ipsecpolicy.transform_protocol": lambda _: {"transform_protocol": "ah"},
    "ipsecpolicy.encapsulation_mode": lambda _: {"encapsulation_mode": "transport"},
}
GROUPS = ("local_ep_group_id", "peer_ep_group_id")
NEVER = {"ikepolicy_id", "ipsecpolicy_id", *(f"{p.prefix}.{a.name}" for p in PARTS[2:] for a in p.attributes)}
"""Fields that no update changes."""


def test_every_attribute_that_matters_is_rolled_back_here() -> None:
    fields = {attribute.name for attribute in OWN}
    fields |= {f"{part.prefix}.{attribute.name}" for part in PARTS for attribute in part.attributes}
    assert fields == {*EDITS, *GROUPS, *NEVER}


def edited(api: Api, site: CertifiedSite, connection: dict[str, Any], field: str) -> None:
    """Changes a field of a connection, or of a policy of it."""
    values = EDITS[field](site)
    part, dot, _ = field.partition(".")
    if dot:
        path, name = POLICIES[part]
        api.update(f"{path}/{getattr(site, name)['id']}", part, **values)
    else:
        change(api, connection, **values)


@pytest.mark.parametrize("field", EDITS)
def test_a_field_is_as_before(open_api: OpenApi, field: str) -> None:
    with open_api(psk_grace=0.0) as api:
        node, site = api.node(), CertifiedSite(api)
        if field.endswith("certificate_id") or field in ("trust_anchor_id", "peer_certificates"):
            connection = site.connect()
        else:
            # IKEv1 has no post-quantum keys.
            connection = site.connection(**({} if field == "ikepolicy.ike_version" else PPK))
        node.apply_desired()
        before = state(api, node, connection)
        edited(api, site, connection, field)
        assert state(api, node, connection) != before
        number = api.get(f"{CONNECTIONS}/{connection['id']}")[KEY]["revision_number"]
        answer = rollback(api, connection)
        assert state(api, node, connection) == before
        assert field in answer["rollback"]["fields"]
        assert answer["rollback"]["notes"] == []
        assert answer[KEY]["revision_number"] == number + 1
        assert refusal(api, connection)[:2] == (409, "RollbackConflict")


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
@pytest.mark.parametrize("attribute", GROUPS)
def test_a_group_is_as_before_or_made_anew(api: Api, attribute: str, deleted: bool) -> None:
    node, site = api.node(), LocalSite(api, with_subnet=False)
    second = api.inside("10.2.0.0/24")
    api.plug(site.router, second)
    members = {
        "local_ep_group_id": ("subnet", site.subnet["id"], second["id"]),
        "peer_ep_group_id": ("cidr", "10.9.0.0/24", "10.10.0.0/24"),
    }
    groups = {name: api.group(type, one, name=name) for name, (type, one, _) in members.items()}
    connection = site.connection(peer_cidrs=..., **{name: group["id"] for name, group in groups.items()})
    node.apply_desired()
    before = state(api, node, connection)
    type, _, other = members[attribute]
    change(api, connection, **{attribute: api.group(type, other)["id"]})
    if deleted:
        api.delete(f"/vpn/endpoint-groups/{groups[attribute]['id']}")
    answer = rollback(api, connection)
    shown, policies, desired = state(api, node, connection)
    assert (policies, desired) == before[1:]
    if not deleted:
        assert shown == before[0]
        return
    made = api.get(f"/vpn/endpoint-groups/{shown.pop(attribute)}")["endpoint_group"]
    assert shown == {name: value for name, value in before[0].items() if name != attribute}
    assert made["name"] == f"{attribute} of revision 1"
    assert [note.count(made["name"]) for note in answer["rollback"]["notes"]] == [1]
    assert made["endpoints"] == groups[attribute]["endpoints"]


def test_a_name_is_no_configuration(api: Api, site: LocalSite) -> None:
    connection = site.connection()
    change(api, connection, name="another", description="text")
    assert [each["current"] for each in revisions(api, connection)] == [True]
    assert refusal(api, connection) == (
        404,
        "RevisionNotFound",
        f"ipsec_site_connection {connection['id']} has no earlier revision to go back to",
    )
    assert refusal(api, connection, {"revision": 2})[:2] == (409, "RollbackConflict")
    change(api, connection, mtu=1400)
    assert [each["revision_number"] for each in revisions(api, connection)] == [3, 1]
    rollback(api, connection, 2)
    shown = api.get(f"{CONNECTIONS}/{connection['id']}")[KEY]
    assert (shown["name"], shown["mtu"]) == ("another", 1500)


# --- what others share ----------------------------------------------------------------------------------------------


def second_connection(site: LocalSite, **more: Any) -> dict[str, Any]:
    """A connection to another peer."""
    other = {"peer_address": "203.0.113.50", "peer_id": "203.0.113.50", "peer_cidrs": ["10.50.0.0/24"]}
    return site.connection(**other | more)


@pytest.mark.parametrize("part", POLICIES)
def test_a_policy_that_others_use_is_left_alone(api: Api, site: LocalSite, part: str) -> None:
    node = api.node()
    connection, other = site.connection(), second_connection(site)
    third = second_connection(site, peer_address="203.0.113.60", peer_id="203.0.113.60", peer_cidrs=["10.60.0.0/24"])
    node.apply_desired()
    before = state(api, node, connection)
    path, name = POLICIES[part]
    policy = getattr(site, name)
    api.update(f"{path}/{policy['id']}", part, encryption_algorithm="aes-256", name="shared")
    others = state(api, node, other)
    others_number = api.get(f"{CONNECTIONS}/{other['id']}")[KEY]["revision_number"]
    revision = node.desired()["revision"]
    answer = rollback(api, connection)
    assert state(api, node, other) == others
    assert api.get(f"{CONNECTIONS}/{other['id']}")[KEY]["revision_number"] == others_number
    assert [each["id"] for each in node.desired(revision)["connections"]] == [connection["id"]]
    desired = state(api, node, connection)[2]
    assert desired == before[2]
    made = api.get(f"{path}/{answer[KEY][f'{part}_id']}")[part]
    assert made["id"] != policy["id"]
    assert made["encryption_algorithm"] == "aes-128"
    (note,) = answer["rollback"]["notes"]
    assert "is used by others too" in note
    assert made["name"] in note
    # The next one takes the equal policy, and the last one has the first policy for itself.
    answer = rollback(api, other)
    assert answer[KEY][f"{part}_id"] == made["id"]
    assert made["name"] in answer["rollback"]["notes"][0]
    answer = rollback(api, third)
    assert (answer[KEY][f"{part}_id"], answer["rollback"]["notes"]) == (policy["id"], [])
    assert len(api.get(path)["ikepolicies" if part == "ikepolicy" else "ipsecpolicies"]) == 2


def test_the_only_user_gets_its_policy_changed_back(api: Api, site: LocalSite) -> None:
    """The control of the test above."""
    connection = site.connection()
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", encryption_algorithm="aes-256")
    answer = rollback(api, connection, 1)
    assert answer[KEY]["ikepolicy_id"] == site.ike["id"]
    assert api.get(f"/vpn/ikepolicies/{site.ike['id']}")["ikepolicy"]["encryption_algorithm"] == "aes-128"


def test_a_policy_that_is_gone_is_made_anew_within_the_quota(api: Api, site: LocalSite) -> None:
    node = api.node()
    connection, other = site.connection(), second_connection(site)
    node.apply_desired()
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", pfs="group20")
    made = rollback(api, connection)[KEY]["ikepolicy_id"]
    api.delete(f"{CONNECTIONS}/{other['id']}")
    node.apply_desired()
    # Forward again: the policy of that revision has other values meanwhile, and then is gone.
    api.delete(f"/vpn/ikepolicies/{site.ike['id']}")
    api.as_("admin").update(f"/quotas/{BLUE}", "quota", ikepolicy=1)
    status, type, words = refusal(api, connection, {"revision": 2})
    assert (status, type) == (409, "OverQuota")
    assert words.startswith("Revision 2 cannot be brought back: ")
    api.as_("admin").update(f"/quotas/{BLUE}", "quota", ikepolicy=2)
    answer = rollback(api, connection, 2)
    assert answer[KEY]["ikepolicy_id"] != made
    assert "is gone" in answer["rollback"]["notes"][0]
    assert answer["rollback"]["fields"] == ["ikepolicy.pfs", "ikepolicy_id"]


# --- what is said ---------------------------------------------------------------------------------------------------


def failed(api: Api, node: Node, connection: dict[str, Any], code: str = "AUTH_FAILED_PSK") -> None:
    """Has the node report that a connection is down."""
    desired = node.desired()
    generation = desired["gateways"][0]["generation"]
    node.report(
        ConnectionReport(connection["id"], generation, desired["revision"], "down", "the peer refused it", code=code)
    )


def test_a_failed_update_names_the_last_good_revision(open_api: OpenApi) -> None:
    with open_api(psk_grace=0.0) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection()
        path = f"{CONNECTIONS}/{connection['id']}"
        assert api.get(path)[KEY]["last_good_revision"] is None
        failed(api, node, connection)
        assert "was the last that was up" not in api.get(path)[KEY]["status_reason"]
        node.apply_desired()
        assert api.get(path)[KEY]["last_good_revision"] == 1
        change(api, connection, name="renamed")
        assert api.get(path)[KEY]["last_good_revision"] == 2
        failed(api, node, connection)
        assert "was the last that was up" not in api.get(path)[KEY]["status_reason"]
        change(api, connection, psk="wrong")
        failed(api, node, connection)
        shown = api.get(path)[KEY]
        assert shown["last_good_revision"] == 1
        assert "revision_number 1 was the last that was up: 'linkspan connection rollback'" in shown["status_reason"]
        assert [(each["revision_number"], each["good"], each["fields"]) for each in revisions(api, connection)] == [
            (3, False, []),
            (1, True, ["psk"]),
        ]
        rollback(api, connection)
        node.apply_desired()
        shown = api.get(path)[KEY]
        assert (shown["status"], shown["last_good_revision"]) == ("ACTIVE", shown["revision_number"])


def test_while_the_key_before_is_kept_the_new_one_is_not_good(open_api: OpenApi) -> None:
    with open_api(psk_grace=60.0) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection()
        node.apply_desired()
        change(api, connection, psk="wrong")
        node.apply_desired()
        assert api.get(f"{CONNECTIONS}/{connection['id']}")[KEY]["last_good_revision"] == 1


def test_the_list_says_who_and_never_a_secret(api: Api, site: LocalSite) -> None:
    connection = site.connection(psk="the first secret", **PPK)
    api.as_("admin").update(f"{CONNECTIONS}/{connection['id']}", KEY, psk="the second secret", mtu=1400)
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", pfs="group20")
    shown = revisions(api, connection)
    assert [(each["revision_number"], each["author"], each["fields"]) for each in shown] == [
        (3, "alice", []),
        (2, "admin", ["ikepolicy.pfs"]),
        (1, "alice", ["ikepolicy.pfs", "mtu", "psk"]),
    ]
    assert "secret" not in str(shown)
    assert "secret" not in str(rollback(api, connection, 1)["rollback"])


def test_the_number_of_revisions_is_bounded_and_the_last_good_one_stays(open_api: OpenApi) -> None:
    with open_api(store={"keep_revisions": 3}) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection()
        change(api, connection, mtu=1300)
        node.apply_desired()
        for mtu in range(1400, 1410):
            change(api, connection, mtu=mtu)
        shown = revisions(api, connection)
        assert [each["revision_number"] for each in shown] == [12, 11, 10, 9, 2]
        assert refusal(api, connection, {"revision": 1}) == (
            404,
            "RevisionNotFound",
            f"Revision 1 of ipsec_site_connection {connection['id']} is not kept, but 2, 9, 10, 11",
        )
        assert rollback(api, connection)[KEY]["mtu"] == 1300


def test_rows_beyond_the_bound_are_dropped(open_api: OpenApi, database: Engine) -> None:
    with open_api(store={"keep_revisions": 3}) as api:
        node, site = api.node(), LocalSite(api)
        connections = [site.connection(), second_connection(site)]
        node.apply_desired()
        ticker = TimelineTicker(api.store, lambda _keys: None, 1000)
        for number in range(20):
            lifetime = {"value": 3600 + number + 1}
            api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", lifetime=lifetime)
            ticker.tick()
        query = text("SELECT count(*) FROM connection_revision GROUP BY connection_id")
        with database.connect() as opened:
            counts = opened.execute(query).scalars().all()
        assert len(counts) == 2
        assert max(counts) <= 3 + 1 + GROWN
        assert [each["revision_number"] for each in revisions(api, connections[0])] == [21, 20, 19, 18, 1]


def test_it_is_one_audit_entry(api: Api, site: LocalSite) -> None:
    connection = site.connection()
    change(api, connection, mtu=1400)
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", pfs="group20")
    before = api.as_("admin").get("/linkspan/audit")["audit"]
    rollback(api, connection, 1)
    (entry,) = [each for each in api.as_("admin").get("/linkspan/audit")["audit"] if each not in before]
    assert (entry["action"], entry["object_id"]) == ("rollback", connection["id"])
    assert entry["fields"] == ["ikepolicy.pfs", "mtu"]


# --- what is refused ------------------------------------------------------------------------------------------------


def test_what_cannot_be_brought_back_says_why(api: Api) -> None:
    site = CertifiedSite(api)
    connection = site.connect()
    second = site.certified("gw.example.org")
    change(api, connection, local_certificate_id=second["id"])
    api.delete(f"/vpn/certificates/{site.certificate['id']}")
    assert refusal(api, connection) == (409, "RollbackConflict", "No earlier revision was up: name one of 1")
    status, type, words = refusal(api, connection, {"revision": 1})
    assert (status, type) == (409, "RollbackConflict")
    assert words == f"Revision 1 cannot be brought back: VPNCertificate {site.certificate['id']} of it is gone"
    assert refusal(api, connection, {"revision": 7})[:2] == (404, "RevisionNotFound")
    for body in ({"revision": "x"}, {"revision": 0}, {"revisions": 1}, [1]):
        assert refusal(api, connection, body)[:2] == (400, "HTTPBadRequest")


def test_the_settings_of_today_apply(open_api: OpenApi) -> None:
    with open_api() as api:
        site = LocalSite(api)
        connection = site.connection()
        api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", encryption_algorithm="3des")
        api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", encryption_algorithm="aes-256")
    with open_api(choices=WeakChoices(weak="refuse")) as api:
        status, _, words = refusal(api, connection, {"revision": 2})
        assert status == 400
        assert words.startswith("Revision 2 cannot be brought back: Invalid input for encryption_algorithm")
        rollback(api, connection, 1)


def test_the_checks_of_an_update_apply_to_the_final_state(api: Api, site: LocalSite) -> None:
    """A post-quantum key needs IKEv2: policy and connection come back together, in either direction."""
    connection = site.connection(**PPK)
    change(api, connection, ppk=None, ppk_id="")
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", ike_version="v1")
    rollback(api, connection, 1)
    rollback(api, connection, 3)


def test_another_connection_may_be_in_the_way(api: Api, site: LocalSite) -> None:
    connection = site.connection()
    change(api, connection, peer_address="203.0.113.99", peer_id="203.0.113.99")
    other = site.connection(psk="another", peer_cidrs=["10.50.0.0/24"])
    status, type, words = refusal(api, connection, {"revision": 1})
    assert (status, type) == (409, "IPsecSiteConnectionConflict")
    assert words.startswith(f"Revision 1 cannot be brought back: Conflicts with ipsec_site_connection {other['id']}")
    assert api.get(f"{CONNECTIONS}/{connection['id']}")[KEY]["peer_address"] == "203.0.113.99"


def test_only_who_may_update(api: Api, site: LocalSite) -> None:
    connection = site.connection()
    change(api, connection, mtu=1400)
    path = f"{CONNECTIONS}/{connection['id']}"
    assert api.as_("bob").refused("GET", f"{path}/revisions") == (404, "IPsecSiteConnectionNotFound")
    assert api.as_("bob").refused("POST", f"{path}/rollback", {"revision": 1})[0] == 404
    assert api.as_("reader").refused("POST", f"{path}/rollback", {"revision": 1}) == (403, "PolicyNotAuthorized")
    assert len(api.as_("reader").get(f"{path}/revisions")["revisions"]) == 2
    headers = {"if-match": "revision_number=1"}
    assert api.refused("POST", f"{path}/rollback", {"revision": 1}, headers=headers)[0] == 412
    rollback(api, connection, 1)


# --- keys -----------------------------------------------------------------------------------------------------------


def test_envelopes_are_copied_and_go_with_their_connection(api: Api, site: LocalSite, database: Engine) -> None:
    connection = site.connection(psk="the first secret", **PPK)
    change(api, connection, psk="the second secret")
    columns = [column.name for column in encryption_keys.SEALED if column.table.name == "connection_revision"]
    assert sorted(columns) == ["ppk", "psk"]
    with database.connect() as opened:
        (sealed,) = opened.execute(text("SELECT psk FROM connection_revision")).scalars()
    assert b"secret" not in bytes(sealed)
    api.delete(f"{CONNECTIONS}/{connection['id']}")
    with database.connect() as opened:
        assert opened.execute(text("SELECT count(*) FROM connection_revision")).scalar() == 0
