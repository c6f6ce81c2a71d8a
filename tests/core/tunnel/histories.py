"""Random histories of a tunnel, the same for the same seed: events, edits and restarts of charon, in any order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec

from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PreviousKey
from linkspan.core.state.desired import Connection, Dpd, DpdAction
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import events, lifecycle, reconcile
from linkspan.core.tunnel import tunnel as tunnels
from linkspan.core.tunnel.charon_events import (
    Cause,
    Initiating,
    PeerRefused,
    PeerSeen,
    PeerTimedOut,
    ProbeSent,
    RekeyFailed,
    Retransmitted,
    SaChanged,
)
from linkspan.core.tunnel.phase import CHARON_RESTARTED, EDITED, Phase, Trigger, phase_of
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from tests.core.samples import child, connection, ikev1, sa

LENGTH = 100
Transition = tuple[Phase, Trigger, Phase]
"""The phase before, what happened, and the phase afterwards."""
ACTIONS: tuple[DpdAction, ...] = ("hold", "clear", "restart", "disabled", "restart-by-peer")


class History:
    """One tunnel and its next step; `now` in seconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.holds = seed % 2 == 1
        """Half of the histories stay with the DPD action hold on the kernel's ESP, where a tunnel waits for traffic."""
        self.backend: Backend = "kernel" if self.holds else self.random.choice(("kernel", "user-space"))
        self.now = 0.0
        self.desired = self.connection(1)
        self.tunnel = reconcile.tunnel_for(self.desired, self.backend)

    def connection(self, revision: int) -> Connection:
        """A connection with attributes of its own."""
        pick = self.random.choice
        ipsec = connection().ipsec
        changes = pick([{}, {"encryption_algorithm": "aes-256"}, {"pfs": "group19"}])
        if self.random.random() < 0.1:
            changes = {"transform_protocol": "ah-esp"}
        key, other = pick((("ref-1", "ref-2"), ("ref-1", "ref-2"), ("ref-1", "ref-2"), ("ref-2", "ref-1")))
        return connection(
            revision=revision,
            enabled=self.random.random() > 0.15,
            initiator="response-only" if self.random.random() < (0.1 if self.holds else 0.3) else "bi-directional",
            dpd=Dpd("hold" if self.holds else pick(ACTIONS), 5, 9),
            peer_address="vpn.example.org" if self.random.random() < 0.15 else "198.51.100.2",
            peer_cidrs=("10.2.0.0/24", "10.3.0.0/24") if self.random.random() < 0.7 else ("10.2.0.0/24",),
            psk_ref=key,
            previous_psk=pick((None, PreviousKey(Secret("the other key"), other))),
            ike=pick((connection().ike, ikev1())),
            ipsec=msgspec.structs.replace(ipsec, **changes),
        )

    def steps(self) -> Iterator[Transition]:
        """The transitions of the history, those that keep the phase included."""
        for _ in range(LENGTH):
            before = phase_of(self.tunnel)
            cause = self.step()
            yield before, cause, phase_of(self.tunnel)

    def step(self) -> Trigger:
        """One step, at random; its cause."""
        due = lifecycle.wake_at(self.tunnel)
        self.now = due if due is not None and self.random.random() < 0.3 else self.now + self.random.uniform(0, 20)
        chance = self.random.random()
        if chance < 0.12:
            self.edit()
            return EDITED
        if chance < 0.15 and not self.tunnel.key_rotation.is_due:
            self.tunnel = tunnels.after_charon_restart(self.tunnel)
            return CHARON_RESTARTED
        if self.tunnel.key_rotation.is_due:
            self.change(self.desired)
            return EDITED
        event = self.event()
        self.tunnel, _ = lifecycle.step(self.tunnel, event, self.now)
        return event.__class__

    def edit(self) -> None:
        """An edit of the connection, as `reconcile` applies it."""
        old = self.tunnel
        revised = self.connection(old.connection.revision + 1)
        if self.random.random() < 0.3:
            initiator = self.random.choice(("bi-directional", "response-only"))
            revised = msgspec.structs.replace(self.desired, revision=revised.revision, initiator=initiator)
        self.change(revised)

    def change(self, revised: Connection) -> None:
        """The result of `reconcile` for a revision, or of the turn of the other key."""
        self.desired = revised
        self.tunnel = reconcile.reconcile({"a": self.tunnel}, {"a": revised}, (), {}, self.backend).tunnels["a"]

    def event(self) -> events.Event:
        """An event. SAs are listed most often, since that is what moves a tunnel."""
        about = self.tunnel.connection.id
        number = self.random.choice((0, 1, 2, *self.tunnel.dpd_state.last_seen))
        chance = self.random.random()
        if chance < 0.45:
            return events.SasListed(self.sas())
        if chance < 0.6:
            return PeerTimedOut(about, number)
        if self.tunnel.config and not self.tunnel.applied and self.random.random() < 0.6:
            return self.random.choice((events.Loaded(), events.Loaded(), events.Adopted()))
        others: list[Any] = [
            events.LoadFailed("refused"),
            events.Unresolved("it has no address"),
            events.Tick(),
            events.Tick(),
            events.Tick(),
            events.PeerDeclaredDead(),
            events.EventsLost(),
            events.KeyLoaded(),
            events.PeerDoubted(),
            Cause(about, self.random.choice(("PSK_MISMATCH", "ESP_PROPOSAL_MISMATCH")), "why"),
            PeerRefused("198.51.100.2", "IKE_REFUSED", "why", 1.8e9, 2),
            PeerRefused("198.51.100.2", "PSK_MISMATCH", "why", 1.8e9, 1, attempt=self.random.randrange(9)),
            RekeyFailed(about),
            SaChanged(about),
            Initiating(about),
            PeerSeen(about, number),
            ProbeSent(about, number),
            Retransmitted(about, number),
        ]
        return self.random.choice(others)  # type: ignore[no-any-return]

    def sas(self) -> tuple[IkeSa, ...]:
        """Up to two IKE SAs of this version or the previous one, with some of its children."""
        configs = tunnels.configs(self.tunnel)
        if not configs or self.random.random() < 0.2:
            return ()
        return tuple(self.ike_sa(self.random.choice(configs), number) for number in range(self.random.randint(1, 2)))

    def ike_sa(self, config: Any, number: int) -> IkeSa:
        """An IKE SA of a configuration."""
        names = [part.name for part in config.children]
        held = names if self.random.random() < 0.4 else self.random.sample(names, self.random.randint(0, len(names)))
        state = self.random.choice(("ESTABLISHED", "ESTABLISHED", "ESTABLISHED", "CONNECTING"))
        parts = (self.child(name, number) for name in held)
        initiator = self.random.random() < 0.7
        return sa(config.name, *parts, state=state, initiator=initiator, unique_id=number + 1)

    def child(self, name: str, number: int) -> ChildSa:
        """A child SA with the selectors of its configuration, or with those that the peer has narrowed them to."""
        found = child(name, number=number, group=self.random.choice(("", "MODP_2048")))
        if self.random.random() < 0.7:
            return found
        remote = self.random.choice(("10.2.0.0/24", "10.3.0.0/24", "10.2.0.0/25", "10.2.0.0/24[tcp]"))
        return msgspec.structs.replace(found, local_ts=("10.1.0.0/24",), remote_ts=(remote,))
