"""A changed psk: the node gets the key before it too, for a while, and nobody else ever does."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from linkspan.store import rotation
from linkspan.store.key_ticker import KeyTicker
from linkspan.store.rows import encryption_keys
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite, Node

KEY = "ipsec_site_connection"
OLD, NEW = "the key before it", "the key after it"


def on_node(node: Node) -> tuple[str, str | None]:
    """The key of a node's only connection, and the one before it."""
    (connection,) = node.desired()["connections"]
    previous = connection["previous_psk"]
    return connection["psk"], previous and previous["key"]


def change(api: Api, connection: dict[str, Any], **values: Any) -> dict[str, Any]:
    return api.update(f"{CONNECTIONS}/{connection['id']}", KEY, **values)


def test_the_node_reads_the_key_before_a_change(api: Api) -> None:
    node, site = api.node(), LocalSite(api)
    connection = site.connection(psk=OLD)
    assert on_node(node) == (OLD, None)
    shown = change(api, connection, psk=NEW)
    assert on_node(node) == (NEW, OLD)
    assert OLD not in str(shown)
    assert OLD not in str(api.get(f"{CONNECTIONS}/{connection['id']}"))
    change(api, connection, name="the same key", psk=NEW)
    assert on_node(node) == (NEW, OLD)
    change(api, connection, psk=OLD)
    assert on_node(node) == (OLD, NEW)


def test_with_the_setting_0_the_key_before_a_change_is_not_kept(open_api: OpenApi, database: Engine) -> None:
    with open_api(psk_grace=0.0) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection(psk=OLD)
        change(api, connection, psk=NEW)
        assert on_node(node) == (NEW, None)
        assert kept(database) == []


def test_the_key_before_a_change_ends_with_its_time(open_api: OpenApi, database: Engine) -> None:
    now = [1000.0]
    with open_api(psk_grace=60.0, store={"clock": lambda: now[0]}) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection(psk=OLD)
        change(api, connection, psk=NEW)
        ticker = KeyTicker(api.store)
        now[0] += 59.0
        ticker.tick()
        assert on_node(node) == (NEW, OLD)
        revision = node.desired()["revision"]
        now[0] += 2.0
        ticker.tick()
        assert on_node(node) == (NEW, None)
        assert node.desired()["revision"] == revision + 1
        assert kept(database) == []
        ticker.tick()
        assert node.desired()["revision"] == revision + 1


def test_it_is_sealed_and_rotated_with_the_others_and_goes_with_its_connection(api: Api, database: Engine) -> None:
    site = LocalSite(api)
    connection = site.connection(psk=OLD)
    change(api, connection, psk=NEW)
    ((sealed, key_id),) = kept(database)
    assert OLD.encode() not in sealed
    assert ("previous_key", "previous_psk") in {(column.table.name, column.name) for column in encryption_keys.SEALED}
    with api.store.write() as tx:
        column = next(column for column in encryption_keys.SEALED if column.name == "previous_psk")
        assert rotation.rewrap_page(tx, column, "") is None, "it is under the sealing key already"
        assert tx.keyring.open(key_id, sealed, connection["project_id"], connection["id"], column.name).reveal() == OLD
    api.delete(f"{CONNECTIONS}/{connection['id']}")
    assert kept(database) == []


def kept(database: Engine) -> list[tuple[bytes, str]]:
    with database.connect() as connection:
        rows = connection.execute(text("SELECT previous_psk, previous_psk_key_id FROM previous_key")).all()
    return [(bytes(sealed), key_id) for sealed, key_id in rows]
