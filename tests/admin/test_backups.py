"""Backups: what was restored is what there was; what is not whole or not genuine changes nothing."""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import Engine, select, text

from linkspan.admin import backups
from linkspan.admin.key_rotation import Administration
from linkspan.bootstrap import command_line
from linkspan.core.schema.resources import CERTIFICATE, CONNECTION, TRUST_ANCHOR
from linkspan.core.secret import Secret
from linkspan.core.state import desired, status
from linkspan.core.state.desired import Mismatch, NodeState
from linkspan.core.state.observed import ConnectionReport
from linkspan.core.state.status import LEASE
from linkspan.store import audit, backup, backup_file, migrate
from linkspan.store.backup_file import BLOCK, BackupError, Cost
from linkspan.store.database import engine as engines
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import METADATA
from linkspan.store.envelopes import load_keyring
from linkspan.store.key_file import KeyFile
from linkspan.store.migrate import TooNew
from linkspan.store.migrations import HEAD
from linkspan.store.nodes import delta
from linkspan.store.rows import connection_revisions, reading, writing
from linkspan.store.store import Store
from tests.admin.test_key_rotation import Writers, administration, psks
from tests.harness.databases import database, postgres, sqlite_template
from tests.harness.postgres import Server
from tests.harness.world import until
from tests.store.conftest import World

__all__ = ["database", "postgres", "sqlite_template"]

PASSPHRASE = Secret("correct horse battery staple")
QUICK = Cost(passes=1, memory=64, lanes=1)
NEEDLE = "a needle in a haystack"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheap key, since no test is about its cost."""
    monkeypatch.setattr(backup_file.write, "__defaults__", (QUICK,))


@pytest.fixture
def keys(database: Engine, tmp_path: Path) -> Administration:
    return administration(database, tmp_path / "state" / "keys" / "seal")


@pytest.fixture
def world(keys: Administration) -> World:
    return World(keys.store)


def make(keys: Administration, target: Path) -> Path:
    """A backup of a state directory."""
    target.unlink(missing_ok=True)
    backups.make(keys.store, keys.file, keys.file.path.parents[1], target, PASSPHRASE)
    return target


class Machine:
    """A machine with a database of its own and an empty state directory."""

    def __init__(self, engine: Engine, state: Path) -> None:
        self.engine = engine
        self.state = state
        self.key_file = KeyFile(state / "keys" / "seal")

    def restore(self, source: Path, *, force: bool = False, passphrase: Secret = PASSPHRASE) -> backups.BackupSummary:
        return backups.restore(self.engine, LEASE, self.key_file, self.state, source, passphrase, force=force)

    def store(self) -> Store:
        return Store(self.engine, load_keyring(self.key_file), lease=LEASE)

    def content(self) -> Any:
        """Everything that a restoration might change: all tables, and all files."""
        files = {str(path): path.read_bytes() for path in self.state.rglob("*") if path.is_file()}
        found = METADATA.__class__()
        with self.engine.connect() as connection:
            found.reflect(connection)
            rows = {table.name: connection.execute(select(table)).all() for table in found.sorted_tables}
        return {name: data for name, data in files.items() if "linkspan.db" not in name}, rows


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """An empty machine with SQLite."""
    state = tmp_path / "other"
    state.mkdir()
    engine = engines.connect(f"sqlite:///{state / 'linkspan.db'}")
    yield Machine(engine, state)
    engine.dispose()


@pytest.fixture
def postgres_machine(tmp_path: Path, postgres: Server) -> Iterator[Machine]:
    """An empty machine with PostgreSQL."""
    with postgres.empty() as url:
        engine = engines.connect(url)
        yield Machine(engine, tmp_path / "other")
        engine.dispose()


def tables(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table that a backup has, without what a restoration sets anew."""
    changing = {"node": {"revision", "holder"}, "change": {"revision", "settled"}}
    rows = {}
    with engine.connect() as connection:
        for table in METADATA.sorted_tables:
            if table.name not in ("observed", "commit_marker"):
                columns = [column for column in table.c if column.name not in changing.get(table.name, ())]
                found = connection.execute(select(*columns)).all()
                rows[table.name] = sorted((tuple(row) for row in found), key=repr)
    return rows


