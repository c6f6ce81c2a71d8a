"""The language of rules against oslo.policy itself, and what is refused that oslo.policy lets pass."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy as oslo

from linkspan.core.authorization.language import RuleError, Rules, parse

NAMES = ("one", "two", "three", "default", "nowhere")
ROLES = ("admin", "Member", "reader")
WORDS = ("p1", "p2", "True", "None", "7", "a(b)c", "", "50%")
KEYS = ("project_id", "shared", "router:external", "name")
OPERATORS: dict[str, tuple[str, ...]] = {"and": ("and", "AND", "And"), "or": ("or", "OR"), "not": ("not", "Not")}


# --- random rules, as text ------------------------------------------------------------------------------------------


def values() -> st.SearchStrategy[str]:
    """Right sides: literals, attributes of the target, both together."""
    literal = st.sampled_from((*WORDS, *ROLES)).map(lambda word: word.replace("%", "%%"))
    return st.one_of(
        literal.filter(bool),
        st.sampled_from(KEYS).map(lambda key: f"%({key})s"),
        st.builds("{}-%({})s{}".format, literal, st.sampled_from(KEYS), literal),
    )


LEFT = ("project_id", "user.domain.id", "user.groups", "user.groups.id", "roles", "user", "missing", "a-b")
LITERALS = ("True", "None", "'p1'", '"p2"', "7", "[1,2]", "-7", "'a.b'")
LEAVES = st.one_of(
    st.sampled_from(["@", "!"]),
    st.sampled_from([*ROLES, "ADMIN", "other"]).map("role:{}".format),
    st.sampled_from(NAMES).map("rule:{}".format),
    st.builds("{}:{}".format, st.sampled_from([*LEFT, *LITERALS, "role"]), values()),
).filter(lambda text: not text.endswith(")"))
"""One that ends in a parenthesis would lose it, in both."""


@st.composite
def texts(draw: st.DrawFn, depth: int = 3) -> str:
    """A rule's text: white space, parentheses and the case of operators vary."""

    def blank(least: int = 0) -> str:
        return draw(st.sampled_from(["", " ", "  ", "\n", "\t "][1 if least else 0 :]))

    def one(depth: int) -> str:
        kind = draw(st.sampled_from(["leaf", "leaf", "group", "not"])) if depth else "leaf"
        if kind == "leaf":
            text = draw(LEAVES)
            return f"({blank()}{text}{blank()})" if draw(st.integers(0, 4)) == 0 else text
        if kind == "not":
            return f"{draw(st.sampled_from(OPERATORS['not']))}{blank(1)}{one(depth - 1)}"
        return f"({blank()}{several(depth - 1)}{blank()})"

    def several(depth: int) -> str:
        text = one(depth)
        for _ in range(draw(st.integers(0, 3))):
            operator = draw(st.sampled_from((*OPERATORS["and"], *OPERATORS["or"])))
            text += f"{blank(1)}{operator}{blank(1)}{one(depth)}"
        return text

    return f"{blank()}{several(depth)}{blank()}"


LISTS = st.lists(LEAVES | st.lists(LEAVES, max_size=3), max_size=3)
RULES = st.dictionaries(st.sampled_from(NAMES[:-1]), texts() | st.just("") | LISTS, min_size=1)
SCALARS = st.sampled_from([*WORDS, True, False, None, 7, [1, 2]])
TARGETS = st.dictionaries(st.sampled_from(KEYS), SCALARS)
CREDENTIALS = st.fixed_dictionaries(
    {},
    optional={
        "roles": st.lists(st.sampled_from([*ROLES, "aDMIN"]), max_size=3),
        "project_id": SCALARS,
        "a-b": SCALARS,
        "user": st.fixed_dictionaries(
            {},
            optional={
                "domain": st.fixed_dictionaries({"id": SCALARS}),
                "groups": st.lists(st.fixed_dictionaries({"id": SCALARS}), max_size=2),
            },
        ),
    },
)


def enforcer(rules: dict[str, Any]) -> oslo.Enforcer:
    """oslo.policy with these rules and no file."""
    conf = cfg.ConfigOpts()
    conf([])
    made = oslo.Enforcer(conf, use_conf=False)
    made.set_rules(oslo.Rules.from_dict(rules, "default"), use_conf=False)
    return made


def cyclic(rules: dict[str, Any]) -> bool:
    """Whether oslo.policy would follow references for ever; its own check does not follow the default rule."""

    def follow(name: str, way: tuple[str, ...]) -> bool:
        name = name if name in rules else "default"
        if name in way:
            return True
        return any(follow(each, (*way, name)) for each in NAMES if name in rules and f"rule:{each}" in str(rules[name]))

    return any(follow(name, ()) for name in rules)


@given(rules=RULES, target=TARGETS, credentials=CREDENTIALS)
@settings(max_examples=400, deadline=None)
def test_the_same_answers_as_oslo_policy(
    rules: dict[str, Any], target: dict[str, Any], credentials: dict[str, Any]
) -> None:
    checks = {name: parse(rule) for name, rule in rules.items()}
    if cyclic(rules):
        with pytest.raises(RuleError, match="references itself"):
            Rules(checks)
        return
    ours, theirs = Rules(checks), enforcer(rules)
    for name in NAMES:
        try:
            expected = theirs.enforce(name, target, dict(credentials))
        except TypeError:
            expected = False  # it looked into what is no dictionary; the request would fail
        assert ours.allows(name, target, credentials) == expected, name


