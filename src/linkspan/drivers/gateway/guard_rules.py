"""The leak guard's rules, as text of nftables(8). Pure.

The outside interface carries what IPsec needs, in both directions, and nothing else: IKE, ESP and AH, DNS for peers'
names, ICMP errors about such packets, echo of the gateway's own addresses, and neighbour discovery. No ICMP error and
no TCP reset of the gateway leaves there, since it may quote or answer a packet of a tunnel that has ended meanwhile.
Nothing is forwarded but between inside interfaces and IPsec. An inside interface takes only packets from the networks
on it, and none from the gateway's own addresses; from user-space ESP come no sources that belong inside.

The rules name lo, the inside interfaces and charon's TUN device. Every other interface counts as outside, so an
interface with another name is closed. Chains drop what no rule accepts, also without any rule.

Each rule that a packet passes costs time of every packet: one lookup of its interface leads to the few rules that it
needs, and what tunnels carry comes before everything else.

The exceptions are what the gateway itself fetches, revocation lists, and its probes of peers' IKE ports, each from
source ports that only root can bind. They carry nothing of a tunnel, and a reset answers nobody else.

With kernel ESP the hooks of the outside interface also see protected packets, marked by `rt ipsec` and `meta ipsec`.
With user-space ESP they do not: inner packets pass the TUN device, every other packet is plaintext.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from linkspan.core.addresses import Address, Network
from linkspan.core.state.desired import Gateway, InsideInterface
from linkspan.core.state.observed import Backend
from linkspan.drivers.linux import interface_names

FETCH_PORTS: Final = range(1008, 1024)
"""The source ports of the gateway's own HTTP requests (`drivers.gateway.http_fetcher`)."""
PROBE_PORTS: Final = range(992, 1008)
"""The source ports of the gateway's own probes of IKE ports (`drivers.gateway.prober`)."""
COUNTERS: Final = ("dropped_out", "dropped_in")
CHAINS: Final = {
    # Chains of their own, so that a connection changes no other rules. They come first, because others refer to them.
    "pairs_out": "",
    "pairs_in": "",
    "from_tunnel": "",
    "from_inside": "",
    "outbound": "type filter hook postrouting priority 0; policy drop;",
    "forward": "type filter hook forward priority 0; policy drop;",
    "inbound": "type filter hook prerouting priority 0; policy drop;",
}
_FAMILY: Final = {4: "ip", 6: "ip6"}
_EVERY: Final = (4, 6)
_DROP_OUT: Final = "counter name dropped_out drop"
_DROP_IN: Final = "counter name dropped_in drop"
_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/10")
_NEIGHBOURS: Final = "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
# Switches that snoop multicast forward neighbour solicitations only to those that reported their groups (RFC 4541).
_REPORTS: Final = (
    "ip6 saddr { ::, fe80::/10 } icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept"
)
_QUERIES: Final = "ip6 saddr fe80::/10 icmpv6 type mld-listener-query accept"
_ERRORS: Final = {
    # The packet that an error quotes begins after eight bytes; its source is at 12 in IPv4 and at 8 in IPv6.
    4: "icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} @th,160,32 {:#x} accept",
    6: "icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} "
    "@th,128,128 {:#x} accept",
}
_ECHO: Final = {
    4: "icmp type { echo-request, echo-reply } accept",
    6: "icmpv6 type { echo-request, echo-reply } accept",
}
_FETCHES: Final = f"{FETCH_PORTS[0]}-{FETCH_PORTS[-1]}"
_PROBES: Final = f"{PROBE_PORTS[0]}-{PROBE_PORTS[-1]}"
_FRAGMENTS: Final = {4: "ip frag-off & 0x1fff != 0", 6: "frag frag-off != 0"}

SEAL: Final = {
    "outbound": ("oifname lo accept", _NEIGHBOURS, _REPORTS, "udp sport { 500, 4500 } accept", _DROP_OUT),
    "forward": (_DROP_OUT,),
    "inbound": ("iifname lo accept", _NEIGHBOURS, _QUERIES, "udp dport { 500, 4500 } accept", _DROP_IN),
}
"""The rules of a new gateway, which is not guarded yet."""


