"""Watches what an end tells of a case, and judges it."""

from __future__ import annotations

import time
from collections.abc import Callable

from linkspan.lab.faults.declaration import Case, TunnelEnd
from linkspan.lab.faults.judgement import Judgement, judge
from linkspan.lab.faults.scene import Told
from linkspan.lab.faults.stage import Stage

POLL = 0.1


class Watch:
    """The words of an end over time. `begun`: when its cause could be told first (monotonic); `seconds`: from then
    until the newest code was told; `wrong_before`: the newest code before that was wrong."""

    def __init__(self, stage: Stage, case: Case, end: TunnelEnd, begun: float) -> None:
        self.end = end
        self.told = Told("", "", "")
        self.seconds = 0.0
        self.wrong_before = ""
        self._stage, self._case, self._begun = stage, case, begun

    @property
    def judgement(self) -> Judgement:
        """The judgement of the newest code."""
        return judge(self._case, self.end, self.told.code)

    @property
    def is_settled(self) -> bool:
        """True if nothing better can come."""
        return self.judgement in ("right", "cannot know")

    def look(self) -> bool:
        """Ask the end; true if what it tells has changed."""
        before, wrong = self.told, self.judgement == "wrong"
        self.told = self._stage.told(self.end)
        if wrong and self.told.code != before.code:
            self.wrong_before = before.code
        if self.told.code != before.code or not before.status:
            self.seconds = max(0.0, time.monotonic() - self._begun)
        return self.told != before


def watch(stage: Stage, case: Case, begun: float, seconds: float, changed: Callable[[Watch], None]) -> list[Watch]:
    """Watch the ends of a case until all are settled, for so many seconds after `begun` at most. `changed` is called
    with an end that tells something new."""
    watches = [Watch(stage, case, end, begun) for end in case.ends()]
    while True:
        for end in watches:
            if end.look():
                changed(end)
        is_over = time.monotonic() > begun + seconds
        if is_over or (all(end.is_settled for end in watches) and not case.fault.lasting):
            return watches
        stage.tick()
        time.sleep(POLL)
