"""Ends the stray SAs of one gateway (`core.tunnel.stray_sas`). Used only on the thread of the gateway's worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from linkspan.agent.managed_charon import ManagedCharon
from linkspan.core.tunnel import stray_sas
from linkspan.core.tunnel.reconcile import Plan
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.stray_sas import Needed, Requests, Stray

RECHECK = 0.5
"""Seconds until strays that charon still lists are looked at again."""

ANSWER = 0.05
"""Seconds until an IKE SA that waits for the peer's answer is looked at again."""

RETAINED = 30.0
"""Seconds between two looks at IKE connections that are loaded only for the IKE SAs that they have."""


class StraySas:
    """`request_check` makes the worker reconcile, at once or after some seconds.

    Methods raise DriverError.
    """

    def __init__(
        self, charon: ManagedCharon, clock: Callable[[], float], request_check: Callable[[float], None]
    ) -> None:
        self._charon = charon
        self._clock = clock
        self._request_check = request_check
        self._needed: Needed | None = None
        self._requests: Requests = {}
        self._suspects: set[str] = set()
        self._is_anything_suspect = True

    # -- suspicion between two runs ------------------------------------------------------------------------------

    def forget(self) -> None:
        """charon was started or adopted: anything may be listed."""
        self._requests = {}
        self._is_anything_suspect = True

    def suspect(self) -> None:
        """charon has said something about SAs that no tunnel looks at: list all of them."""
        self._is_anything_suspect = True
        self._request_check(0.0)

    def check(self, sas: Iterable[IkeSa]) -> None:
        """Look for strays among SAs that were listed for a tunnel."""
        fresh = {stray.sa.name for stray in self._find(sas)} - self._suspects
        if fresh:
            self._suspects |= fresh
            self._request_check(0.0)

    # -- the steps of a run --------------------------------------------------------------------------------------

    def end_before_loading(self, plan: Plan) -> bool:
        """Delete the strays that the plan inspects, before charon can put anything new into their IKE SAs.

        Returns False while one of them has to stay: the plan must wait then, and another check is requested.
        """
        self._needed = plan.needed
        self._suspects |= set(plan.inspect)
        found = self._delete(self._charon.sas(self._suspects))
        waits = stray_sas.awaits_answer(found, self._requests, self._clock())
        if waits:
            self._request_check(ANSWER)
        return not waits

    def leaving(self, names: Iterable[str]) -> list[str]:
        """Those of these IKE connections that can be unloaded now. For the others another check is requested."""
        leaving = list(names)
        retained = {name for name in leaving if self._is_retained(name)}
        if retained:
            self._request_check(RETAINED)
        return [name for name in leaving if name not in retained]

    def _is_retained(self, name: str) -> bool:
        sas, loaded = self._charon.sas([name]), self._charon.loaded[name]
        return self._needed is not None and stray_sas.is_retained(sas, loaded, self._needed)

    def end(self, unloaded: Iterable[str]) -> tuple[Stray, ...]:
        """Delete all strays. Returns those that charon lists even so; then another check is requested.

        `unloaded`: the IKE connections that were unloaded now. Nothing new comes into their names afterwards, and the
        peer may have been faster until then.
        """
        self._suspects |= {*unloaded, *self._charon.unloaded}
        left = self._delete(self._list())
        if left:
            left = self._find(self._list())
        self._suspects = {stray.sa.name for stray in left}
        self._is_anything_suspect = False
        if left:
            self._request_check(RECHECK)
        return left

    def _list(self) -> tuple[IkeSa, ...]:
        return self._charon.all_sas() if self._is_anything_suspect else self._charon.sas(self._suspects)

    def _find(self, sas: Iterable[IkeSa]) -> tuple[Stray, ...]:
        return stray_sas.strays(sas, self._needed) if self._needed else ()

    def _delete(self, sas: Iterable[IkeSa]) -> tuple[Stray, ...]:
        """Request the deletion of the strays among these SAs, and return them."""
        found = self._find(sas)
        actions, self._requests = stray_sas.deletions(found, self._requests, self._clock())
        for action in actions:
            self._charon.delete_sa(action)
        return found
