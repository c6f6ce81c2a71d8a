"""Rules that route by table main what no tunnel may take, ahead of charon's routes (ip-rule(8)).

charon puts a route for every remote traffic selector into table 220: over its TUN device, or with kernel ESP over the
next hop towards that one peer. A wide selector, such as a default route, would catch with it what belongs elsewhere:

- Packets to attached networks, from hosts and from tunnels.
- What the gateway sends from its outside addresses: IKE and ESP, to any peer. So no list of peers is needed, and a peer
  that comes later, or has a name, is exempt too. Forwarded packets are not: they have another input interface than lo.
- The gateway's own DNS queries, which have no source address before they are routed.

Everything else that the gateway sends, such as ICMP errors about packets from a tunnel, follows charon's routes. The
leak guard applies to exempt packets as to all others. Rules are the same whatever connections there are.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from linkspan.core.ipsec import exemptions
from linkspan.core.state.desired import Gateway
from linkspan.drivers.linux.netlink import EVERYTHING, MAIN, MAIN_PRIORITY, Netlink, PolicyRule

_ATTACHED: Final = 90
"""Before the rules of `drivers.gateway.mtu_routing`, whose tables may have default routes too."""
_OWN: Final = 219
"""The priority just before charon's, after those rules: they route packets in transport mode."""
_DNS: Final = 53


def apply(kernel: Netlink, gateway: Gateway) -> list[str]:
    """Change the rules of the calling thread's namespace to those of this gateway, beside the kernel's own for main.

    Returns those that were missing, in words.
    """
    present, wanted = {rule for rule in kernel.rules() if rule.table == MAIN}, rules(gateway)
    for rule in sorted(wanted - present):
        kernel.add_rule(rule)
    for rule in sorted(present - wanted):
        kernel.delete_rule(rule)
    return [*map(str, sorted(wanted - present)), *kernel.restore_rules(MAIN_PRIORITY, MAIN)]


def rules(gateway: Gateway) -> set[PolicyRule]:
    """Return the rules of a gateway. Pure."""
    own = {ipaddress.ip_interface(address).ip for address in gateway.outside.addresses}
    everything = {version: EVERYTHING[version] for version in {address.version for address in own}}
    attached = exemptions.attached_networks(gateway)
    return (
        {PolicyRule(_ATTACHED, EVERYTHING[network.version], str(network), MAIN) for network in attached}
        | {_from_here(str(ipaddress.ip_network(address)), everything[address.version]) for address in own}
        | {
            _from_here(every, every, protocol, _DNS)
            for every in everything.values()
            for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP)
        }
    )


def _from_here(source: str, destination: str, protocol: int = 0, port: int = 0) -> PolicyRule:
    return PolicyRule(_OWN, source, destination, MAIN, True, protocol, port)