def fill(world: World) -> dict[str, str]:
    """Objects of many kinds; the keys of the connections."""
    world.node()
    service = world.service()["id"]
    rows = [world.connection(service, psk=f"{NEEDLE} {number}", name="Grüße \N{SNOWMAN}") for number in range(4)]
    world.delete(rows[3]["id"])
    with world.store.write() as tx:
        values = {"project_id": rows[0]["project_id"], "private_key": NEEDLE}
        anchor = writing.insert(tx, TRUST_ANCHOR, values)["id"]
        certificate = writing.insert(tx, CERTIFICATE, values | {"issuer_id": anchor})["id"]
    with world.store.write() as tx:
        connection_revisions.keep(tx, [rows[0]["id"]])
    world.update(rows[0]["id"], local_certificate_id=certificate, trust_anchor_id=anchor, ppk_id="x", ppk=NEEDLE)
    world.store.seal_audit()
    return psks(world.store)  # type: ignore[return-value] # all of them open


# --- a whole one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["machine", pytest.param("postgres_machine", marks=pytest.mark.postgres)])
def test_everything_comes_back(
    request: pytest.FixtureRequest, to: str, database: Engine, keys: Administration, world: World, tmp_path: Path
) -> None:
    """From each kind of database into each."""
    machine: Machine = request.getfixturevalue(to)
    expected = fill(world)
    state = keys.file.path.parents[1]
    for name, content in (("nodes/north.token", "a token"), ("instance", "abcdef"), ("clouds.yaml", "clouds: {}")):
        (state / name).parent.mkdir(exist_ok=True)
        (state / name).write_text(content)
    before = tables(database)
    source = make(keys, tmp_path / "backup")
    assert stat.S_IMODE(source.stat().st_mode) == 0o600
    summary = machine.restore(source)
    restored = tables(machine.engine)
    restored["audit"] = [row for row in restored["audit"] if "restore" not in row]
    assert restored == before
    assert summary.rows == sum(map(len, before.values()))
    assert len(before["connection"]) == 4
    assert psks(machine.store()) == expected
    with machine.store().read() as tx:
        (connection,) = (row for row in reading.find(tx, CONNECTION) if row["ppk"])
        for resource, name in ((CERTIFICATE, "local_certificate_id"), (TRUST_ANCHOR, "trust_anchor_id")):
            assert reading.secret(tx, resource, connection[name], "private_key").reveal() == NEEDLE
        assert connection["ppk"].reveal() == NEEDLE
        (earlier,) = connection_revisions.earlier(tx, connection["id"])
        kept, fault = connection_revisions.secrets(tx, connection["id"], earlier.number)
        assert (kept["psk"] and kept["psk"].reveal(), kept["ppk"], fault) == (f"{NEEDLE} 0", None, "")
    modes = {
        str(path.relative_to(machine.state)): stat.S_IMODE(path.stat().st_mode)
        for path in machine.state.rglob("*")
        if path.is_file() and "linkspan.db" not in path.name
    }
    assert modes == {"nodes/north.token": 0o400, "instance": 0o600, "clouds.yaml": 0o600, "keys/seal": 0o400}
    assert (machine.state / "nodes/north.token").read_text() == "a token"
    store = machine.store()
    store.seal_audit()
    with store.read() as tx:
        assert audit.verify(tx).fault == ""
        assert [entry.action for entry in audit.page(tx, {}, 1)] == ["restore"]
    World(store, "another project").service()  # it can be written


def test_a_backup_tells_nothing(keys: Administration, world: World, tmp_path: Path) -> None:
    fill(world)
    plain = b"".join(_lines(keys))
    sealed = make(keys, tmp_path / "backup").read_bytes()
    assert "Grüße".encode() in plain  # negative control: the search does find text
    key = keys.file.path.read_bytes().strip().partition(b":")[2]
    for secret in (NEEDLE.encode(), key, PASSPHRASE.reveal().encode(), "Grüße".encode(), b"connection"):
        assert secret not in sealed
    assert make(keys, tmp_path / "backup").read_bytes()[:200] != sealed[:200]


