"""The drivers that a gateway needs, as protocols. Real ones and fakes pass the same contract tests.

Every driver is declarative: it takes the whole desired state, and applying twice equals once. A gateway is known by
its router's uuid; what names that becomes on the machine is the driver's own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.core.tunnel.sas import IkeSa


class DriverError(Exception):
    """The machine refused something; the message is one sentence that says what, for status and log."""


class Unresponsive(DriverError):
    """charon did not answer within its deadline, or is gone: whatever was asked may or may not have happened."""


class Namespaces(Protocol):
    """Network namespaces with their legs, addresses and default routes."""

    def apply(self, gateway: Gateway) -> None:
        """Make the gateway's namespace exactly so: both legs, every address, forwarding on. Raises DriverError.

        A new one lets nothing but IKE and ESP out until its guard is applied for the first time.
        """

    def remove(self, gateway_id: str) -> None:
        """Remove the namespace, its legs, and bridges that nobody else uses. Nothing happens if there is none."""

    def present(self) -> frozenset[str]:
        """Ids of the gateways that have a namespace here, also those of an earlier run of this agent."""


class LeakGuard(Protocol):
    """The rules that keep protected traffic from leaving a gateway in clear."""

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        """Guard exactly these pairs, atomically: no moment without the pairs that stay. Raises DriverError.

        Apply it before a connection is loaded, and lift it only after its SAs are gone.
        """

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        """The pairs that are guarded now; empty if there is no guard. Survives the agent's and charon's death."""


class MtuRouting(Protocol):
    """How large the packets of each pair of selectors may be: what hosts are told, and the MSS of their TCP."""

    def outside(self, gateway_id: str) -> int:
        """The MTU of the gateway's outside leg, bytes. Raises DriverError if it has none."""

    def apply(self, gateway: Gateway, paths: Iterable[PairMtu]) -> None:
        """Let these MTUs hold, and no others, at once and without disturbing a pair that stays. Raises DriverError.

        A pair comes once. Apply it again after a charon was started: routes over its device went with it.
        """

    def current(self, gateway_id: str) -> frozenset[PairMtu]:
        """What holds now; empty if there is no namespace. Survives the agent's and charon's death."""


class Charon(Protocol):
    """One gateway's charon. Commands come from one thread; facts are delivered from another."""

    def start(self) -> bool:
        """Make sure that it runs and answers; adopts one that does. True if it was started anew, so knows nothing."""

    def stop(self) -> None:
        """End it, so that it says goodbye to its peers. Nothing happens if it does not run."""

    def remove(self) -> None:
        """End it for good: nothing of it stays on disk."""

    def detach(self) -> None:
        """Close the sessions and leave it running."""

    def listen(self, deliver: Callable[[CharonEvent], None]) -> None:
        """Deliver facts from now on, and `DaemonLost` once when the stream ends. Called after each `start`.

        After `stop` or `detach` the end is no news and `DaemonLost` is not delivered. `deliver` has to be quick.
        """

    def quiet(self) -> AbstractContextManager[None]:
        """While it lasts charon's log is not listened to, so that loading many takes half the time. Causes are lost."""

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        """Load or replace a connection and its key; SAs that are up stay, and an IKE SA of that name may from now on
        have the new children. Raises DriverError with charon's words."""

    def unload(self, name: str) -> None:
        """Unload a connection and its key. SAs stay; an unknown name is no error."""

    def initiate(self, ike: str, child: str) -> None:
        """Begin to bring up a child and return at once; how it went arrives as facts."""

    def install(self, ike: str, child: str) -> None:
        """Have traffic of a child begin to bring it up; on user-space ESP traffic is dropped and begins nothing.

        Raises DriverError if there is no such child. The trap stays until `uninstall`, whatever comes of it.
        """

    def uninstall(self, ike: str, child: str) -> None:
        """Take `install` back. SAs and attempts stay; nothing happens if there is no such trap."""

    def traps(self) -> frozenset[tuple[str, str]]:
        """What is installed, also by an earlier run of this agent: names of IKE connections and children."""

    def terminate_sa(self, unique_id: int, *, dead: bool = False) -> None:
        """End one IKE SA with its children, telling the peer once. Judge by `sas`.

        Takes up to a second where the peer does not confirm it; not so if it is known to be `dead`.
        """

    def terminate_child(self, unique_id: int) -> None:
        """End one child SA at once, telling the peer once. Judge by `sas`."""

    def rekey(self, unique_id: int) -> None:
        """Begin to renew the keys of one child SA and return at once; how it went arrives as facts."""

    def loaded(self) -> Mapping[str, frozenset[str]]:
        """Names of the loaded connections, and of their children."""

    def remotes(self) -> Mapping[str, str]:
        """The peer's address that each loaded connection was told, by the connection's name."""

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        """The IKE SAs, all or those of one name."""


class Resolver(Protocol):
    """Names as the gateways' own resolvers know them, each with its own hosts and name servers."""

    def resolve(self, gateway_id: str, name: str, deliver: Callable[[Resolution], None]) -> None:
        """Begin to resolve a name and return at once; `deliver` is called once, from any thread.

        After some seconds without an answer the answer is an error, which is half a sentence that says what failed.
        """


class Drivers(Protocol):
    """What a node offers to its gateways. Several gateways use it at once, each from its own thread."""

    @property
    def backend(self) -> Backend:
        """Which ESP this machine does."""

    @property
    def charon_version(self) -> str:
        """As charon says it itself."""

    @property
    def namespaces(self) -> Namespaces:
        """The namespaces of this node."""

    @property
    def guard(self) -> LeakGuard:
        """The guards of this node."""

    @property
    def paths(self) -> MtuRouting:
        """The MTUs of this node's gateways."""

    @property
    def resolver(self) -> Resolver:
        """The resolvers of this node's gateways."""

    def charon(self, gateway: Gateway) -> Charon:
        """The charon of a gateway, not started."""
