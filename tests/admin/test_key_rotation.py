"""Rotation of the keys that seal secrets: every one stays readable, whoever writes and whenever it is broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import Engine, text

from linkspan.admin.key_rotation import Administration
from linkspan.core.schema.resources import CERTIFICATE, CONNECTION, TRUST_ANCHOR
from linkspan.core.secret import Secret
from linkspan.core.state.status import LEASE
from linkspan.store import audit, rotation
from linkspan.store.database import engine as engines
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import AUDIT_HEAD, METADATA
from linkspan.store.envelopes import Keyring, load_keyring
from linkspan.store.key_file import Entry, KeyFile, KeyFileError
from linkspan.store.nodes import authority, delta
from linkspan.store.rows import connection_revisions, encryption_keys, reading, writing
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.transaction import Transaction
from tests.harness.databases import database, postgres, sqlite_template
from tests.store.conftest import World

__all__ = ["database", "postgres", "sqlite_template"]


def administration(database: Engine, path: Path, **more: Any) -> Administration:
    """The keys as another process opens them."""
    file = KeyFile(path)
    ring = load_keyring(file)
    return Administration(Store(database, ring, lease=LEASE, **more), file, ring)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for transactions that began before: the tests say themselves when those end."""
    monkeypatch.setattr(rotation, "SETTLE", 0.0)
    monkeypatch.setattr(rotation.rewrap, "__defaults__", (0.0,))


@pytest.fixture
def keys(database: Engine, tmp_path: Path) -> Administration:
    return administration(database, tmp_path / "keys" / "seal")


@pytest.fixture
def world(keys: Administration) -> World:
    return World(keys.store)


def ignore(_: Any) -> None:
    """Ignore progress and notices."""


def rotate(keys: Administration) -> rotation.Rewrapped:
    return keys.rotate(ignore, ignore)


def psks(store: Store) -> dict[str, str | None]:
    """The keys of all connections, None for one that does not open."""
    with store.read() as tx:
        return {row["id"]: row["psk"] and row["psk"].reveal() for row in reading.find(tx, CONNECTION)}


def under(database: Engine) -> set[str]:
    """The ids of the keys that seal something."""
    with database.connect() as connection:
        query = "SELECT psk_key_id FROM connection UNION SELECT key_id FROM audit_head"
        return set(connection.execute(text(query)).scalars())


def seal_an_entry(store: Store) -> None:
    """Begin an audit trail, whose newest hash is sealed, too."""
    with store.write() as tx:
        audit.record(tx, audit.Actor("u", "ada"), "create", "project", "x")
    store.seal_audit()


# --- what a rotation does -----------------------------------------------------------------------------------------


def test_every_column_with_envelopes_is_rotated() -> None:
    """A key id is beside each envelope, and its foreign key is how a rotation finds it."""
    named = {
        (table.name, column.name.removesuffix("_key_id"))
        for table in METADATA.sorted_tables
        for column in table.c
        if column.name.endswith("key_id") and table is not AUDIT_HEAD
    }
    assert {(column.table.name, column.name) for column in encryption_keys.SEALED} == named
    assert {("connection", "psk"), ("connection", "ppk")} < named
    assert {("certificate", "private_key"), ("trust_anchor", "private_key")} < named


@pytest.mark.security(
    "1 rotation",
    tried="the old key, after a rotation, in the file and in the database",
    control="test_a_key_that_is_needed_is_not_removed",
)
def test_the_old_key_can_be_thrown_away(database: Engine, keys: Administration, world: World) -> None:
    service = world.service()["id"]
    expected = {world.connection(service, psk=f"key {number}")["id"]: f"key {number}" for number in range(7)}
    deleted = world.connection(service)
    world.delete(deleted["id"])
    (first,) = keys.keyring.ids
    seal_an_entry(keys.store)
    result = rotate(keys)
    assert (result.sealed, result.unreadable) == (7, ())
    second = keys.keyring.current
    assert under(database) == {second} != {first}
    keys.remove(first)
    other = administration(database, keys.file.path)
    assert other.keyring.ids == (second,)
    assert psks(other.store) == expected
    assert [row["id"] for row in other.overview()] == [second]
    keys.store.seal_audit()
    with keys.store.read() as tx:
        assert audit.verify(tx).fault == ""
        actions = [(entry.action, entry.object_id) for entry in audit.page(tx, {}, 10)]
    assert actions == [("delete", first), ("rotate", second), ("create", "x")]
    # Negative control: without the second rotation's envelopes the key that is left would open nothing.
    keys.file.replace([Entry(first, os.urandom(32).hex())])
    with pytest.raises(KeyFileError, match="not this database's"):
        administration(database, keys.file.path)


