"""Protocols of the drivers that the agent uses. The real drivers and the fakes pass the same contract tests.

Each `apply` takes the whole desired state and is idempotent. A gateway is identified by its router's uuid; the names
of its namespace and interfaces are the driver's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import msgspec

from linkspan.core.diagnosis.codes import Code
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.ipsec.crl_schedule import Fetched
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.probe_plan import ProbePlan
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Gateway
from linkspan.core.state.machine_limits import MachineNeeds
from linkspan.core.state.observed import Backend, Capabilities
from linkspan.core.state.probes import ProbeResult
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.kernel_sas import KernelSas
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.core.tunnel.precedence import Precedence
from linkspan.core.tunnel.sas import IkeSa

NAMESPACE = "the namespace"
"""What was missing if `Namespaces.apply` has made the namespace."""


class DriverError(Exception):
    """The machine refused an operation; the message is one sentence that names it, for status and log."""


class Unresponsive(DriverError):
    """charon did not answer within its deadline, or has ended: the command may or may not have been executed."""


class PathFault(NamedTuple):
    """A fault on the way to a peer. `reporter`: the address of who says so, empty if it is this machine."""

    code: Code
    reporter: str = ""


class Namespaces(Protocol):
    """Network namespaces of gateways, with their interfaces, addresses and default routes."""

    def apply(self, gateway: Gateway) -> tuple[str, ...]:
        """Create or change the gateway's namespace: interfaces, addresses, routes, forwarding. Raises DriverError.

        Returns what was missing, in words. What others have added stays.
        No route of charon's catches packets to attached networks, nor IKE, ESP and DNS that the gateway itself sends.
        Until the leak guard is applied for the first time, a new namespace forwards nothing, and lets only IKE out.
        """

    def reattach(self, gateway_id: str) -> tuple[str, ...]:
        """Give the namespace its name again if it has lost it; return what was missing, in words. Raises DriverError.

        Everything in it goes on without a name. It is lost if this agent has not applied it yet.
        """

    def is_outdated(self, gateway_id: str) -> bool:
        """True if the namespace leaves charon more rights than a new one would, and none runs in it.

        `apply` then makes it anew. A charon of an earlier version goes on with everything that is up.
        """

    def path_fault(self, gateway_id: str, local: str, peer: str) -> PathFault | None:
        """Why a peer may be silent: a fault of this end that keeps what is sent from leaving, or an ICMP error.

        None without one, or without a namespace. The first call listens for errors; later ones have seen them.
        """

    def remove(self, gateway_id: str) -> None:
        """Remove the namespace, its interfaces and the bridges without other ports. No error if there is none."""

    def present(self) -> frozenset[str]:
        """Return the ids of the gateways that have a namespace, including those from an earlier run of this agent."""


class LeakGuard(Protocol):
    """Packet filter rules that let nothing but IPsec pass a gateway's outside interface, no spoofed packet enter from
    inside, and no packet at all pass the interfaces of a router or network that is disabled."""

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        """Guard exactly these pairs; close exactly the disabled interfaces of the gateway, also to IKE and ESP.

        Pairs and interfaces that stay are guarded throughout the change. Raises DriverError.

        Guard a connection's pairs before it is loaded, and until its SAs are deleted.
        """

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        """Compare the machine with this guard, which was applied last, and add what is missing or changed.

        Returns that in words. Raises DriverError.
        """

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        """Return the guarded pairs; empty if there is no guard. The guard outlives the agent and charon."""


class PolicyBypass(Protocol):
    """Exemption of traffic between attached networks from IPsec policies with a wider remote prefix."""

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        """Exempt what these pairs would catch, and nothing else. Raises DriverError.

        Apply before a connection with these pairs is loaded, and again after charon was started, which removes all
        policies. The leak guard applies to exempt packets too.
        """

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        """Add what is missing of the exemptions that were applied last. Returns it in words. Raises DriverError."""

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        """Return the exempt pairs; always empty with user-space ESP, where no policy decides before the routes."""


class MtuRouting(Protocol):
    """The MTU of each pair of selectors: reported to hosts by ICMP, and enforced on the MSS of TCP."""

    def outside_mtu(self, gateway_id: str) -> int:
        """Return the MTU of the gateway's outside interface, bytes. Raises DriverError if there is none."""

    def apply(self, gateway: Gateway, mtus: Iterable[PairMtu]) -> None:
        """Apply exactly these MTUs; pairs that stay are not disturbed. Raises DriverError.

        Each pair occurs once. Apply again after charon was started: the routes over its TUN device went with it.
        """

    def restore(self, gateway: Gateway, mtus: Iterable[PairMtu]) -> tuple[str, ...]:
        """Add what is missing or changed of the MTUs that were applied last. Returns it in words.

        Raises DriverError.
        """

    def current(self, gateway_id: str) -> frozenset[PairMtu]:
        """Return the applied MTUs; empty if there is no namespace. They outlive the agent and charon."""


