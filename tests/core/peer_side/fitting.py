"""Connections of every kind, and the swanctl.conf and ipsec.conf that fit them, with the changes of a test.

Written by the manuals of both daemons, with no line of the product's own writers. A text is written from a `Peer`: what
its administrator has decided, in the words of strongSwan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, IkePolicy, IpsecPolicy
from tests.core.samples import CONNECTION, certified

_V1 = IkePolicy("v1", "main", "aes-256", "sha1", "group5", 28_800)
_AEAD = IkePolicy("v2", "main", "aes-256-gcm-16", "sha384", "group20", 3600)


def _with(**changes: Any) -> Connection:
    return msgspec.structs.replace(CONNECTION, **changes)


CONNECTIONS: Mapping[str, Connection] = {
    "v2": CONNECTION,
    "v1": _with(ike=_V1, ipsec=IpsecPolicy("esp", "tunnel", "3des", "sha1", "group5", "seconds", 3600)),
    "v1 aggressive": _with(ike=msgspec.structs.replace(_V1, phase1_negotiation_mode="aggressive")),
    "certs": msgspec.structs.replace(certified(), local_id="gw.example.org", peer_id="C=CH, O=Branch, CN=gw"),
    "groups": _with(local_cidrs=("10.1.0.0/24", "10.11.0.0/24"), peer_cidrs=("10.2.0.0/24", "10.12.0.0/16")),
    "v1 groups": _with(ike=_V1, local_cidrs=("10.1.0.0/24", "10.11.0.0/24")),
    "ipv6": _with(
        local_address="2001:db8::1",
        peer_address="2001:db8::2",
        peer_id="2001:db8::2",
        local_cidrs=("fd00:1::/64",),
        peer_cidrs=("fd00:2::/64",),
    ),
    "ah": _with(ipsec=IpsecPolicy("ah", "tunnel", "aes-128", "sha256", "group14", "seconds", 3600)),
    "aead": _with(ike=_AEAD, ipsec=IpsecPolicy("esp", "tunnel", "aes-256-gcm-16", "sha1", "group20", "seconds", 3600)),
    "names": _with(local_id="@gw.example.org", peer_id="ops@branch.example.org", psk=Secret('a "quoted" # key\\')),
    "response-only": _with(initiator="response-only"),
}


class Peer(msgspec.Struct, kw_only=True):
    """What the other end is configured with, in strongSwan's words. Identities as the API writes them."""

    version: int
    aggressive: bool
    local_address: str
    remote_address: str
    local_id: str
    remote_id: str
    auth: str
    psk: str
    ike: str
    protocol: str
    child: str
    mode: str = "tunnel"
    local_networks: tuple[str, ...]
    remote_networks: tuple[str, ...]
    ike_seconds: int
    child_seconds: int
    dpd_action: str
    dpd_interval: int
    start: str = "start"


