"""Root's commands on a state directory of a service's user act as that user; files that root names stay root's."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.admin import owner
from linkspan.bootstrap.command_line import execute

pytestmark = pytest.mark.root

USER = 64_999
STATE = "state"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the state directory of a service's user, and what only root may use."""
    if os.geteuid() != 0:
        pytest.skip("needs root to act as another user")
    monkeypatch.delenv("SUDO_UID", raising=False)
    umask = os.umask(0o022)
    folder = Path("/run") / f"linkspan-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    state = folder / STATE
    state.mkdir(mode=0o700)
    os.chown(state, USER, USER)
    (folder / "roots").mkdir(mode=0o700)
    (folder / "roots" / "password").write_text("a long password\n")
    (folder / "roots" / "password").chmod(0o600)
    try:
        yield folder
    finally:
        os.umask(umask)
        shutil.rmtree(folder)


def run(folder: Path, *arguments: str) -> int:
    return execute([*arguments, "--state", str(folder / STATE)])


def test_every_file_in_the_state_directory_is_its_owners(folder: Path) -> None:
    token, node, invitation = (folder / "roots" / name for name in ("token", "node", "invitation"))
    password = ("--password-file", str(folder / "roots" / "password"))
    assert run(folder, "db", "upgrade") == 0
    assert run(folder, "project", "create", "p") == 0
    assert run(folder, "user", "create", "u", "--project", "p", *password) == 0
    assert run(folder, "token", "create", "--user", "u", "--token-file", str(token)) == 0
    assert run(folder, "node", "create", "n", "--token-file", str(node)) == 0
    assert run(folder, "node", "join-token", "n", "--token-file", str(invitation)) == 0
    assert run(folder, "audit", "verify") == 0
    assert run(folder, "key", "rotate") == 0
    backup = folder / "roots" / "backup"
    passphrase = ("--passphrase-file", str(folder / "roots" / "password"))
    assert run(folder, "db", "backup", str(backup), *passphrase) == 0
    assert run(folder, "db", "restore", str(backup), "--force", *passphrase) == 0
    files = [folder / STATE, *(folder / STATE).rglob("*")]
    assert len(files) > 4
    assert {(file.stat().st_uid, file.stat().st_gid) for file in files} == {(USER, USER)}
    assert [(file.stat().st_uid, file.stat().st_mode & 0o777) for file in (token, node, invitation)] == [(0, 0o400)] * 3
    assert (backup.stat().st_uid, backup.stat().st_mode & 0o777) == (0, 0o600)
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_without_it_the_command_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(owner, "act_as_owner", lambda _state: contextlib.nullcontext())
    assert run(folder, "db", "upgrade") == 1
    assert list((folder / STATE).iterdir()) == []


def test_a_link_to_a_file_of_roots_is_not_followed_with_roots_rights(folder: Path) -> None:
    victim = folder / "roots" / "victim"
    victim.write_text("root's\n")
    (folder / STATE / "linkspan.db").symlink_to(victim)
    assert run(folder, "db", "upgrade") == 1
    assert victim.read_text() == "root's\n"


def test_rights_come_back_after_a_failure(folder: Path) -> None:
    groups = os.getgroups()
    with pytest.raises(ValueError, match="inside"), owner.act_as_owner(folder / STATE):  # noqa: PT012 # it has to last
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (USER, USER, [])
        with owner.act_as_operator():
            assert (os.geteuid(), os.getegid()) == (0, 0)
        assert os.geteuid() == USER
        raise ValueError("inside")
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)


@pytest.mark.parametrize("kind", ["missing", "root's", "sudo's caller"])
def test_other_directories_are_used_as_before(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    state = folder / STATE
    if kind == "missing":
        state.rmdir()
    elif kind == "root's":
        os.chown(state, 0, 0)
    else:
        monkeypatch.setenv("SUDO_UID", str(USER))
    with owner.act_as_owner(state):
        assert os.geteuid() == 0
