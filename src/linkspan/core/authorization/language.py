"""oslo.policy's rule language: parses the text of a rule into frozen checks, and compiles checks into a function.

A rule that oslo.policy accepts has the same meaning here; a property test compares the two. oslo.policy denies a bad
rule with a line in its log, or fails during a request; here loading the rules fails: for bad syntax, cycles, and
conversions other than `%(name)s`. Checks that query a server over HTTP are not supported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

Target = Mapping[str, Any]
"""The attributes of the object for which a rule is evaluated."""
CallerCredentials = Mapping[str, Any]
"""The attributes of the caller; `roles` is a list of names."""

DEFAULT: Final = "default"
"""The rule that replaces an undefined rule."""
_CONVERSIONS = re.compile(r"%%|%\(([^()]*)\)s|([^%]+)")
_OPERATORS: Final = ("and", "or", "not")
_QUOTES: Final = (('"', '"'), ("'", "'"))


class RuleError(ValueError):
    """A rule is invalid; the message is one line."""


class Value(msgspec.Struct, frozen=True):
    """The right side of a check. `parts`: (False, literal) and (True, name of an attribute of the target)."""

    parts: tuple[tuple[bool, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes of the target that the value contains."""
        return tuple(text for is_name, text in self.parts if is_name)

    def of(self, target: Target) -> str | None:
        """The value for a target. None if the target lacks an attribute: then the check does not hold."""
        try:
            return "".join([str(target[text]) if is_name else text for is_name, text in self.parts])
        except KeyError:
            return None


class Constant(msgspec.Struct, frozen=True):
    """`@` and the empty rule always hold, `!` never does."""

    holds: bool


class RoleCheck(msgspec.Struct, frozen=True):
    """`role:NAME`: the caller has the role; case does not matter."""

    value: Value


class Reference(msgspec.Struct, frozen=True):
    """`rule:NAME`: the other rule holds."""

    name: str


class LiteralCheck(msgspec.Struct, frozen=True):
    """`True:%(shared)s`, `'lan':%(name)s`: the value equals the literal."""

    text: str
    value: Value


class CredentialCheck(msgspec.Struct, frozen=True):
    """`project_id:%(project_id)s`, `user.domain.id:default`: the attribute of the caller equals the value."""

    path: tuple[str, ...]
    value: Value


class Not(msgspec.Struct, frozen=True):
    """The check does not hold."""

    check: Check


