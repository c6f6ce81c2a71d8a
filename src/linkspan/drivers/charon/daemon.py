"""One gateway's charon: its directory, its process, its commands and its facts.

charon-systemd runs inside the gateway's namespace, outlives the agent, and is found again by its VICI socket: the
kernel tells who listens there, so no pid file can lie. Its directory holds a configuration that is the same text for
every gateway; everything that a user has a say in goes through VICI, pre-shared keys above all. Every command has a
deadline. It refuses to decide anything: whether to start over, initiate or give up is the agent's affair.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import charon_events
from linkspan.core.tunnel import sas as tunnel_sas
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.sas import IkeSa
from linkspan.drivers.charon import strongswan_conf, vici_messages
from linkspan.drivers.charon.vici import DEADLINE, SOCKET, CharonAbsent, CommandRefused, CommandSession, EventSession
from linkspan.drivers.linux import netns, process
from linkspan.drivers.ports import DriverError, Unresponsive

_START_DEADLINE: Final = 15.0
_STOP_DEADLINE: Final = 5.0
_PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

T = TypeVar("T")


class StrongswanCharon:
    """The `Charon` of one gateway; see `drivers.ports`. `directory` is its own, `namespace` the gateway's."""

    def __init__(self, directory: Path, namespace: str, backend: Backend, deadline: float = DEADLINE) -> None:
        self._directory = directory
        self._namespace = namespace
        self._backend = backend
        self._deadline = deadline
        self._requests: CommandSession | None = None
        self._events: EventSession | None = None

    @property
    def pid(self) -> int:
        """The process behind the socket. `Absent` if there is none."""
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
        if self._requests:
            self._requests.close()
        self._events = self._requests = None

    def listen(self, deliver: Callable[[CharonEvent], None]) -> None:
        if self._events:
            self._events.stop()

        def hand_over(name: str, message: dict[str, Any]) -> None:
            for fact in charon_events.from_event(name, message):
                deliver(fact)

        self._events = EventSession(
            self._directory, charon_events.EVENTS, hand_over, lambda: deliver(charon_events.DaemonLost())
        )

    @contextmanager
    def quiet(self) -> Iterator[None]:
        events = self._events
        if events is None:
            yield
            return
        try:
            events.mute("log")
            yield
            events.unmute("log")
        except OSError as error:
            raise Unresponsive(f"charon does not tell its events: {error}") from error

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        if key is not None:
            self._ask("load-shared", vici_messages.load_shared(key))
        self._ask("load-conn", vici_messages.load_conn(config))

    def unload(self, name: str) -> None:
        for names, command, argument in (("get-conns", "unload-conn", "name"), ("get-shared", "unload-shared", "id")):
            answer = self._ask(names)
            if name in _strings(answer.get("conns", answer.get("keys"))):
                self._ask(command, {argument: name})

    def initiate(self, ike: str, child: str) -> None:
        self._ask("initiate", {"ike": ike, "child": child, "timeout": "-1"})

    def install(self, ike: str, child: str) -> None:
        if (ike, child) not in self.traps():
            self._ask("install", {"ike": ike, "child": child})

    def uninstall(self, ike: str, child: str) -> None:
        if (ike, child) in self.traps():
            self._ask("uninstall", {"ike": ike, "child": child})

    def traps(self) -> frozenset[tuple[str, str]]:
        messages = self._use(lambda requests: requests.list("list-policies", "list-policy", {"trap": "yes"}))
        return frozenset(
            (section["ike"].decode(), section["child"].decode()) for message in messages for section in message.values()
        )

    def terminate_sa(self, unique_id: int, *, dead: bool = False) -> None:
        self._terminate({"ike-id": str(unique_id)}, "-1" if dead else "1000")

    def terminate_child(self, unique_id: int) -> None:
        self._terminate({"child-id": str(unique_id)})

    def rekey(self, unique_id: int) -> None:
        self._ask("rekey", {"child-id": str(unique_id)})

    def loaded(self) -> dict[str, frozenset[str]]:
        messages = self._use(lambda requests: requests.list("list-conns", "list-conn"))
        return {
            name: frozenset(section.get("children", {})) for message in messages for name, section in message.items()
        }

    def remotes(self) -> dict[str, str]:
        messages = self._use(lambda requests: requests.list("list-conns", "list-conn"))
        sections = {name: section for message in messages for name, section in message.items()}
        return {
            name: addresses[0] for name, one in sections.items() if (addresses := _strings(one.get("remote_addrs")))
        }

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        only = {"ike": ike} if ike else {}
        messages = self._use(lambda requests: requests.list("list-sas", "list-sa", only))
        try:
            return tunnel_sas.ike_sas(messages)
        except (ValueError, TypeError, AttributeError) as error:
            raise Unresponsive(f"charon's list of SAs made no sense: {error}") from error

    def version(self) -> str:
        """charon's own version, as `5.9.8`."""
        return str(self._ask("version")["version"].decode())

    def _terminate(self, what: dict[str, str], timeout: str = "1000") -> None:
        # Its answer says little: "no matching SAs" is what was wanted, and it has been an error with the SA gone.
        try:
            self._ask("terminate", what | {"force": "yes", "timeout": timeout})
        except CommandRefused:
            return

    def _ask(self, command: str, message: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._use(lambda requests: requests.ask(command, message))

    def _use(self, function: Callable[[CommandSession], T]) -> T:
        try:
            return function(self._connected())
        except Unresponsive:
            self._requests = None
            raise

    def _connected(self) -> CommandSession:
        if self._requests is None:
            self._requests = CommandSession(self._directory, self._deadline)
        return self._requests

    def _adopt(self) -> bool:
        """Whether one runs and answers, in this namespace. `Unresponsive` if it runs and does not answer."""
        try:
            if netns.is_inside(self.pid, self._namespace):
                self.version()
                return True
        except CharonAbsent:
            return False  # there is none, or it ended while it was asked
        self.stop()  # of a namespace that had this name before
        return False

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            (self._directory / strongswan_conf.FILE).write_text(strongswan_conf.render(self._backend))
            if self._backend == "kernel":
                # States that outlive their charon would go on encrypting, or lose their policies and let go.
                netns.run_inside(self._namespace, _flush_xfrm)
        except (OSError, subprocess.SubprocessError) as error:
            raise DriverError(f"charon cannot be prepared: {error}") from error

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
                raise DriverError(f"charon ended at once: {self._last_words()}")
            try:
                self._connected()
                break
            except CharonAbsent:
                time.sleep(0.005)
        else:
            raise DriverError(f"charon did not open its socket within {_START_DEADLINE:.0f} s: {self._last_words()}")
        (self._directory / SOCKET).chmod(0o600)
        self.version()

    def _last_words(self) -> str:
        lines = []
        for name in (strongswan_conf.LOG, "charon.out"):
            try:
                lines += (self._directory / name).read_text(errors="replace").splitlines()[-1:]
            except OSError:
                continue
        return " / ".join(lines) or "it said nothing"

    def _check_plugins(self) -> None:
        loaded = frozenset(_strings(self._ask("stats").get("plugins")))
        if extra := loaded - strongswan_conf.allowed_plugins(self._backend):
            raise DriverError(f"charon loaded plugins that it may not: {', '.join(sorted(extra))}")
        if missing := strongswan_conf.required_plugins(self._backend) - loaded:
            raise DriverError(
                f"charon lacks the plugins {', '.join(sorted(missing))}: "
                "install libcharon-extra-plugins and libstrongswan-extra-plugins"
            )

    def _leftovers(self) -> list[int]:
        """charons in the namespace that do not answer on the socket; only needed after something went wrong."""
        return [pid for pid in netns.processes(self._namespace) if _is_charon(pid)]


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
    """The distributions' AppArmor profile lets charon read its configuration in /etc only."""
    try:
        on = Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return []
    return ["aa-exec", "-p", "unconfined", "--"] if on and shutil.which("aa-exec", path=_PATH) else []
