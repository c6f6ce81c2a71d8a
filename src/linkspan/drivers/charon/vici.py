"""VICI sessions over the `vici` package: one kind for commands, one for events.

The package's session returns wrong answers when events are registered on it, or when a command is sent while a
listing is being read. So commands and events have separate sessions, and a listing is always read to its end. A
command that exceeds its deadline closes its session, since the package applies its own timeout only to single reads.
Anything but a well-formed answer becomes a `DriverError`.

Use a `CommandSession` from one thread at a time. An `EventSession` reads on its own thread until the stream ends, even
if its receiver fails: charon hangs at its end while a registered client does not read.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
import vici.exception
import vici.protocol
import vici.session

from linkspan.drivers.charon.strongswan_conf import SOCKET
from linkspan.drivers.charon.vici_messages import ViciMessage
from linkspan.drivers.ports import DriverError, Unresponsive

DEADLINE: Final = 5.0
"""Seconds that a command may take before charon counts as unresponsive."""

_CHUNK: Final = 65536
_log = structlog.get_logger("drivers.charon.vici")


class CommandRefused(DriverError):
    """charon refused a command; the message is charon's own."""


class CharonAbsent(Unresponsive):
    """No process listens on the socket."""


class ListeningProcess(NamedTuple):
    """The process that listens on a socket, as the kernel names it (unix(7), SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


def restrict(directory: Path) -> None:
    """Let only its owner connect to the socket, which charon makes for its group too. Raises OSError."""
    fd = _open(directory)
    try:
        Path(f"/proc/self/fd/{fd}").chmod(0o600)
    finally:
        os.close(fd)


def _open(directory: Path) -> int:
    # charon may put anything into its directory: a link from there leads nowhere.
    return os.open(directory / SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)


class CommandSession:
    """A session for commands with the process `listener`.

    The constructor connects; raises CharonAbsent if no process listens.
    """

    def __init__(self, directory: Path, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._socket = _Socket(directory, deadline)
        self.listener = self._socket.listener()
        self._session = vici.session.Session(self._socket)

    def request(self, command: str, message: ViciMessage | None = None) -> ViciMessage:
        """Send a command and return the answer.

        Raises CommandRefused with charon's message, Unresponsive without a well-formed answer within the deadline.
        """
        answer: ViciMessage = self._run(command, lambda: self._session.request(command, message))
        return answer

    def stream(self, command: str, event: str, message: ViciMessage | None = None) -> list[ViciMessage]:
        """Send a command that streams events, and return all of them. Raises as `request` does."""
        messages: list[ViciMessage] = self._run(
            command, lambda: list(self._session.streamed_request(command, event, message))
        )
        return messages

    def close(self) -> None:
        """Close the session. May be called twice."""
        self._socket.close()

    def _run(self, command: str, function: Callable[[], Any]) -> Any:
        self._socket.set_deadline(self._deadline)
        try:
            return function()
        except vici.exception.CommandException as error:
            raise CommandRefused(str(error).removeprefix("Command failed: ")) from error
        except TimeoutError as error:
            self.close()
            raise Unresponsive(f"charon did not answer '{command}' within {self._deadline:.0f} s") from error
        except ConnectionError as error:
            self.close()
            raise CharonAbsent(f"charon ended before it answered '{command}'") from error
        except Exception as error:
            # The package raises various exceptions on malformed answers; all of them mean the same here.
            self.close()
            raise Unresponsive(f"charon's answer to '{command}' cannot be parsed: {error}") from error


class EventSession:
    """A session for events, registered by the constructor and read on its own thread until the stream ends.

    `deliver` is called on that thread with an event's name and content and must not block; `ended` is called once if
    the stream ends without `stop`. Raises CharonAbsent if no process listens.
    """

    def __init__(
        self,
        directory: Path,
        names: Iterable[str],
        deliver: Callable[[str, ViciMessage], None],
        ended: Callable[[], None],
    ) -> None:
        self._deliver = deliver
        self._ended = ended
        self._stopped = False
        self._socket = _Socket(directory, DEADLINE)
        self.listener = self._socket.listener()
        self._transport = vici.protocol.Transport(self._socket)
        early: list[Any] = []
        try:
            for name in names:
                self._register(name, early)
        except Exception as error:
            self._socket.close()
            raise Unresponsive(f"charon does not deliver its events: {error}") from error
        self._socket.set_deadline(None)
        self._thread = threading.Thread(target=self._read, args=(early,), name="vici-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the session; nothing is delivered after that. May be called from the receiver, and twice."""
        self._stopped = True
        self._socket.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def expect_end(self) -> None:
        """Do not call `ended` when the stream ends. Events are still delivered."""
        self._stopped = True

    def mute(self, name: str) -> None:
        """Unregister one kind of event until `unmute`. Events in between are lost."""
        self._transport.send(vici.protocol.Packet.unregister_event(name))

    def unmute(self, name: str) -> None:
        """Register a muted kind of event again."""
        self._transport.send(vici.protocol.Packet.register_event(name))

    def _register(self, name: str, early: list[Any]) -> None:
        packet = vici.protocol.Packet
        self._transport.send(packet.register_event(name))
        while True:
            answer = packet.parse(self._transport.receive())
            if answer.response_type == packet.EVENT_CONFIRM:
                return
            if answer.response_type != packet.EVENT:
                raise OSError(f"it has no event '{name}'")
            early.append(answer)

    def _read(self, early: list[Any]) -> None:
        packet = vici.protocol.Packet
        try:
            for event in early:
                self._hand_over(event)
            while True:
                answer = packet.parse(self._transport.receive())
                if answer.response_type == packet.EVENT:
                    self._hand_over(answer)
        except Exception as error:  # noqa: BLE001 # as in CommandSession; every stream ends with one
            _log.debug("the event stream ended", error=str(error))
        self._socket.close()
        if not self._stopped:
            self._ended()

    def _hand_over(self, event: Any) -> None:
        content = vici.protocol.Message.deserialize(event.payload)
        try:
            self._deliver(event.event_type.decode(), content)
        except Exception:  # noqa: BLE001 # logged with its traceback
            # An error of the receiver must not end the reading.
            _log.exception("an event could not be delivered")