def fitting(ours: Connection) -> Peer:
    """The peer that a connection is for."""
    ike, ipsec = ours.ike, ours.ipsec
    child = (
        algorithms.ah_proposal(ipsec.auth_algorithm, ipsec.pfs)
        if ipsec.transform_protocol == "ah"
        else algorithms.esp_proposal(ipsec.encryption_algorithm, ipsec.auth_algorithm, ipsec.pfs)
    )
    return Peer(
        version=int(ike.ike_version[1]),
        aggressive=ike.phase1_negotiation_mode == "aggressive",
        local_address=ours.peer_address,
        remote_address=ours.local_address,
        local_id=ours.peer_id,
        remote_id=ours.local_id or ours.local_address,
        auth="psk" if ours.auth_mode == "psk" else "pubkey",
        psk=ours.psk.reveal(),
        ike=algorithms.ike_proposal(ike.encryption_algorithm, ike.auth_algorithm, ike.pfs),
        protocol=ipsec.transform_protocol,
        child=child,
        local_networks=ours.peer_cidrs,
        remote_networks=ours.local_cidrs,
        ike_seconds=ike.lifetime,
        child_seconds=ipsec.lifetime,
        dpd_action=ours.dpd.action,
        dpd_interval=ours.dpd.interval,
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _children(peer: Peer) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The networks of each child: IKEv1 has one pair in each."""
    if peer.version == 2:
        return [(peer.local_networks, peer.remote_networks)]
    return [((left,), (right,)) for left in peer.local_networks for right in peer.remote_networks]


def swanctl(peer: Peer) -> str:
    """A swanctl.conf."""
    children = "".join(
        f"""
            net-{number} {{
                local_ts = {", ".join(local)}
                remote_ts = {", ".join(remote)}
                {peer.protocol}_proposals = {peer.child}
                mode = {peer.mode}
                life_time = {peer.child_seconds}s
                dpd_action = {"trap" if peer.dpd_action == "hold" else peer.dpd_action}
                start_action = {peer.start}
            }}"""
        for number, (local, remote) in enumerate(_children(peer), 1)
    )
    secrets = f"""
secrets {{
    ike-office {{
        id-us = {_quoted(peer.local_id)}
        id-them = {_quoted(peer.remote_id)}
        secret = {_quoted(peer.psk)}
    }}
}}"""
    return f"""\
# The branch office
connections {{
    office {{
        version = {peer.version}
        aggressive = {"yes" if peer.aggressive else "no"}
        local_addrs = {peer.local_address}
        remote_addrs = {peer.remote_address}  # headquarters
        proposals = {peer.ike}
        rekey_time = {peer.ike_seconds}
        over_time = 0
        dpd_delay = {peer.dpd_interval}s
        local {{
            auth = {peer.auth}
            id = {_quoted(peer.local_id)}
        }}
        remote {{
            auth = {peer.auth}
            id = {_quoted(peer.remote_id)}
        }}
        children {{{children}
        }}
    }}
}}
{secrets if peer.auth == "psk" else ""}
"""


def _connections(peer: Peer) -> list[tuple[str, str]]:
    """The networks of each `conn`."""
    return [(",".join(local), ",".join(remote)) for local, remote in _children(peer)]


def _owner(text: str) -> str:
    return f'"{text}"' if " " in text else text


def stroke(peer: Peer) -> str:
    """strongSwan's ipsec.conf, and ipsec.secrets below it."""
    action = {"clear": "clear", "hold": "hold", "restart": "restart", "disabled": "none"}[peer.dpd_action]
    common = f"""\
# The branch office
config setup
    uniqueids = no

conn %default
    keyexchange = ikev{peer.version}
    aggressive = {"yes" if peer.aggressive else "no"}
    type = {peer.mode}

conn office
    left = {peer.local_address}
    leftid = "{peer.local_id}"
    right = {peer.remote_address}  # headquarters
    rightid = "{peer.remote_id}"
    authby = {"secret" if peer.auth == "psk" else "pubkey"}
    ike = {peer.ike}!
    {peer.protocol} = {peer.child}!
    ikelifetime = {peer.ike_seconds}s
    lifetime = {peer.child_seconds}s
    dpdaction = {action}
    dpddelay = {peer.dpd_interval}s
"""
    connections = "".join(
        f"""
conn office-{number}
    also = office
    leftsubnet = {local}
    rightsubnet = {remote}
    auto = {"add" if peer.start == "none" else peer.start}
"""
        for number, (local, remote) in enumerate(_connections(peer), 1)
    )
    key = f"0x{peer.psk.encode().hex()}"
    return f"{common}{connections}\n{_owner(peer.local_id)} {_owner(peer.remote_id)} : PSK {key}\n"


def _pluto(proposal: str, *, is_child: bool) -> str:
    """strongSwan's proposals in pluto's words."""
    found = []
    for one in proposal.split(","):
        words = [
            word.removeprefix("prf").replace("sha256", "sha2_256").replace("sha384", "sha2_384").replace("gcm16", "")
            for word in one.split("-")
        ]
        if "gcm8" in one:
            words[0] = f"aes_gcm_a_{words[0].removeprefix('aes').removesuffix('gcm8')}"
        if "gcm16" in one:
            words[0] = f"aes_gcm{words[0].removeprefix('aes')}"
        words = [
            word.replace("sha512", "sha2_512").replace("ecp256", "dh19").replace("ecp384", "dh20") for word in words
        ]
        words = [word.replace("ecp521", "dh21") for word in words]
        *rest, last = words
        found.append("-".join(rest) + (";" if is_child and rest else "-" if rest else "") + last)
    return ",".join(found)


def libreswan(peer: Peer) -> str:
    """libreswan's ipsec.conf, and ipsec.secrets below it. Names have an `@`, and the keys are between quotes."""
    local, remote = (
        f"@{text}" if text[0].isalpha() and "@" not in text and ":" not in text and "=" not in text else text
        for text in (peer.local_id, peer.remote_id)
    )
    has_group = any(word in peer.child for word in ("modp", "ecp"))
    child = _pluto(peer.child, is_child=has_group)
    return f"""\
config setup
    ikev1-policy=accept

conn office
    left={peer.local_address}
    leftid="{local}"
    leftsubnets={{{" ".join(peer.local_networks)}}}
    right={peer.remote_address}
    rightid="{remote}"
    rightsubnets={{{",".join(peer.remote_networks)}}}
    authby={"secret" if peer.auth == "psk" else "rsasig"}
    ikev2={"insist" if peer.version == 2 else "no"}
    aggressive={"yes" if peer.aggressive else "no"}
    type={peer.mode}
    ike={_pluto(peer.ike, is_child=False)}
    phase2={peer.protocol}
    phase2alg={child}
    pfs={"yes" if has_group else "no"}
    ikelifetime={peer.ike_seconds}s
    salifetime={peer.child_seconds}s
    dpdaction={peer.dpd_action}
    dpddelay={peer.dpd_interval}
    dpdtimeout={4 * peer.dpd_interval}
    auto={"add" if peer.start == "none" else "start"}

{_owner(local)} {_owner(remote)} : PSK {"'" if '"' in peer.psk else '"'}{peer.psk}{"'" if '"' in peer.psk else '"'}
"""