class IkeLimit(Protocol):
    """Packet filter rules that limit IKE from addresses that are no peer's."""

    def apply(self, gateway: Gateway, peers: Iterable[str]) -> None:
        """Limit all addresses except those of these peers. Raises DriverError."""

    def restore(self, gateway: Gateway, peers: Iterable[str]) -> tuple[str, ...]:
        """Add what is missing or changed of the limit that was applied last. Returns it in words.

        Raises DriverError.
        """


class CharonNetwork(Protocol):
    """What charon has put into the kernel of a gateway."""

    def restore(self, gateway_id: str, remotes: Callable[[], frozenset[str]]) -> tuple[str, ...]:
        """Put routes back that were there at an earlier call, and the rule that leads to them.

        `remotes` lists the remote networks that need one. It is asked before the kernel is read, and again if routes
        are missing: those of tunnels that ended meanwhile are not put back. Returns what was missing, in words.
        Raises DriverError, and what `remotes` raises.
        """

    def has_device(self, gateway_id: str) -> bool:
        """Return False if charon's TUN device is gone, which a start of charon brings back. Raises DriverError."""

    def kernel_sas(self, gateway_id: str) -> KernelSas | None:
        """Return the kernel's states and policies; None with user-space ESP. Raises DriverError."""


class TrafficBlock(Protocol):
    """Packet filter rules that keep the traffic of a tunnel that is down out of a less specific tunnel."""

    def apply(self, gateway: Gateway, precedence: Precedence) -> None:
        """Block exactly this, in one change. Raises DriverError."""

    def restore(self, gateway: Gateway, precedence: Precedence) -> tuple[str, ...]:
        """Add what is missing or changed of the block that was applied last. Returns it in words.

        Raises DriverError.
        """

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        """Return the blocked pairs; empty if there is no namespace. They outlive the agent and charon."""


class NetworkWatch(Protocol):
    """Notices when others change the networks of gateways."""

    def watch(self, gateway_id: str, deliver: Callable[[], None]) -> None:
        """Call `deliver` soon after changes, once for several, on any thread. It must not block.

        What changed is not said, and not every change is seen: so compare also without a call. Changes of this agent
        are left out as far as they are known. Raises DriverError if the gateway has no namespace.
        """

    def forget(self, gateway_id: str) -> None:
        """End the watch. No error if there is none."""


class LoadedConnection(msgspec.Struct, frozen=True):
    """An IKE connection that charon has loaded: the names of its children, and the peer's address in it."""

    children: frozenset[str]
    peer_address: str


