"""An envelope that does not open hurts only its connection: every other one is listed, changed and sent to its node."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, text

from linkspan.core.ipsec import config
from linkspan.core.tunnel import reconcile, reports
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite
from tests.core.samples import connection as sample
from tests.harness.databases import KEY


def truncated(envelope: bytes, _id: str) -> bytes:
    """The first bytes of the nonce."""
    return envelope[:5]


def empty(_envelope: bytes, _id: str) -> bytes:
    """Nothing."""
    return b""


def changed(envelope: bytes, _id: str) -> bytes:
    """One bit is another."""
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


def under_another_key(_envelope: bytes, id: str) -> bytes:
    """Sealed for this row with a key that is not the one it names."""
    nonce = os.urandom(12)
    return nonce + AESGCM(os.urandom(32)).encrypt(nonce, b"psk", f"{BLUE}|{id}|psk".encode())


def of_another_row(_envelope: bytes, id: str) -> bytes:
    """Sealed for another connection."""
    nonce = os.urandom(12)
    return nonce + AESGCM(KEY).encrypt(nonce, b"psk", f"{BLUE}|{id[::-1]}|psk".encode())


def no_text(_envelope: bytes, id: str) -> bytes:
    """It opens, and holds no UTF-8."""
    nonce = os.urandom(12)
    return nonce + AESGCM(KEY).encrypt(nonce, b"\xff\xfe", f"{BLUE}|{id}|psk".encode())


Damage = Callable[[bytes, str], bytes]


def damage(database: Engine, id: str, how: Damage) -> None:
    """Damages the envelope of a connection."""
    with database.begin() as connection:
        envelope = connection.execute(text("SELECT psk FROM connection WHERE id = :id"), {"id": id}).scalar()
        values = {"id": id, "psk": how(bytes(envelope or b""), id)}
        connection.execute(text("UPDATE connection SET psk = :psk WHERE id = :id"), values)


def summary(shown: dict[str, Any]) -> tuple[Any, ...]:
    """What clients see of a connection, with the end of the sentence that explains its status."""
    return shown["status"], shown["psk"], shown["status_reason"][-14:]


BROKEN = ("ERROR", None, "write it again")


@pytest.mark.parametrize("how", [truncated, empty, changed, under_another_key, of_another_row, no_text])
def test_one_envelope_hurts_only_its_connection(database: Engine, api: Api, how: Damage) -> None:
    node = api.node()
    site = LocalSite(api)
    good = site.connection(name="good")
    bad = site.connection(name="bad", peer_address="203.0.113.10", peer_id="203.0.113.10", peer_cidrs=["10.8.0.0/24"])
    damage(database, bad["id"], how)
    listed = {shown["name"]: shown for shown in api.get(CONNECTIONS)["ipsec_site_connections"]}
    assert summary(listed["bad"]) == BROKEN
    assert (listed["good"]["status"], listed["good"]["psk"]) == ("PENDING_CREATE", good["psk"])
    (shown,) = api.as_("reader").get(f"{CONNECTIONS}?name=bad&fields=status")["ipsec_site_connections"]
    assert shown == {"status": "ERROR"}
    assert summary(api.get(f"{CONNECTIONS}/{bad['id']}")["ipsec_site_connection"]) == BROKEN
    path = f"{CONNECTIONS}/{bad['id']}"
    assert summary(api.update(path, "ipsec_site_connection", name="renamed")) == BROKEN
    # The node gets everything: the one that it cannot load too, with the reason and without a key that anybody knows.
    by_id = {row["id"]: row for row in node.desired()["connections"]}
    assert by_id[good["id"]]["psk"] == good["psk"]
    assert (by_id[good["id"]]["fault"], by_id[bad["id"]]["fault"][-14:]) == ("", "write it again")
    assert len(by_id[bad["id"]]["psk"]) == 64
    # To the same two ends nothing is in the way, and the owner can mend or delete it.
    site.connection(peer_address="203.0.113.10", peer_id="203.0.113.10", peer_cidrs=["10.7.0.0/24"], psk="another")
    mended = api.update(path, "ipsec_site_connection", psk="another")
    assert (mended["status"], mended["psk"], mended["status_reason"]) == ("PENDING_CREATE", "another", "")
    assert {row["id"]: row["fault"] for row in node.desired()["connections"]}[bad["id"]] == ""
    damage(database, bad["id"], how)
    api.delete(path)


def test_a_policy_of_such_a_connection_can_be_edited(database: Engine, api: Api) -> None:
    site = LocalSite(api)
    first = site.connection()
    site.connection(peer_cidrs=["10.8.0.0/24"])
    damage(database, first["id"], changed)
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", ike_version="v1")


def test_a_node_reports_it_and_runs_the_others() -> None:
    bad, good = sample(id="a", fault="cannot be read"), sample(id="b", peer_address="203.0.113.77", peer_id="other")
    plan = reconcile.reconcile({}, {"a": bad, "b": good}, (), {}, "kernel")
    assert {config.owner_of(child.name) for loaded in plan.load for child in loaded.children} == {"b"}
    report = reports.report(plan.tunnels["a"], 1)
    assert report is not None
    assert (report.state, report.reason) == ("error", "cannot be read")


def test_a_key_that_cannot_be_read_is_not_the_one_in_use() -> None:
    """Without the mend a later one that cannot be read would be used for both connections to the peer."""
    good = sample(id="b", psk_written_at=1.0)
    bad = sample(id="a", psk_written_at=2.0, fault="cannot be read", peer_cidrs=("10.77.0.0/24",))
    plan = reconcile.reconcile({}, {"a": bad, "b": good}, (), {}, "kernel")
    assert plan.tunnels["b"].connection.psk_from == ""
    later = reconcile.reconcile({}, {"a": msgspec.structs.replace(bad, fault=""), "b": good}, (), {}, "kernel")
    assert later.tunnels["b"].connection.psk == bad.psk