def test_keys_of_certificates_are_rotated(database: Engine, keys: Administration, world: World) -> None:
    connection = world.connection(world.service()["id"], ppk_id="x", ppk="a post-quantum key")
    with keys.store.write() as tx:
        values = {"project_id": connection["project_id"], "private_key": "a private key"}
        certificate = writing.insert(tx, CERTIFICATE, values)["id"]
        anchor = writing.insert(tx, TRUST_ANCHOR, values)["id"]
    (first,) = keys.keyring.ids
    rotate(keys)
    keys.remove(first)
    other = administration(database, keys.file.path)
    with other.store.read() as tx:
        assert reading.secret(tx, CERTIFICATE, certificate, "private_key").reveal() == "a private key"
        assert reading.secret(tx, TRUST_ANCHOR, anchor, "private_key").reveal() == "a private key"
        assert reading.secret(tx, CONNECTION, connection["id"], "ppk").reveal() == "a post-quantum key"


def test_keys_of_earlier_configurations_are_rotated(database: Engine, keys: Administration, world: World) -> None:
    id = world.connection(world.service()["id"], psk="the first", ppk_id="x", ppk="a post-quantum key")["id"]
    with keys.store.write() as tx:
        connection_revisions.keep(tx, [id])
        writing.update(tx, CONNECTION, id, {"psk": Secret("the second")}, configures=True)
    (first,) = keys.keyring.ids
    with keys.store.read() as tx:
        before = connection_revisions.earlier(tx, id)
    assert rotate(keys).unreadable == ()
    keys.remove(first)
    other = administration(database, keys.file.path)
    with other.store.read() as tx:
        assert connection_revisions.earlier(tx, id) == before
        kept, fault = connection_revisions.secrets(tx, id, before[0].number)
        shown = {name: secret and secret.reveal() for name, secret in kept.items()}
    assert (shown, fault) == ({"psk": "the first", "ppk": "a post-quantum key"}, "")


def test_the_authority_of_nodes_is_rotated(database: Engine, keys: Administration) -> None:
    with keys.store.write() as tx:
        authority.ensure(tx)
    with keys.store.read() as tx:
        id, _ = authority.issuing(tx)
    first = keys.keyring.current
    assert rotate(keys).sealed == 1
    keys.remove(first)
    with administration(database, keys.file.path).store.read() as tx:
        assert authority.issuing(tx)[0] == id


def test_a_rotation_wakes_no_agent_and_changes_no_name(keys: Administration, world: World) -> None:
    node = world.node()
    service = world.service()["id"]
    for number in range(3):
        world.connection(service, psk=f"key {number % 2}")
    woken: list[dict[str, int]] = []
    observer = Store(keys.store._engine, keys.keyring, woken.append, lease=LEASE)
    keys.store = observer

    def state() -> Any:
        with observer.read() as tx:
            rows = [(row["id"], row["revision_number"], row["updated_at"]) for row in reading.find(tx, CONNECTION)]
            desired = delta.desired_since(tx, node, 0)
        return rows, desired.digest, desired.connections

    before = state()
    for _ in range(2):
        rotate(keys)
    for id in keys.removable():
        keys.remove(id)
    assert state() == before
    assert woken == []
    # The same secret, written after the rotation, has the name that it had: its tunnel is not exchanged either.
    first = before[2][0]
    world.update(first.id, psk=first.psk.reveal())
    assert {each.psk_ref for each in state()[2]} == {each.psk_ref for each in before[2]}
    world.update(first.id, psk="another")
    assert {each.psk_ref for each in state()[2]} != {each.psk_ref for each in before[2]}


