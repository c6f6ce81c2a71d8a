"""The rule language compared with oslo.policy, and rules that are refused here although oslo.policy loads them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy as oslo

from linkspan.core.authorization.language import RuleError, Rules, parse
from tests.harness.examples import examples

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
"""Both implementations strip a parenthesis at the end of a check, so such checks are left out."""


@st.composite
def texts(draw: st.DrawFn, depth: int = 3) -> str:
    """The text of a rule with random white space, parentheses and case of operators."""

    def blank(minimum: int = 0) -> str:
        return draw(st.sampled_from(["", " ", "  ", "\n", "\t "][1 if minimum else 0 :]))

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
    """An enforcer of oslo.policy with these rules and no file."""
    conf = cfg.ConfigOpts()
    conf([])
    result = oslo.Enforcer(conf, use_conf=False)
    result.set_rules(oslo.Rules.from_dict(rules, "default"), use_conf=False)
    return result


def cyclic(rules: dict[str, Any]) -> bool:
    """True if references have a cycle, through the default rule too, which oslo.policy's own check does not follow."""

    def follow(name: str, path: tuple[str, ...]) -> bool:
        name = name if name in rules else "default"
        if name in path:
            return True
        return any(
            follow(target, (*path, name)) for target in NAMES if name in rules and f"rule:{target}" in str(rules[name])
        )

    return any(follow(name, ()) for name in rules)


@given(rules=RULES, target=TARGETS, credentials=CREDENTIALS)
@settings(max_examples=examples(400), deadline=None)
def test_rules_hold_exactly_if_they_do_in_oslo_policy(
    rules: dict[str, Any], target: dict[str, Any], credentials: dict[str, Any]
) -> None:
    checks = {name: parse(rule) for name, rule in rules.items()}
    if cyclic(rules):
        with pytest.raises(RuleError, match="references itself"):
            Rules(checks)
        return
    compiled, oslo_rules = Rules(checks), enforcer(rules)
    for name in NAMES:
        try:
            expected = oslo_rules.enforce(name, target, dict(credentials))
        except TypeError:
            expected = False  # oslo.policy indexed a value that is not a dictionary; the request would fail
        assert compiled.allows(name, target, credentials) == expected, name


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
@settings(max_examples=examples(1000), deadline=None)
def test_a_single_check_agrees_with_oslo_policy(
    check: str, target: dict[str, Any], credentials: dict[str, Any]
) -> None:
    """Every attribute is present, so that checks often hold. In a list a check may end in a parenthesis."""
    expected = enforcer({"one": [check]}).enforce("one", target, dict(credentials))
    assert Rules({"one": parse([check])}).allows("one", target, credentials) == expected


def test_checks_hold_in_the_comparison() -> None:
    """Cases that random checks rarely produce: members of lists, percent signs, values of another type."""
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
    """A negative control: with `or` before `and`, the result would differ."""
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
@settings(max_examples=examples(400), deadline=None)
def test_a_rule_is_refused_exactly_if_oslo_policy_cannot_parse_it(words: list[str], glue: str) -> None:
    """A rule of random words is refused if and only if oslo.policy logs that it cannot parse it."""
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


# --- refusals ------------------------------------------------------------------------------------------------------


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
def test_an_invalid_rule_is_refused_with_the_reason(rule: object, words: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(rule)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cycles_are_named() -> None:
    rules = {"one": "rule:two or @", "two": "not rule:three", "three": "role:x and rule:two"}
    with pytest.raises(RuleError) as caught:
        Rules({name: parse(rule) for name, rule in rules.items()})
    assert str(caught.value) == "rule 'two' references itself: two -> three -> two"


def test_many_references_take_no_exponential_time() -> None:
    """Each rule is visited once, although a chain in which every rule references the next one twice has 2^60 paths."""
    rules = {f"r{n}": parse(f"rule:r{n + 1} or rule:r{n + 1}") for n in range(60)}
    chain = Rules({**rules, "r60": parse("role:%(name)s")})
    assert chain.allows("r59", {"name": "x"}, {"roles": ["X"]})
    assert len(chain.leaves("r0")) == 1
