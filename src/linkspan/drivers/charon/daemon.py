"""One gateway's charon: its directory, process, commands and events.

charon-systemd runs inside the gateway's namespace, confined (`drivers.charon.confinement`), and outlives the agent,
which finds it by its VICI socket: the kernel reports pid and uid of the listener, so there is no pid file that could be
stale. charon owns its directory, so what is in there is not trusted. The configuration is the same for every gateway;
everything that users configure, keys above all, goes through VICI. Every command has a deadline. This module
decides nothing: to restart, initiate or give up is the agent's decision.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.secret import Secret
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import charon_events, peer_attempts, round_trips
from linkspan.core.tunnel import sas as tunnel_sas
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.peer_attempts import PeerAttempts
from linkspan.core.tunnel.round_trips import SentProbes
from linkspan.core.tunnel.sas import IkeSa
from linkspan.drivers.charon import confinement, log_file, strongswan_conf, vici_messages
from linkspan.drivers.charon.strongswan_conf import LOG, SOCKET
from linkspan.drivers.charon.vici import (
    DEADLINE,
    CharonAbsent,
    CommandRefused,
    CommandSession,
    EventSession,
    ListeningProcess,
    restrict,
)
from linkspan.drivers.linux import interface_names, netns, process, xfrm
from linkspan.drivers.ports import DriverError, LoadedConnection, Unresponsive

_START_DEADLINE: Final = 15.0
_STOP_DEADLINE: Final = 5.0
_PROGRAM: Final = "charon-systemd"
_FORMER_SOCKET: Final = "vici"
"""The name of the socket of a charon that an earlier version has started."""
_FORMER_FILES: Final = ("strongswan.conf", "charon.out")
_STRANGER: Final = "another process than the gateway's charon listens on its socket"
_log = structlog.get_logger("drivers.charon")

T = TypeVar("T")


class StrongswanCharon:
    """The `Charon` of one gateway; see `drivers.ports`. `directory`: charon's own; `namespace`: the gateway's."""

    def __init__(self, directory: Path, namespace: str, backend: Backend, deadline: float = DEADLINE) -> None:
        self._directory = directory
        self._namespace = namespace
        self._backend = backend
        self._uid = confinement.uid(namespace)
        self._deadline = deadline
        self._commands: CommandSession | None = None
        self._events: EventSession | None = None

    @property
    def pid(self) -> int:
        """The pid of charon, which listens on the socket. Raises CharonAbsent if there is none."""
        return self._connected().listener.pid

    def start(self) -> bool:
        self.detach()
        process.reap()
        self._rename_former_socket()
        if self._adopt():
            return False
        process.terminate(self._leftovers())
        self._prepare()
        output = os.memfd_create("charon.out")
        try:
            self._run(output)
        finally:
            os.close(output)
        return True

    def _run(self, output: int) -> None:
        child = self._spawn(output)
        try:
            self._wait(child, output)
            self._check_plugins()
        except DriverError:
            self.stop()
            if child.poll() is None:
                process.terminate([child.pid])
            raise

    def stop(self) -> None:
        if not (self._directory / SOCKET).exists():
            return
        if self._events:
            self._events.expect_end()
        try:
            pids = [self.pid]
        except Unresponsive:
            pids = self._leftovers()
        process.terminate(pids, _STOP_DEADLINE)
        self.detach()
        process.reap()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def detach(self) -> None:
        if self._events:
            self._events.stop()
        if self._commands:
            self._commands.close()
        self._events = self._commands = None

    def listen(self, deliver: Callable[[CharonEvent], None]) -> None:
        if self._events:
            self._events.stop()

        attempts: PeerAttempts = {}
        probes: SentProbes = {}

        def hand_over(name: str, message: dict[str, Any]) -> None:
            nonlocal attempts, probes
            attempts, events = peer_attempts.read(attempts, name, message, time.time())
            if name == "log":
                line = tunnel_sas.vici_text(message.get("msg", b""))
                probes, events = round_trips.read(probes, events, line, time.monotonic())
            for event in events:
                deliver(event)

        self._events = EventSession(
            self._directory, charon_events.EVENTS, hand_over, lambda: deliver(charon_events.DaemonLost())
        )
        if not self._is_ours(self._events.listener):
            self._events.stop()
            raise Unresponsive(_STRANGER)

    @contextmanager
    def without_log(self) -> Iterator[None]:
        events = self._events
        if events is None:
            yield
            return
        try:
            events.mute("log")
            yield
            events.unmute("log")
        except OSError as error:
            raise Unresponsive(f"charon does not deliver its events: {error}") from error

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        if key is not None:
            self._request("load-shared", vici_messages.load_shared(key))
        self._request("load-conn", vici_messages.load_conn(config))

    def unload(self, name: str) -> None:
        for names, command, argument in (("get-conns", "unload-conn", "name"), ("get-shared", "unload-shared", "id")):
            answer = self._request(names)
            if name in _strings(answer.get("conns", answer.get("keys"))):
                self._request(command, {argument: name})

    def load_key(self, key: Secret) -> str:
        return str(self._request("load-key", vici_messages.load_key(key))["id"].decode())

    def unload_key(self, id: str) -> None:
        if id in self.keys():
            self._request("unload-key", {"id": id})

    def keys(self) -> frozenset[str]:
        return frozenset(_strings(self._request("get-keys").get("keys")))

    def load_ppk(self, id: str, key: Secret) -> None:
        self._request("load-shared", vici_messages.load_ppk(id, key))

    def unload_ppk(self, id: str) -> None:
        if id in self.ppks():
            self._request("unload-shared", {"id": vici_messages.PPK + id})

    def ppks(self) -> frozenset[str]:
        names = _strings(self._request("get-shared").get("keys"))
        return frozenset(name.removeprefix(vici_messages.PPK) for name in names if name.startswith(vici_messages.PPK))

    def load_authority(self, certificate: str) -> None:
        self._request("load-cert", vici_messages.load_authority(certificate))

    def load_crls(self, crls: Iterable[bytes]) -> None:
        for crl in crls:
            self._request("load-cert", vici_messages.load_crl(crl))
        # Until then a list that was checked before counts, however new the other one is.
        self._request("flush-certs", {"type": "X509_CRL"})

    def certificates(self) -> tuple[bytes, ...]:
        return self._list_certs("X509")

    def crls(self) -> tuple[bytes, ...]:
        return self._list_certs("X509_CRL")

    def _list_certs(self, kind: str) -> tuple[bytes, ...]:
        messages = self._use(lambda commands: commands.stream("list-certs", "list-cert", {"type": kind}))
        return tuple(message["data"] for message in messages if "data" in message)

    def forget_peers(self) -> None:
        self._request("flush-certs", {"type": "X509"})

    def clear_credentials(self) -> None:
        self._request("clear-creds")

    def initiate(self, ike: str, child: str) -> None:
        try:
            self._request("initiate", {"ike": ike, "child": child, "timeout": "-1"})
        except CommandRefused as error:
            reason = log_file.reason(self._directory, child)
            raise CommandRefused(f"{error} ({reason})" if reason else str(error)) from error

    def install(self, ike: str, child: str) -> None:
        self._forget_acquires()
        if (ike, child) not in self.traps():
            self._request("install", {"ike": ike, "child": child})

    def uninstall(self, ike: str, child: str) -> None:
        if (ike, child) in self.traps():
            self._request("uninstall", {"ike": ike, "child": child})

    def traps(self) -> frozenset[tuple[str, str]]:
        messages = self._use(lambda commands: commands.stream("list-policies", "list-policy", {"trap": "yes"}))
        return frozenset(
            (section["ike"].decode(), section["child"].decode()) for message in messages for section in message.values()
        )

    def terminate_sa(self, unique_id: int, *, dead: bool = False) -> None:
        self._terminate({"ike-id": str(unique_id)}, "-1" if dead else "1000")

    def terminate_child(self, unique_id: int) -> None:
        self._terminate({"child-id": str(unique_id)})

    def rekey(self, unique_id: int) -> None:
        self._request("rekey", {"child-id": str(unique_id)})

    def replace(self, unique_id: int) -> None:
        self._request("rekey", {"ike-id": str(unique_id), "reauth": "yes"})

    def loaded(self) -> dict[str, LoadedConnection]:
        messages = self._use(lambda commands: commands.stream("list-conns", "list-conn"))
        return {
            name: LoadedConnection(
                children=frozenset(section.get("children", {})),
                peer_address=next(iter(_strings(section.get("remote_addrs"))), ""),
            )
            for message in messages
            for name, section in message.items()
        }

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        messages = self.listing(ike)
        try:
            return tunnel_sas.ike_sas(messages)
        except (ValueError, TypeError, AttributeError) as error:
            raise Unresponsive(f"charon's list of SAs cannot be parsed: {error}") from error

    def listing(self, ike: str = "") -> list[dict[str, Any]]:
        condition = {"ike": ike} if ike else {}
        return self._use(lambda commands: commands.stream("list-sas", "list-sa", condition))

    def device_counters(self) -> str:
        # Traffic of tunnels passes charon's device, and with kernel ESP an inside interface.
        prefix = interface_names.TUN if self._backend == "user-space" else interface_names.INSIDE
        try:
            text = Path(f"/proc/{self.pid}/net/dev").read_text()
        except OSError:
            return ""
        return "\n".join(line for line in text.splitlines() if line.lstrip().startswith(prefix))

    def ask(self) -> None:
        log_file.rotate(self._directory)
        self.version()

    def version(self) -> str:
        """Return charon's version, as `5.9.8`."""
        return str(self._request("version")["version"].decode())

    def algorithms(self) -> dict[str, frozenset[str]]:
        """Return the algorithms that charon has, in its names and by kind."""
        return {kind: frozenset(names) for kind, names in self._request("get-algorithms").items()}

    def can_initiate(self, version: int) -> bool:
        """Return whether charon has this version of IKE. Without it, it takes a configuration and refuses to initiate.

        The attempt goes nowhere, and stays until charon is stopped.
        """
        self._request("load-conn", vici_messages.load_probe(version))
        try:
            self.initiate(vici_messages.PROBE, vici_messages.PROBE)
        except CommandRefused:
            return False
        return True

    def _terminate(self, selection: dict[str, str], timeout: str = "1000") -> None:
        # charon may refuse although the SA is gone: "no matching SAs", or no response from the peer.
        with suppress(CommandRefused):
            self._request("terminate", selection | {"force": "yes", "timeout": timeout})
        self._forget_acquires()

    def _forget_acquires(self) -> None:
        """Let traffic initiate again at once. The kernel sends no further acquire for 30 s after one, also after the
        attempt was given up, and in the namespace of a gateway that cannot be set (xfrm_acq_expires)."""
        if self._backend != "kernel":
            return
        try:
            netns.run_inside(self._namespace, xfrm.forget_acquires)
        except OSError as error:
            _log.warning("traffic initiates with a delay", namespace=self._namespace, error=str(error))

    def _request(self, command: str, message: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._use(lambda commands: commands.request(command, message))

    def _use(self, function: Callable[[CommandSession], T]) -> T:
        try:
            return function(self._connected())
        except Unresponsive:
            self._commands = None
            raise

    def _connected(self) -> CommandSession:
        if self._commands is None:
            session = CommandSession(self._directory, self._deadline)
            if not self._is_ours(session.listener):
                session.close()
                raise Unresponsive(_STRANGER)
            self._commands = session
        return self._commands

    def _is_ours(self, listener: ListeningProcess) -> bool:
        """True if a process is the charon of this gateway, also one that an earlier version has started as root."""
        if not netns.is_inside(listener.pid, self._namespace):
            return False
        return listener.uid == self._uid or (listener.uid == 0 and not netns.has_owner(self._namespace))

    def _adopt(self) -> bool:
        """True if a charon runs in this namespace and answers. Raises Unresponsive if it runs and does not answer."""
        try:
            session = CommandSession(self._directory, self._deadline)
            if self._is_ours(session.listener):
                self._commands = session
                self.version()
                if session.listener.uid != self._uid:
                    _log.warning("charon of an earlier version is not confined", namespace=self._namespace)
                return True
        except CharonAbsent:
            return False  # none runs, or it ended during the command
        session.close()
        if self._is_charon(session.listener.pid):  # it runs in a deleted namespace of the same name
            process.terminate([session.listener.pid], _STOP_DEADLINE)
        return False

    def _rename_former_socket(self) -> None:
        with suppress(OSError):
            (self._directory / _FORMER_SOCKET).rename(self._directory / SOCKET)

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            for name in _FORMER_FILES:
                with suppress(OSError):
                    (self._directory / name).unlink()
            for name in ("", LOG):
                with suppress(FileNotFoundError):
                    os.chown(self._directory / name, self._uid, self._uid, follow_symlinks=False)
            if self._backend == "kernel":
                # SAs and policies of an earlier charon would go on encrypting, or let plaintext pass.
                netns.run_inside(self._namespace, _flush_xfrm)
        except (OSError, subprocess.SubprocessError) as error:
            raise DriverError(f"charon's directory or kernel state cannot be prepared: {error}") from error

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        program = shutil.which(_PROGRAM, path=confinement.PATH)
        if program is None:
            raise DriverError(f"charon cannot be started: there is no {_PROGRAM} in {confinement.PATH}")
        try:
            child = confinement.start(
                program,
                [],
                self._namespace,
                self._directory,
                strongswan_conf.render(self._backend),
                output,
                tun=self._backend == "user-space",
            )
        except OSError as error:
            raise DriverError(f"charon cannot be started: {error}") from error
        process.adopt(child)
        return child

    def _wait(self, child: subprocess.Popen[bytes], output: int) -> None:
        end = time.monotonic() + _START_DEADLINE
        while time.monotonic() < end:
            if child.poll() is not None:
                raise DriverError(f"charon ended at once: {self._last_words(output)}")
            try:
                self._connected()
                break
            except CharonAbsent:
                time.sleep(0.005)
        else:
            raise DriverError(
                f"charon did not open its socket within {_START_DEADLINE:.0f} s: {self._last_words(output)}"
            )
        try:
            restrict(self._directory)
        except OSError as error:
            raise DriverError(f"charon's socket cannot be restricted to its owner: {error}") from error
        self.version()

    def _last_words(self, output: int) -> str:
        """Return the last line of charon's log, and of what it printed."""
        printed = os.pread(output, os.fstat(output).st_size, 0).decode(errors="replace")
        lines = [line for text in (log_file.tail(self._directory), printed) for line in text.splitlines()[-1:]]
        return " / ".join(lines) or "it logged nothing"

    def _check_plugins(self) -> None:
        loaded = frozenset(_strings(self._request("stats").get("plugins")))
        if extra := loaded - strongswan_conf.allowed_plugins(self._backend):
            raise DriverError(f"charon loaded plugins that are not allowed: {', '.join(sorted(extra))}")
        if missing := strongswan_conf.required_plugins(self._backend) - loaded:
            raise DriverError(
                f"charon lacks the plugins {', '.join(sorted(missing))}: "
                "install libcharon-extra-plugins and libstrongswan-extra-plugins"
            )

    def _leftovers(self) -> list[int]:
        """Return the pids of charons in the namespace that cannot be found by the socket, as after a failure."""
        return [pid for pid in netns.processes(self._namespace) if self._is_charon(pid)]

    def _is_charon(self, pid: int) -> bool:
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return False
        return uid == self._uid or process.executable(pid).startswith("charon")


def _strings(values: Any) -> list[str]:
    return [value.decode(errors="replace") for value in values or ()]


def _flush_xfrm() -> None:
    commands = b"xfrm state flush\nxfrm policy flush\n"
    subprocess.run(["ip", "-batch", "-"], input=commands, check=True, capture_output=True, timeout=DEADLINE)