def test_a_key_that_is_needed_is_not_removed(database: Engine, keys: Administration, world: World) -> None:
    row = world.connection(world.service()["id"], psk="a key")
    first = keys.keyring.current
    with pytest.raises(click.ClickException, match="rotate"):
        keys.remove(first)
    added = keys.add()
    assert keys.keyring.ids == (first, added)
    rotate(keys)
    assert keys.keyring.ids == (added, first), "what was added is what seals, and no further key is made"
    with database.begin() as connection:  # as a process that had begun under the old key
        connection.execute(text("UPDATE connection SET psk_key_id = :id"), {"id": first})
    with pytest.raises(click.ClickException, match=r"1 secrets are under key .*rotate"):
        keys.remove(first)
    with pytest.raises(Conflict), keys.store.write() as tx:
        encryption_keys.remove(tx, first)
    with pytest.raises(click.ClickException, match="no key with the id"):
        keys.remove("nonsense")
    assert keys.keyring.ids == (added, first)
    world.update(row["id"], psk="written again")
    keys.remove(first)
    assert psks(keys.store) == {row["id"]: "written again"}


def test_what_does_not_open_stays_and_is_named(database: Engine, keys: Administration, world: World) -> None:
    service = world.service()["id"]
    rows = [world.connection(service, psk="a key") for _ in range(3)]
    with database.begin() as connection:
        connection.execute(text("UPDATE connection SET psk = :b WHERE id = :id"), {"b": b"junk", "id": rows[1]["id"]})
    result = rotate(keys)
    assert (result.sealed, result.unreadable) == (2, (f"connection {rows[1]['id']}",))
    assert psks(keys.store) == {rows[0]["id"]: "a key", rows[1]["id"]: None, rows[2]["id"]: "a key"}
    assert keys.removable() == []
    before = keys.keyring.current
    assert rotate(keys).sealed == 2, "one that does not open does not keep the others from the next key"
    assert keys.keyring.current != before


def test_two_rotations_do_not_mix(keys: Administration) -> None:
    with keys.file.locked(), pytest.raises(KeyFileError, match="wait until it ends"):
        rotate(keys)
    rotate(keys)


# --- writers ------------------------------------------------------------------------------------------------------


def test_a_secret_that_is_written_meanwhile_stays(keys: Administration, world: World) -> None:
    row = world.connection(world.service()["id"], psk="before")
    keys.file.replace([Entry("next", os.urandom(32).hex()), *keys.file.entries()])
    with keys.store.write() as tx:
        (column,) = [each for each in encryption_keys.SEALED if (each.table.name, each.name) == ("connection", "psk")]
        (read,) = encryption_keys.rows_under_others(tx, column, "", 10)
        envelope = tx.keyring.seal(Secret("before"), read.project_id, read.id, "psk")
    world.update(row["id"], psk="edited")
    with keys.store.write() as tx:
        assert not encryption_keys.swap(tx, column, read, envelope)
    assert psks(keys.store) == {row["id"]: "edited"}
    # Negative control: without the comparison the edit is undone.
    with keys.store.write() as tx:
        undo = Statement(text("UPDATE connection SET psk = :new, psk_key_id = :key"))
        tx.run(undo, new=envelope.ciphertext, key=envelope.key_id)
    assert psks(keys.store) == {row["id"]: "before"}