class Charon(Protocol):
    """The charon of one gateway. Commands come from one thread; events are delivered on another."""

    def start(self) -> bool:
        """Start charon, or adopt a running one that answers. True if it was started, and so has nothing loaded."""

    def stop(self) -> None:
        """Stop charon; it deletes its SAs at its peers. No error if it does not run."""

    def remove(self) -> None:
        """Stop charon and remove its directory."""

    def detach(self) -> None:
        """Close the VICI sessions and leave charon running."""

    def listen(self, deliver: Callable[[CharonEvent], None]) -> None:
        """Deliver events from now on, and `DaemonLost` once when the stream ends. Call it after each `start`.

        `DaemonLost` is not delivered after `stop` or `detach`. `deliver` must not block.
        """

    def without_log(self) -> AbstractContextManager[None]:
        """Unsubscribe from charon's log within the block, which speeds up loading. Causes logged there are lost."""

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        """Load or replace a connection and its key. Existing SAs stay; an IKE SA of that name can create the new
        children. Raises DriverError with charon's message."""

    def unload(self, name: str) -> None:
        """Unload a connection and its key. SAs stay. No error if the name is unknown."""

    def load_key(self, key: Secret) -> str:
        """Load a private key, in PEM. Returns its id (`LocalCertificate.key_id`). No error if it is loaded already."""

    def unload_key(self, id: str) -> None:
        """Unload a private key: no SA is authenticated with it any more. SAs stay. No error if it is not loaded."""

    def keys(self) -> frozenset[str]:
        """Return the ids of the private keys that are loaded."""

    def load_ppk(self, id: str, key: Secret) -> None:
        """Load or replace the post-quantum key of this PPK_ID. SAs stay."""

    def unload_ppk(self, id: str) -> None:
        """Unload a post-quantum key. SAs stay. No error if it is not loaded."""

    def ppks(self) -> frozenset[str]:
        """Return the PPK_IDs of the post-quantum keys that are loaded."""

    def load_authority(self, certificate: str) -> None:
        """Load the certificate of a root CA, in PEM. It stays until `clear_credentials`."""

    def load_crls(self, crls: Iterable[bytes]) -> None:
        """Load revocation lists, in DER, for all SAs from now on. Of one CA, the one with the highest number counts.

        They stay until `clear_credentials`. Nothing is checked here, neither signature nor number.
        """

    def certificates(self) -> tuple[bytes, ...]:
        """Return the certificates that charon has, in DER, those of peers among them."""

    def crls(self) -> tuple[bytes, ...]:
        """Return the revocation lists that charon has, in DER."""

    def forget_peers(self) -> None:
        """Forget the certificates that peers have sent: an earlier one of a peer must not be judged in place of the
        one that it sends now. What was loaded stays."""

    def clear_credentials(self) -> None:
        """Unload all keys, certificates and revocation lists. SAs and connections stay, but until each connection is
        loaded again with what belongs to it, no peer can be authenticated."""

    def initiate(self, ike: str, child: str) -> None:
        """Initiate a child and return at once; the outcome arrives as events."""

    def install(self, ike: str, child: str) -> None:
        """Install a trap policy for a child: its traffic initiates it. With user-space ESP the traffic is only dropped.

        Raises DriverError if there is no such child. The trap stays until `uninstall`, also once the child is up.
        """

    def uninstall(self, ike: str, child: str) -> None:
        """Remove a trap. SAs and attempts stay. No error if there is no such trap."""

    def traps(self) -> frozenset[tuple[str, str]]:
        """Return the installed traps as (IKE connection, child), including those from an earlier run of this agent."""

    def terminate_sa(self, unique_id: int, *, dead: bool = False) -> None:
        """Delete an IKE SA with its children; the delete is sent to the peer once. Check the outcome with `sas`.

        Waits up to a second for the peer's response, unless the peer is known to be `dead`.
        """

    def terminate_child(self, unique_id: int) -> None:
        """Delete a child SA; the delete is sent to the peer once. Check the outcome with `sas`."""

    def rekey(self, unique_id: int) -> None:
        """Rekey a child SA and return at once; the outcome arrives as events."""

    def replace(self, unique_id: int) -> None:
        """Replace an IKE SA of IKEv2 by a new one with the same children, and return at once.

        The old one is deleted once the new one is up with its children, and stays if that fails.
        """

    def loaded(self) -> Mapping[str, LoadedConnection]:
        """Return the loaded IKE connections by their names."""

    def device_counters(self) -> str:
        """Return the counters of the gateway's devices that the traffic of tunnels passes, as text; empty if they are
        not known. Equal texts say that nothing has passed in between."""

    def ask(self) -> None:
        """Ask charon for a sign that it works. Raises Unresponsive."""

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        """Return the IKE SAs, all or those of one connection name."""

    def listing(self, ike: str) -> list[dict[str, Any]]:
        """Return everything that charon lists of the IKE SAs of one connection name (VICI `list-sas`)."""


