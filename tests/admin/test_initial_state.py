"""The initial state: users, projects, nodes and a clouds.yaml; a second call updates only the URL."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from keystoneauth1 import loading
from keystoneauth1.session import Session
from sqlalchemy import update

from linkspan.admin import account_store
from linkspan.admin.initial_state import bootstrap_state
from linkspan.api.app import create_app
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.server import server
from linkspan.core.secret import hash_token
from linkspan.core.state.status import LEASE
from linkspan.store import envelopes
from linkspan.store.database import engine as engines
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import TOKEN
from linkspan.store.identity import credentials, tokens, users
from linkspan.store.identity.users import verify_password
from linkspan.store.migrate import upgrade
from linkspan.store.nodes import credentials as node_credentials
from linkspan.store.nodes import registry
from linkspan.store.store import Store
from tests.api.users import quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

URL = "http://127.0.0.1:9696"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    engine = engines.connect(f"sqlite:///{tmp_path}/linkspan.db")
    upgrade(engine)
    yield Store(engine, envelopes.load_keyring(tmp_path / "keys"), lease=LEASE)
    engine.dispose()


def start(store: Store, state: Path, url: str = URL, nodes: tuple[str, ...] = ("node-1",), **more: Any) -> Any:
    bootstrap_state(store, state, url, {name: state / "nodes" / f"{name}.token" for name in nodes}, **more)
    return yaml.safe_load((state / "clouds.yaml").read_text())["clouds"]


METHODS = {"linkspan-admin-password", "linkspan-demo-password", "linkspan-demo-credential", "linkspan-demo-token"}


def test_four_users_with_valid_passwords(store: Store, tmp_path: Path) -> None:
    clouds = start(store, tmp_path)
    assert set(clouds) == {"linkspan-admin", "linkspan-demo", "linkspan-reader", "linkspan-other"} | METHODS
    with store.read() as tx:
        for user in ("admin", "demo", "reader", "other"):
            cloud = clouds[f"linkspan-{user}"]
            assert cloud["auth_type"] == "http_basic"
            assert (cloud["auth"]["endpoint"], cloud["auth"]["username"]) == (URL, user)
            row = users.user_by_name(tx, user)
            assert row is not None
            assert verify_password(row["password_hash"], cloud["auth"]["password"])
        stored = {row["name"]: (row["project_name"], row["roles"]) for row in users.all_users(tx)}
    assert stored == {
        "admin": ("admin", ["admin"]),
        "demo": ("demo", ["member"]),
        "other": ("other", ["member"]),
        "reader": ("demo", ["reader"]),
    }


def test_only_the_owner_can_read_files_with_secrets(store: Store, tmp_path: Path) -> None:
    start(store, tmp_path)
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777 for name in ("clouds.yaml", "curl.conf", "nodes/node-1.token")
    }
    assert modes == {"clouds.yaml": 0o600, "curl.conf": 0o600, "nodes/node-1.token": 0o400}


def test_a_second_start_keeps_passwords_and_tokens_and_updates_the_port(store: Store, tmp_path: Path) -> None:
    first = start(store, tmp_path)
    token = (tmp_path / "nodes" / "node-1.token").read_text()
    second = start(store, tmp_path, "http://127.0.0.1:9999", ("node-1", "node-2"))
    assert (tmp_path / "nodes" / "node-1.token").read_text() == token
    moved = (tmp_path / "clouds.yaml").read_text()
    assert yaml.safe_load(moved.replace("http://127.0.0.1:9999", URL))["clouds"] == first
    assert second["linkspan-demo"]["auth"]["endpoint"] == "http://127.0.0.1:9999"
    assert second["linkspan-demo-password"]["auth"]["auth_url"] == "http://127.0.0.1:9999/identity/v3"
    with store.read() as tx:
        assert [node["name"] for node in registry.all_nodes(tx)] == ["node-1", "node-2"]
        assert len(users.all_users(tx)) == 4


def test_a_lost_clouds_file_is_replaced_with_new_valid_passwords(store: Store, tmp_path: Path) -> None:
    first = start(store, tmp_path)
    (tmp_path / "clouds.yaml").unlink()
    second = start(store, tmp_path)
    password = second["linkspan-demo"]["auth"]["password"]
    assert password != first["linkspan-demo"]["auth"]["password"]
    with store.read() as tx:
        row = users.user_by_name(tx, "demo")
    assert row is not None
    assert verify_password(row["password_hash"], password)


def test_every_cloud_of_the_file_can_log_in(store: Store, tmp_path: Path) -> None:
    """keystoneauth1 logs in with each cloud of the file, also of a file that replaced a lost one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        notifier = Notifier()
        running = server(create_app(store, EmbeddedKeystone(store), notifier), notifier)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            start(store, tmp_path, url)
            (tmp_path / "clouds.yaml").unlink()
            for name, cloud in start(store, tmp_path, url).items():
                auth: Any = loading.get_plugin_loader(cloud["auth_type"]).load_from_options(**cloud["auth"])
                where = {"service_type": "network", "region_name": cloud.get("region_name")}
                answer = Session(auth=auth).get("/v2.0/networks", endpoint_filter=where)
                assert answer.status_code == 200, name
        finally:
            running.stop()
            thread.join()
    with store.read() as tx:
        assert len(tokens.static_tokens(tx)) == 1
        user = users.user_by_name(tx, "demo")
        assert user is not None
        assert len(credentials.credentials_of(tx, user["id"])) == 1