class Writers:
    """Processes with stores of their own that create, edit and read connections all the time."""

    def __init__(self, database: Engine, path: Path, world: World, count: int) -> None:
        self.expected: dict[str, str] = {}
        self.errors: list[BaseException] = []
        self.rounds = [0] * count
        self._stop = threading.Event()
        self._service = world.service()["id"]
        self._world = world
        self._lock = threading.Lock()
        url = database.url.render_as_string(hide_password=False)
        self._engines = [engines.connect(url, pool=2) for _ in range(count)]
        self.stores = [Store(engine, load_keyring(path), lease=LEASE) for engine in self._engines]
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for engine in self._engines:
            engine.dispose()

    def wait(self, rounds: int = 3) -> None:
        """Wait until each of them has gone round so often."""
        goals = [done + rounds for done in self.rounds]
        deadline = time.monotonic() + 60
        while not self.errors and any(done < goal for done, goal in zip(self.rounds, goals, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _run(self, number: int) -> None:
        try:
            mine: list[str] = []
            while not self._stop.is_set():
                self._round(self.stores[number], number, mine)
                self.rounds[number] += 1
        except BaseException as error:  # whatever it is, the test shows it
            self.errors.append(error)

    def _round(self, store: Store, number: int, mine: list[str]) -> None:
        value = f"{number} {self.rounds[number]}"
        if len(mine) < 30:
            with self._lock:
                values = self._world.values(self._service, psk=value)
            with store.write() as tx:
                id = writing.insert(tx, CONNECTION, values)["id"]
            mine.append(id)
        else:
            id = mine[self.rounds[number] % len(mine)]
            with store.write() as tx:
                writing.update(tx, CONNECTION, id, {"psk": value})
        self.expected[id] = value
        read = psks(store)
        wrong = {id: (read[id], self.expected[id]) for id in mine if read[id] != self.expected[id]}
        assert not wrong, wrong
        assert None not in read.values(), "a key of another process does not open"


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.security(
    "rotation under load",
    tried="rotations broken off after each page, while two processes write",
    control="test_a_secret_that_is_written_meanwhile_stays",
)
def test_no_secret_is_lost_under_load(database: Engine, keys: Administration, world: World) -> None:
    """Rotations that are broken off after each page, continued and finished, while two processes write."""

    def break_off(_sealed: int) -> None:
        raise Killed

    # Nobody writes it again, so each rotation has a page to be broken off after.
    kept = world.connection(world.service()["id"], psk="kept")["id"]
    with Writers(database, keys.file.path, world, 2) as writers:
        for _ in range(2):
            writers.wait(12)
            with pytest.raises(Killed):
                administration(database, keys.file.path).rotate(break_off, ignore)
            writers.wait()
            again = administration(database, keys.file.path)
            rotate(again)
            writers.wait()  # nobody writes under the old key any more
            rotation.rewrap(again.store, ignore)
            for id in again.removable():
                again.remove(id)
        writers.wait()
    assert writers.errors == []
    last = administration(database, keys.file.path)
    assert under(database) <= {last.keyring.current}
    assert len(last.keyring.ids) == 1
    assert psks(last.store) == writers.expected | {kept: "kept"}
    assert {store._keyring.current for store in writers.stores} == {last.keyring.current}


# --- broken off ---------------------------------------------------------------------------------------------------


class Fuse:
    """Ends the process at the step with this number."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Killed


class FusedFile(KeyFile):
    fuse: Callable[[], None]

    def replace(self, entries: Iterable[Entry]) -> None:
        self.fuse()
        super().replace(entries)
        self.fuse()


class FusedStore(Store):
    fuse: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def write(self, *, repeatable: bool = False) -> Iterator[Transaction]:
        self.fuse()
        with super().write(repeatable=repeatable) as tx:
            yield tx
            self.fuse()
        self.fuse()


def test_it_can_be_broken_off_at_every_step(database: Engine, keys: Administration, world: World) -> None:
    service = world.service()["id"]
    expected = {world.connection(service, psk=f"key {number}")["id"]: f"key {number}" for number in range(3)}
    seal_an_entry(keys.store)
    started = keys.keyring.current
    steps = 0
    while True:
        file = FusedFile(keys.file.path)
        file.fuse = fuse = Fuse(steps)
        ring = load_keyring(file)
        store = FusedStore(database, ring, lease=LEASE)
        store.fuse = fuse
        fused = Administration(store, file, ring)
        try:
            fused.rotate(ignore, ignore)
            for id in fused.removable():
                fused.remove(id)
        except Killed:
            steps += 1
        else:
            break
        after = administration(database, keys.file.path)
        assert psks(after.store) == expected
        assert psks(keys.store) == expected, "a process that runs on reads them, too"
    assert steps > 10
    last = administration(database, keys.file.path)
    assert psks(last.store) == expected
    assert under(database) == set(last.keyring.ids) != {started}
    assert psks(keys.store) == expected


@pytest.mark.slow
def test_a_killed_command_is_run_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'linkspan.db'}"
    command = [sys.executable, "-m", "linkspan.bootstrap", "key", "rotate", "--state", str(tmp_path)]
    subprocess.run([*command[:3], "db", "upgrade", "--state", str(tmp_path)], check=True, capture_output=True)
    engine = engines.connect(url)
    keys = administration(engine, tmp_path / "keys" / "seal")
    world = World(keys.store)
    service = world.service()["id"]
    expected = {}
    with keys.store.write() as tx:
        for number in range(700):
            row = writing.insert(tx, CONNECTION, world.values(service, psk=f"key {number}"))
            expected[row["id"]] = f"key {number}"
    (first,) = keys.keyring.ids
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while len(under(engine)) < 2 and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert under(engine) > {first}, "it was killed in the middle"
    assert psks(keys.store) == expected
    done = subprocess.run([*command, "--remove-old"], check=True, capture_output=True, text=True)
    assert "continued the rotation" in done.stderr
    assert "sealed anew" in done.stdout
    assert psks(administration(engine, keys.file.path).store) == expected
    assert first not in under(engine)
    assert len(KeyFile(keys.file.path).read().by_id) == 1
    engine.dispose()


# --- where keys come from -----------------------------------------------------------------------------------------


def test_a_broken_key_file_changes_nothing_that_runs(keys: Administration, world: World) -> None:
    row = world.connection(world.service()["id"], psk="a key")
    path = keys.file.path
    good = path.read_bytes()
    bad: list[tuple[bytes, int]] = [
        (b"", 0o400),
        (b"junk", 0o400),
        (good[:30], 0o400),
        (good, 0o444),
        (b"\0" * 9, 0o400),
    ]
    for content, mode in bad:
        path.unlink()
        path.write_bytes(content)
        path.chmod(mode)
        world.update(row["id"], mtu=1400)
        assert psks(keys.store) == {row["id"]: "a key"}
        with pytest.raises(KeyFileError):
            load_keyring(path)
    path.unlink()
    assert psks(keys.store) == {row["id"]: "a key"}, "nor does one that is missing"


def test_a_key_that_cannot_be_had_now_is_no_damage(database: Engine, keys: Administration, world: World) -> None:
    """Nodes would load a random text for a damaged one: they wait instead."""
    row = world.connection(world.service()["id"], psk="a key")
    other = administration(database, keys.file.path)
    rotate(other)
    content = keys.file.path.read_bytes()
    keys.file.path.chmod(0o444)
    keys.file.path.write_bytes(content + b"\n")
    with pytest.raises(Unavailable, match="cannot be had now"):
        psks(keys.store)
    keys.file.path.chmod(0o400)
    keys.keyring._failed_at = -1000.0  # instead of waiting for a second
    assert psks(keys.store) == {row["id"]: "a key"}


def test_a_credential_of_systemd(
    database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path
) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    path = folder / "linkspan-keys"
    old, new = (f"{id}:{os.urandom(32).hex()}\n" for id in ("old", "new"))

    def give(content: str, mode: int = 0o440) -> None:
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(mode)

    give(old)
    with pytest.raises(KeyFileError, match="others can read"):
        load_keyring(path)  # negative control: elsewhere a group may not read it
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with pytest.raises(KeyFileError, match="No such file"):
        load_keyring(folder / "missing")
    assert not (folder / "missing").exists(), "systemd alone makes credentials"
    keys = administration(database, path)
    world = World(keys.store)
    row = world.connection(world.service()["id"], psk="a key")
    for change in (keys.add, lambda: keys.file.replace(())):
        with pytest.raises(KeyFileError, match="systemd credential"):
            change()
    give(new + old)
    again = administration(database, path)
    assert rotate(again).sealed == 1
    give(new)
    assert psks(administration(database, path).store) == {row["id"]: "a key"}
    assert sorted(each.name for each in folder.iterdir()) == ["linkspan-keys"]
    give(new, 0o444)
    with pytest.raises(KeyFileError, match="others can read"):
        load_keyring(path)


def test_a_keyring_without_a_file_stays() -> None:
    ring = Keyring({"a": bytes(32)})
    ring.refresh()
    assert (ring.ids, ring.version) == (("a",), 0)
