"""What happens to the tunnels of one gateway besides their ups and downs, which reports tell: for the timeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linkspan.agent.outbox import Outbox
from linkspan.core.diagnosis import causes
from linkspan.core.tunnel.charon_events import SaChanged
from linkspan.core.tunnel.tunnel import Tunnel, running_children


class TunnelNews:
    """Used on the thread of the gateway's worker."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

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

    def lost(self, tunnels: Iterable[Tunnel]) -> None:
        """charon was started anew: tells that what was up is down, also if it is up again before it is reported."""
        for tunnel in tunnels:
            if running_children(tunnel):
                text = causes.sentence("IKE_DAEMON_DOWN")
                self._outbox.went_down(tunnel.connection.id, "IKE_DAEMON_DOWN", text)

    def replaced(self, tunnels: Mapping[str, Tunnel]) -> None:
        """A new plan has these tunnels: tells which are superseded now."""
        for id, tunnel in tunnels.items():
            connection = tunnel.connection
            self._outbox.succeeded(id, connection.succession if connection.superseded else "")
