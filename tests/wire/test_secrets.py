"""The pre-shared key is only where it is needed, and a node gets only its own gateways."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from linkspan.cli.client import ApiError
from linkspan.core.state.observed import HOLDER_HEADER
from linkspan.drivers.linux.place import holder
from tests.harness.authorities import Ca, key_pem, new_key, pem
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]


PUBLIC = ("/run", "/etc/netns", "/dev/shm", "/var/log")
"""Folders in which programs leave files for others, besides the state directory."""
LISTS = (
    *(
        "/v2.0/vpn/ipsec-site-connections",
        "/v2.0/vpn/vpnservices",
        "/v2.0/vpn/ikepolicies",
        "/v2.0/vpn/endpoint-groups",
    ),
    *("/v2.0/vpn/certificates", "/v2.0/vpn/trust-anchors"),
    *("/v2.0/networks", "/v2.0/routers", "/v2.0/ports", "/v2.0/quotas/tenant", "/v2.0/linkspan/audit", "/openapi.json"),
)


def found_in(path: Path, secret: bytes) -> bool:
    try:
        return secret in path.read_bytes()
    except OSError:
        return False


def world_readable() -> Iterator[Path]:
    for folder in PUBLIC:
        for path in Path(folder).rglob("*"):
            try:
                status = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o004 and status.st_size < 1 << 24:
                yield path


def replies(world: World, user: str, connection: str) -> bytes:
    """Everything that the API tells a user, of lists and of one connection, errors too."""
    client, texts = world.client(user), []
    for path in (*LISTS, f"/v2.0/vpn/ipsec-site-connections/{connection}"):
        try:
            texts.append(str(client.request("GET", path)))
        except ApiError as error:
            texts.append(str(error))
    return "".join(texts).encode()


def places(world: World, secret: bytes) -> set[str]:
    """The kinds of places in which a secret is found."""
    connection = world.lab["sites"]["left"]["connection_id"]
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    state = [path for path in world.state.rglob("*") if path.is_file()]
    names = {path.name for path in state}
    assert {"linkspan.db", "charon.log", "lab.json", "node-1.log"} <= names, "the search did not see these files"
    return {
        kind
        for kind, hit in (
            ("file of the service", any(found_in(path, secret) for path in state)),
            ("output", secret.decode() in world.output),
            ("argument", any(found_in(entry / "cmdline", secret) for entry in processes)),
            ("environment", any(found_in(entry / "environ", secret) for entry in processes)),
            ("file that everybody can read", any(found_in(path, secret) for path in world_readable())),
            *((f"reply to {user}", secret in replies(world, user, connection)) for user in ("other", "reader")),
        )
        if hit
    }


@pytest.mark.security(
    "needle",
    tried="the key of a running tunnel in all files, logs, arguments, environments, and replies to others",
    control="test_a_secret_that_is_in_such_a_place_is_found",
)
def test_the_psk_is_in_no_file_log_command_line_environment_or_reply_to_others(world: World) -> None:
    psk = world.connection(world.lab["sites"]["left"]["connection_id"])["psk"].encode()
    assert len(psk) > 20
    assert places(world, psk) == set()


@pytest.mark.security(
    "needle",
    tried="private keys, of an import and of requests, and a post-quantum key of a running tunnel in all these places",
    control="test_a_secret_that_is_in_such_a_place_is_found",
)
def test_private_and_post_quantum_keys_are_in_no_such_place(world: World) -> None:
    ca, key = Ca(), new_key("rsa-2048")
    text, ppk = key_pem(key), secrets.token_urlsafe(24)
    values = {"source": "imported", "certificate": pem(ca.issue("gw", key=key)) + ca.pem, "private_key": text}
    made = world.user.request("POST", "/v2.0/vpn/certificates", {"certificate": values})["certificate"]
    sides = [world.lab["sites"][side]["connection_id"] for side in ("left", "right")]
    try:
        for id in sides:
            body = {"ipsec_site_connection": {"ppk_id": "lab", "ppk": ppk}}
            world.user.request("PUT", f"/v2.0/vpn/ipsec-site-connections/{id}", body)
        until(lambda: all(world.connection(id)["status"] == "ACTIVE" for id in sides), 60.0)
        # A line of the key: no encoding of its text breaks there.
        for needle in (ppk, text.splitlines()[7]):
            assert len(needle) > 20
            assert places(world, needle.encode()) == set()
    finally:
        for id in sides:
            nothing: dict[str, Any] = {"ppk_id": "", "ppk": None}
            body = {"ipsec_site_connection": nothing}
            world.user.request("PUT", f"/v2.0/vpn/ipsec-site-connections/{id}", body)
        world.user.request("DELETE", f"/v2.0/vpn/certificates/{made['id']}")
        until(lambda: all(world.connection(id)["status"] == "ACTIVE" for id in sides), 60.0)


@pytest.mark.security(
    "needle",
    tried="the key before a change and the new one, while both are accepted, in all these places",
    control="test_a_secret_that_is_in_such_a_place_is_found",
)
def test_the_keys_of_a_rotation_are_in_no_such_place(world: World) -> None:
    ids = {side: world.lab["sites"][side]["connection_id"] for side in ("left", "right")}
    old, new = world.connection(ids["left"])["psk"], secrets.token_urlsafe(24)

    def change(side: str) -> None:
        path = f"/v2.0/vpn/ipsec-site-connections/{ids[side]}"
        world.user.request("PUT", path, {"ipsec_site_connection": {"psk": new}})

    change("left")
    try:
        until(lambda: "the previous psk" in (world.connection(ids["left"])["status_reason"] or ""), 20.0)
        for needle in (old, new):
            assert places(world, needle.encode()) == set()
        assert old not in str(world.connection(ids["left"]))
    finally:
        change("right")
        until(lambda: all(world.connection(id)["status"] == "ACTIVE" for id in ids.values()), 60.0)
        until(lambda: not any(world.connection(id)["status_reason"] for id in ids.values()), 60.0)


def test_a_secret_that_is_in_such_a_place_is_found(world: World) -> None:
    """The control: a text as unique as a key, planted in each of the places."""
    needle = secrets.token_urlsafe(24)
    log = world.state / "logs" / "planted.log"
    public = Path("/run") / f"linkspan-planted-{os.getpid()}"
    network: dict[str, Any] = {"name": needle, "router:external": True}
    id = world.admin.request("POST", "/v2.0/networks", {"network": network})["network"]["id"]
    sleep = subprocess.Popen(["sh", "-c", "read x", needle], stdin=subprocess.PIPE, env={"NEEDLE": needle})
    try:
        until(lambda: found_in(Path(f"/proc/{sleep.pid}/cmdline"), needle.encode()), 10.0)
        log.write_text(needle)
        public.write_text(needle)
        public.chmod(0o644)
        with world.output_file.open("a") as output:
            output.write(needle)
        assert places(world, needle.encode()) == {
            *("file of the service", "output", "argument", "environment", "file that everybody can read"),
            *("reply to other", "reply to reader"),
        }
    finally:
        sleep.communicate()
        log.unlink(missing_ok=True)
        public.unlink(missing_ok=True)
        world.admin.request("DELETE", f"/v2.0/networks/{id}")


@pytest.mark.parametrize("path", ["desired?since=0", "hints"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic ZGVtbzpkZW1v"}])
def test_agent_without_the_token_gets_nothing(world: World, path: str, headers: dict[str, str]) -> None:
    router = world.lab["sites"]["left"]["router_id"]
    answer = httpx.get(f"{world.lab['url']}/agent/v1/{path}", headers=headers, timeout=5)
    assert answer.status_code == 401
    assert router not in answer.text
    assert "198.51.100" not in answer.text


@pytest.mark.security(
    "13",
    tried="another node's token, and the right one elsewhere",
    control="itself: the same request of the node's own agent has the gateway, so that its absence shows",
)
def test_a_node_gets_its_own_gateways_only(world: World) -> None:
    router = world.lab["sites"]["left"]["router_id"]
    own = (world.state / "nodes" / "node-1.token").read_text().strip()
    url = f"{world.lab['url']}/agent/v1/desired?since=0"
    agent = {HOLDER_HEADER: holder(world.lab["instance"], world.state.absolute() / "nodes" / "node-1")}
    mine = httpx.get(url, headers={"Authorization": f"Bearer {own}"} | agent, timeout=5)
    assert mine.status_code == 200
    assert router in mine.text
    elsewhere = httpx.get(url, headers={"Authorization": f"Bearer {own}"}, timeout=5)
    assert (elsewhere.status_code, router in elsewhere.text) == (409, False)
    other = world.other_node("stranger")
    theirs = httpx.get(url, headers={"Authorization": f"Bearer {other}"}, timeout=5)
    assert "198.51.100" not in theirs.text
    assert theirs.json()["gateways"] == theirs.json()["connections"] == []


def test_only_their_owner_can_read_files_with_secrets(world: World) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in world.state.rglob("*") if path.is_file()}
    assert modes["seal"] == 0o400
    assert modes["node-1.token"] & 0o077 == 0
    assert modes["clouds.yaml"] & 0o077 == 0
    sockets = list(world.state.rglob("charon.vici"))
    assert len(sockets) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in sockets)
