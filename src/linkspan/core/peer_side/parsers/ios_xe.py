"""Cisco IOS-XE: crypto maps and tunnel interfaces with IKEv2 profiles or ISAKMP policies, as `show running-config`
prints them.

A candidate is an entry of a crypto map, `MAP 10`, or a tunnel interface, `Tunnel1`. Its SAs are negotiated when traffic
comes, so it initiates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from linkspan.core.peer_side.parsers import ios_crypto, ios_lines, ios_networks
from linkspan.core.peer_side.parsers.ios_crypto import IosDevice
from linkspan.core.peer_side.parsers.ios_lines import CommandBlock
from linkspan.core.peer_side.parsers.reading import MOST_CONNECTIONS, Candidate, Reading, Unreadable, shown
from linkspan.core.peer_side.site_config import SiteConfig

_EVERYTHING: Final = (("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0"))


def read(text: str) -> Reading:
    """The crypto maps and tunnel interfaces of a configuration. Raises Unreadable."""
    device = IosDevice(ios_lines.blocks(text))
    found = tuple(itertools.islice(_candidates(device), MOST_CONNECTIONS + 1))
    if not found:
        raise Unreadable(
            0, "there should be a 'crypto map' or a tunnel interface with 'tunnel protection ipsec profile'"
        )
    if len(found) > MOST_CONNECTIONS:
        raise Unreadable(0, f"{MOST_CONNECTIONS} connections are read at most")
    return Reading(format="cisco-ios-xe", candidates=found)


def _candidates(device: IosDevice) -> Iterator[Candidate]:
    for block in device.blocks:
        if (rest := block.head.after("crypto", "map")) and "ipsec-isakmp" in rest and block.find("set", "peer"):
            name = f"{block.head.raw[2]} {block.head.raw[3]}"
            yield Candidate(name=name, config=_map_entry(name, block, device))
        elif block.head.words[0] == "interface" and (found := block.find("tunnel", "protection", "ipsec", "profile")):
            name = "".join(block.head.raw[1:])
            profile = device.block("crypto", "ipsec", "profile", found[1][0] if found[1] else "", line=found[0].line)
            yield Candidate(name=name, config=_tunnel(name, block, profile, device))


def _map_entry(name: str, block: CommandBlock, device: IosDevice) -> SiteConfig:
    peer = block.find("set", "peer")
    access = block.find("match", "address")
    pairs: tuple[tuple[str, str], ...] = ()
    lines: dict[str, int] = {}
    if access:
        pairs = tuple(ios_networks.access_list(device, access[1][-1], access[0].line))
        lines = {"pairs": access[0].line}
    remote = peer[1][0] if peer and peer[1] else ""
    if peer:
        lines["remote_address"] = peer[0].line
    local, line = ios_networks.address_of_map(device, block.head.words[2])
    if line:
        lines["local_address"] = line
    return _config(name, block, device, {"local_address": local, "remote_address": remote, "pairs": pairs}, lines)


def _tunnel(name: str, interface: CommandBlock, profile: CommandBlock, device: IosDevice) -> SiteConfig:
    source, destination = interface.find("tunnel", "source"), interface.find("tunnel", "destination")
    mtu = interface.find("ip", "mtu")
    lines = {"pairs": interface.head.line}
    ends: dict[str, Any] = {"pairs": _EVERYTHING}
    if source and source[1]:
        ends["local_address"] = ios_networks.address_of(device, "".join(source[1]))
        lines["local_address"] = source[0].line
    if destination and destination[1]:
        ends["remote_address"] = destination[1][0]
        lines["remote_address"] = destination[0].line
    if mtu and mtu[1] and mtu[1][0].isdigit():
        ends["mtu"] = int(mtu[1][0][:6])
        lines["mtu"] = mtu[0].line
    return _config(name, profile, device, ends, lines)


def _config(
    name: str, ipsec: CommandBlock, device: IosDevice, ends: dict[str, Any], lines: dict[str, int]
) -> SiteConfig:
    """The configuration of a crypto map's entry or an IPsec profile, with that of IKE which it names."""
    fields = {"local_address": "", "remote_address": "", **ends}
    profile = ipsec.find("set", "ikev2-profile")
    if profile:
        block = device.block("crypto", "ikev2", "profile", profile[1][0] if profile[1] else "", line=profile[0].line)
        ike, stated = ios_crypto.ikev2(device, block, fields["remote_address"])
    else:
        ike, stated = ios_crypto.isakmp(device, ipsec, fields["remote_address"])
    child, of_child = ios_crypto.child(device, ipsec)
    fields |= ike | child
    fields["local_id"] = fields.get("local_id") or fields["local_address"]
    return SiteConfig(name=shown(name), initiates=True, lines=stated | of_child | lines, **fields)
