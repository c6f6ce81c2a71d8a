"""A connection decides alike by its view of the IKE SAs and by the whole listing, in random histories."""

from __future__ import annotations

import random

import msgspec
import pytest

from linkspan.core.tunnel import events, lifecycle
from linkspan.core.tunnel.sa_views import SaViews
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from tests.core.samples import child, sa
from tests.core.tunnel.histories import History

HISTORIES = 200
STATES = ("INSTALLED", "INSTALLED", "REKEYING", "DELETING")


class SharedSas(History):
    """A history in which other connections have children in the tunnel's IKE SAs."""

    compared = 0

    def sas(self) -> tuple[IkeSa, ...]:
        return tuple(self.with_others(sa) for sa in super().sas())

    def child(self, name: str, number: int) -> ChildSa:
        return msgspec.structs.replace(super().child(name, number), life_left=self.random.choice((-1, 30, 3600)))

    def with_others(self, sa: IkeSa) -> IkeSa:
        pick = self.random.choice
        others = [
            child(f"other-{pick('123')}.x", idle=pick((-1, 0, 3, 30)), state=pick(STATES), number=100 + number)
            for number in range(self.random.randint(0, 4))
        ]
        mixed = [*sa.children, *others]
        self.random.shuffle(mixed)
        return msgspec.structs.replace(sa, children=tuple(mixed))

    def event(self) -> events.Event:
        event = super().event()
        if isinstance(event, events.SasListed):
            view = events.SasListed(SaViews(event.sas).of(self.tunnel.connection.id))
            assert lifecycle.step(self.tunnel, view, self.now) == lifecycle.step(self.tunnel, event, self.now)
            self.compared += any(
                len(sa.children) > len(seen.children) for sa, seen in zip(event.sas, view.sas, strict=True)
            )
        return event


def test_a_view_decides_as_the_whole_listing_does() -> None:
    histories = [SharedSas(seed) for seed in range(HISTORIES)]
    for history in histories:
        for _ in history.steps():
            pass
    assert sum(history.compared for history in histories) > 10 * HISTORIES


@pytest.mark.parametrize("field", ["idle_in", "children"])
def test_a_view_without_the_others_decides_otherwise(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without one of the facts about the others, the comparison fails."""

    def of(self: SaViews, owner: str) -> tuple[IkeSa, ...]:
        return tuple(without(sa, owner, field) for sa in whole(self, owner))

    whole = SaViews.of
    monkeypatch.setattr(SaViews, "of", of)
    with pytest.raises(AssertionError):
        test_a_view_decides_as_the_whole_listing_does()


def without(sa: IkeSa, owner: str, field: str) -> IkeSa:
    """An IKE SA whose stand-in for the others lacks a fact, or that lacks the stand-in."""
    own = [one for one in sa.children if one.name.startswith(owner)]
    if field != "children":
        own += [msgspec.structs.replace(one, idle_in=-1) for one in sa.children if one not in own]
    return msgspec.structs.replace(sa, children=tuple(own))


def test_a_thousand_connections_have_a_stand_in_each() -> None:
    names = [f"c{number}" for number in range(1000)]
    order = random.Random(1).sample(names, len(names))
    views = SaViews([sa("ike", *(child(f"{name}.x", idle=number) for number, name in enumerate(order)))])
    for name in names:
        (seen,) = views.of(name)
        own, other = seen.children
        assert own.name == f"{name}.x"
        assert other.name != own.name
        assert other.idle_in == (1 if name == order[0] else 0)


def test_a_view_tells_that_another_child_is_being_rekeyed() -> None:
    own, other, rekeyed = child("a.x"), child("b.x"), child("c.x", state="REKEYING")
    views = SaViews([sa("ike", own, other, rekeyed)])
    assert [one.state for (seen,) in map(views.of, "abc") for one in seen.children] == [
        *("INSTALLED", "REKEYING"),
        *("INSTALLED", "REKEYING"),
        *("REKEYING", "INSTALLED"),
    ]
