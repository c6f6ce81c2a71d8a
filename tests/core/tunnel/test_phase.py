"""The table of transitions is what tunnels do: it lists every transition that happens, and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from linkspan.core.tunnel import lifecycle
from linkspan.core.tunnel.phase import CHARON_RESTARTED, EDITED, TRANSITIONS, Phase
from tests.core.tunnel.histories import History, Transition
from tests.harness.examples import examples

SEEDS = (*range(1_500), 1891, 2363, 13172)
"""Enough histories for every transition: the rarest ones happen in the last three."""
DECLARED = {
    (before, trigger, after)
    for before, row in TRANSITIONS.items()
    for trigger, targets in row.items()
    for after in targets
}


def name(transition: Transition) -> str:
    before, trigger, after = transition
    return f"{before.name} - {trigger if isinstance(trigger, str) else trigger.__name__} - {after.name}"


def changes_in(seeds: Iterable[int]) -> set[Transition]:
    """The changes of phase in the histories of these seeds."""
    return {step for seed in seeds for step in History(seed).steps() if step[0] != step[2]}


def test_a_transition_that_the_table_does_not_list_never_happens() -> None:
    assert sorted(map(name, changes_in(range(examples(300))) - DECLARED)) == []


@pytest.mark.slow
def test_the_table_lists_exactly_the_transitions_that_happen() -> None:
    changes = changes_in(SEEDS)
    assert sorted(map(name, changes - DECLARED)) == []
    assert sorted(map(name, DECLARED - changes)) == []


def test_every_phase_has_its_row_and_every_event_its_handler() -> None:
    assert TRANSITIONS.keys() == set(Phase)
    triggers = {trigger for row in TRANSITIONS.values() for trigger in row}
    assert triggers - {EDITED, CHARON_RESTARTED} == lifecycle._HANDLERS.keys()


# --- size ---------------------------------------------------------------------------------------------------------

MAX_LINES, MAX_BRANCHES = 40, 12
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.match_case, ast.comprehension)


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(Path(lifecycle.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.stem}.{node.name}", node


def branches(function: ast.FunctionDef) -> int:
    """Statements and expressions that fork: if, loops, handlers, cases, comprehensions with their ifs, and, or."""
    total = 0
    for node in ast.walk(function):
        total += isinstance(node, BRANCHES)
        total += len(node.ifs) if isinstance(node, ast.comprehension) else 0
        total += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
    return total


def test_no_function_of_the_tunnel_is_too_long_to_read() -> None:
    sizes = {
        place: (node.end_lineno - node.lineno + 1, branches(node)) for place, node in functions() if node.end_lineno
    }
    large = {place: size for place, size in sizes.items() if size[0] > MAX_LINES or size[1] > MAX_BRANCHES}
    assert large == {}


def test_branches_are_counted() -> None:
    source = "def f(a, b):\n    if a and b or a:\n        return [x for x in a if x]\n    return a if b else b"
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert branches(function) == 6
