"""The private keys that charon needs: those of every version, but in IKEv1 one of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import credentials, tunnel
from linkspan.core.tunnel.tunnel import Previous, Tunnel
from tests.core.samples import certified, connection, ikev1

OLD, NEW = "a" * 40, "b" * 40
_set = msgspec.structs.replace


def of(one: Connection, **changes: Any) -> Tunnel:
    return _set(tunnel.new_tunnel(one, ipsec_config.build(one), ""), **changes)


def renewed(version: str, is_up: bool = True, **changes: Any) -> Tunnel:
    """A tunnel whose certificate was renewed while its previous version was up."""
    policies = {"ike": ikev1()} if version == "v1" else {}
    old = _set(certified(), **policies)
    new = _set(certified(chain=("renewed",), key_id=NEW), **policies)
    config = ipsec_config.build(old)
    up = frozenset(child.name for child in config.children) if is_up else frozenset[str]()
    return of(new, previous=Previous(config, 1, up), **changes)


def test_a_key_needs_nothing() -> None:
    assert credentials.needed([of(connection())]) == credentials.NeededCredentials(frozenset(), frozenset(), {})


def test_a_certificate_needs_its_key_and_the_root_above_its_issuers() -> None:
    needed = credentials.needed([of(certified())])
    assert (needed.keys, needed.roots) == (frozenset({OLD}), frozenset({"root"}))


@pytest.mark.parametrize(
    ("version", "changes", "expected"),
    [
        ("v2", {}, {OLD, NEW}),
        ("v2", {"failures": 1}, {OLD, NEW}),
        ("v1", {}, {NEW}),
        ("v1", {"attempt_ends_at": 1.0}, {NEW}),
        ("v1", {"failures": 1}, {OLD}),
        ("v1", {"failures": 1, "attempt_ends_at": 1.0}, {NEW}),
        ("v1", {"failures": 1, "is_up": False}, {NEW}),
    ],
)
def test_keys_of_two_versions(version: str, changes: dict[str, Any], expected: set[str]) -> None:
    assert credentials.needed([renewed(version, **changes)]).keys == expected


def test_a_post_quantum_key_is_needed_with_its_connection() -> None:
    ppk = PostQuantumKey(id="p", key=Secret("k"), required=False)
    assert credentials.needed([of(connection(ppk=ppk))]).ppks == {"p": Secret("k")}
    assert credentials.needed([_set(of(connection(ppk=ppk)), config=None)]).ppks == {}


def test_an_end_that_only_responds_initiates_to_use_a_new_certificate() -> None:
    waiting = renewed("v2")
    waiting = _set(waiting, connection=_set(waiting.connection, initiator="response-only"))
    assert tunnel.may_initiate(waiting)
    assert not tunnel.may_initiate(_set(waiting, previous=None))
    assert waiting.previous
    assert waiting.config
    other = _set(waiting.previous, config=_set(waiting.config, name="the same certificate"))
    assert not tunnel.may_initiate(_set(waiting, previous=other))