def _lines(keys: Administration) -> list[bytes]:
    with keys.store.read() as tx:
        return list(backup.dump(tx, {backup.KEY_FILE: keys.file.path.read_bytes()}, keys.keyring.ids))


def test_a_backup_is_of_one_moment(
    database: Engine, keys: Administration, world: World, machine: Machine, tmp_path: Path
) -> None:
    """While others write and keys are rotated, too."""
    with Writers(database, keys.file.path, world, 1) as writers:
        writers.wait(10)
        for _ in range(1):
            source = make(administration(database, keys.file.path), tmp_path / "backup")
            other = administration(database, keys.file.path)
            other.rotate(lambda _: None, lambda _: None)
            machine.restore(source, force=True)
            assert None not in psks(machine.store()).values()
            with machine.engine.connect() as connection:
                assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    assert writers.errors == []


def test_a_key_that_left_meanwhile_is_noticed(keys: Administration, world: World) -> None:
    fill(world)
    with keys.store.read() as tx, pytest.raises(BackupError, match="begin the backup again"):
        list(backup.dump(tx, {}, ["another"]))


def test_an_older_version_is_upgraded_and_a_newer_one_refused(machine: Machine, tmp_path: Path) -> None:
    columns = ("id", "name", "token_hash", "revision", "lease_until", "backend", "agent_version", "charon_version")
    lines: list[Any] = [
        backup.BackupHeader("0001", 1.0, "0.1"),
        backup.File(backup.KEY_FILE, b"a:" + bytes(32).hex().encode() + b"\n"),
        backup.Rows("node", (*columns, "created_at"), [["n", "north", "hash", 7, 0.0, "kernel", "1", "6", 0.0]]),
        backup.End(1),
    ]

    def source(*lines: Any) -> Path:
        file = tmp_path / "crafted"
        with file.open("wb") as stream:
            backup_file.write(stream, PASSPHRASE, [backup._line(line) for line in lines], QUICK)
        return file

    machine.restore(source(*lines))
    assert migrate.version(machine.engine) == HEAD
    with machine.engine.connect() as connection:
        assert connection.execute(text("SELECT name, capabilities FROM node")).all() == [("north", None)]
    before = machine.content()
    wrong: list[tuple[Any, ...]] = [
        (backup.BackupHeader("9999", 1.0, "9.0"), *lines[1:]),
        (*lines[:3], backup.End(2)),
        (*lines[:3],),
        (*lines, backup.End(1)),
        (lines[0], *lines[2:]),
        (*lines[:2], backup.Rows("node", ("id", "colour"), [["n", "red"]]), backup.End(1)),
        (*lines[:2], backup.Rows("nonsense", ("id",), [["n"]]), backup.End(1)),
        (*lines[:2], {"type": "nonsense"}, backup.End(1)),
        (),
    ]
    for content in wrong:
        with pytest.raises((BackupError, TooNew)):
            machine.restore(source(*content), force=True)
        assert machine.content() == before, content


# --- one that is not whole ----------------------------------------------------------------------------------------


def _parts(content: bytes) -> list[bytes]:
    """The header and the blocks of a backup."""
    stream = io.BytesIO(content)
    parts = [stream.read(len(backup_file._MAGIC) + backup_file._HEADER.size)]
    while head := stream.read(4):
        parts.append(head + stream.read(int.from_bytes(head, "big")))
    return parts


def flipped(at: int) -> Callable[[bytes], bytes]:
    """Change one bit."""
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at:][1:]


def without_block(number: int) -> Callable[[bytes], bytes]:
    """Leave out one block."""
    return lambda content: b"".join(part for at, part in enumerate(_parts(content)) if at != number)


def swapped(content: bytes) -> bytes:
    """Exchange two blocks."""
    header, check, first, second, *rest = _parts(content)
    return b"".join((header, check, second, first, *rest))


