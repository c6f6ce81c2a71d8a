"""The peer's configuration over the API: values, formats, findings, and the key, which is audited."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.authorization.policy import policy_of
from linkspan.core.peer_side.formats.format import PLACEHOLDER
from linkspan.core.peer_side.formats.registry import FORMATS
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite

KEY = "correct.horse.42"
RULE = "get_ipsec_site_connection:peer_config_psk"


def made(api: Api, **values: Any) -> str:
    """The path of the export of a new connection."""
    connection = LocalSite(api).connection(psk=KEY, peer_id="branch.example.org", **values)
    return f"{CONNECTIONS}/{connection['id']}/peer-config"


def export(api: Api, path: str, query: str = "") -> dict[str, Any]:
    """The export of a connection."""
    found: dict[str, Any] = api.get(f"{path}{query}")["peer_config"]
    return found


def trail(api: Api) -> list[dict[str, Any]]:
    """The entries about exported keys."""
    entries: list[dict[str, Any]] = api.get("/linkspan/audit?action=export_secret")["audit"]
    return entries


def test_without_a_format_there_are_the_values_in_words(api: Api) -> None:
    found = export(api, made(api))
    assert (found["format"], found["secret"]) == ("text", False)
    values = {value["name"]: value["value"] for value in found["values"]}
    assert values["local_id"] == "branch.example.org (type: FQDN)"
    assert values["ike_version"] == "IKEv2"
    assert KEY not in str(found)
    (file,) = found["files"]
    assert all(value["label"] in file["text"] and value["value"] in file["text"] for value in found["values"])


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_hides_the_key_unless_it_is_asked_for(api: Api, form: str) -> None:
    path = made(api)
    hidden = export(api, path, f"?format={form}")
    assert KEY not in str(hidden)
    assert not hidden["secret"]
    shown = export(api, path, f"?format={form}&secret=true")
    assert shown["secret"]
    assert KEY in str(shown["files"]) or not shown["files"]
    if form not in ("text", "json"):
        assert [file["text"] for file in shown["files"]] == [
            file["text"].replace(PLACEHOLDER, KEY) for file in hidden["files"]
        ]


@pytest.mark.security("14", tried="exports a key", control="itself: without the key there is no entry")
def test_an_exported_key_is_audited_and_nothing_else_is(api: Api) -> None:
    path = made(api)
    export(api, path)
    assert trail(api) == []
    export(api, path, "?secret=true")
    (entry,) = trail(api)
    assert (entry["resource"], entry["fields"], entry["user_name"]) == ("connection", ["psk"], api.user)
    assert entry["object_id"] in path


def test_a_reader_gets_the_configuration_and_no_key(api: Api) -> None:
    path = made(api)
    reader = api.as_("reader")
    assert export(reader, path, "?format=swanctl")["files"]
    assert reader.refused("GET", f"{path}?secret=true") == (403, "PolicyNotAuthorized")
    assert trail(api) == []


@pytest.mark.parametrize("rule", [RULE, "get_ipsec_site_connection:psk"])
def test_the_key_takes_its_own_rule_and_that_of_the_key(open_api: OpenApi, rule: str) -> None:
    with open_api(policy=policy_of({rule: "rule:admin_only"})) as api:
        path = made(api)
        assert api.refused("GET", f"{path}?secret=true") == (403, "PolicyNotAuthorized")
        assert export(api, path)["secret"] is False
        assert export(api.as_("admin"), path, "?secret=true")["secret"] is True


def test_who_may_not_read_the_key_learns_nothing_of_it_from_findings(api: Api) -> None:
    path = made(api)
    api.update(path.removesuffix("/peer-config"), "ipsec_site_connection", psk="carriage\rreturn")
    own, foreign = (export(caller, path, "?format=linkspan") for caller in (api, api.as_("reader")))
    assert [finding["attribute"] for finding in own["findings"]] == ["connection.psk"]
    assert own["files"] == []
    assert foreign["findings"] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?format=swanctrl", "is not in valid_values"),
        ("?formatt=text", "did you mean 'format'"),
        ("?format=text&format=json", "given twice"),
        ("?secret=perhaps", "cannot be converted to boolean"),
    ],
)
def test_a_wrong_query_is_refused_with_the_remedy(api: Api, query: str, words: str) -> None:
    response = api.send("GET", f"{made(api)}{query}")
    assert response.status_code == 400
    assert words in response.json()["NeutronError"]["message"]


def test_another_projects_connection_does_not_exist(api: Api) -> None:
    path = made(api)
    for query in ("", "?secret=true"):
        assert api.as_("bob").refused("GET", f"{path}{query}") == (404, "IPsecSiteConnectionNotFound")