def rules(gateway: Gateway, pair_sets: Iterable[str], backend: Backend) -> dict[str, list[str]]:
    """Return the rules of each chain. `pair_sets`: the names of the sets of the selector pairs."""
    closed, names = closed_interfaces(gateway), tuple(pair_sets)
    outside = [ipaddress.ip_interface(address).ip for address in gateway.outside.addresses]
    return {
        "pairs_out": [_pairs(name, "saddr", "daddr", _DROP_OUT) for name in names],
        "pairs_in": [_pairs(name, "daddr", "saddr", _DROP_IN) for name in names],
        "from_tunnel": _from_tunnel(gateway, outside) if backend == "user-space" else [],
        "from_inside": _from_inside(gateway, outside),
        "outbound": [
            *([f"oifname {closed} {_DROP_OUT}"] if closed else []),
            *_outbound(gateway, outside, backend),
        ],
        "forward": _forward(gateway, backend),
        "inbound": [*([f"iifname {closed} {_DROP_IN}"] if closed else []), *_inbound(gateway, outside, backend)],
    }


def closed_interfaces(gateway: Gateway) -> str:
    """Return the interfaces that no packet may pass, as nftables matches them; empty if there are none."""
    if not gateway.enabled:
        return "!= lo"
    closed = [] if gateway.outside.enabled else [interface_names.OUTSIDE]
    closed += [interface_names.inside_interface(inside.network_id) for inside in gateway.inside if not inside.enabled]
    return _set(closed) if closed else ""


def _outbound(gateway: Gateway, own: list[Address], backend: Backend) -> list[str]:
    return [
        f"oifname {_set(_trusted(gateway, backend))} accept",
        *_tunnelled(own, "s", backend),
        *(["rt ipsec exists accept"] if backend == "kernel" else []),
        _NEIGHBOURS,
        _REPORTS,
        *_ipsec(own, "s"),
        "jump pairs_out",
        *(f"{_own(address, 's')} meta l4proto {{ udp, tcp }} th dport 53 accept" for address in own),
        *(f"{_own(address, 's')} tcp sport {_FETCHES} accept" for address in own),
        *(f"{_own(address, 's')} udp sport {_PROBES} udp dport {{ 500, 4500 }} accept" for address in own),
        *(f"{_own(address, 's')} {_ECHO[address.version]}" for address in own),
        _DROP_OUT,
    ]


def _forward(gateway: Gateway, backend: Backend) -> list[str]:
    trusted, kernel = _set(_trusted(gateway, backend)), backend == "kernel"
    return [
        f"iifname != {trusted} {'meta ipsec missing ' if kernel else ''}{_DROP_IN}",
        f"oifname != {trusted} {'rt ipsec missing ' if kernel else ''}{_DROP_OUT}",
        "accept",
    ]


def _inbound(gateway: Gateway, own: list[Address], backend: Backend) -> list[str]:
    return [
        f"iifname vmap {_set(_origins(gateway, backend))}",
        *_tunnelled(own, "d", backend),
        # The kernel has compared the source of a decrypted packet with the policies of its tunnel.
        *(["meta ipsec exists accept"] if backend == "kernel" else []),
        *_from("", _addresses(gateway, own), _DROP_IN),
        _NEIGHBOURS,
        _QUERIES,
        *_ipsec(own, "d"),
        *_fragments(own),
        "jump pairs_in",
        *(f"{_own(address, 'd')} meta l4proto {{ udp, tcp }} th sport 53 accept" for address in own),
        # The kernel resets what answers no request: an attempt to connect would show that a gateway is here.
        *(f"{_own(address, 'd')} tcp dport {_FETCHES} tcp flags & (syn | ack) != syn accept" for address in own),
        *(f"{_own(address, 'd')} udp sport {{ 500, 4500 }} udp dport {_PROBES} accept" for address in own),
        *(f"{_own(address, 'd')} {_ERRORS[address.version].format(int(address))}" for address in own),
        *(f"{_own(address, 'd')} {_ECHO[address.version]}" for address in own),
        _DROP_IN,
    ]


