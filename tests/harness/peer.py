"""A peer without Linkspan: a namespace on the external network with a charon that the test configures itself.

None of Linkspan's mapping is used here, so that both ends cannot share a mistake: strongswan.conf and VICI messages are
written out by the manual (swanctl.conf(5), strongSwan: src/libcharon/plugins/vici/README.md). `recorder` records the
packets on the peer's link.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import vici

from linkspan.drivers.linux import esp_backend, netns
from linkspan.lab import fabric
from tests.harness.authorities import Issued
from tests.harness.delayed_link import DelayedLink
from tests.harness.recorder import Packet, Recorder
from tests.harness.world import until

PLUGINS = (
    "openssl aesni aes des sha1 sha2 md5 hmac kdf cmac xcbc ctr ccm gcm curve25519 gmp random nonce "
    "pem constraints revocation {esp}kernel-netlink socket-default vici"
)
SETTINGS = """\
charon {{
    load_modular = no
    load = {plugins}
    threads = 16
    retransmit_timeout = 1.0
    retransmit_base = 1.4
    retransmit_tries = 8
    dos_protection = no
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes
    filelog {{
        peer {{
            path = {folder}/charon.log
            default = 1
            ike = 2
            cfg = 2
            {levels}
            flush_line = yes
        }}
    }}
    plugins {{
        vici {{
            socket = unix://{folder}/vici
        }}
    }}
}}
charon-systemd {{
    journal {{
        default = -1
    }}
}}
"""
ETH_P_ARP = 0x0806
CUT = """\
table inet cut {
    chain deaf { type filter hook prerouting priority -400; policy drop; }
    chain silent { type filter hook output priority -400; policy drop; }
}
"""
NUMBERS = 99
"""Peers of one external network at a time. Their networks are below those with which tests extend them."""
_numbers: dict[str, Iterator[int]] = {}
_used: set[tuple[str, int]] = set()

Message = dict[str, Any]


def _new_number(instance: str) -> int:
    """The number of a new peer: one that was not used for as long as possible."""
    numbers = _numbers.setdefault(instance, itertools.cycle(range(1, NUMBERS + 1)))
    number = next(number for number in itertools.islice(numbers, NUMBERS) if (instance, number) not in _used)
    _used.add((instance, number))
    return number


def _announce(address: str) -> None:
    """Announce an address of this namespace (RFC 5227, section 1.1): gateways may know the peer that had it before by
    another MAC address, and what they send there would be flooded to every other peer."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((fabric._INTERFACE, 0))
        mac, packed = link.getsockname()[4], socket.inet_aton(address)
        header = b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP)
        link.send(header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + packed + bytes(6) + packed)


class Network(Protocol):
    """What a peer attaches to. `lab`: `instance`, the namespace of the `fabric`, and the network `internet`."""

    lab: dict[str, Any]


