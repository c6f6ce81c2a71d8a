"""What is loaded, kept and retired, whatever charon held before."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import ike, plan, rollout
from linkspan.core.desired import Connection
from linkspan.core.rollout import Loaded
from tests.core.samples import connection

IDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]


def wanted(*items: Connection) -> dict[str, Connection]:
    return {item.id: item for item in items}


def names(*items: Connection) -> frozenset[str]:
    return frozenset(ike.build(item).name for item in items)


def run(desired: dict[str, Connection], loaded: frozenset[str], gone: Any = (), lives: Any = None) -> plan.Plan:
    return plan.reconcile(lives or {}, desired, gone, loaded, "user-space")


def test_what_runs_as_desired_is_kept() -> None:
    one = connection(id=IDS[0])
    todo = run(wanted(one), names(one))
    assert (todo.load, todo.keep, todo.retire) == ((), (one.id,), ())


def test_an_edit_retires_the_old_and_loads_the_new_and_nothing_else() -> None:
    old, new, other = connection(id=IDS[0]), connection(id=IDS[0], peer_id="new"), connection(id=IDS[1])
    todo = run(wanted(new, other), names(old, other))
    assert (todo.load, todo.retire) == ((new.id,), tuple(names(old)))
    assert todo.keep == (other.id,)


def test_absence_never_deletes_and_a_tombstone_does() -> None:
    one = connection(id=IDS[0])
    assert run({}, names(one)).retire == ()
    assert run({}, names(one), gone={one.id}).retire == tuple(names(one))


def test_a_disabled_connection_is_retired() -> None:
    one = connection(id=IDS[0])
    todo = run(wanted(connection(id=IDS[0], enabled=False)), names(one))
    assert (todo.load, todo.retire) == ((), tuple(names(one)))


def test_a_life_goes_on_where_charon_is_told_nothing_new() -> None:
    one = connection(id=IDS[0])
    first = run(wanted(one), frozenset())
    life, _ = rollout.step(first.lives[one.id], Loaded(), 0.0)
    renamed = connection(id=IDS[0], revision=2, mtu=1400)
    todo = run(wanted(renamed), names(one), lives={one.id: life})
    assert (todo.load, todo.keep, todo.retire) == ((), (), ())
    assert todo.lives[one.id].attempt_until == life.attempt_until
    assert todo.lives[one.id].connection.revision == 2


VERSIONS = st.builds(connection, id=st.sampled_from(IDS), peer_id=st.sampled_from(["a", "b"]), enabled=st.booleans())


@given(st.lists(VERSIONS), st.lists(VERSIONS), st.sets(st.sampled_from(IDS)))
def test_afterwards_charon_holds_what_is_desired(
    before: list[Connection], after: list[Connection], gone: set[str]
) -> None:
    desired = wanted(*after)
    loaded = names(*before)
    gone -= desired.keys()
    todo = run(desired, loaded, gone)
    holds = (loaded - set(todo.retire)) | {todo.lives[id].config.name for id in todo.load}  # type: ignore[union-attr]
    ours = {name for name in holds if ike.connection_id(name) in desired.keys() | gone}
    assert ours == names(*(item for item in desired.values() if item.enabled))
    untouched = {name for name in loaded if ike.connection_id(name) not in desired.keys() | gone}
    assert untouched <= holds, "what nobody spoke of stays"
    again = run(desired, frozenset(holds), gone)
    assert (again.load, again.retire) == ((), ()), "applying twice equals once"