class _Socket:
    """The socket given to the package, with one deadline for many reads and a limit on the size of a read."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._end: float | None = None
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._raw.settimeout(seconds)
        # A unix socket's path is limited to 108 bytes; connecting through a descriptor avoids that.
        try:
            fd = _open(directory)
            try:
                self._raw.connect(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        except OSError as error:
            self._raw.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise CharonAbsent("charon does not run") from error
            raise Unresponsive(f"charon accepts no connection: {error.strerror or error}") from error
        self.set_deadline(seconds)

    def listener(self) -> ListeningProcess:
        """Return the listening process."""
        size = struct.calcsize("3i")
        return ListeningProcess(*struct.unpack("3i", self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)))

    def set_deadline(self, seconds: float | None) -> None:
        """Limit all further reads and writes together to this time; None: no limit."""
        self._end = None if seconds is None else time.monotonic() + seconds

    def sendall(self, data: bytes) -> None:
        self._apply_deadline()
        self._raw.sendall(data)

    def recv(self, count: int) -> bytes:
        if count > vici.protocol.Transport.MAX_SEGMENT:
            raise OSError(f"a message of {count} bytes")
        self._apply_deadline()
        data = self._raw.recv(min(count, _CHUNK))
        if not data:
            raise ConnectionResetError("charon closed the connection")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it may not be connected any more
            self._raw.shutdown(socket.SHUT_RDWR)
        self._raw.close()

    def gettimeout(self) -> None:
        return None

    def settimeout(self, seconds: float | None) -> None:
        """Ignored: the package sets timeouts for single reads, the deadline covers all of them."""

    def _apply_deadline(self) -> None:
        if self._end is None:
            self._raw.settimeout(None)
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._raw.settimeout(left)
