"""The language of policy rules, oslo.policy's: a rule's text becomes frozen checks, and these become one function.

A rule that oslo.policy understands means the same here; a property test compares the two. What oslo.policy denies with
a line in its log, or fails at in the middle of a request, is refused here when rules are read: bad syntax, cycles,
conversions other than `%(name)s`. Refused for good are checks that ask somebody else over HTTP.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

Target = Mapping[str, Any]
"""The attributes of the object that a rule is about."""
CallerCredentials = Mapping[str, Any]
"""What is known of the caller; `roles` is a list of names."""

DEFAULT: Final = "default"
"""The rule that stands in for one that is not defined."""
_CONVERSIONS = re.compile(r"%%|%\(([^()]*)\)s|([^%]+)")
_OPERATORS: Final = ("and", "or", "not")
_QUOTES: Final = (('"', '"'), ("'", "'"))


class RuleError(ValueError):
    """A rule cannot be used; the message is one line that says why."""


class Value(msgspec.Struct, frozen=True):
    """The right side of a check. `parts`: literals and, marked by True, names of the target's attributes."""

    parts: tuple[tuple[bool, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that it reads."""
        return tuple(text for is_name, text in self.parts if is_name)

    def of(self, target: Target) -> str | None:
        """The value for a target; None if it lacks an attribute: then no check holds."""
        try:
            return "".join([str(target[text]) if is_name else text for is_name, text in self.parts])
        except KeyError:
            return None


class Constant(msgspec.Struct, frozen=True):
    """`@` and the empty rule hold always, `!` never."""

    holds: bool


class RoleCheck(msgspec.Struct, frozen=True):
    """`role:NAME`: the caller has the role, in whatever case it is written."""

    value: Value


class Reference(msgspec.Struct, frozen=True):
    """`rule:NAME`: another rule holds."""

    name: str


class LiteralCheck(msgspec.Struct, frozen=True):
    """`True:%(shared)s`, `'lan':%(name)s`: the target has this value."""

    text: str
    value: Value


class CredentialCheck(msgspec.Struct, frozen=True):
    """`project_id:%(project_id)s`, `user.domain.id:default`: what is known of the caller has this value."""

    path: tuple[str, ...]
    value: Value


class Not(msgspec.Struct, frozen=True):
    """The opposite of a check."""

    check: Check


class And(msgspec.Struct, frozen=True):
    """All of them."""

    checks: tuple[Check, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one of them."""

    checks: tuple[Check, ...]


Leaf = Constant | RoleCheck | Reference | LiteralCheck | CredentialCheck
Check = Leaf | Not | And | Or


# --- parsing ------------------------------------------------------------------------------------------------------


def parse(rule: object) -> Check:
    """The checks of a rule: a text, or oslo.policy's older lists (any of the outer, all of the inner).

    Raises RuleError.
    """
    if isinstance(rule, str):
        return _Parser(rule).whole() if rule else Constant(True)
    if isinstance(rule, list):
        return _of_lists(rule)
    raise RuleError(f"a rule is a text, not {rule!r}")


def _of_lists(rule: list[Any]) -> Check:
    ways: list[Check] = []
    for inner in rule:
        texts = [inner] if isinstance(inner, str) and inner else inner or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RuleError(f"{inner!r} is neither a check nor a list of checks")
        if texts:
            checks = tuple(_check(text) for text in texts)
            ways.append(checks[0] if len(checks) == 1 else And(checks))
    if len(ways) == 1:
        return ways[0]
    return Or(tuple(ways)) if ways else Constant(not rule)


def _tokens(rule: str) -> Iterator[str | Leaf]:
    """Parentheses, operators and checks. A parenthesis counts as one at the ends of a word, not within."""
    for word in rule.split():
        opened = word.lstrip("(")
        yield from "(" * (len(word) - len(opened))
        bare = opened.rstrip(")")
        if bare.lower() in _OPERATORS:
            yield bare.lower()
        elif bare:
            if len(opened) >= 2 and (opened[0], opened[-1]) in _QUOTES:
                raise RuleError(f"{opened} is a text, not a check")
            yield _check(bare)
        yield from ")" * (len(opened) - len(bare))


class _Parser:
    """A rule's text: `or` binds less than `and`, `and` less than `not`."""

    def __init__(self, rule: str) -> None:
        self._left = [*_tokens(rule)]
        self._left.reverse()

    def whole(self) -> Check:
        """The whole text, with nothing left over."""
        if not self._left:
            raise RuleError("there is nothing in it: write '@' for everybody or '!' for nobody")
        found = self._any()
        if self._left:
            left = self._left[-1]
            raise RuleError("a ')' has no '('" if left == ")" else "two checks stand without 'and' or 'or' between")
        return found

    def _any(self) -> Check:
        ways = [self._all()]
        while self._take("or"):
            ways.append(self._all())
        return ways[0] if len(ways) == 1 else Or(tuple(ways))

    def _all(self) -> Check:
        checks = [self._one()]
        while self._take("and"):
            checks.append(self._one())
        return checks[0] if len(checks) == 1 else And(tuple(checks))

    def _one(self) -> Check:
        if self._take("not"):
            return Not(self._one())
        if self._take("("):
            inner = self._any()
            if not self._take(")"):
                raise RuleError("a '(' has no ')'")
            return inner
        if not self._left:
            raise RuleError("it ends where a check should be")
        token = self._left.pop()
        if isinstance(token, str):
            raise RuleError(f"'{token}' stands where a check should be")
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
        raise RuleError(f"'{text}' is no check: one is written KIND:VALUE, such as role:admin")
    if kind == "rule":
        return Reference(value)
    if kind in ("http", "https"):
        raise RuleError(f"'{text}' would ask another server: that is not supported")
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
        found = _CONVERSIONS.match(text, at)
        if found is None:
            raise RuleError(f"'{text}' has a % that is neither %(name)s nor %%")
        name, literal = found.groups()
        parts.append((True, name) if name is not None else (False, literal or "%"))
        at = found.end()
    return Value(tuple(parts))


# --- rules --------------------------------------------------------------------------------------------------------

CompiledRule = Callable[[Target, CallerCredentials], bool]


class Rules:
    """Named rules that refer to each other, compiled once."""

    def __init__(self, checks: Mapping[str, Check], default: str = DEFAULT) -> None:
        """Raises RuleError if rules refer to themselves."""
        self._checks = dict(checks)
        self._default = default
        self._functions: dict[str, CompiledRule] = {}
        sound: set[str] = set()
        for name in self._checks:
            self._refuse_cycle(name, (), sound)
        for name in self._checks:
            self._function(name)

    def allows(self, name: str, target: Target, credentials: CallerCredentials) -> bool:
        """Whether a rule holds; one that is not defined holds if the default rule does."""
        function = self._functions.get(name) or self._functions.get(self._default, _never)
        return function(target, credentials)

    def leaves(self, name: str) -> tuple[Leaf, ...]:
        """What a rule comes down to, through all rules that it refers to; references themselves are left out."""
        found: list[Leaf] = []
        names = [name]
        for each in names:
            defined = self._defined(each)
            for leaf in leaves(self._checks[defined]) if defined else ():
                if not isinstance(leaf, Reference):
                    found.append(leaf)
                elif leaf.name not in names:
                    names.append(leaf.name)
        return tuple(found)

    def _defined(self, name: str) -> str | None:
        return next((each for each in (name, self._default) if each in self._checks), None)

    def _refuse_cycle(self, name: str, way: tuple[str, ...], sound: set[str]) -> None:
        defined = self._defined(name)
        if defined is None or defined in sound:
            return
        if defined in way:
            cycle = (*way[way.index(defined) :], defined)
            raise RuleError(f"rule '{defined}' refers to itself: {' -> '.join(cycle)}")
        for leaf in leaves(self._checks[defined]):
            if isinstance(leaf, Reference):
                self._refuse_cycle(leaf.name, (*way, defined), sound)
        sound.add(defined)

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
                return lambda target, credentials: _known_as(credentials, path, value.of(target))
            case Not(inner):
                negated = self._compiled(inner)
                return lambda target, credentials: not negated(target, credentials)
            case And(checks):
                every = [self._compiled(each) for each in checks]
                return lambda target, credentials: all(each(target, credentials) for each in every)
            case Or(checks):
                some = [self._compiled(each) for each in checks]
                return lambda target, credentials: any(each(target, credentials) for each in some)


def leaves(check: Check) -> Iterator[Leaf]:
    """The checks that a check is made of."""
    if isinstance(check, Not):
        yield from leaves(check.check)
    elif isinstance(check, And | Or):
        for each in check.checks:
            yield from leaves(each)
    else:
        yield check


def _never(_target: Target, _credentials: CallerCredentials) -> bool:
    return False


def _has_role(name: str | None, credentials: CallerCredentials) -> bool:
    return name is not None and name.lower() in [role.lower() for role in credentials.get("roles", ())]


def _known_as(known: Any, path: tuple[str, ...], value: str | None) -> bool:
    """Whether the caller's credential at a path is a value; of a list on the way any member will do."""
    if value is None:
        return False
    if not path:
        return value == str(known)
    if not isinstance(known, Mapping) or path[0] not in known:
        return False
    inner = known[path[0]]
    members = inner if isinstance(inner, list) else [inner]
    return any(_known_as(each, path[1:], value) for each in members)