class Peer:
    """A peer: addresses outside `v4` and `v6`, networks inside `net4` and `net6`, its addresses there `in4` and `in6`.

    `world` provides the external network. `levels`: additional log levels, as `enc = 3`.
    """

    def __init__(self, world: Network, plugins: str = "", gateways: tuple[str, ...] = (), levels: str = "") -> None:
        self._instance = world.lab["instance"]
        number = self._number = _new_number(self._instance)
        self.v4, self.v6 = f"198.51.100.{100 + number}", f"2001:db8:ffff::{100 + number}"
        self.net4, self.net6 = f"10.{100 + number}.0.0/24", f"fd00:{100 + number}::/64"
        self.in4, self.in6 = f"10.{100 + number}.0.1", f"fd00:{100 + number}::1"
        self._fabric, self._internet = world.lab["fabric"], world.lab["internet"]
        self._name = f"peer{number}"
        host = fabric.make_host(
            self._instance,
            self._name,
            world.lab["internet"]["network_id"],
            (f"{self.v4}/24", f"{self.v6}/64"),
            gateways,
        )
        self.namespace = host.namespace
        netns.run_inside(self.namespace, lambda: _announce(self.v4))
        self.run("ip", "address", "add", f"{self.in4}/24", "dev", "lo")
        self.run("ip", "-6", "address", "add", f"{self.in6}/64", "dev", "lo", "nodad")
        # The path of a unix socket is limited to 108 bytes; pytest's folders are long.
        self.folder = Path(tempfile.mkdtemp(prefix="ls-peer-"))
        esp = "kernel-libipsec " if esp_backend.detect() == "user-space" else ""
        text = SETTINGS.format(plugins=plugins or PLUGINS.format(esp=esp), folder=self.folder, levels=levels)
        (self.folder / "strongswan.conf").write_text(text)
        self.process = self._start()

    # -- the machine -----------------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside the peer's namespace; return its output."""
        done = netns.run_inside(
            self.namespace, lambda: subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "STRONGSWAN_CONF": str(self.folder / "strongswan.conf")}
        process = netns.run_inside(
            self.namespace,
            lambda: subprocess.Popen(
                ["charon-systemd"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ),
        )
        until(self._answers, 15.0, lambda: self.log)
        return process

    def _answers(self) -> bool:
        try:
            with self.session() as session:
                session.version()
        except (OSError, FileNotFoundError):
            return False
        return True

    def kill(self) -> None:
        """Kill the peer's charon, so that it sends no delete."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start a new charon without configuration or SAs."""
        if self.process.poll() is None:
            self.kill()
        (self.folder / "vici").unlink(missing_ok=True)
        self.run("ip", "xfrm", "state", "flush")
        self.run("ip", "xfrm", "policy", "flush")
        self.process = self._start()

    def close(self) -> None:
        """Nothing of it stays."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.kill()
        fabric.remove(self._instance, self._name)
        shutil.rmtree(self.folder, ignore_errors=True)
        _used.discard((self._instance, self._number))

    def cut(self) -> None:
        """From now on the peer is silent and deaf, as behind a broken line."""
        self.run("nft", CUT)

    def heal(self) -> None:
        """Let packets pass again."""
        self.run("nft", "delete", "table", "inet", "cut", check=False)

    def delayed(self, delay: Callable[[Packet], float]) -> DelayedLink:
        """Return a link that delays the packets to and from the peer, by the seconds that `delay` says."""
        port = fabric._port(self._instance, self._name)
        return DelayedLink(self._fabric, self._internet["bridge"], port, delay)

    def recorder(self) -> Recorder:
        """Return a recorder of the packets on the peer's link."""
        return Recorder(self._fabric, fabric._port(self._instance, self._name))

    # -- charon ----------------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[vici.Session]:
        """Open a VICI session for commands."""
        with vici_session(self.folder / "vici") as session:
            yield session

    def load(
        self,
        ours: str,
        psk: str,
        *,
        name: str = "ours",
        local: str = "",
        remote: str = "",
        children: Mapping[str, Message] | None = None,
        child: Message | None = None,
        issued: Issued | None = None,
        signs: str = "pubkey",
        authorities: Sequence[str] = (),
        **connection: Any,
    ) -> None:
        """Load a connection to `ours`, the address of Linkspan's gateway.

        `local` and `remote`: identities (default: the addresses). `child` changes the single child `net`, `children`
        replaces it; `issued`: a certificate in place of the key, and then `authorities` are those that ours may be
        from, in PEM; `signs`: how it signs. All others are options of swanctl.conf(5).
        """
        address = self.v6 if ":" in ours else self.v4
        net: Message = {
            "local_ts": [self.net4],
            "remote_ts": ["10.1.0.0/24"],
            "esp_proposals": ["aes128-sha256-modp2048"],
            "start_action": "none",
        } | (child or {})
        message = {
            "version": "2",
            "local_addrs": [address],
            "remote_addrs": [ours],
            "proposals": ["aes128-sha256-modp2048"],
            "mobike": "no",
            "unique": "never",
            "local": {"auth": "psk", "id": local or address},
            "remote": {"auth": "psk", "id": remote or ours},
            "children": dict(children) if children is not None else {"net": net},
        } | connection
        if issued:
            message["local"] |= {"auth": signs, "certs": issued.chain}
            message["remote"] |= {"auth": "pubkey", "cacerts": list(authorities)}
        with self.session() as session:
            if issued:
                # In IKEv1 charon takes any key of the local identity.
                for old in session.get_keys().get("keys", []):
                    session.unload_key({"id": old})
                session.load_key({"type": "any", "data": issued.key_pem})
                session.load_conn({name: message})
                return
            session.load_shared(
                {
                    "id": name,
                    "type": "IKE",
                    "data": psk,
                    "owners": [message["local"]["id"], message["remote"]["id"]],
                }
            )
            session.load_conn({name: message})

    def unload(self, name: str = "ours") -> None:
        """Unload a connection and its key; SAs stay."""
        with self.session() as session:
            session.unload_conn({"name": name})
            session.unload_shared({"id": name})

    def initiate(self, child: str = "net", ike: str = "ours", seconds: float = 10.0) -> None:
        """Initiate a child from the peer. Raises vici.exception.CommandException with the end of charon's log."""
        with self.session() as session:
            try:
                list(session.initiate({"ike": ike, "child": child, "timeout": str(int(seconds * 1000))}))
            except vici.exception.CommandException as error:
                error.add_note(self.log[-3000:])
                raise

    def terminate(self, ike: str = "ours", **selection: str) -> None:
        """Delete an IKE SA, or what the selection matches, as `child_id`."""
        with self.session() as session:
            condition = {key.replace("_", "-"): value for key, value in selection.items()} or {"ike": ike}
            list(session.terminate(condition | {"force": "yes", "timeout": "2000"}))

    def sas(self) -> list[Message]:
        """Return the IKE SAs as VICI lists them, decoded, with the connection's name under `name`."""
        with self.session() as session:
            messages = list(session.list_sas())
        return [decoded(section) | {"name": name} for message in messages for name, section in message.items()]

    def children(self) -> list[Message]:
        """Return the installed child SAs of all IKE SAs."""
        children = [child for sa in self.sas() for child in sa.get("child-sas", {}).values()]
        return [child for child in children if child["state"] == "INSTALLED"]

    def wait_up(self, count: int = 1, seconds: float = 20.0) -> list[Message]:
        """Wait until there are `count` installed child SAs; return them."""
        until(lambda: len(self.children()) == count, seconds, lambda: f"{self.sas()}\n{self.log[-3000:]}")
        return self.children()

    def wait_down(self, seconds: float = 20.0) -> float:
        """Wait until no IKE SA is established; return the seconds waited."""
        return until(lambda: not any(sa["state"] == "ESTABLISHED" for sa in self.sas()), seconds)

    @property
    def log(self) -> str:
        """The log of charon."""
        try:
            return (self.folder / "charon.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern: str, seconds: float = 10.0) -> str:
        """Wait for a log line that matches a regular expression; return it."""
        until(lambda: bool(re.search(pattern, self.log)), seconds, lambda: f"no {pattern!r} in {self.log[-3000:]}")
        match = re.search(f".*{pattern}.*", self.log)
        assert match
        return match[0]


@contextmanager
def vici_session(path: Path) -> Iterator[vici.Session]:
    """Open a raw VICI session with the charon that listens on a socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The path of a unix socket is limited to 108 bytes; pytest's folders are long.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        # Connecting with a timeout set would fail at once if the listener's backlog is full.
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
        connection.settimeout(20.0)
        yield vici.Session(connection)
    finally:
        connection.close()
        os.close(folder)


def decoded(value: Any) -> Any:
    """Return a VICI message with strings instead of bytes."""
    if isinstance(value, dict):
        return {key: decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [decoded(inner) for inner in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