def _origins(gateway: Gateway, backend: Backend) -> list[str]:
    """Return what becomes of packets by the interface that they come from, if it is not outside."""
    tun = [f"{interface_names.TUN} : goto from_tunnel"] if backend == "user-space" else []
    names = (interface_names.inside_interface(interface.network_id) for interface in gateway.inside)
    return ["lo : accept", *tun, *(f"{name} : goto from_inside" for name in names)]


def _from_tunnel(gateway: Gateway, own: list[Address]) -> list[str]:
    """Accept what comes from user-space ESP, but not with a source that belongs here."""
    return [*_from("", (*own, *(network for _, network in _networks(gateway))), _DROP_IN), "accept"]


def _from_inside(gateway: Gateway, own: list[Address]) -> list[str]:
    """Accept what comes from inside with a source of its own network."""
    lines = _from("", _addresses(gateway, own), _DROP_IN)
    for interface in gateway.inside:
        networks = [network for other, network in _networks(gateway) if other is interface]
        link_local = [_LINK_LOCAL] if any(network.version == 6 for network in networks) else []
        name = f"iifname {interface_names.inside_interface(interface.network_id)} "
        lines += _from(name, (*networks, *link_local), "accept")
    return [*lines, _NEIGHBOURS, _QUERIES, _DROP_IN]


def _networks(gateway: Gateway) -> list[tuple[InsideInterface, Network]]:
    """Return the networks inside, each with its interface."""
    return [
        (interface, ipaddress.ip_interface(address).network)
        for interface in gateway.inside
        for address in interface.addresses
    ]


def _addresses(gateway: Gateway, own: list[Address]) -> list[Address]:
    """Return all addresses of the gateway."""
    inside = (ipaddress.ip_interface(address).ip for interface in gateway.inside for address in interface.addresses)
    return [*own, *inside]


def _from(match: str, sources: Iterable[Address | Network], verdict: str) -> list[str]:
    """Return a rule for each IP version of these sources."""
    every = [ipaddress.ip_network(source) for source in sources]
    lines = []
    for version in _EVERY:
        # A set must not have an element inside another one.
        merged = ipaddress.collapse_addresses(source for source in every if source.version == version)  # type: ignore[type-var]
        texts = [str(source).removesuffix(f"/{source.max_prefixlen}") for source in merged]
        lines += [f"{match}{_FAMILY[version]} saddr {_set(texts)} {verdict}"] if texts else []
    return lines


def _trusted(gateway: Gateway, backend: Backend) -> list[str]:
    tun = [interface_names.TUN] if backend == "user-space" else []
    return ["lo", *tun, *(interface_names.inside_interface(inside.network_id) for inside in gateway.inside)]


def _tunnelled(addresses: Iterable[Address], side: str, backend: Backend) -> list[str]:
    """Accept ESP of the gateway's own addresses. Outside, nearly every packet is ESP, so these rules come first.

    They need not test the interface: nothing with the source or the destination of the gateway itself is forwarded.
    """
    esp = "meta l4proto esp" if backend == "kernel" else f"udp {side}port 4500"
    return [f"{_own(address, side)} {esp} accept" for address in addresses]


def _ipsec(addresses: Iterable[Address], side: str) -> list[str]:
    rules = []
    for address in addresses:
        rules.append(f"{_own(address, side)} udp {side}port {{ 500, 4500 }} accept")
        rules.append(f"{_own(address, side)} meta l4proto {{ esp, ah }} accept")
    return rules


def _fragments(addresses: Iterable[Address]) -> list[str]:
    """Accept later fragments, which have no ports or types: none gets further than the first one lets it."""
    return [f"{_own(address, 'd')} {_FRAGMENTS[address.version]} accept" for address in addresses]


def _own(address: Address, side: str) -> str:
    return f"{_FAMILY[address.version]} {side}addr {address}"


def _pairs(name: str, local: str, remote: str, verdict: str) -> str:
    ip = _FAMILY[int(name[5])]
    return f"{ip} {local} . {ip} {remote} @{name} {verdict}"


def _set(items: Iterable[str]) -> str:
    return f"{{ {', '.join(items)} }}"
