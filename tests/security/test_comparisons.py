"""No comparison of a secret in the source takes longer the more of it is right: secrets are compared with
`hmac.compare_digest`, or found by their digest in an index."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.harness.sources import SOURCE, modules, parse

SECRET = re.compile(
    r"(^|_)(password|passwd|psk|secret|token|credential|digest|hash|hashed|mac|hmac|seal|signature)$|_key$"
)
"""Names of what is secret, or made of it."""
HARMLESS = {
    "api/embedded_keystone/changes.py: row['password_hash'] != password_hash": "both of the database",
    "api/embedded_keystone/tokens.py: user['password_hash'] != proof.user['password_hash']": "both of the database",
    "api/resources/vpn.py: before['psk'] != key": "`core.secret.Secret` compares in constant time",
    "api/resources/vpn.py: changed['psk'] != before": "`core.secret.Secret` compares in constant time",
    "core/audit.py: chained(entry, number, previous).hash != entry.hash": "a chain that everybody can compute",
    "core/authorization/language.py: self._left[-1] == token": "a word of a rule",
    "core/checks/cross_resource.py: connection.psk == in_use.psk": "`core.secret.Secret` compares in constant time",
    "core/ipsec/shared_keys.py: connection.psk != used.psk": "`core.secret.Secret` compares in constant time",
    "core/ipsec/shared_keys.py: connection.previous_psk == used.previous_psk": "the same, of the key before it",
    "core/peer_side/comparison.py: stated.key == ours.psk": "`core.secret.Secret` compares in constant time",
    "core/tunnel/takeover.py: older.psk != newer.psk": "`core.secret.Secret` compares in constant time",
    "core/state/desired.py: digest(stamps) != delta.digest": "a check sum of what was sent",
}
"""Comparisons of what is no secret, with the reason."""


def suspicious(tree: ast.AST) -> Iterator[str]:
    """Comparisons with == or != of which a side has the name of a secret."""
    columns = {id(part) for node in ast.walk(tree) if _is_statement(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and id(node) not in columns:
            sides = [node.left, *node.comparators]
            if any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops) and any(_is_secret(side) for side in sides):
                yield ast.unparse(node)


def _is_statement(node: ast.AST) -> bool:
    """True for an expression of SQL, in which a digest is looked up in an index."""
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "where"


def _is_secret(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return bool(SECRET.search(name))
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return bool(SECRET.search(name))
        case ast.Call(func=ast.Attribute(attr="reveal" | "hexdigest" | "digest")):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.startswith("hash_")
        case _:
            return False


@pytest.mark.security(
    "12",
    tried="every == and != in the source of what is named as a secret, or made of one",
    control="test_a_comparison_of_secrets_is_found",
)
def test_secrets_are_compared_in_constant_time() -> None:
    found = {f"{path.relative_to(SOURCE)}: {text}" for path in modules() for text in suspicious(parse(path))}
    assert found == set(HARMLESS)


@pytest.mark.parametrize(
    "code",
    [
        "token == row.token",
        "row['psk'] != given",
        "hash_token(text) == stored",
        "hashlib.sha256(text).hexdigest() == stored",
        "a.reveal() == b.reveal()",
        "if user.password_hash == other: pass",
        "x = [row for row in rows if row.api_key == key]",
    ],
)
def test_a_comparison_of_secrets_is_found(code: str) -> None:
    """The control."""
    assert list(suspicious(ast.parse(code)))


def test_a_look_up_of_a_digest_is_none() -> None:
    assert not list(suspicious(ast.parse("select(x).where(TOKEN.c.token_hash == bindparam('hash'))")))
    assert not list(suspicious(ast.parse("hmac.compare_digest(token, other)")))
