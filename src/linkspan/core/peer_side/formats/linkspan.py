"""Another Linkspan: the commands that make the connection there, for a POSIX shell.

The local networks of the other end are subnets that it has, which only it can name. So they are words to replace.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from linkspan.core.peer_side.device import Alphabet, Device
from linkspan.core.peer_side.formats.format import (
    ConfigFile,
    PeerFormat,
    head,
    key_of,
    lists,
    suites,
    text_of,
    version_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "Linkspan, commands"
BY_HAND: Final = {
    "ROUTER": "the router of the networks, which has an external gateway",
    "SUBNET_N": "the subnet with the network in the comment after it",
}


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The commands. The key comes from a file, so that no list of processes shows it."""
    commands = ConfigFile("connection.sh", text_of(_commands(config)))
    return (commands,) if config.auth_mode == "certs" else (commands, ConfigFile("psk.txt", key_of(config) + "\n"))


def _commands(config: SiteConfig) -> Iterator[str]:
    name = word(config)
    both = lists(config)
    local, remote = both or ((), ())
    yield from head(TITLE, "#", BY_HAND)
    if config.auth_mode == "certs":
        yield "# Also give it --local-certificate and --trust-anchor."
    for place, network in enumerate(local, 1):
        yield f"# SUBNET_{place}: {network}"
    yield _command("service", "create", name, "--router", "ROUTER")
    subnets = [word for place in range(1, len(local) + 1) for word in ("--endpoint", f"SUBNET_{place}")]
    yield _command("endpoint-group", "create", f"{name}-local", "--type", "subnet", *subnets)
    networks = [word for network in remote for word in ("--endpoint", network)]
    yield _command("endpoint-group", "create", f"{name}-peer", "--type", "cidr", *networks)
    yield _ike_policy(config, name)
    yield _ipsec_policy(config, name)
    yield _connection(config, name)


def _ike_policy(config: SiteConfig, name: str) -> str:
    suite, _ = suites(config)
    options = [
        *("--ike-version", f"v{version_of(config)}"),
        *("--encryption-algorithm", suite.encryption, "--auth-algorithm", suite.integrity, "--pfs", suite.group),
        *(("--phase1-mode", config.mode) if config.mode else ()),
        *(("--lifetime", f"units=seconds,value={config.ike_lifetime}") if config.ike_lifetime else ()),
    ]
    return _command("ike-policy", "create", name, *options)


def _ipsec_policy(config: SiteConfig, name: str) -> str:
    _, suite = suites(config)
    units, value = "seconds", config.child_lifetime
    if config.child_kilobytes:
        units, value = "kilobytes", config.child_kilobytes
    options = [
        *("--transform-protocol", config.protocol or "esp", "--encapsulation-mode", config.encapsulation or "tunnel"),
        *(("--encryption-algorithm", suite.encryption) if suite.encryption else ()),
        *(("--auth-algorithm", suite.integrity) if suite.integrity else ()),
        *("--pfs", suite.group),
        *(("--lifetime", f"units={units},value={value}") if value else ()),
    ]
    return _command("ipsec-policy", "create", name, *options)


def _connection(config: SiteConfig, name: str) -> str:
    """The command of the connection. An identity may begin with `-`, so it is in one word with its option."""
    dpd = f"action={config.dpd_action}"
    if config.dpd_interval and config.dpd_timeout:
        dpd += f",interval={config.dpd_interval},timeout={config.dpd_timeout}"
    options = [
        *("--service", name, "--ike-policy", name, "--ipsec-policy", name),
        *("--local-endpoint-group", f"{name}-local", "--peer-endpoint-group", f"{name}-peer"),
        *("--peer-address", config.remote_address, f"--peer-id={config.remote_id}", f"--local-id={config.local_id}"),
        *("--dpd", dpd, "--initiator", "bi-directional"),
        *(("--mtu", str(config.mtu)) if config.mtu else ()),
        *(("--auth-mode", "certs") if config.auth_mode == "certs" else ("--psk-file", "psk.txt")),
    ]
    return _command("connection", "create", name, *options)


def _command(*words: str) -> str:
    return " ".join(shlex.quote(each) for each in ("linkspan", *words))


FORMAT: Final = PeerFormat(
    name="linkspan",
    title=TITLE,
    mark="tested",
    evidence="its commands make the other end on a second gateway, and the tunnel comes up",
    device=Device(
        protocols=frozenset({"esp", "ah"}),
        transport=True,
        certificates=True,
        id_text=Alphabet(r"[^\x00-\x1f\x7f]+", "without control characters"),
        psk=Alphabet(r"[^\r]*[^\r\n]", "without carriage returns, and not a line break at its end,"),
    ),
    write=write,
    by_hand=BY_HAND,
)
