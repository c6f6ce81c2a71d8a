"""Generated histories of two gateways whose pre-shared key is rotated, over the model of charon.

Both ends have an agent. Each end gets the new key at a time of its own, and keeps the previous one for a while. At each
time charon has one key. Without disturbances everything stays up; whatever happens, in the end it is up by the new key.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PreviousKey
from linkspan.core.state.desired import Connection
from tests.agent.slow_charon import SLOWEST, Network
from tests.agent.successions import SuccessionSite
from tests.agent.two_ends import BASE
from tests.drivers.machine import connection

ROTATIONS = 2
PAUSES = (0.0, 0.02, 0.3, 3.0, 40.0)
"""Seconds between the changes of the two ends."""
CALM = 150.0
_set = msgspec.structs.replace


class RotationHistory:
    """One history, the same for the same seed. `faults`: what broke a rule. `grace`: whether ends keep the previous
    key."""

    def __init__(self, seed: int, *, grace: bool = True) -> None:
        self.chance = random.Random(seed)
        self.grace = grace
        self.is_disturbed = seed % 2 == 1
        self.network = Network(self.chance)
        self.left, self.right = SuccessionSite(1, self.network), SuccessionSite(2, self.network)
        self.sites = (self.left, self.right)
        self.faults: list[str] = []
        self._key, self._count = Secret("key 0"), 0
        self._is_watched = False
        self._gap_since: dict[tuple[int, str], float] = {}
        self.network.time.after_each = self._look

    def run(self) -> list[str]:
        """Play it to its end. Returns the faults."""
        for site in self.sites:
            site.start_agent()
        responder = self.chance.choice((None, None, *self.sites))
        for number in range(self.chance.choice((1, 2))):
            self._create(number, responder)
        self.network.time.run(60.0)
        self._is_watched = not self.is_disturbed
        for _ in range(ROTATIONS):
            self._rotate()
        return self.faults + [fault for site in self.sites for fault in site.faults]

    def _create(self, number: int, responder: SuccessionSite | None) -> None:
        for site, (near, far) in ((self.left, (1, 2)), (self.right, (2, 1))):
            changes: dict[str, Any] = {"initiator": "response-only"} if site is responder else {}
            item = connection(
                near,
                far,
                id=f"{near:04x}{number:04x}-e29b-41d4-a716-446655440000",
                local_cidrs=(f"10.{near}.{number}.0/24",),
                peer_cidrs=(f"10.{far}.{number}.0/24",),
                psk=self._key,
                psk_ref="key 0",
                **BASE | changes,
            )
            site.put(item)

    # -- acts ----------------------------------------------------------------------------------------------------

    def _rotate(self) -> None:
        """The new key at one end, then at the other; the end of the previous one at each."""
        before, self._count = PreviousKey(self._key, f"key {self._count}"), self._count + 1
        self._key = Secret(f"key {self._count}")
        order = list(self.sites)
        self.chance.shuffle(order)
        for site in order:
            for item in list(site.desired.values()):
                self._put_key(site, item, before)
                self._wait()
        self.network.time.run(CALM)
        self._check()
        self.chance.shuffle(order)
        for site in order:
            for item in list(site.desired.values()):
                site.put(_set(item, previous_psk=None, revision=item.revision + 1))
            self._wait()
        self.network.time.run(CALM)
        self._check(over=True)

    def _put_key(self, site: SuccessionSite, item: Connection, before: PreviousKey) -> None:
        key = {"psk": self._key, "psk_ref": f"key {self._count}", "psk_written_at": self.network.time.now}
        previous = before if self.grace else None
        site.put(_set(item, previous_psk=previous, revision=item.revision + 1, **key))

    def _wait(self) -> None:
        self.network.time.run(self.chance.choice(PAUSES) * self.chance.random())
        if self.is_disturbed and self.chance.random() < 0.7:
            self.chance.choice((self._end_sas, self._end_sas, self._crash_agent, self._crash_charon))()
            self.network.time.run(self.chance.choice(PAUSES) * self.chance.random())

    def _end_sas(self) -> None:
        """One end authenticates anew."""
        site = self.chance.choice(self.sites)
        for end in site.ends():
            self.network.delete_ike_sa(end, dead=False)

    def _crash_agent(self) -> None:
        site = self.chance.choice(self.sites)
        site.crash_agent()
        self.network.time.run(self.chance.uniform(0.0, 3.0))
        site.start_agent()

    def _crash_charon(self) -> None:
        address = self.chance.choice(self.sites).address
        if address in self.network.daemons:
            self.network.kill(address)

    # -- rules ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        for site in self.sites:
            daemon = self.network.daemons.get(site.address)
            if daemon and len({key.key.reveal() for key in daemon.keys.values()}) > 1:
                self.fault(f"{site.number}: two keys are loaded")
            for item in site.desired.values() if self._is_watched else ():
                self._check_gap(site, item)

    def _check_gap(self, site: SuccessionSite, item: Connection) -> None:
        place = site.number, item.id
        if site.owners(SelectorPair(item.local_cidrs[0], item.peer_cidrs[0])):
            self._gap_since.pop(place, None)
        elif self.network.time.now > self._gap_since.setdefault(place, self.network.time.now) + SLOWEST:
            self.fault(f"{site.number}: {item.peer_cidrs} is down")

    def _check(self, *, over: bool = False) -> None:
        for site in self.sites:
            for item in site.desired.values():
                if not site.owners(SelectorPair(item.local_cidrs[0], item.peer_cidrs[0])):
                    self.fault(f"{site.number}: {item.peer_cidrs} is not up")
            keys = {key.key for key in self.network.daemons[site.address].keys.values()}
            if keys != {self._key} and over:
                self.fault(f"{site.number}: the new key is not in use")
            listed = [child.name for end in site.ends() for child in end.children.values()]
            if len(listed) > len(set(listed)):
                self.fault(f"{site.number}: twice: {sorted(listed)}")

    def fault(self, text: str) -> None:
        if len(self.faults) < 9:
            self.faults.append(f"{self.network.time.now:.2f}: {text}")