class And(msgspec.Struct, frozen=True):
    """All checks hold."""

    checks: tuple[Check, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one check holds."""

    checks: tuple[Check, ...]


Leaf = Constant | RoleCheck | Reference | LiteralCheck | CredentialCheck
Check = Leaf | Not | And | Or


# --- parsing ------------------------------------------------------------------------------------------------------


def parse(rule: object) -> Check:
    """Parses a rule: text, or oslo.policy's older nested lists (any of the outer list, all of an inner list).

    Raises RuleError.
    """
    if isinstance(rule, str):
        return _Parser(rule).whole() if rule else Constant(True)
    if isinstance(rule, list):
        return _of_lists(rule)
    raise RuleError(f"a rule must be a string, not {rule!r}")


def _of_lists(rule: list[Any]) -> Check:
    alternatives: list[Check] = []
    for inner in rule:
        texts = [inner] if isinstance(inner, str) and inner else inner or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RuleError(f"{inner!r} is neither a check nor a list of checks")
        if texts:
            checks = tuple(_check(text) for text in texts)
            alternatives.append(checks[0] if len(checks) == 1 else And(checks))
    if len(alternatives) == 1:
        return alternatives[0]
    return Or(tuple(alternatives)) if alternatives else Constant(not rule)


def _tokens(rule: str) -> Iterator[str | Leaf]:
    """Parentheses, operators and checks. A parenthesis is a token at the ends of a word, not within it."""
    for word in rule.split():
        opened = word.lstrip("(")
        yield from "(" * (len(word) - len(opened))
        bare = opened.rstrip(")")
        if bare.lower() in _OPERATORS:
            yield bare.lower()
        elif bare:
            if len(opened) >= 2 and (opened[0], opened[-1]) in _QUOTES:
                raise RuleError(f"{opened} is a string, not a check")
            yield _check(bare)
        yield from ")" * (len(opened) - len(bare))


class _Parser:
    """Recursive descent over the text of a rule. `not` binds stronger than `and`, and `and` stronger than `or`."""

    def __init__(self, rule: str) -> None:
        self._left = [*_tokens(rule)]
        self._left.reverse()

    def whole(self) -> Check:
        """Parses the whole text."""
        if not self._left:
            raise RuleError("the rule is blank: write '@' to allow every caller, or '!' to allow none")
        check = self._or()
        if self._left:
            extra = self._left[-1]
            raise RuleError("a ')' has no '('" if extra == ")" else "two checks need 'and' or 'or' between them")
        return check

    def _or(self) -> Check:
        alternatives = [self._and()]
        while self._take("or"):
            alternatives.append(self._and())
        return alternatives[0] if len(alternatives) == 1 else Or(tuple(alternatives))

    def _and(self) -> Check:
        checks = [self._unary()]
        while self._take("and"):
            checks.append(self._unary())
        return checks[0] if len(checks) == 1 else And(tuple(checks))

    def _unary(self) -> Check:
        if self._take("not"):
            return Not(self._unary())
        if self._take("("):
            inner = self._or()
            if not self._take(")"):
                raise RuleError("a '(' has no ')'")
            return inner
        if not self._left:
            raise RuleError("the rule ends where a check is expected")
        token = self._left.pop()
        if isinstance(token, str):
            raise RuleError(f"found '{token}' where a check is expected")
        return token

    def _take(self, token: str) -> bool:
        if self._left and self._left[-1] == token:
            self._left.pop()
            return True
        return False


def _check(text: str) -> Leaf:
    if text in ("@", "!"):
        return Constant(text == "@")
    kind, colon, value = text.partition(":")
    if not colon:
        raise RuleError(f"'{text}' is not a check: write KIND:VALUE, such as role:admin")
    if kind == "rule":
        return Reference(value)
    if kind in ("http", "https"):
        raise RuleError(f"'{text}' queries another server, which is not supported")
    right = _value(value)
    if kind == "role":
        return RoleCheck(right)
    try:
        return LiteralCheck(str(ast.literal_eval(kind)), right)
    except ValueError:
        return CredentialCheck(tuple(kind.split(".")), right)
    except (SyntaxError, TypeError, MemoryError, RecursionError):
        raise RuleError(f"'{kind}' in '{text}' is neither a name nor a literal") from None


def _value(text: str) -> Value:
    parts: list[tuple[bool, str]] = []
    at = 0
    while at < len(text):
        part = _CONVERSIONS.match(text, at)
        if part is None:
            raise RuleError(f"'{text}' has a % that is neither %(name)s nor %%")
        name, literal = part.groups()
        parts.append((True, name) if name is not None else (False, literal or "%"))
        at = part.end()
    return Value(tuple(parts))


# --- rules --------------------------------------------------------------------------------------------------------

CompiledRule = Callable[[Target, CallerCredentials], bool]


class Rules:
    """Named rules that reference each other, compiled once."""

    def __init__(self, checks: Mapping[str, Check], default: str = DEFAULT) -> None:
        """Raises RuleError if the references have a cycle."""
        self._checks = dict(checks)
        self._default = default
        self._functions: dict[str, CompiledRule] = {}
        acyclic: set[str] = set()
        for name in self._checks:
            self._refuse_cycle(name, (), acyclic)
        for name in self._checks:
            self._function(name)

    def allows(self, name: str, target: Target, credentials: CallerCredentials) -> bool:
        """True if a rule holds. An undefined rule holds if the default rule does."""
        function = self._functions.get(name) or self._functions.get(self._default, _never)
        return function(target, credentials)

    def leaves(self, name: str) -> tuple[Leaf, ...]:
        """The leaf checks of a rule and of the rules that it references, without the references themselves."""
        checks: list[Leaf] = []
        names = [name]
        for rule in names:
            defined = self._defined(rule)
            for leaf in leaves(self._checks[defined]) if defined else ():
                if not isinstance(leaf, Reference):
                    checks.append(leaf)
                elif leaf.name not in names:
                    names.append(leaf.name)
        return tuple(checks)

    def _defined(self, name: str) -> str | None:
        return next((rule for rule in (name, self._default) if rule in self._checks), None)

    def _refuse_cycle(self, name: str, path: tuple[str, ...], acyclic: set[str]) -> None:
        defined = self._defined(name)
        if defined is None or defined in acyclic:
            return
        if defined in path:
            cycle = (*path[path.index(defined) :], defined)
            raise RuleError(f"rule '{defined}' references itself: {' -> '.join(cycle)}")
        for leaf in leaves(self._checks[defined]):
            if isinstance(leaf, Reference):
                self._refuse_cycle(leaf.name, (*path, defined), acyclic)
        acyclic.add(defined)

    def _function(self, name: str) -> CompiledRule:
        defined = self._defined(name)
        if defined is None:
            return _never
        if defined not in self._functions:
            self._functions[defined] = self._compiled(self._checks[defined])
        return self._functions[defined]

    def _compiled(self, check: Check) -> CompiledRule:
        match check:
            case Constant(holds):
                return lambda _target, _credentials: holds
            case Reference(name):
                return self._function(name)
            case RoleCheck(value):
                return lambda target, credentials: _has_role(value.of(target), credentials)
            case LiteralCheck(text, value):
                return lambda target, _credentials: value.of(target) == text
            case CredentialCheck(path, value):
                return lambda target, credentials: _has_value(credentials, path, value.of(target))
            case Not(inner):
                negated = self._compiled(inner)
                return lambda target, credentials: not negated(target, credentials)
            case And(checks):
                functions = [self._compiled(part) for part in checks]
                return lambda target, credentials: all(function(target, credentials) for function in functions)
            case Or(checks):
                functions = [self._compiled(part) for part in checks]
                return lambda target, credentials: any(function(target, credentials) for function in functions)


def leaves(check: Check) -> Iterator[Leaf]:
    """The leaf checks of a check."""
    if isinstance(check, Not):
        yield from leaves(check.check)
    elif isinstance(check, And | Or):
        for part in check.checks:
            yield from leaves(part)
    else:
        yield check


def _never(_target: Target, _credentials: CallerCredentials) -> bool:
    return False


def _has_role(name: str | None, credentials: CallerCredentials) -> bool:
    return name is not None and name.lower() in [role.lower() for role in credentials.get("roles", ())]


def _has_value(attributes: Any, path: tuple[str, ...], value: str | None) -> bool:
    """True if the caller's attribute at `path` equals `value`; where the path crosses a list, if any member does."""
    if value is None:
        return False
    if not path:
        return value == str(attributes)
    if not isinstance(attributes, Mapping) or path[0] not in attributes:
        return False
    inner = attributes[path[0]]
    members = inner if isinstance(inner, list) else [inner]
    return any(_has_value(member, path[1:], value) for member in members)
