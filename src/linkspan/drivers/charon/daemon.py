"""One gateway's charon: its directory, process, commands and events.

charon-systemd runs inside the gateway's namespace and outlives the agent, which finds it by its VICI socket: the
kernel reports the pid of the listener, so there is no pid file that could be stale. The configuration file is the same
for every gateway; everything that users configure, pre-shared keys above all, goes through VICI. Every command has a
deadline. This module decides nothing: to restart, initiate or give up is the agent's decision.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import charon_events, peer_attempts
from linkspan.core.tunnel import sas as tunnel_sas
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.peer_attempts import PeerAttempts
from linkspan.core.tunnel.sas import IkeSa
from linkspan.drivers.charon import strongswan_conf, vici_messages
from linkspan.drivers.charon.vici import DEADLINE, SOCKET, CharonAbsent, CommandRefused, CommandSession, EventSession
from linkspan.drivers.linux import netns, process
from linkspan.drivers.ports import DriverError, Unresponsive

_START_DEADLINE: Final = 15.0
_STOP_DEADLINE: Final = 5.0
_LOG_READ: Final = 16384
"""Bytes of the log's end that have what a command just caused."""
_UNNAMED_LINE: Final = re.compile(r"\S+ \d+\[(?:IKE|CFG|KNL|LIB)\] (?![<])(?!vici )(.+)")
_PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

T = TypeVar("T")


class StrongswanCharon:
    """The `Charon` of one gateway; see `drivers.ports`. `directory`: charon's own; `namespace`: the gateway's."""

    def __init__(self, directory: Path, namespace: str, backend: Backend, deadline: float = DEADLINE) -> None:
        self._directory = directory
        self._namespace = namespace
        self._backend = backend
        self._deadline = deadline
        self._commands: CommandSession | None = None
        self._events: EventSession | None = None

    @property
    def pid(self) -> int:
        """The pid of the process that listens on the socket. Raises CharonAbsent if there is none."""
        return self._connected().pid

    def start(self) -> bool:
        self.detach()
        process.reap()
        if self._adopt():
            return False
        if (self._directory / SOCKET).exists():
            process.terminate(self._leftovers())
        self._prepare()
        try:
            self._wait(self._spawn())
            self._check_plugins()
        except DriverError:
            self.stop()
            raise
        return True

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

        def hand_over(name: str, message: dict[str, Any]) -> None:
            nonlocal attempts
            attempts, events = peer_attempts.read(attempts, name, message, time.time())
            for event in events:
                deliver(event)

        self._events = EventSession(
            self._directory, charon_events.EVENTS, hand_over, lambda: deliver(charon_events.DaemonLost())
        )

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

    def initiate(self, ike: str, child: str) -> None:
        try:
            self._request("initiate", {"ike": ike, "child": child, "timeout": "-1"})
        except CommandRefused as error:
            raise CommandRefused(f"{error}{self._reason_in_log(child)}") from error

    def install(self, ike: str, child: str) -> None:
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

    def loaded(self) -> dict[str, frozenset[str]]:
        messages = self._use(lambda commands: commands.stream("list-conns", "list-conn"))
        return {
            name: frozenset(section.get("children", {})) for message in messages for name, section in message.items()
        }

    def peer_addresses(self) -> dict[str, str]:
        messages = self._use(lambda commands: commands.stream("list-conns", "list-conn"))
        sections = {name: section for message in messages for name, section in message.items()}
        return {
            name: addresses[0]
            for name, section in sections.items()
            if (addresses := _strings(section.get("remote_addrs")))
        }

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        condition = {"ike": ike} if ike else {}
        messages = self._use(lambda commands: commands.stream("list-sas", "list-sa", condition))
        try:
            return tunnel_sas.ike_sas(messages)
        except (ValueError, TypeError, AttributeError) as error:
            raise Unresponsive(f"charon's list of SAs cannot be parsed: {error}") from error

    def ask(self) -> None:
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
        try:
            self._request("terminate", selection | {"force": "yes", "timeout": timeout})
        except CommandRefused:
            return

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
            self._commands = CommandSession(self._directory, self._deadline)
        return self._commands

    def _adopt(self) -> bool:
        """True if a charon runs in this namespace and answers. Raises Unresponsive if it runs and does not answer."""
        try:
            if netns.is_inside(self.pid, self._namespace):
                self.version()
                return True
        except CharonAbsent:
            return False  # none runs, or it ended during the command
        self.stop()  # it runs in a deleted namespace of the same name
        return False

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            _write_if_changed(self._directory / strongswan_conf.FILE, strongswan_conf.render(self._backend))
            if self._backend == "kernel":
                # SAs and policies of an earlier charon would go on encrypting, or let plaintext pass.
                netns.run_inside(self._namespace, _flush_xfrm)
        except (OSError, subprocess.SubprocessError) as error:
            raise DriverError(f"charon's directory or kernel state cannot be prepared: {error}") from error

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self._namespace, *_unconfined(), "charon-systemd"]
        output = os.open(self._directory / "charon.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                command,
                cwd=self._directory,
                env={"PATH": _PATH, "STRONGSWAN_CONF": strongswan_conf.FILE},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            raise DriverError(f"charon cannot be started: {error}") from error
        finally:
            os.close(output)
        process.adopt(child)
        return child

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_DEADLINE
        while time.monotonic() < end:
            if child.poll() is not None:
                raise DriverError(f"charon ended at once: {self._log_tail()}")
            try:
                self._connected()
                break
            except CharonAbsent:
                time.sleep(0.005)
        else:
            raise DriverError(f"charon did not open its socket within {_START_DEADLINE:.0f} s: {self._log_tail()}")
        (self._directory / SOCKET).chmod(0o600)
        self.version()

    def _reason_in_log(self, child: str) -> str:
        """Return what charon logged after the command to initiate a child, outside of any IKE SA, in parentheses.

        VICI only says that it failed.
        """
        try:
            with (self._directory / strongswan_conf.LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_READ))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        _, command, after = text.rpartition(f"vici initiate CHILD_SA '{child}'\n")
        lines = after.splitlines() if command else ()
        found = (match[1] for line in lines if (match := _UNNAMED_LINE.match(line)))
        return next((f" ({line})" for line in found), "")

    def _log_tail(self) -> str:
        lines = []
        for name in (strongswan_conf.LOG, "charon.out"):
            try:
                lines += (self._directory / name).read_text(errors="replace").splitlines()[-1:]
            except OSError:
                continue
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
        return [pid for pid in netns.processes(self._namespace) if _is_charon(pid)]


def _write_if_changed(file: Path, text: str) -> None:
    # On a full disk charon can be started again with the file that it had.
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _is_charon(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.startswith("charon")
    except OSError:
        return False


def _strings(values: Any) -> list[str]:
    return [value.decode(errors="replace") for value in values or ()]


def _flush_xfrm() -> None:
    commands = b"xfrm state flush\nxfrm policy flush\n"
    subprocess.run(["ip", "-batch", "-"], input=commands, check=True, capture_output=True, timeout=DEADLINE)


def _unconfined() -> list[str]:
    """Return the command prefix that disables AppArmor: the packaged profile lets charon read only /etc."""
    try:
        enabled = Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return []
    return ["aa-exec", "-p", "unconfined", "--"] if enabled and shutil.which("aa-exec", path=_PATH) else []
