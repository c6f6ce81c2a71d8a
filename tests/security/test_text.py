"""No text of a user becomes configuration, and no user's name is resolved outside of a gateway."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.secret import Secret
from linkspan.drivers.charon import strongswan_conf, vici_messages
from tests.core.samples import connection
from tests.harness.sources import SOURCE, modules, parse

HOSTILE = ("updown = /bin/sh", "x}\n}\ncharon { load = x", "include /etc/shadow", "%any", "a\0b", "${IFS}", "'; true #")
WORDS = frozenset(
    {"updown", "hostaccess", "load", "include", "file", "handle", "certs", "pubkeys", "cacerts", "eap_id"}
)
"""Keys of charon's with which a connection would run programs, read files, or accept another authentication."""


def keys(message: Any) -> Iterator[str]:
    """All keys of a message, of sections and of values."""
    if isinstance(message, dict):
        for key, value in message.items():
            yield key
            yield from keys(value)


@pytest.mark.security(
    "5",
    tried="hostile texts as identities and key: which keys and sections reach charon",
    control="test_a_key_that_runs_programs_is_found",
)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_values_and_nothing_else(text: str) -> None:
    plain = connection()
    hostile = connection(peer_id=text, local_id=text, psk=Secret(text))
    shapes = []
    for each in (plain, hostile):
        config = ipsec_config.build(each)
        messages = [vici_messages.load_conn(config), vici_messages.load_shared(ipsec_config.shared_key(each, config))]
        names = [key for message in messages for key in keys(message)]
        assert not WORDS & set(names)
        shapes.append([re.sub("[0-9a-f-]{16,}.*", "NAME", name) for name in names])
    assert shapes[0] == shapes[1]


def test_a_key_that_runs_programs_is_found() -> None:
    """The control."""
    message = vici_messages.load_conn(ipsec_config.build(connection()))
    (section,) = message.values()
    section["children"][next(iter(section["children"]))]["updown"] = "/bin/sh"
    assert WORDS & set(keys(message))


def test_charons_configuration_is_made_of_the_backend_alone() -> None:
    assert list(inspect.signature(strongswan_conf.render).parameters) == ["backend"]


RESOLVERS = {"getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn", "getnameinfo"}
ALLOWED = {"drivers/gateway/dns_resolver.py", "drivers/gateway/http_fetcher.py"}


def resolving(tree: ast.AST) -> bool:
    """True if code asks for the address of a name."""
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
    # A program in a text calls too.
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return bool(RESOLVERS & names) or any(f"{name}(" in text for name in RESOLVERS for text in texts)


@pytest.mark.security(
    "7",
    tried="every call in the source that resolves a name",
    control="test_a_call_that_resolves_a_name_is_found",
)
def test_users_names_are_resolved_in_the_gateway_alone() -> None:
    assert {str(path.relative_to(SOURCE)) for path in modules() if resolving(parse(path))} == ALLOWED


@pytest.mark.parametrize("call", ["socket.getaddrinfo(x, 1)", "gethostbyname(x)", "loop.getaddrinfo(x, None)"])
def test_a_call_that_resolves_a_name_is_found(call: str) -> None:
    """The control."""
    assert resolving(ast.parse(call))
