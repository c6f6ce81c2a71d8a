"""Secrets at rest: nothing readable in the files, nothing that opens in another row, no key that others can read."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, text

from linkspan.core.schema.resources import CERTIFICATE, CONNECTION, TRUST_ANCHOR
from linkspan.core.secret import Secret
from linkspan.core.state.status import LEASE
from linkspan.store import envelopes, key_file
from linkspan.store.database import engine as engines
from linkspan.store.envelopes import KeyFileError, Keyring
from linkspan.store.nodes import delta
from linkspan.store.rows import reading, writing
from linkspan.store.rows.row import Row
from linkspan.store.store import Conflict, Store
from tests.harness.databases import KEY, open_store
from tests.store.conftest import World

NEEDLE = "a needle in 3 haystacks: ñ"


def test_a_key_file_is_made_once_and_only_for_us(tmp_path: Path) -> None:
    path = tmp_path / "state" / "linkspan.key"
    ring = envelopes.load_keyring(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert list(path.parent.iterdir()) == [path]
    assert envelopes.load_keyring(path).ids == ring.ids
    sealed = ring.seal(Secret(NEEDLE), "blue", "1", "psk")
    assert envelopes.load_keyring(path).open(sealed.key_id, sealed.ciphertext, "blue", "1", "psk").reveal() == NEEDLE


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o600 | 0o020])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    envelopes.load_keyring(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"others can read .*chmod 0400"):
        envelopes.load_keyring(path)


def test_a_missing_key_file_is_not_made_when_it_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        envelopes.load_keyring(tmp_path / "key", make=False)


def test_forms_of_a_key_file() -> None:
    lines = ["# first seals", f"new:{KEY.hex()}", f"old:{base64.b64encode(KEY).decode()}", ""]
    assert key_file.parse(lines, "it").by_id == {"new": KEY, "old": KEY}
    assert Keyring(key_file.parse(lines, "it")).current == "new"
    for bad in (["x"], ["a:1234"], [], [f"a:{KEY.hex()}", f"a:{KEY.hex()}"], ["a:" + "z" * 44]):
        with pytest.raises(KeyFileError) as caught:
            key_file.parse(bad, "it")
        assert KEY.hex() not in str(caught.value)


def test_an_envelope_opens_only_for_its_row() -> None:
    ring = Keyring({"a": KEY})
    sealed = ring.seal(Secret(NEEDLE), "blue", "1", "psk")
    assert sealed.ciphertext != ring.seal(Secret(NEEDLE), "blue", "1", "psk").ciphertext
    assert ring.open("a", sealed.ciphertext, "blue", "1", "psk").reveal() == NEEDLE
    for project, id, field in (("red", "1", "psk"), ("blue", "2", "psk"), ("blue", "1", "key")):
        with pytest.raises(KeyFileError, match="not sealed for this row"):
            ring.open("a", sealed.ciphertext, project, id, field)
    with pytest.raises(KeyFileError, match="not in the key file"):
        ring.open("b", sealed.ciphertext, "blue", "1", "psk")
    with pytest.raises(KeyFileError):
        ring.open("a", sealed.ciphertext[:-1], "blue", "1", "psk")
    assert ring.try_open("a", sealed.ciphertext, "blue", "1", "psk") == (Secret(NEEDLE), "")
    assert ring.try_open("a", b"", "blue", "1", "psk")[0] is None
    assert "write it again" in ring.try_open(None, sealed.ciphertext, "blue", "1", "psk")[1]


def test_several_keys(database: Engine) -> None:
    """A new key seals, the old one still opens; without the old one the store does not start."""
    world = World(open_store(database))
    service = world.service()
    old = world.connection(service["id"])
    other = bytes(reversed(KEY))
    world.store = Store(database, Keyring({"newer": other, "test": KEY}), lease=LEASE)
    new = world.connection(service["id"])
    with world.store.read() as tx:
        assert {row["psk"] for row in reading.find(tx, CONNECTION)} == {old["psk"], new["psk"]}
    with database.connect() as connection:
        ids = connection.execute(text("SELECT psk_key_id FROM connection ORDER BY created_at")).scalars().all()
    assert ids == ["test", "newer"]
    for ring in ({"newer": other}, {"newer": other, "test": other}):
        with pytest.raises(KeyFileError, match="not this database's"):
            Store(database, Keyring(ring), lease=LEASE)


@pytest.mark.security(
    "1",
    tried="two rows' ciphertexts are swapped in the database",
    control="test_without_its_place_in_it_a_copied_envelope_opens",
)
def test_swapped_ciphertexts_do_not_open(world: World, database: Engine) -> None:
    broken, row, expected = with_copied_key(world, database)
    assert broken is not None
    assert (broken["psk"], "not sealed for this row" in broken.fault) == (None, True)
    assert row is not None  # negative control: the other one is untouched
    assert (row["psk"], row.fault) == (expected, "")


def with_copied_key(world: World, database: Engine) -> tuple[Row | None, Row | None, Secret]:
    """Two connections as they are read, the first with the second one's envelope; and the second one's key."""
    service = world.service()
    one, two = world.connection(service["id"]), world.connection(service["id"])
    swap = text("UPDATE connection SET psk = (SELECT c.psk FROM connection c WHERE c.id = :of) WHERE id = :id")
    with database.begin() as connection:
        connection.execute(swap, {"id": one["id"], "of": two["id"]})
    with world.store.read() as tx:
        broken, row = (reading.get(tx, CONNECTION, id) for id in (one["id"], two["id"]))
    return broken, row, two["psk"]


def test_without_its_place_in_it_a_copied_envelope_opens(
    world: World, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: envelopes that say nothing about their row."""
    seal, open_ = Keyring.seal, Keyring.open
    monkeypatch.setattr(Keyring, "seal", lambda ring, secret, *_: seal(ring, secret, "", "", ""))
    monkeypatch.setattr(Keyring, "open", lambda ring, key, sealed, *_: open_(ring, key, sealed, "", "", ""))
    copied, _, expected = with_copied_key(world, database)
    assert copied is not None
    assert (copied["psk"], copied.fault) == (expected, "")


