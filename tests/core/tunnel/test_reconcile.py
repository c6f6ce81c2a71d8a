"""Loading, keeping and unloading, whatever charon held before."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import succession
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import ConnectionReport
from linkspan.core.tunnel import lifecycle, reconcile, reports, stray_sas
from linkspan.core.tunnel.actions import DeleteChildSa, DeleteIkeSa, Reconcile
from linkspan.core.tunnel.events import Loaded, SasListed
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, ikev1, sa

replace = msgspec.structs.replace
IDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]


def wanted(*items: Connection) -> dict[str, Connection]:
    return {item.id: item for item in items}


def names(*items: Connection) -> dict[str, frozenset[str]]:
    """The children that charon holds for these connections, each with a peer of its own or all with one."""
    held: dict[str, frozenset[str]] = {}
    for item in items:
        config = ipsec_config.build(item)
        held[config.name] = held.get(config.name, frozenset()) | {child.name for child in config.children}
    return held


def children(*items: Connection) -> frozenset[str]:
    return frozenset(child.name for item in items for child in ipsec_config.build(item).children)


def run(
    desired: dict[str, Connection], loaded: reconcile.LoadedChildren, gone: Any = (), before: Any = None
) -> reconcile.Plan:
    return reconcile.reconcile(before or {}, desired, gone, loaded, "user-space")


def ended(todo: reconcile.Plan, loaded: reconcile.LoadedChildren) -> frozenset[str]:
    """The children that end, if all that is loaded is up."""
    return frozenset(child for name in todo.inspect for child in loaded[name] if not todo.needed.needs(child))


def deletions(sas: list[IkeSa], todo: reconcile.Plan) -> tuple[stray_sas.Deletion, ...]:
    return stray_sas.deletions(stray_sas.strays(sas, todo.needed), {}, 0.0)[0]


def test_what_runs_as_desired_is_kept() -> None:
    one = connection(id=IDS[0])
    todo = run(wanted(one), names(one))
    assert (todo.load, todo.keep, todo.inspect, todo.unload) == ((), (one.id,), (), ())


def test_an_edit_ends_the_old_and_loads_the_new_and_nothing_else() -> None:
    old, new, other = connection(id=IDS[0]), connection(id=IDS[0], peer_id="new"), connection(id=IDS[1], peer_id="b")
    todo = run(wanted(new, other), names(old, other))
    assert todo.load == (ipsec_config.build(new),)
    assert (ended(todo, names(old, other)), todo.unload) == (children(old), tuple(names(old)))
    assert (todo.fresh, todo.keep) == ((new.id,), (other.id,))


def test_a_second_connection_to_a_peer_joins_the_first_in_place() -> None:
    one, two = connection(id=IDS[0]), connection(id=IDS[1], peer_cidrs=("10.9.0.0/24",))
    todo = run(wanted(one, two), names(one))
    (config,) = todo.load
    assert {child.name for child in config.children} == children(one, two)
    assert (todo.fresh, todo.keep, todo.inspect, todo.unload) == ((two.id,), (one.id,), (), ())


def test_the_last_but_one_leaves_a_peer_without_touching_the_other() -> None:
    one, two = connection(id=IDS[0]), connection(id=IDS[1], peer_cidrs=("10.9.0.0/24",))
    todo = run(wanted(one), names(one, two), gone={two.id})
    assert (ended(todo, names(one, two)), todo.unload) == (children(two), ())
    assert todo.load == (ipsec_config.build(one),)


def test_absence_never_deletes_and_a_tombstone_does() -> None:
    one = connection(id=IDS[0])
    assert run({}, names(one)).unload == ()
    todo = run({}, names(one), gone={one.id})
    assert (ended(todo, names(one)), todo.unload) == (children(one), tuple(names(one)))


def test_a_disabled_connection_is_unloaded() -> None:
    one = connection(id=IDS[0])
    todo = run(wanted(connection(id=IDS[0], enabled=False)), names(one))
    assert (todo.load, ended(todo, names(one))) == ((), children(one))


def test_children_end_with_their_ike_sa_unless_it_carries_others() -> None:
    todo = run({}, {"peer": frozenset({"a.1", "b.1"})}, gone={"a"})
    alone = sa("peer", child("a.1"), unique_id=1)
    shared = sa("peer", child("a.1"), child("b.1"), unique_id=2)
    assert deletions([alone, shared], todo) == (DeleteIkeSa(1), DeleteChildSa(1))
    assert deletions([sa("peer", unique_id=3)], todo) == ()


def test_a_half_open_ike_sa_goes_with_its_ike_connection() -> None:
    """It would retransmit with the old key for ever, and charon would queue the new children in it."""
    old, new = connection(id=IDS[0]), connection(id=IDS[0], revision=2, psk_ref="another key")
    todo = run(wanted(new), names(old))
    half_open = sa(ipsec_config.build(old).name, state="CONNECTING")
    assert todo.inspect == todo.unload == (half_open.name,)
    assert deletions([half_open], todo) == (DeleteIkeSa(half_open.unique_id),)
    assert deletions([sa(ipsec_config.build(new).name, state="CONNECTING")], todo) == (), "what stays loaded may go on"


def up(item: Connection) -> Tunnel:
    """A tunnel whose children are all up."""
    tunnel, _ = lifecycle.step(reconcile.tunnel_for(item, "user-space"), Loaded(), 0.0)
    config = ipsec_config.build(item)
    seen = sa(config.name, *(child(one.name) for one in config.children))
    return lifecycle.step(tunnel, SasListed((seen,)), 0.0)[0]


def test_an_edit_of_what_is_up_keeps_it_until_the_new_version_is_up() -> None:
    old = connection(id=IDS[0])
    new = connection(id=IDS[0], revision=2, ipsec=replace(old.ipsec, encryption_algorithm="aes-256"))
    first = run(wanted(new), names(old), before={old.id: up(old)})
    assert first.fresh == (new.id,)
    assert ended(first, names(old)) == frozenset()
    tunnel, _ = lifecycle.step(first.tunnels[new.id], Loaded(), 1.0)
    both = sa(ipsec_config.build(new).name, child(min(children(old)), number=1), child(min(children(new)), number=2))
    tunnel, actions = lifecycle.step(tunnel, SasListed((both,)), 1.1)
    assert actions == (DeleteChildSa(1), Reconcile())
    assert tunnel.previous is None


def test_an_edit_towards_another_peer_keeps_nothing() -> None:
    old, new = connection(id=IDS[0]), connection(id=IDS[0], revision=2, peer_address="198.51.100.9")
    todo = run(wanted(new), names(old), before={old.id: up(old)})
    assert ended(todo, names(old)) == children(old)


def test_another_key_keeps_nothing() -> None:
    old, new = connection(id=IDS[0]), connection(id=IDS[0], revision=2, psk_ref="another key")
    todo = run(wanted(new), names(old), before={old.id: up(old)})
    assert ended(todo, names(old)) == children(old)


def test_of_two_keys_for_two_ends_only_the_later_one_is_loaded() -> None:
    first, second = connection(id=IDS[0]), connection(id=IDS[1], peer_cidrs=("10.7.0.0/24",))
    before = {entry.id: up(entry) for entry in (first, second)}
    key = {"psk": Secret("new"), "psk_ref": "another key", "psk_written_at": 1.0}
    later = replace(second, revision=2, **key)
    held = run(wanted(first, second), {}).load
    todo = run(
        wanted(first, later),
        {entry.name: frozenset(one.name for one in entry.children) for entry in held},
        before=before,
    )
    assert {entry.name for entry in todo.load} == {ipsec_config.build(later).name}
    assert set(todo.unload) == {ipsec_config.build(first).name}
    note = reports.report(todo.tunnels[first.id], 1)
    assert note is None, "until it is applied"
    applied, _ = lifecycle.step(todo.tunnels[first.id], Loaded(), 0.0)
    note = reports.report(applied, 1)
    assert note
    assert f"the psk of connection {second.id}, which was changed later, is in use for both" in note.reason
    # The edit of the other key changes nothing that runs.
    after = run(
        wanted(replace(first, revision=3, **key), later), names(later), before={**todo.tunnels, first.id: applied}
    )
    assert after.tunnels[first.id].config == applied.config
    final = reports.report(after.tunnels[first.id], 1)
    assert final
    assert "psk" not in final.reason


def test_what_a_version_left_behind_ends_with_its_connection() -> None:
    old = connection(id=IDS[0])
    new = connection(id=IDS[0], revision=2, ipsec=replace(old.ipsec, encryption_algorithm="aes-256"))
    rolling = run(wanted(new), names(old), before={old.id: up(old)})
    # charon was told the new version in place, so the old one is up and loaded no more.
    todo = run({}, names(new), gone={old.id}, before=rolling.tunnels)
    (name,) = todo.inspect
    assert deletions([sa(name, child(min(children(old))))], todo) == (DeleteIkeSa(1),)


def test_a_tunnel_goes_on_where_charon_has_nothing_new_to_load() -> None:
    one = connection(id=IDS[0])
    first = run(wanted(one), {})
    tunnel, _ = lifecycle.step(first.tunnels[one.id], Loaded(), 0.0)
    renamed = connection(id=IDS[0], revision=2, mtu=1400)
    todo = run(wanted(renamed), names(one), before={one.id: tunnel})
    assert (todo.load, todo.keep, todo.inspect, todo.unload) == ((), (), (), ())
    assert todo.tunnels[one.id].attempt_ends_at == tunnel.attempt_ends_at
    assert todo.tunnels[one.id].connection.revision == 2


def test_by_ikev1_charon_rekeys_only_if_an_end_may_initiate() -> None:
    """An edit of that tells charon anew, in place, and so does an agent that cannot know what charon was told."""
    waits, other = (
        connection(id=id, ike=ikev1(), peer_cidrs=(cidr,), initiator="response-only")
        for id, cidr in zip(IDS, ("10.2.0.0/24", "10.9.0.0/24"), strict=False)
    )
    begins = replace(other, initiator="bi-directional", revision=2)
    assert ipsec_config.build(other) == ipsec_config.build(begins), "what is up stays"
    rekeys = {True: ipsec_config.build(begins).rekey_time, False: 0}

    def told(todo: reconcile.Plan, *items: Connection) -> list[int]:
        assert todo.unload == ()
        assert all({child.name for child in config.children} == children(*items) for config in todo.load)
        return [config.rekey_time for config in todo.load]

    first = run(wanted(waits, other), {})
    assert told(first, waits, other) == [rekeys[False]]
    held = names(waits, other)
    assert told(run(wanted(waits, other), held, before=first.tunnels), waits, other) == []
    one_begins = run(wanted(waits, begins), held, before=first.tunnels)
    assert one_begins.inspect == (), "nothing ends"
    assert told(one_begins, waits, other) == [rekeys[True]]
    assert told(run(wanted(waits, other), held, before=one_begins.tunnels), waits, other) == [rekeys[False]]
    assert told(run(wanted(waits), names(waits), {begins.id}, before=one_begins.tunnels), waits) == [rekeys[False]]
    assert told(run(wanted(waits, other), held), waits, other) == [rekeys[False]], "an agent that starts anew"
    lifetime = waits.ike.lifetime
    assert all(config.rekey_time + config.over_time == lifetime for config in (*first.load, *one_begins.load))


def test_of_two_connections_that_are_the_same_by_name_one_is_loaded() -> None:
    address, name = connection(id=IDS[1]), connection(id=IDS[0], peer_name="vpn.example.org")
    alone = run(wanted(name), {})
    assert alone.fresh == (name.id,)
    running = run(wanted(name), names(name), before=alone.tunnels)
    both = run(wanted(name, address), names(name), before=running.tunnels)
    assert (both.load, both.unload, both.inspect) == ((), (), ()), "what runs is not touched"
    assert both.tunnels[address.id].config is None
    again = run(wanted(name, address), names(name), before=both.tunnels)
    assert again.tunnels == both.tunnels
    adopted = run(wanted(name, address), names(name))
    assert (adopted.keep, adopted.load, adopted.unload) == ((name.id,), (), ()), "nor by a restarted agent"
    for tunnels in (both.tunnels, adopted.tunnels):
        held = tunnel_report(tunnels[address.id])
        assert (held.state, "the same peer" in held.reason) == ("down", True)
    moved = replace(name, peer_address="198.51.100.9")
    freed = run(wanted(moved, address), names(name), before=both.tunnels)
    assert set(freed.fresh) == {name.id, address.id}
    deleted = run(wanted(address), names(name), {name.id}, before=both.tunnels)
    assert deleted.fresh == (address.id,)
    assert ended(deleted, names(name)) == children(name)
    for plan in (freed, deleted):
        assert plan.tunnels[address.id].conflict.text == ""


def tunnel_report(tunnel: Tunnel) -> ConnectionReport:
    report = reports.report(tunnel, 1)
    assert report is not None
    return report


def test_a_tunnel_that_is_up_says_which_connection_it_stands_for() -> None:
    address, name = connection(id=IDS[0]), connection(id=IDS[1], peer_name="vpn.example.org", initiator="response-only")
    plan = run(wanted(address, name), names(address), before={address.id: up(address)})
    runs, held = tunnel_report(plan.tunnels[address.id]), tunnel_report(plan.tunnels[name.id])
    assert (runs.state, name.id in runs.reason) == ("up", True)
    assert (held.state, address.id in held.reason, "waits" in held.reason) == ("down", True, False)


VERSIONS = st.builds(connection, id=st.sampled_from(IDS), peer_id=st.sampled_from(["a", "b"]), enabled=st.booleans())


@given(st.lists(VERSIONS), st.lists(VERSIONS), st.sets(st.sampled_from(IDS)))
def test_afterwards_charon_holds_what_is_desired(
    before: list[Connection], after: list[Connection], gone: set[str]
) -> None:
    desired = wanted(*after)
    loaded = names(*before)
    gone -= desired.keys()
    todo = run(desired, loaded, gone)
    holds = loaded | {config.name: frozenset(child.name for child in config.children) for config in todo.load}
    holds = {name: held for name, held in holds.items() if name not in todo.unload}
    known = [
        held for held in holds.values() if all(ipsec_config.owner_of(child) in desired.keys() | gone for child in held)
    ]
    idle = succession.wholly_superseded(desired.values())
    meant = children(*(item for item in desired.values() if item.enabled and item.id not in idle))
    assert frozenset().union(*known) <= meant <= frozenset().union(*holds.values())
    again = run(desired, holds, gone)
    assert (again.load, again.unload, again.fresh) == ((), (), ()), "twice equals once"
    still = ended(again, holds)
    assert not still & frozenset().union(*known), "what shares an IKE connection with a stranger stays loaded there"
    strangers = {
        child for held in loaded.values() for child in held if ipsec_config.owner_of(child) not in desired.keys() | gone
    }
    assert not strangers & ended(todo, loaded), "what nobody spoke of is not ended"
