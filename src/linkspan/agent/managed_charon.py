"""One gateway's charon, and what the agent has loaded into it.

Used only on the thread of the gateway's worker. Methods raise DriverError; Unresponsive if charon is gone or does not
answer within its deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import msgspec
import structlog

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.tunnel.actions import DeleteChildSa, DeleteIkeSa, Initiate
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.sas import UNNAMED, IkeSa
from linkspan.drivers.ports import Charon, DriverError, LoadedConnection, Unresponsive

MAX_TIMEOUTS = 3
"""A charon that missed this many deadlines in a row is stopped, so that the next attempt starts it."""


class CharonStart(msgspec.Struct, frozen=True):
    """How charon came to run. `fresh`: it was started and has nothing loaded; else it was running and is adopted, with
    these IKE connections."""

    fresh: bool
    adopted: tuple[LoadedConnection, ...]


class ManagedCharon:
    """`running`: charon was started or adopted and has not failed since. `starts`: how often it was started anew.
    `was_stopped`: it was stopped because it did
    not answer, and nobody has said so yet. `loaded`: IKE connections with their children.
    `configs`: those that this object has loaded, as they are loaded.
    `unloaded`: names of other IKE connections that may have SAs, because they had some when they were last listed.
    `adopted`: the children that carried traffic when a running charon was adopted.

    `deliver` takes charon's events, on another thread.
    """

    def __init__(self, gateway_id: str, driver: Charon, deliver: Callable[[CharonEvent], None]) -> None:
        self.running = False
        self.starts = 0
        self.was_stopped = False
        self.loaded: dict[str, frozenset[str]] = {}
        self.configs: dict[str, IkeConfig] = {}
        self.unloaded: set[str] = set()
        self.adopted = frozenset[str]()
        self._driver = driver
        self._deliver = deliver
        self._log = structlog.get_logger("agent.gateway").bind(gateway=gateway_id)
        self._timeouts = 0
        self._names_by_peer: dict[str, set[str]] = {}
        self._traps: dict[str, frozenset[Initiate]] = {}

    # -- the process ---------------------------------------------------------------------------------------------

    def ensure_running(self) -> CharonStart | None:
        """Start or adopt charon, and listen to its events. None if it runs already."""
        if self.running:
            return None
        fresh = self._driver.start()
        self.starts += fresh
        self._driver.listen(self._deliver)
        adopted = {} if fresh else self._driver.loaded()
        self.loaded = {name: connection.children for name, connection in adopted.items()}
        self.configs = {}
        self.unloaded = set()
        self._names_by_peer = {}
        for name in self.loaded:
            self._add_name(name)
        self.adopted = frozenset() if fresh else self._carrying()
        self._traps = {}
        for trap in () if fresh else self._driver.traps():
            # Installed by an earlier run. Which connections wait for traffic is not known any more: all initiate.
            self._driver.uninstall(*trap)
        self.running = True
        self._log.info("charon started" if fresh else "charon adopted", connections=len(self.loaded))
        return CharonStart(fresh, tuple(adopted.values()))

    def _carrying(self) -> frozenset[str]:
        return frozenset(child.name for sa in self.all_sas() for child in sa.children if child.carries)

    def lost(self) -> None:
        """charon's event stream has ended."""
        self._log.warning("charon is gone, restarting it")
        self.running = False

    def timed_out(self) -> None:
        """A command missed its deadline: adopt charon again, or stop it after `MAX_TIMEOUTS` in a row."""
        self.running = False
        self._timeouts += 1
        if self._timeouts >= MAX_TIMEOUTS:
            self._log.error("charon does not answer, stopping it", questions=self._timeouts)
            self._timeouts = 0
            self._try(self._driver.stop)
            self.was_stopped = True

    def answered(self) -> None:
        """End the row of missed deadlines."""
        self._timeouts = 0

    def ask(self) -> None:
        """Ask charon for a sign that it works."""
        self._driver.ask()

    def device_counters(self) -> str:
        """The counters of the devices that the traffic of tunnels passes; empty if they are not known."""
        return self._driver.device_counters()

    def end(self) -> None:
        """Stop charon, so that the next `ensure_running` starts it anew."""
        self.running = False
        self._driver.stop()

    def detach(self) -> None:
        """Leave charon running with everything that is up."""
        self._driver.detach()

    def stop(self, for_good: bool) -> None:
        """Stop charon, which deletes its SAs. `for_good`: also remove its files."""
        if for_good:
            self._driver.remove()
        else:
            self._driver.stop()

    # -- configurations and traps --------------------------------------------------------------------------------

    def without_log(self) -> AbstractContextManager[None]:
        """While it lasts charon's log is not read, which makes loading faster and loses causes."""
        return self._driver.without_log()

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        """Load an IKE connection, or replace it in place. SAs that are up stay."""
        self._driver.load(config, key)
        self.loaded[config.name] = frozenset(child.name for child in config.children)
        self.configs[config.name] = config
        self.unloaded.discard(config.name)
        self._add_name(config.name)

    def unload(self, name: str) -> None:
        """Unload an IKE connection. Its SAs stay."""
        self._driver.unload(name)
        del self.loaded[name]
        self.configs.pop(name, None)
        self.unloaded.add(name)

    def set_traps(self, connection_id: str, traps: frozenset[Initiate]) -> None:
        """Install exactly these traps of a connection, and uninstall its others."""
        present = self._traps.get(connection_id, frozenset())
        for trap in present - traps:
            self._try(partial(self._driver.uninstall, trap.ike, trap.child))
        for trap in traps - present:
            self._try(partial(self._driver.install, trap.ike, trap.child))
        if traps != present:
            self._traps[connection_id] = traps

    def keep_traps_of(self, connection_ids: Iterable[str]) -> None:
        """Uninstall the traps of all other connections."""
        for id in self._traps.keys() - set(connection_ids):
            self.set_traps(id, frozenset())
            del self._traps[id]

    # -- SAs -----------------------------------------------------------------------------------------------------

    def sas(self, names: Collection[str]) -> tuple[IkeSa, ...]:
        """The IKE SAs of these IKE connections."""
        if len(names) > 1 and 2 * len(names) >= len(self.loaded) + len(self.unloaded):
            # One listing takes as long as a few of one name.
            return tuple(sa for sa in self.all_sas() if sa.name in names)
        found: list[IkeSa] = []
        for name in sorted(names):
            sas = self._driver.sas(name)
            if not sas and name in self.unloaded:
                self._forget(name)
            found += sas
        return tuple(found)

    def all_sas(self) -> tuple[IkeSa, ...]:
        """All IKE SAs, also of IKE connections that are not loaded."""
        sas = self._driver.sas()
        listed = {sa.name for sa in sas} - self.loaded.keys() - {UNNAMED}
        for name in self.unloaded - listed:
            self._forget(name)
        for name in listed:
            self.unloaded.add(name)
            self._add_name(name)
        return sas

    def listing(self, name: str) -> list[dict[str, Any]]:
        """Everything that charon lists of the IKE SAs of one IKE connection."""
        return self._driver.listing(name)

    def names_with_peers(self, configs: Iterable[IkeConfig]) -> frozenset[str]:
        """The IKE connections that may have SAs with the peers of these configurations."""
        return frozenset(name for config in configs for name in self._names_by_peer.get(config.peer, ()))

    def initiate(self, ike: str, child: str) -> str:
        """Initiate a child. The outcome arrives as events. Returns charon's words if it refuses to, else nothing."""
        return self._try(partial(self._driver.initiate, ike, child))

    def rekey(self, child_id: int) -> None:
        """Rekey a child SA. The outcome arrives as events."""
        self._try(partial(self._driver.rekey, child_id))

    def replace(self, unique_id: int) -> None:
        """Replace an IKE SA by a new one with the same children. The outcome arrives as events."""
        self._try(partial(self._driver.replace, unique_id))

    def delete_sa(self, action: DeleteIkeSa | DeleteChildSa) -> None:
        """Delete an IKE SA with its children, or one child SA."""
        if isinstance(action, DeleteIkeSa):
            self._try(partial(self._driver.terminate_sa, action.unique_id))
        else:
            self._try(partial(self._driver.terminate_child, action.unique_id))

    def delete_dead_sa(self, unique_id: int) -> None:
        """Delete an IKE SA whose peer is dead, without waiting for the peer's response."""
        self._try(partial(self._driver.terminate_sa, unique_id, dead=True))

    def _add_name(self, name: str) -> None:
        self._names_by_peer.setdefault(ipsec_config.peer_of(name), set()).add(name)

    def _forget(self, name: str) -> None:
        """Forget an IKE connection that is unloaded and has no SAs: it cannot have any again."""
        self.unloaded.discard(name)
        self._names_by_peer[ipsec_config.peer_of(name)].discard(name)

    def _try(self, command: Callable[[], None]) -> str:
        """charon refuses to initiate what is up and to delete what is gone; the next listing shows the SAs' state.

        Returns the words of a refusal.
        """
        try:
            command()
        except Unresponsive:
            raise
        except DriverError as error:
            self._log.debug("charon refused a command", error=str(error))
            return str(error)
        return ""