class Resolver(Protocol):
    """Name resolution inside each gateway, with the gateway's own hosts file and name servers."""

    def resolve(self, gateway_id: str, name: str, deliver: Callable[[Resolution], None]) -> None:
        """Start to resolve a name and return at once; `deliver` is called once, from any thread.

        Without an answer within some seconds, the resolution carries an error: a clause that says what failed.
        """


class Fetcher(Protocol):
    """Fetches files over HTTP from inside each gateway's namespace."""

    def fetch(self, gateway_id: str, url: str, deliver: Callable[[Fetched], None]) -> None:
        """Start to fetch and return at once; `deliver` is called once, from any thread.

        Only `http` is fetched, without redirects, and neither much nor for long.
        """


class Prober(Protocol):
    """Sends the packets of probes from inside each gateway's namespace."""

    def probe(self, gateway_id: str, plan: ProbePlan, deliver: Callable[[ProbeResult | str], None]) -> None:
        """Start a probe and return at once; `deliver` is called once, from any thread.

        It gets what came back, or a sentence that says why nothing was sent. A probe takes some seconds at most.
        """


class MachineLimits(Protocol):
    """The limits of the machine that all of its gateways share."""

    def ensure(self, needs: MachineNeeds) -> tuple[str, ...]:
        """Raise what is lower than this. Returns what could not be raised and what to do, a sentence each."""


class Drivers(Protocol):
    """All drivers of a node. Several gateways use them concurrently, each from its own thread."""

    @property
    def backend(self) -> Backend:
        """The ESP backend of this machine."""

    @property
    def charon_version(self) -> str:
        """The version that charon reports."""

    @property
    def capabilities(self) -> Capabilities:
        """What this machine's strongSwan and kernel can do."""

    @property
    def namespaces(self) -> Namespaces:
        """The network namespaces of this node's gateways."""

    @property
    def leak_guard(self) -> LeakGuard:
        """The leak guards of this node's gateways."""

    @property
    def policy_bypass(self) -> PolicyBypass:
        """The bypasses of this node's gateways."""

    @property
    def mtu_routing(self) -> MtuRouting:
        """The MTUs of this node's gateways."""

    @property
    def traffic_block(self) -> TrafficBlock:
        """The traffic blocks of this node's gateways."""

    @property
    def ike_limit(self) -> IkeLimit:
        """The limits of IKE of this node's gateways."""

    @property
    def charon_network(self) -> CharonNetwork:
        """What the charons of this node's gateways have put into the kernel."""

    @property
    def network_watch(self) -> NetworkWatch:
        """The watch over this node's gateways."""

    @property
    def machine_limits(self) -> MachineLimits:
        """The limits of this machine."""

    @property
    def resolver(self) -> Resolver:
        """The resolvers of this node's gateways."""

    @property
    def prober(self) -> Prober:
        """The probers of this node's gateways."""

    @property
    def fetcher(self) -> Fetcher:
        """The fetchers of this node's gateways."""

    def charon(self, gateway: Gateway) -> Charon:
        """Return a handle on the gateway's charon, without starting it."""