FULL_TARGETS = st.fixed_dictionaries(dict.fromkeys(KEYS, SCALARS))
FULL_CREDENTIALS = st.fixed_dictionaries(
    {
        "roles": st.lists(st.sampled_from(ROLES), min_size=1, max_size=3),
        "project_id": SCALARS,
        "a-b": SCALARS,
        "user": st.fixed_dictionaries(
            {
                "domain": st.fixed_dictionaries({"id": SCALARS}),
                "groups": st.lists(st.fixed_dictionaries({"id": SCALARS}), min_size=1, max_size=3),
            }
        ),
    }
)


@given(
    check=st.builds("{}:{}".format, st.sampled_from([*LEFT, *LITERALS, "role"]), values()),
    target=FULL_TARGETS,
    credentials=FULL_CREDENTIALS,
)
@settings(max_examples=1000, deadline=None)
def test_one_check_of_what_is_there(check: str, target: dict[str, Any], credentials: dict[str, Any]) -> None:
    """Nothing is missing here, so that a check often holds. The older lists keep a parenthesis at its end."""
    expected = enforcer({"one": [check]}).enforce("one", target, dict(credentials))
    assert Rules({"one": parse([check])}).allows("one", target, credentials) == expected


def test_checks_hold_in_the_comparison() -> None:
    """What a random check seldom meets: a member of a list, a percent sign, a value of another type."""
    credentials: dict[str, Any] = {"roles": ["x", "Admin"], "user": {"groups": [{"id": 1}, {"id": 2}]}, "a": "50%"}
    for check, expected in (
        ("roles:Admin", True),
        ("roles:admin", False),
        ("user.groups.id:2", True),
        ("user.groups.id:3", False),
        ("user.groups:{'id': 2}", True),
        ("a:50%%", True),
        ("a:50%%%(name)s", False),
        ("'7':%(name)s", True),
        ("7:%(name)s", True),
        ("role:aDMIN", True),
        ("role:%(role)s", True),
    ):
        target = {"name": 7, "role": "admin"}
        assert enforcer({"one": [check]}).enforce("one", target, credentials) == expected, check
        assert Rules({"one": parse([check])}).allows("one", target, credentials) == expected, check


def test_the_comparison_notices_a_wrong_precedence() -> None:
    """The negative control: read from left to right, `or` before `and`, the answer would differ."""
    rules = {"one": "@ or ! and !"}
    assert enforcer(rules).enforce("one", {}, {})
    assert not Rules({"one": parse("(@ or !) and !")}).allows("one", {}, {})


PIECES = st.sampled_from(
    [
        "(",
        ")",
        "and",
        "or",
        "not",
        "@",
        "role:admin",
        "'x'",
        "'x':y'",
        "'x':y')",
        '"x:y"',
        "role",
        "project_id:%(project_id)s",
        "AND",
        "",
        "))",
    ]
)


@given(words=st.lists(PIECES, max_size=7), glue=st.sampled_from([" ", "  ", "\n"]))
@settings(max_examples=400, deadline=None)
def test_refused_is_what_oslo_policy_logs_as_not_understood(words: list[str], glue: str) -> None:
    """Any words in any order: a rule is refused if and only if oslo.policy could not read it."""
    text = glue.join(words)
    log = _Log()
    parser = logging.getLogger("oslo_policy._parser")
    parser.addHandler(log)
    parser.propagate = False
    try:
        oslo.Rules.from_dict({"one": text})
    finally:
        parser.removeHandler(log)
        parser.propagate = True
    if log.records:
        with pytest.raises(RuleError):
            parse(text)
    else:
        parse(text)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (" ", "the rule is blank"),
        ("role:admin role:reader", "two checks need 'and' or 'or' between them"),
        ("role:admin adn role:reader", "'adn' is not a check"),
        ("role:admin and", "the rule ends where a check is expected"),
        ("and role:admin", "found 'and' where a check is expected"),
        ("not", "the rule ends where"),
        ("(role:admin", "a '(' has no ')'"),
        ("role:admin )", "a ')' has no '('"),
        ("()", "found ')' where a check is expected"),
        ("'admin'", "'admin' is a string, not a check"),
        ("admin", "'admin' is not a check: write KIND:VALUE"),
        ("http://policy.example.org/%(id)s", "queries another server"),
        ("https://policy.example.org/", "queries another server"),
        ("project_id:%(project_id)", "neither %(name)s nor %%"),
        ("project_id:%(project_id)d", "neither %(name)s nor %%"),
        ("project_id:%s", "neither %(name)s nor %%"),
        ("project_id:100%", "neither %(name)s nor %%"),
        ("1x:%(name)s", "'1x' in '1x:%(name)s' is neither a name nor a literal"),
        (":x", "neither a name nor a literal"),
        (None, "a rule must be a string, not None"),
        (True, "a rule must be a string, not True"),
        ({"a": "b"}, "a rule must be a string"),
        ([["role:admin"], 5], "5 is neither a check nor a list"),
        ([["role:admin", 5]], "is neither a check nor a list"),
        (["admin"], "'admin' is not a check"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(rule: object, words: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(rule)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cycles_are_named() -> None:
    rules = {"one": "rule:two or @", "two": "not rule:three", "three": "role:x and rule:two"}
    with pytest.raises(RuleError) as caught:
        Rules({name: parse(rule) for name, rule in rules.items()})
    assert str(caught.value) == "rule 'two' references itself: two -> three -> two"


def test_many_references_cost_nothing() -> None:
    """Each rule is looked at once: a chain in which every rule names the next one twice has 2^60 ways through it."""
    rules = {f"r{n}": parse(f"rule:r{n + 1} or rule:r{n + 1}") for n in range(60)}
    made = Rules({**rules, "r60": parse("role:%(name)s")})
    assert made.allows("r59", {"name": "x"}, {"roles": ["X"]})
    assert len(made.leaves("r0")) == 1
