"""VICI sessions: one kind for commands, one for events.

An answer carries nothing that tells which request it is for. So commands and events have separate sessions, a listing
is always read to its end, and a command that exceeds its deadline closes its session. Anything but a well-formed answer
becomes a `DriverError`.

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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import structlog

from linkspan.drivers.charon import vici_packets
from linkspan.drivers.charon.strongswan_conf import SOCKET
from linkspan.drivers.charon.vici_packets import Received, ViciMessage
from linkspan.drivers.ports import DriverError, Unresponsive

DEADLINE: Final = 5.0
"""Seconds that a command may take before charon counts as unresponsive."""

_CHUNK: Final = 65536
T = TypeVar("T")
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

    def request(self, command: str, message: ViciMessage | None = None) -> ViciMessage:
        """Send a command and return the answer.

        Raises CommandRefused with charon's message, Unresponsive without a well-formed answer within the deadline.
        """
        return self._run(command, lambda: self._request(command, message))

    def stream(self, command: str, event: str, message: ViciMessage | None = None) -> list[ViciMessage]:
        """Send a command that streams events, and return all of them. Raises as `request` does."""
        return self._run(command, lambda: self._stream(command, event, message))

    def close(self) -> None:
        """Close the session. May be called twice."""
        self._socket.close()

    def _request(self, command: str, message: ViciMessage | None) -> ViciMessage:
        self._socket.send(vici_packets.request(command, message))
        _, received = self._socket.answer()
        return _answer(received)

    def _stream(self, command: str, event: str, message: ViciMessage | None) -> list[ViciMessage]:
        # charon takes one packet after another. To wait for each answer takes the interpreter's lock as often.
        register, unregister = vici_packets.register(event), vici_packets.unregister(event)
        self._socket.send(register, vici_packets.request(command, message), unregister)
        self._confirm()
        events, received = self._socket.answer()
        messages = [vici_packets.decode(one.message) for one in events]
        self._confirm()
        _answer(received)
        return messages

    def _confirm(self) -> None:
        _, received = self._socket.answer()
        if received.type != vici_packets.CONFIRMED:
            raise ValueError(f"an answer of type {received.type}")

    def _run(self, command: str, function: Callable[[], T]) -> T:
        self._socket.set_deadline(self._deadline)
        try:
            return function()
        except CommandRefused:
            raise
        except TimeoutError as error:
            self.close()
            raise Unresponsive(f"charon did not answer '{command}' within {self._deadline:.0f} s") from error
        except ConnectionError as error:
            self.close()
            raise CharonAbsent(f"charon ended before it answered '{command}'") from error
        except (OSError, ValueError) as error:
            self.close()
            raise Unresponsive(f"charon's answer to '{command}' cannot be parsed: {error}") from error


def _answer(received: Received) -> ViciMessage:
    """Return the answer of a command. Raises CommandRefused with charon's words, ValueError if it is none."""
    if received.type != vici_packets.ANSWER:
        raise ValueError(f"an answer of type {received.type}")
    answer = vici_packets.decode(received.message)
    if answer.get("success", b"yes") != b"yes":
        words = answer.get("errmsg", b"")
        raise CommandRefused(words.decode(errors="replace") if isinstance(words, bytes) else "")
    return answer


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
        try:
            early = self._register(tuple(names))
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
        self._socket.send(vici_packets.unregister(name))

    def unmute(self, name: str) -> None:
        """Register a muted kind of event again."""
        self._socket.send(vici_packets.register(name))

    def _register(self, names: Sequence[str]) -> list[Received]:
        """Register events; return those that have happened meanwhile."""
        self._socket.send(*map(vici_packets.register, names))
        early: list[Received] = []
        for name in names:
            events, received = self._socket.answer()
            if received.type != vici_packets.CONFIRMED:
                raise OSError(f"it has no event '{name}'")
            early += events
        return early

    def _read(self, early: list[Received]) -> None:
        try:
            for received in early:
                self._hand_over(received)
            while True:
                received = self._socket.receive()
                if received.type == vici_packets.EVENT:
                    self._hand_over(received)
        except Exception as error:  # noqa: BLE001 # every stream ends with an error, of whatever kind
            _log.debug("the event stream ended", error=str(error))
        self._socket.close()
        if not self._stopped:
            self._ended()

    def _hand_over(self, received: Received) -> None:
        content = vici_packets.decode(received.message)
        try:
            self._deliver(received.event, content)
        except Exception:  # noqa: BLE001 # logged with its traceback
            # An error of the receiver must not end the reading.
            _log.exception("an event could not be delivered")


class _Socket:
    """Packets over charon's socket, with one deadline for many of them and a limit on the size of each."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._end: float | None = None
        self._read = bytearray()
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

    def send(self, *packets: bytes) -> None:
        """Send packets, which charon answers in this order. Raises OSError."""
        self._apply_deadline()
        self._raw.sendall(b"".join(vici_packets.HEADER.pack(len(packet)) + packet for packet in packets))

    def answer(self) -> tuple[list[Received], Received]:
        """Return the events that arrive before the next answer, and the answer. Raises as `receive` does."""
        events: list[Received] = []
        while (received := self.receive()).type == vici_packets.EVENT:
            events.append(received)
        return events, received

    def receive(self) -> Received:
        """Return the next packet. Raises OSError, ValueError if it is malformed."""
        header = vici_packets.HEADER.size
        self._fill(header)
        (size,) = vici_packets.HEADER.unpack_from(self._read)
        if size > vici_packets.MAX_SIZE:
            raise ValueError(f"a packet of {size} bytes")
        self._fill(header + size)
        packet = bytes(self._read[header : header + size])
        del self._read[: header + size]
        return vici_packets.parse(packet)

    def _fill(self, size: int) -> None:
        while len(self._read) < size:
            self._apply_deadline()
            data = self._raw.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("charon closed the connection")
            self._read += data

    def close(self) -> None:
        """Close the socket. May be called twice."""
        with contextlib.suppress(OSError):  # it may not be connected any more
            self._raw.shutdown(socket.SHUT_RDWR)
        self._raw.close()

    def _apply_deadline(self) -> None:
        if self._end is None:
            self._raw.settimeout(None)
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._raw.settimeout(left)
