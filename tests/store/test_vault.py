"""Keys that Vault's transit engine encrypts, against a server that behaves like it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from linkspan.admin.key_rotation import Administration
from linkspan.core.state.status import LEASE
from linkspan.store import rotation
from linkspan.store.envelopes import load_keyring
from linkspan.store.key_file import KeyFile, KeyFileError, KeysUnavailable
from linkspan.store.store import Store, Unavailable
from linkspan.store.vault import VaultTransit
from tests.admin.test_key_rotation import ignore, psks
from tests.harness.vault import TOKEN, Vault, running_vault
from tests.store.conftest import World


@pytest.fixture
def vault() -> Iterator[Vault]:
    with running_vault() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation.rewrap, "__defaults__", (0.0,))


class Site:
    """A database whose keys a Vault encrypts, as one process after the other opens it."""

    def __init__(self, database: Engine, folder: Path, vault: Vault) -> None:
        self.database = database
        self.path = folder / "keys"
        self.token = folder / "token"
        self.token.write_text(TOKEN + "\n")
        self.vault = vault

    def transit(self, key: str = "linkspan", mount: str = "transit") -> VaultTransit:
        return VaultTransit(self.vault.url, mount, key, self.token, ca_file=None, timeout=5.0)

    def open(self, *, plain: bool = False) -> Administration:
        file = KeyFile(self.path, None if plain else self.transit())
        ring = load_keyring(file)
        return Administration(Store(self.database, ring, lease=LEASE), file, ring)

    def texts(self) -> list[str]:
        """The keys as they are in the file."""
        return [line.partition(":")[2] for line in self.path.read_text().splitlines()]


@pytest.fixture
def site(database: Engine, tmp_path: Path, vault: Vault) -> Site:
    return Site(database, tmp_path, vault)


def test_no_key_is_on_the_disk(site: Site) -> None:
    keys = site.open()
    world = World(keys.store)
    row = world.connection(world.service()["id"], psk="a key")
    assert [text[:9] for text in site.texts()] == ["vault:v1:"]
    assert psks(site.open().store) == {row["id"]: "a key"}
    with pytest.raises(KeyFileError, match=r"encrypted by Vault: set vault\.url"):
        load_keyring(site.path)  # negative control: the file alone opens nothing


def test_vault_is_asked_for_files_and_not_for_secrets(site: Site) -> None:
    keys = site.open()
    world = World(keys.store)
    service = world.service()["id"]
    asked = len(site.vault.requests)
    rows = {world.connection(service, psk=f"key {number}")["id"]: f"key {number}" for number in range(5)}
    site.vault.sealed = True
    world.update(next(iter(rows)), mtu=1400)
    assert psks(keys.store) == rows
    assert len(site.vault.requests) == asked == 2


def test_a_rotation_goes_to_the_next_version(site: Site) -> None:
    keys = site.open()
    world = World(keys.store)
    row = world.connection(world.service()["id"], psk="a key")
    running = site.open()
    (first,) = keys.keyring.ids
    assert keys.rotate(ignore, ignore).sealed == 1
    assert {text[:9] for text in site.texts()} == {"vault:v2:"}
    assert psks(running.store) == {row["id"]: "a key"}, "a process that runs takes the new key up"
    keys.remove(first)
    site.vault.oldest = 2
    assert psks(site.open().store) == {row["id"]: "a key"}, "Vault's first version can be thrown away"
    site.vault.oldest = 3
    with pytest.raises(KeyFileError, match="too old"):
        site.open()  # negative control


def test_a_token_that_may_not_rotate_uses_the_newest_version(site: Site) -> None:
    keys = site.open()
    site.vault.may_rotate = False
    notices: list[str] = []
    keys.rotate(ignore, notices.append)
    assert notices == ["Vault does not let this token rotate linkspan: its newest version is used"]
    assert {text[:9] for text in site.texts()} == {"vault:v1:"}


def test_from_a_plain_key_file_to_vault(site: Site) -> None:
    keys = site.open(plain=True)
    world = World(keys.store)
    row = world.connection(world.service()["id"], psk="a key")
    plain = set(site.texts())
    with_vault = site.open()
    with_vault.rotate(ignore, ignore)
    assert all(text.startswith("vault:") for text in site.texts())
    assert not plain & set(site.texts())
    for id in with_vault.removable():
        with_vault.remove(id)
    assert psks(site.open().store) == {row["id"]: "a key"}


def test_a_sealed_vault_is_waited_for(site: Site) -> None:
    keys = site.open()
    world = World(keys.store)
    row = world.connection(world.service()["id"], psk="a key")
    running = site.open()
    keys.rotate(ignore, ignore)
    site.vault.sealed = True
    with pytest.raises(KeysUnavailable, match=r"Vault answers 503 .*Vault is sealed.*: unseal it"):
        site.open()
    with pytest.raises(Unavailable, match="cannot be had now"):
        psks(running.store)  # its envelope is under a key that this process has not had yet
    site.vault.sealed = False
    running.keyring._failed_at = -1000.0  # instead of waiting for a second
    assert psks(running.store) == {row["id"]: "a key"}


def test_what_vault_refuses_is_said_in_one_sentence(site: Site, tmp_path: Path) -> None:
    site.open()
    site.token.write_text("hvs.wrong")
    with pytest.raises(KeyFileError, match=r"403 .*permission denied.*vault\.token_file"):
        site.open()
    site.token.write_text(TOKEN)
    with pytest.raises(KeyFileError, match=r"400 .*encryption key not found.*vault\.key"):
        site.transit(key="another").unwrap(site.texts()[0])
    with pytest.raises(KeyFileError, match=r"404 .*vault\.mount"):
        site.transit(mount="elsewhere/deep").unwrap(site.texts()[0])
    with pytest.raises(KeyFileError, match="message authentication failed"):
        site.transit().unwrap(site.texts()[0][:-8] + "AAAAAAA=")
    site.token.unlink()
    with pytest.raises(KeyFileError, match="cannot read the token for Vault"):
        site.open()
    site.token.write_text(TOKEN)
    site.vault.url = "http://127.0.0.1:9"
    with pytest.raises(KeysUnavailable, match="does not answer"):
        site.open()
    for url, name, token in (
        ("http://vault.example.org:8200", "linkspan", tmp_path),
        ("https://vault.example.org:8200", "../sys", tmp_path),
        ("https://vault.example.org:8200", "linkspan", None),
    ):
        with pytest.raises(KeyFileError):
            VaultTransit(url, "transit", name, token, ca_file=None, timeout=1.0)