def test_without_authentication_the_passwords_are_kept_for_a_later_start(store: Store, tmp_path: Path) -> None:
    first = start(store, tmp_path)
    none = start(store, tmp_path, authenticated=False)
    assert none["linkspan-demo"]["auth_type"] == "none"
    assert none["linkspan-demo"]["auth"] == {"endpoint": URL}
    assert not METHODS & set(none)
    assert start(store, tmp_path) == first


def test_a_node_whose_token_file_is_lost_is_an_error(store: Store, tmp_path: Path) -> None:
    start(store, tmp_path)
    (tmp_path / "nodes" / "node-1.token").unlink()
    with pytest.raises(click.ClickException, match="does not hold its token"):
        start(store, tmp_path)


def test_a_foreign_clouds_file_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text("something else")
    with pytest.raises(click.ClickException, match="move it away"):
        start(store, tmp_path)
    assert (tmp_path / "clouds.yaml").read_text() == "something else"


ONE, TWO = "correct horse", "battery staple"


@pytest.mark.parametrize("password", ["", "x", "elevenchars", "äöüäöüäöüäö"])
def test_a_short_password_is_refused(store: Store, password: str) -> None:
    account_store.create_project(store, "p")
    account_store.create_user(store, "u", "exactly 12 .", "p", ("member",))
    with pytest.raises(click.ClickException, match="at least 12 characters"):
        account_store.create_user(store, "v", password, "p", ("member",))
    with pytest.raises(click.ClickException, match="at least 12 characters"):
        account_store.set_password(store, "u", password)
    with store.read() as tx:
        (user,) = users.all_users(tx)
    assert verify_password(user["password_hash"], "exactly 12 .")


def test_the_static_token_is_renewed_in_time(store: Store, tmp_path: Path) -> None:
    start(store, tmp_path)
    text = (tmp_path / "clouds.yaml").read_text()
    with store.read() as tx:
        (token,) = tokens.static_tokens(tx)
        now = tx.wall
    assert token["expires_at"] is not None
    assert 89 < (token["expires_at"] - now) / 86_400 <= 90
    start(store, tmp_path)
    assert (tmp_path / "clouds.yaml").read_text() == text
    with store.write() as tx:
        tx.run(Statement(update(TOKEN).values(expires_at=now + 44 * 86_400)))
    start(store, tmp_path)
    assert (tmp_path / "clouds.yaml").read_text() != text
    with store.read() as tx:
        (renewed,) = tokens.static_tokens(tx)
    assert renewed["id"] != token["id"]


def test_projects_users_and_passwords(store: Store, tmp_path: Path) -> None:
    account_store.create_project(store, "p")
    account_store.create_user(store, "u", ONE, "p", ("reader",))
    account_store.set_password(store, "u", TWO)
    with store.read() as tx:
        row = users.user_by_name(tx, "u")
    assert row is not None
    assert verify_password(row["password_hash"], TWO)
    assert not verify_password(row["password_hash"], ONE)
    with pytest.raises(click.ClickException, match="exists already"):
        account_store.create_project(store, "p")
    with pytest.raises(click.ClickException, match="exists already"):
        account_store.create_user(store, "u", ONE, "p", ("member",))
    with pytest.raises(click.ClickException, match="no project named"):
        account_store.create_user(store, "v", ONE, "q", ("member",))
    with pytest.raises(click.ClickException, match="no user named"):
        account_store.set_password(store, "v", ONE)


def test_a_node_whose_token_cannot_be_written_is_not_created(store: Store, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(click.ClickException, match="exists already"):
        account_store.create_node(store, "n", tmp_path / "taken")
    with store.read() as tx:
        assert registry.all_nodes(tx) == []
    account_store.create_node(store, "n", tmp_path / "token")
    with store.read() as tx:
        token = (tmp_path / "token").read_text().strip()
        node = registry.node_by_token(tx, hash_token(token.encode()))
    assert node is not None
    assert node["name"] == "n"


def test_the_token_of_a_node_of_this_machine_has_no_end_after_an_upgrade(store: Store, tmp_path: Path) -> None:
    """The upgrade gives every token one, since it does not know where the nodes are."""
    file = tmp_path / "nodes" / "node-1.token"
    for _ in range(2):
        bootstrap_state(store, tmp_path, "http://127.0.0.1:9696", {"node-1": file})
        with store.read() as tx:
            node = registry.node_by_token(tx, hash_token(file.read_text().strip().encode()))
        assert node is not None
        assert node["token_expires_at"] is None
        with store.write() as tx:
            node_credentials.set_token(tx, node["id"], hash_token(file.read_text().strip().encode()), tx.wall + 100)


def test_a_node_of_this_machine_that_has_joined_needs_no_token(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "nodes" / "node-1.token"
    file.parent.mkdir()
    file.with_suffix(".pem").write_text("")
    bootstrap_state(store, tmp_path, "http://127.0.0.1:9696", {"node-1": file})
    assert not file.exists()