def of_another(content: bytes) -> bytes:
    """Put in a block of another backup under the same passphrase."""
    stream = io.BytesIO()
    backup_file.write(stream, PASSPHRASE, [bytes(3 * BLOCK)], QUICK)
    parts, others = _parts(content), _parts(stream.getvalue())
    return b"".join((*parts[:2], others[2], *parts[3:]))


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no backup"),
    "another file": (lambda _: b"SQLite format 3\0" * 100, "no backup"),
    "a part of the header": (lambda content: content[:30], "truncated"),
    "only the header": (lambda content: _parts(content)[0], "truncated"),
    "a part of a length": (lambda content: b"".join(_parts(content)[:3]) + b"\0", "truncated"),
    "the middle of a block": (lambda content: content[: len(content) // 2], "truncated"),
    "the end of a block": (lambda content: b"".join(_parts(content)[:3]), "truncated"),
    "one byte less": (lambda content: content[:-1], "truncated"),
    "one byte more": (lambda content: content + b"\0", "follows the end"),
    "twice": (lambda content: content * 2, "follows the end"),
    "first block changed": (flipped(55), "passphrase is wrong, or"),
    "another salt": (flipped(35), "passphrase is wrong, or"),
    "memory without end": (lambda content: content[:22] + b"\xff\xff\xff\xff" + content[26:], "header"),
    "no lane": (lambda content: content[:26] + bytes(4) + content[30:], "header"),
    "a block changed": (flipped(1000), "damaged in block 1"),
    "the last byte changed": (flipped(-1), "damaged"),
    "a block left out": (without_block(2), "damaged"),
    "blocks exchanged": (swapped, "damaged in block 1"),
    "a block of another backup": (of_another, "damaged in block 1"),
    "a length beyond all": (lambda content: _parts(content)[0] + b"\xff" * 40, "damaged in block 0"),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> tuple[Path, bytes]:
    """A state directory with something in it, and a backup of three blocks."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copy(sqlite_template, folder / "linkspan.db")
    engine = engines.connect(f"sqlite:///{folder / 'linkspan.db'}")
    keys = administration(engine, folder / "keys" / "seal")
    World(keys.store)
    keys.keyring.refresh()
    lines = _lines(keys)
    lines[1:1] = [backup._line(backup.File("clouds.yaml", os.urandom(2 * BLOCK)))]
    stream = io.BytesIO()
    backup_file.write(stream, PASSPHRASE, lines, QUICK)
    assert len(_parts(stream.getvalue())) > 4
    engine.dispose()
    return folder, stream.getvalue()


def test_what_is_not_whole_changes_nothing(template: tuple[Path, bytes], tmp_path: Path) -> None:
    """Not with --force either, which would replace everything."""
    folder, content = template
    state = tmp_path / "state"
    shutil.copytree(folder, state)
    machine = Machine(engines.connect(f"sqlite:///{state / 'linkspan.db'}"), state)
    # Another key file, as after a rotation: it must not be exchanged for one of a damaged backup.
    administration(machine.engine, machine.key_file.path).rotate(lambda _: None, lambda _: None)
    before = machine.content()
    source = tmp_path / "backup"
    for name, (damage, words) in DAMAGES.items():
        source.write_bytes(damage(content))
        with pytest.raises(BackupError, match=words):
            machine.restore(source, force=True)
        assert machine.content() == before, name
    # Negative control: the same file without the damage changes it all.
    source.write_bytes(content)
    machine.restore(source, force=True)
    assert machine.content() != before
    machine.engine.dispose()


def test_a_wrong_passphrase_says_so(template: tuple[Path, bytes], machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "backup"
    source.write_bytes(template[1])
    for wrong in ("", "correct horse battery stapl", "Correct horse battery staple", "correct horse battery staple\n"):
        with pytest.raises(BackupError, match="the passphrase is wrong"):
            machine.restore(source, passphrase=Secret(wrong))
    assert not machine.key_file.path.exists()
    machine.restore(source)


# --- where it is refused ------------------------------------------------------------------------------------------


def test_what_is_there_is_not_replaced_unasked(keys: Administration, world: World, tmp_path: Path) -> None:
    expected = fill(world)
    here = Machine(keys.store._engine, keys.file.path.parents[1])
    source = make(keys, tmp_path / "backup")
    world.connection(world.service()["id"])
    keys.rotate(lambda _: None, lambda _: None)
    rotated = keys.file.path.read_bytes()
    with pytest.raises(BackupError, match=r"not empty.*--force"):
        here.restore(source)
    here.engine.dispose()
    here.restore(source, force=True)
    assert psks(here.store()) == expected
    (kept,) = keys.file.path.parent.glob("*.replaced")
    assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (rotated, 0o400)


def test_another_key_file_is_not_replaced_unasked(
    template: tuple[Path, bytes], machine: Machine, tmp_path: Path
) -> None:
    source = tmp_path / "backup"
    source.write_bytes(template[1])
    machine.key_file.make()
    before = machine.content()
    with pytest.raises(BackupError, match=r"another key file.*--force"):
        machine.restore(source)
    assert machine.content() == before


def test_a_database_in_use_is_refused(
    template: tuple[Path, bytes], tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    source, passphrase, state = tmp_path / "backup", tmp_path / "passphrase", tmp_path / "state"
    source.write_bytes(template[1])
    passphrase.write_text(PASSPHRASE.reveal() + "\n")
    shutil.copytree(template[0], state)
    engine = engines.connect(f"sqlite:///{state / 'linkspan.db'}")
    lock = engines.lock(engine)
    assert lock is not None
    command = ["db", "restore", str(source), "--passphrase-file", str(passphrase), "--state", str(state), "--force"]
    assert command_line.execute(command) == 1
    assert "stop it" in capsys.readouterr().err
    lock.release()
    assert command_line.execute(command) == 0
    engine.dispose()


@pytest.mark.postgres
def test_a_server_with_an_api_is_refused(
    template: tuple[Path, bytes], postgres_machine: Machine, tmp_path: Path
) -> None:
    source = tmp_path / "backup"
    source.write_bytes(template[1])
    other = engines.connect(postgres_machine.engine.url.render_as_string(hide_password=False))
    with other.connect(), pytest.raises(BackupError, match="stop every API process"):
        postgres_machine.restore(source)
    other.dispose()
    until(lambda: backup.users(postgres_machine.engine) == 0, 20.0)  # the server's process ends a moment later
    postgres_machine.restore(source)


def test_passphrases(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("a passphrase of some length\r\n")
    assert backups.read_passphrase(file, None, new=True) == Secret("a passphrase of some length")
    descriptor = os.open(file, os.O_RDONLY)
    assert backups.read_passphrase(None, descriptor, new=True) == Secret("a passphrase of some length")
    file.write_text("short\n")
    assert backups.read_passphrase(file, None, new=False) == Secret("short"), "what a backup has is tried"
    for arguments in ((file, None), (tmp_path / "missing", None), (file, 3), (None, 9999)):
        with pytest.raises(click.ClickException):
            backups.read_passphrase(*arguments, new=True)
    root = command_line.root()
    group = root.get_command(click.Context(root), "db")
    assert isinstance(group, click.Group)
    for name in ("backup", "restore"):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        assert {each.name for each in command.params if "pass" in (each.name or "")} == {
            "passphrase_file",
            "passphrase_fd",
        }, "a passphrase is never an argument"


# --- nodes that know more than the backup -------------------------------------------------------------------------


def followed(store: Store, node: str, state: NodeState) -> NodeState:
    """The state of an agent that follows the API from a state on, as `Agent` does."""
    for _ in range(2):
        with store.read() as tx:
            change = delta.desired_since(tx, node, state.revision)
        try:
            return desired.merge(state, change)
        except Mismatch:
            state = desired.EMPTY
    raise AssertionError("an agent does not converge")


@pytest.mark.parametrize("edits", range(5))
def test_a_node_that_is_ahead_converges(
    edits: int, keys: Administration, world: World, machine: Machine, tmp_path: Path
) -> None:
    """An agent has seen two edits that the backup does not have; so many are made after the restoration before the
    agent asks again. It then has what the database has."""
    wanted = 1400 + edits - 1 if edits else 1280
    assert mtu_after_restoration(edits, keys, world, machine, tmp_path) == wanted


def mtu_after_restoration(edits: int, keys: Administration, world: World, machine: Machine, tmp_path: Path) -> int:
    """Returns the MTU that an agent has in the end: 1400 and more by the edits after the restoration."""
    node = world.node()
    row = world.connection(world.service()["id"], mtu=1280)
    source = make(keys, tmp_path / "backup")
    for mtu in (1281, 1282):
        world.update(row["id"], mtu=mtu)
    ahead = followed(keys.store, node, desired.EMPTY)
    assert ahead.connections[row["id"]].mtu == 1282
    machine.restore(source)
    restored = World(machine.store(), "another project")
    for number in range(edits):
        restored.update(row["id"], mtu=1400 + number)
    return followed(restored.store, node, ahead).connections[row["id"]].mtu


def test_numbers_that_come_again_would_mislead_a_node(
    keys: Administration, world: World, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: with the backup's own revisions an agent takes another edit for the one that it knows."""
    monkeypatch.setattr(backup, "_begin_anew", lambda _connection: None)
    assert mtu_after_restoration(2, keys, world, machine, tmp_path) == 1282


def shown_after_restoration(keys: Administration, world: World, machine: Machine, tmp_path: Path) -> tuple[str, str]:
    """The status of a connection that was up: when it was backed up, and restored before a node has reported."""
    node = world.node()
    row = world.connection(world.service()["id"])
    world.report(node, ConnectionReport(row["id"], 1, followed(keys.store, node, desired.EMPTY).revision, "up"))
    before = status_of(keys.store, row["id"])
    machine.restore(make(keys, tmp_path / "backup"))
    return before, status_of(machine.store(), row["id"])


def status_of(store: Store, id: str) -> str:
    """The status of a connection as its user sees it."""
    with store.read() as tx:
        row = reading.get(tx, CONNECTION, id)
        assert row
        assert row.status_inputs
        return status.compute(row.status_inputs, tx.now)[0]


def test_a_restored_tunnel_is_not_up_before_its_node_reports_it(
    keys: Administration, world: World, machine: Machine, tmp_path: Path
) -> None:
    assert shown_after_restoration(keys, world, machine, tmp_path) == ("ACTIVE", "PENDING_CREATE")


def test_a_backup_with_the_reports_would_show_a_tunnel_that_is_not_there(
    keys: Administration, world: World, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(backup, "_LEFT_OUT", frozenset({"commit_marker"}))
    monkeypatch.setattr(backup, "_begin_anew", lambda _connection: None)
    assert shown_after_restoration(keys, world, machine, tmp_path) == ("ACTIVE", "ACTIVE")


def test_what_is_not_in_the_backup_is_not_removed(
    keys: Administration, world: World, machine: Machine, tmp_path: Path
) -> None:
    """A tunnel that was made after the backup has no tombstone: it goes on, as absence never deletes."""
    node = world.node()
    service = world.service()["id"]
    kept = world.connection(service)
    source = make(keys, tmp_path / "backup")
    world.connection(service)
    ahead = followed(keys.store, node, desired.EMPTY)
    machine.restore(source)
    with machine.store().read() as tx:
        change = delta.desired_since(tx, node, ahead.revision)
    assert change.gone == ()
    assert list(followed(machine.store(), node, ahead).connections) == [kept["id"]]


def test_the_next_agent_holds_its_node_at_once(
    keys: Administration, world: World, machine: Machine, tmp_path: Path
) -> None:
    world.node()
    with keys.store.write() as tx:
        tx.run(Statement(text("UPDATE node SET holder = 'an agent of the lost machine'")))
    machine.restore(make(keys, tmp_path / "backup"))
    with machine.engine.connect() as connection:
        assert connection.execute(text("SELECT holder FROM node")).scalars().all() == [None]
