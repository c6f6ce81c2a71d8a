"""Migrations lead from nothing to exactly what the tables say, on both databases."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError

from linkspan.core.addresses import interface_mac
from linkspan.store import migrate
from linkspan.store.database import engine as engines
from linkspan.store.database.tables import METADATA
from linkspan.store.migrations import HEAD
from tests.harness.postgres import Server
from tests.harness.statements import Statements

NODE_0001 = "INSERT INTO node VALUES ('n', 'north', 'hash', 2, 0, 'kernel', '1', '5.9.8', 0)"
PEOPLE_0002 = (
    "INSERT INTO project VALUES ('p', 'blue', '')",
    "INSERT INTO account VALUES ('u', 'ada', 'hash', 'p')",
    "INSERT INTO token VALUES ('h1', 'u', 'p', 'a', NULL)",
    "INSERT INTO token VALUES ('h2', 'u', 'p', 'b', 7.5)",
)
CHANGE_0001 = """
    INSERT INTO change (node_id, kind, object_id, gateway_id, revision, deleted, at)
    VALUES ('n', 'connection', 'c', 'g', 7, false, 1.5)
"""
PORTS_0007 = (
    *(f"INSERT INTO network VALUES ('{id}', 'p', '', '', true, false, false, 1500, 0, 1, 1)" for id in ("n1", "n2")),
    *(
        f"INSERT INTO port VALUES ('{id}', 'p', '', '', '{network}', '{router}', 'network:router_interface', '[]', "
        f"'fa:16:3e:00:00:01', 0, 1, 1)"
        for id, network, router in (("a", "n1", "r1"), ("b", "n1", "r1"), ("c", "n2", "r1"), ("d", "n1", "r2"))
    ),
)
ZONED_0012 = (
    "INSERT INTO node VALUES ('n', 'north', 'hash', 7, 0, 'kernel', '1', '6', 0, NULL, NULL)",
    "INSERT INTO network VALUES ('net', 'p', '', '', true, false, false, 1500, 0, 1, 1)",
    "INSERT INTO subnet VALUES ('s', 'p', '', '', 'net', 6, '2001:db8::/64', NULL, true, '[]', 0, 1, 1)",
    *(
        f"INSERT INTO port VALUES ('{id}', 'p', '', '', 'net', '{router}', 'network:router_gateway', "
        f"""'[{{"subnet_id":"s","ip_address":"{address}"}}]', 'fa:16:3e:00:00:01', 0, 1, 1)"""
        for id, router, address in (("a", "r1", "2001:db8::2"), ("b", "r2", "2001:db8::2%a"))
    ),
    "INSERT INTO address VALUES ('s', '2001:db8::2', 'a')",
    "INSERT INTO address VALUES ('s', '2001:db8::2%a', 'b')",
    *(
        f"INSERT INTO change VALUES ('{id}', '{kind}', 'n', '{router}', 5, false, 1.5, true)"
        for id, kind, router in (("r1", "gateway", "r1"), ("r2", "gateway", "r2"), ("c", "connection", "r2"))
    ),
)
OBSERVED_0001 = "INSERT INTO observed VALUES ('connection', 'c', 'n', 1, 2, 'up', '', 1.0, 1.0)"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """Two engines on empty databases."""
    if request.param == "sqlite":
        pair = [engines.connect(f"sqlite:///{tmp_path}/{name}.db") for name in ("one", "two")]
        yield pair[0], pair[1]
    else:
        running: Server = request.getfixturevalue("postgres")
        with running.empty() as one, running.empty() as two:
            pair = [engines.connect(one), engines.connect(two)]
            yield pair[0], pair[1]
            for each in pair:
                each.dispose()
        return
    for each in pair:
        each.dispose()


def described(engine: Engine) -> dict[str, Any]:
    """All that the database itself knows of its tables."""
    seen = inspect(engine)
    made: dict[str, Any] = {}
    for table in seen.get_table_names():
        if table == "alembic_version":
            continue
        made[table] = {
            "columns": [
                {key: str(value) for key, value in column.items() if key != "comment"}
                for column in seen.get_columns(table)
            ],
            "primary": seen.get_pk_constraint(table),
            "foreign": sorted(map(str, seen.get_foreign_keys(table))),
            "unique": sorted(map(str, seen.get_unique_constraints(table))),
            "checks": sorted(map(str, seen.get_check_constraints(table))),
            "indexes": sorted(
                str({key: str(value) for key, value in index.items() if key != "dialect_options"})
                + str({key: str(value) for key, value in index.get("dialect_options", {}).items()})
                for index in seen.get_indexes(table)
            ),
        }
    return made


def test_the_files_lead_to_the_tables(empty: tuple[Engine, Engine]) -> None:
    migrated, created = empty
    assert migrate.version(migrated) is None
    assert migrate.upgrade(migrated) is True
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        with warnings.catch_warnings():
            # Alembic does not compare generated columns of PostgreSQL; `described` does.
            warnings.filterwarnings("ignore", "Computed default", UserWarning)
            assert compare_metadata(context, METADATA) == []
    METADATA.create_all(created)
    assert described(migrated) == described(created)


def scripts() -> Config:
    """Alembic's configuration with the project's migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    return config


