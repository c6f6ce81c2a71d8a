"""Events of the tunnels of one gateway besides their ups and downs, which reports tell: for the timeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from linkspan.agent.outbox import Outbox
from linkspan.core.diagnosis import causes
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel.charon_events import SaChanged
from linkspan.core.tunnel.tunnel import Tunnel, running_children

UNSEEN: Final = "it went down while its node's agent was away"


class TunnelNews:
    """Used on the thread of the gateway's worker."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._is_fresh = False
        self._adopted: frozenset[str] | None = None

    def changed(self, event: SaChanged, tunnels: Iterable[Tunnel]) -> None:
        """An event of charon about the SAs of these tunnels: tells that they were rekeyed, if they were."""
        if not event.rekeyed and not event.ike_rekeyed:
            return
        text = "the IKE SA was rekeyed" if event.ike_rekeyed else "a child SA was rekeyed"
        for tunnel in tunnels:
            if running_children(tunnel):
                self._outbox.happened(tunnel.connection.id, "rekey", reason=text)

    def stepped(self, before: Tunnel, after: Tunnel) -> None:
        """An event of a tunnel was handled: tells that its peer was declared dead, if it was."""
        if after.dpd_state.given_up - before.dpd_state.given_up:
            is_up = bool(running_children(after))
            text = "the peer does not answer in one IKE SA, and another one carries the connection"
            reason = text if is_up else after.reason or causes.sentence("DPD_TIMEOUT")
            self._outbox.happened(after.connection.id, "dpd", "DPD_TIMEOUT", reason)

    def lost(self, ids: Iterable[str]) -> None:
        """charon was started anew: tells that what was up is down, also if it is up again before it is reported."""
        self._is_fresh = True
        for id in ids:
            self._outbox.went_down(id, "IKE_DAEMON_DOWN", causes.sentence("IKE_DAEMON_DOWN"))

    def adopted(self, children: Iterable[str]) -> None:
        """charon was adopted while these children carried traffic: what was up and is not among them went down while
        nobody looked, also if it is up again before it is reported."""
        self._adopted = frozenset(map(ipsec_config.owner_of, children))

    def replaced(self, tunnels: Mapping[str, Tunnel]) -> None:
        """A new plan has these tunnels: tells which are superseded now. The first plan after a start of charon may be
        the agent's first one: an agent before it has told which were up."""
        if self._is_fresh:
            self.lost(id for id, tunnel in tunnels.items() if not running_children(tunnel))
            self._is_fresh = False
        if self._adopted is not None:
            for id in tunnels.keys() - self._adopted:
                self._outbox.went_down(id, "UNKNOWN", UNSEEN)
            self._adopted = None
        for id, tunnel in tunnels.items():
            connection = tunnel.connection
            self._outbox.succeeded(id, connection.succession if connection.superseded else "")