def test_a_key_has_one_name_that_does_not_tell_it(world: World) -> None:
    node = world.node()
    service = world.service()["id"]
    one, two = world.connection(service), world.connection(service)
    names = {}
    for values in ({"psk": "one"}, {"psk": "two"}, {"psk": "one"}, {"mtu": 1400}):
        for connection in (one, two):
            world.update(connection["id"], **values)
        with world.store.read() as tx:
            desired = delta.desired_since(tx, node, 0).connections
        assert len({connection.psk_ref for connection in desired}) == 1, "connections with one key share its name"
        names[desired[0].psk.reveal()] = desired[0].psk_ref
    assert names["one"] != names["two"]
    keyring = world.store._keyring
    assert keyring.name(Secret("one"), "a project") != keyring.name(Secret("one"), "another project")
    other = Keyring({"k": bytes(32)})
    assert other.name(Secret("one"), one["project_id"]) != names["one"], "without the key file nobody can try keys"


@pytest.mark.security(
    "1",
    tried="a key in four encodings, in every file or row of the database",
    control="test_a_secret_that_is_not_sealed_is_found",
)
def test_no_secret_in_the_files(world: World, database: Engine, tmp_path: Path) -> None:
    connection = world.connection(world.service()["id"], psk=NEEDLE, name="what can be found")
    for _ in range(3):
        world.update(connection["id"], psk=NEEDLE, mtu=1400)
    project = connection["project_id"]
    world.update(connection["id"], ppk_id="x", ppk=NEEDLE)
    world.delete(connection["id"])
    with world.store.write() as tx:
        for resource in (CERTIFICATE, TRUST_ANCHOR):
            row = writing.insert(tx, resource, {"project_id": project, "private_key": NEEDLE})
            writing.update(tx, resource, row["id"], {"private_key": NEEDLE})
    found = written(database)
    if database.dialect.name == "sqlite":
        assert b"what can be found" in found  # the deleted row is in the log still
    for secret in (NEEDLE.encode(), NEEDLE.encode().hex().encode(), base64.b64encode(NEEDLE.encode())[:-4], KEY):
        assert secret not in found


def test_a_secret_that_is_not_sealed_is_found(world: World, database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: envelopes that are the text itself."""
    sealed = Keyring.seal
    monkeypatch.setattr(
        Keyring,
        "seal",
        lambda ring, secret, *place: msgspec.structs.replace(
            sealed(ring, secret, *place), ciphertext=secret.reveal().encode()
        ),
    )
    world.connection(world.service()["id"], psk=NEEDLE)
    found = written(database)
    assert NEEDLE.encode() in found or NEEDLE.encode().hex().encode() in found


def written(database: Engine) -> bytes:
    """Everything in the files of a database, or in the rows of a server."""
    path = engines.database_file(database)
    if path is None:
        with database.connect() as open_:
            columns = open_.execute(
                text(
                    "SELECT table_name FROM information_schema.tables"
                    " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
                )
            ).scalars()
            dump = "".join(
                str(open_.exec_driver_sql(f'SELECT t::text FROM "{name}" t').scalars().all()) for name in columns
            )
        return dump.encode()
    else:
        assert path.with_name(path.name + "-wal").exists()
        return b"".join(each.read_bytes() for each in path.parent.iterdir() if each.is_file())


def test_errors_hold_no_parameters(world: World) -> None:
    with pytest.raises(Conflict) as caught, world.store.write() as tx:
        writing.insert(tx, CONNECTION, world.values("nowhere", psk=NEEDLE))
    chain = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(repr(error))
        error = error.__cause__
    assert NEEDLE not in "".join(chain)
    assert "203.0.113" not in "".join(chain)