def upgrade_from(engine: Engine, version: str, rows: Iterable[str]) -> None:
    """Fill a database of an older version by these statements, and upgrade it."""
    config = scripts()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        for row in rows:
            connection.execute(text(row))
    assert migrate.upgrade(engine) is True


def test_what_the_first_version_knew_of_objects_is_kept(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(engine, "0001", (NODE_0001, OBSERVED_0001, CHANGE_0001))
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT object_id, state, effective_mtu FROM observed")).all()
        stamped = connection.execute(text("SELECT object_id, node_id, revision, deleted, at FROM change")).all()
    assert [tuple(row) for row in kept] == [("c", "up", None)]
    assert [tuple(row) for row in stamped] == [("c", "n", 7, False, 1.5)]


# Object, revision of its stamp, whether it is a tombstone; revision and state as its node reported; whether settled.
STAMPS_0007: tuple[tuple[str, int, str, int, str, bool | None], ...] = (
    ("up", 7, "false", 7, "up", True),
    ("up later", 7, "false", 9, "up", True),
    ("edited", 7, "false", 6, "up", None),
    ("down", 7, "false", 7, "down", None),
    ("in error", 7, "false", 7, "error", None),
    ("gone", 7, "true", 1, "down", True),
)


def test_what_is_settled_is_known_after_an_upgrade(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(
        engine,
        "0007",
        [
            "INSERT INTO node VALUES ('n', 'north', 'hash', 9, 0, 'kernel', '1', '6', 0, NULL)",
            *(
                f"INSERT INTO change VALUES ('{id}', 'connection', 'n', 'g', {revision}, {deleted}, 1.5)"
                for id, revision, deleted, *_ in STAMPS_0007
            ),
            *(
                f"INSERT INTO observed VALUES ('{id}', 'connection', 'n', 1, {reported}, '{state}', '', 1, 1, 1)"
                for id, _, _, reported, state, _ in STAMPS_0007
            ),
        ],
    )
    with engine.connect() as connection:
        settled = {
            id: None if value is None else bool(value)
            for id, value in connection.execute(text("SELECT object_id, settled FROM change"))
        }
    assert settled == {id: expected for id, *_, expected in STAMPS_0007}


def test_tokens_of_the_first_version_are_kept(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(engine, "0002", PEOPLE_0002)
    with engine.connect() as connection:
        kept = connection.execute(
            text("SELECT token_hash, user_id, project_id, name, methods, expires_at FROM token ORDER BY name")
        ).all()
        ids = connection.execute(text("SELECT count(DISTINCT id) FROM token")).scalar()
    assert [tuple(row) for row in kept] == [("h1", "u", "p", "a", "", None), ("h2", "u", "p", "b", "", 7.5)]
    assert ids == 2


def test_tokens_of_nodes_get_an_end(empty: tuple[Engine, Engine]) -> None:
    """Long enough for an operator to have the nodes join with certificates."""
    engine, _ = empty
    before = time.time()
    upgrade_from(engine, "0001", (NODE_0001,))
    with engine.connect() as connection:
        hashed, end = connection.execute(text("SELECT token_hash, token_expires_at FROM node")).one()
    assert hashed == "hash"
    assert before + 89 * 86_400 < end <= time.time() + 90 * 86_400


def test_ports_of_a_router_on_a_network_get_one_mac_address(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(engine, "0007", PORTS_0007)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, mac_address FROM port")).all()
    macs = {row.id: row.mac_address for row in rows}
    assert macs["a"] == macs["b"] == interface_mac("r1", "n1")
    assert len({macs["a"], macs["c"], macs["d"]}) == 3


def test_a_zone_is_no_second_text_of_an_address_after_an_upgrade(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(engine, "0012", ZONED_0012)
    with engine.connect() as connection:
        addresses = connection.execute(text("SELECT network_id, ip_address, port_id FROM address")).all()
        ports = connection.execute(text("SELECT id, fixed_ips FROM port")).all()
        stamps = connection.execute(text("SELECT object_id, revision FROM change")).all()
        revision = connection.execute(text("SELECT revision FROM node")).scalar()
    assert [tuple(row) for row in addresses] == [("net", "2001:db8::2", "a")]
    assert {row.id: "2001:db8::2" in row.fixed_ips for row in ports} == {"a": True, "b": False}
    # The node that runs the second gateway has to take the address away.
    assert {row.object_id: row.revision for row in stamps} == {"r1": 5, "r2": 8, "c": 8}
    assert revision == 8


def test_an_address_has_one_owner_on_a_network(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(engine, "0012", ZONED_0012)
    second = """
        INSERT INTO subnet (id, project_id, name, description, network_id, ip_version, cidr, enable_dhcp,
            revision_number, created_at, updated_at)
        VALUES ('t', 'p', '', '', 'net', 6, '2001:db8::/32', true, 0, 1, 1)
    """
    with engine.begin() as connection:
        connection.execute(text(second))
        with pytest.raises(IntegrityError):
            connection.execute(text("INSERT INTO address VALUES ('t', '2001:db8::2', 'b', 'net')"))


def test_a_project_keeps_what_it_has_when_quotas_come(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    rows = [
        *(
            f"INSERT INTO router VALUES ('{p}{n}', '{p}', '', '', true, 0, 1, 1)"
            for p in ("many", "own")
            for n in range(12)
        ),
        *(f"INSERT INTO router VALUES ('few{n}', 'few', '', '', true, 0, 1, 1)" for n in range(10)),
        "INSERT INTO quota VALUES ('own', 'router', 11)",
    ]
    upgrade_from(engine, "0013", rows)
    with engine.connect() as connection:
        quotas = connection.execute(text("SELECT project_id, resource, most FROM quota")).all()
    assert {tuple(row) for row in quotas} == {("own", "router", 11), ("many", "router", 12)}


def test_the_inventory_of_earlier_versions_has_no_options_and_no_tags(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    upgrade_from(engine, "0012", ZONED_0012)
    with engine.connect() as connection:
        (row,) = connection.execute(text("SELECT dns_nameservers, host_routes, tags FROM subnet")).all()
        ports = connection.execute(text("SELECT tags FROM port")).all()
    assert tuple(row) == ("[]", "[]", "[]")
    assert {tags for (tags,) in ports} == {"[]"}


CONNECTION_0019 = (
    "INSERT INTO encryption_key VALUES ('k', x'00', 0)",
    *(
        f"INSERT INTO {table} {rows}"
        for table, rows in {
            "network": "VALUES ('n', 'p', '', '', true, false, false, 1500, 0, 1, 1, '[]')",
            "router": "(id, project_id, name, description, admin_state_up, revision_number, created_at, updated_at)"
            " VALUES ('r', 'p', '', '', true, 0, 1, 1)",
            "service": "(id, project_id, name, description, router_id, admin_state_up, revision_number, created_at,"
            " updated_at) VALUES ('s', 'p', '', '', 'r', true, 0, 1, 1)",
            **{
                f"{kind}_policy": f"(id, project_id, name, description, auth_algorithm, encryption_algorithm, pfs,"
                f" lifetime, {more}, revision_number, created_at, updated_at)"
                f" VALUES ('{kind}', 'p', '', '', 'a', 'b', 'c', 'd', 'e', 'f', 0, 1, 1)"
                for kind, more in (
                    ("ike", "phase1_negotiation_mode, ike_version"),
                    ("ipsec", "transform_protocol, encapsulation_mode"),
                )
            },
        }.items()
    ),
    *(
        "INSERT INTO connection (id, project_id, name, description, vpnservice_id, ikepolicy_id, ipsecpolicy_id,"
        " peer_address, peer_id, local_id, peer_cidrs, psk, psk_key_id, psk_ref, psk_written_at, mtu, initiator, dpd,"
        " admin_state_up, auth_mode, deleted_at, revision_number, created_at, updated_at) VALUES"
        f" ('{id}', 'p', 'x', '', 's', 'ike', 'ipsec', 'a', 'b', '', '[]', NULL, 'k', 'ref', 2.5, 1500, 'x', '{{}}',"
        f" true, 'psk', {deleted}, 7, 1, 1)"
        for id, deleted in (("live", "NULL"), ("gone", "3.5"))
    ),
)


def test_connections_are_kept_when_certificates_come(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    blob = "decode('00', 'hex')" if engine.dialect.name == "postgresql" else "x'00'"
    upgrade_from(engine, "0019", (statement.replace("x'00'", blob) for statement in CONNECTION_0019))
    columns = "id, live_vpnservice_id, psk_ref, psk_written_at, revision_number, deleted_at"
    added = "local_certificate_id, trust_anchor_id, peer_certificates, ppk_id, ppk, ppk_required"
    with engine.begin() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM connection ORDER BY id DESC")).all()
        assert [tuple(row) for row in rows] == [("live", "s", "ref", 2.5, 7, None), ("gone", None, "ref", 2.5, 7, 3.5)]
        rows = connection.execute(text(f"SELECT DISTINCT {added} FROM connection")).all()
        assert [tuple(row) for row in rows] == [(None, None, "[]", "", None, False)]
    for statement in ("DELETE FROM service", "UPDATE connection SET local_certificate_id = 'none'"):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text(statement))


EVENT_0027 = "INSERT INTO timeline_event VALUES ('{}', '{}', {}, {}, 'p', '{}', 'up', 1, 2, '', '', 'n', NULL)"


def test_events_are_kept_when_their_queue_comes(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    placed = [EVENT_0027.format(id, "k1", number, 1, f"name of {id}") for number, id in enumerate("ab", 7)]
    unplaced = [EVENT_0027.format(id, "k2", "NULL", "NULL", f"name of {id}") for id in "ab"]
    upgrade_from(engine, "0027", placed + unplaced)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT number, connection_id, key, place, kind FROM timeline_event")).all()
        assert sorted(tuple(row) for row in rows) == [(7, "a", "k1", 1, "up"), (8, "b", "k1", 1, "up")]
        ((key, count, connections),) = connection.execute(text("SELECT key, count, connections FROM timeline_queue"))
    assert (key, count) == ("k2", 2)
    assert sorted(msgspec.json.decode(connections)) == [["a", "p", "name of a"], ["b", "p", "name of b"]]


def test_up_to_date_is_a_look(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    migrate.upgrade(engine)
    with Statements(engine).counted() as statements:
        assert migrate.upgrade(engine) is False
    assert len(statements) == 1
    assert migrate.version(engine) == HEAD


def test_head_is_the_newest_file() -> None:
    assert ScriptDirectory.from_config(scripts()).get_heads() == [HEAD]


def test_a_newer_database_is_refused(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'future'"))
    with pytest.raises(migrate.TooNew, match="upgrade linkspan"):
        migrate.upgrade(engine)


def test_a_failed_upgrade_leaves_nothing(empty: tuple[Engine, Engine]) -> None:
    engine, _ = empty
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE token (wrong INTEGER)"))
    with pytest.raises(Exception, match="token"):
        migrate.upgrade(engine)
    assert inspect(engine).get_table_names() == ["token"]


def test_a_first_start_is_quick(tmp_path: Path) -> None:
    """From nothing to all tables in a process of its own, imports included: 0.4 s of CPU on an idle machine."""
    code = (
        "import sys, time\nfrom linkspan.store import migrate\nfrom linkspan.store.database import engine\n"
        "start = time.process_time()\nmigrate.upgrade(engine.connect(sys.argv[1]))\n"
        "print(time.process_time() - start)"
    )
    url = f"sqlite:///{tmp_path}/linkspan.db"
    run = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2
