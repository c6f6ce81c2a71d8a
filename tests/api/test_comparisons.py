"""Comparisons at the API: what does not fit, every refusal with its line, who sees what, and nothing that is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, MetaData, select

from linkspan.core.authorization.policy import policy_of
from linkspan.core.peer_side.parsers.reading import MOST_BYTES
from linkspan.core.state.desired import Connection
from linkspan.store.nodes.connection_state import live_connections
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite
from tests.core.peer_side import fitting

MARK = "swordfish-in-the-text"


def stored(api: Api, id: str) -> Connection:
    """A connection as its node would get it."""
    with api.store.read() as tx:
        (connection,) = live_connections(tx, [id])
    return connection


def compare(api: Api, id: str, text: str, **values: Any) -> dict[str, Any]:
    """The answer to a comparison; asserts 200."""
    response = api.send("POST", f"{CONNECTIONS}/{id}/compare", {"compare": {"configuration": text, **values}})
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()["compare"]
    return shown


def test_what_fits_fits_and_what_does_not_is_named(api: Api, site: LocalSite) -> None:
    id = site.connection()["id"]
    peer = fitting.fitting(stored(api, id))
    shown = compare(api, id, fitting.swanctl(peer))
    assert (shown["fits"], shown["differences"], shown["format"]) == (True, [], "swanctl")
    assert (shown["connection_id"], shown["name"], shown["peer_connection"]) == (id, "connection", "office")
    shown = compare(api, id, fitting.swanctl(msgspec.structs.replace(peer, ike="aes192-sha256-modp2048")))
    (difference,) = shown["differences"]
    assert not shown["fits"]
    assert (difference["field"], difference["severity"], difference["line"]) == ("ikepolicy", "cannot", 8)
    assert difference["code"] == "IKE_PROPOSAL_MISMATCH_ENCRYPTION"
    assert difference["there"] == "set the encryption algorithm of phase 1 to that of our IKE policy"


def test_the_connection_for_our_address_is_found_among_several(api: Api, site: LocalSite) -> None:
    id = site.connection()["id"]
    peer = fitting.fitting(stored(api, id))
    ours = fitting.swanctl(peer)
    other = ours.replace("office {", "other {").replace(peer.remote_address, "192.0.2.200")
    shown = compare(api, id, ours + other.partition("secrets {")[0])
    assert (shown["fits"], shown["peer_connection"]) == (True, "office")
    shown = compare(api, id, ours + other.partition("secrets {")[0], connection="other")
    assert {difference["field"] for difference in shown["differences"]} == {"external_ip", "local_id"}
    twice = ours + ours.partition("secrets {")[0].replace("office {", "again {")
    body = {"compare": {"configuration": twice}}
    response = api.send("POST", f"{CONNECTIONS}/{id}/compare", body)
    assert response.status_code == 400
    assert "there are several connections: name one of office, again" in response.text


def test_the_key_is_compared_for_those_who_may_read_it(open_api: OpenApi) -> None:
    """Others could find it by trying. The control is the member."""
    with open_api(policy=policy_of({"get_ipsec_site_connection:psk": "rule:member_role"})) as api:
        site = LocalSite(api)
        id = site.connection()["id"]
        peer = fitting.fitting(stored(api, id))
        wrong = fitting.swanctl(msgspec.structs.replace(peer, psk=MARK))
        for text in (fitting.swanctl(peer), wrong):
            (difference,) = compare(api.as_("reader"), id, text)["differences"]
            assert (difference["field"], difference["severity"], difference["code"]) == ("psk", "unknown", "")
        (difference,) = compare(api, id, wrong)["differences"]
        assert (difference["severity"], difference["code"]) == ("cannot", "PSK_MISMATCH")


REFUSED: list[Any] = [
    ({}, "Resource body required"),
    ({"compare": []}, "Unable to find 'compare'"),
    ({"compare": {}}, "Invalid input for configuration"),
    ({"compare": {"configuration": " "}}, "Invalid input for configuration"),
    ({"compare": {"configuration": ["x"]}}, "Invalid input for configuration"),
    ({"compare": {"configuration": "x", "more": 1}}, "Unrecognized attribute(s) 'more'"),
    ({"compare": {"configuration": "x"}, "more": 1}, "Unrecognized attribute(s) 'more'"),
    ({"compare": {"configuration": "x", "format": "word"}}, "Invalid input for format"),
    ({"compare": {"configuration": "x", "connection": 7}}, "Invalid input for connection"),
    ({"compare": {"configuration": "hello"}}, "none of the formats"),
    ({"compare": {"configuration": "connections {\n a {\n version = 7\n}\n}"}}, "line 3: '7' should be one of 0, 1, 2"),
    ({"compare": {"configuration": "connections {\n a {\n"}}, "the section that begins on line 2 has no '}'"),
    ({"compare": {"configuration": "connections {\n a\0b {"}}, "line 2: there is a control character"),
    ({"compare": {"configuration": "connections { a { } }", "connection": "b"}}, "there is no connection 'b'"),
    ({"compare": {"configuration": "x" * (MOST_BYTES + 1)}}, f"{MOST_BYTES} are read at most"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_with_its_line(
    api: Api, site: LocalSite, body: dict[str, Any], message: str
) -> None:
    id = site.connection()["id"]
    response = api.send("POST", f"{CONNECTIONS}/{id}/compare", body)
    assert response.status_code == 400
    assert message in response.json()["NeutronError"]["message"]


def test_what_is_no_text_is_refused(api: Api, site: LocalSite) -> None:
    id = site.connection()["id"]
    content = b'{"compare": {"configuration": "connections {\\n \\ud800 }"}}'
    response = api.send("POST", f"{CONNECTIONS}/{id}/compare", content=content)
    assert response.status_code == 400
    larger = {"compare": {"configuration": "\n" * (3 * MOST_BYTES)}}
    assert api.send("POST", f"{CONNECTIONS}/{id}/compare", larger).status_code == 413


def everything(database: Engine) -> str:
    """All rows of a database, as a text."""
    tables = MetaData()
    with database.connect() as connection:
        tables.reflect(connection)
        return "\n".join(str(tuple(row)) for table in tables.sorted_tables for row in connection.execute(select(table)))


def test_nothing_of_the_text_is_kept(
    api: Api, site: LocalSite, database: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in the database, with the audit trail in it, and not in a log. The control: a name is found there."""
    id = site.connection(name="findable-name")["id"]
    peer = msgspec.structs.replace(fitting.fitting(stored(api, id)), psk=MARK)
    entries = len(api.get("/linkspan/audit")["audit"])
    shown = compare(api, id, f"# {MARK}\n{fitting.swanctl(peer)}")
    assert MARK not in msgspec.json.encode(shown).decode()
    for broken in (f"connections {{\n{MARK} }}", f'secrets {{ ike {{ secret = "{MARK}'):
        assert (
            api.send("POST", f"{CONNECTIONS}/{id}/compare", {"compare": {"configuration": broken}}).status_code == 400
        )
    assert len(api.get("/linkspan/audit")["audit"]) == entries
    kept = everything(database)
    assert "findable-name" in kept
    assert MARK not in kept
    captured = capfd.readouterr()
    assert MARK not in captured.out + captured.err
