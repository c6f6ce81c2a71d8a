"""Two kinds of VICI sessions over the `vici` package: one that asks, one that listens. They never mix.

A session that has events registered answers requests wrongly now and then, and a command sent while a listing is
being read gets a silently wrong answer (dataplane: the vici package). So requests and events each have a session,
and a listing is always read to its end here. A request that takes longer than its deadline ends its session, since
the package gives up its own time limit after the first byte. What a session hands out is not trusted to make sense:
anything but an answer becomes a `DriverError`.

Use one `Requests` from one thread at a time. `Events` reads on a thread of its own until the stream ends, whatever
the receiver does: a listener that does not read makes charon hang when it is told to end.
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
from typing import Any, Final

import structlog
import vici.exception
import vici.protocol
import vici.session

from linkspan.drivers.charon.vici_messages import ViciMessage
from linkspan.drivers.ports import DriverError, Unresponsive

SOCKET: Final = "vici"
"""The socket's name in charon's directory."""

DEADLINE: Final = 5.0
"""Seconds that a request may take before charon counts as hanging."""

_CHUNK: Final = 65536
_log = structlog.get_logger("drivers.charon.vici")


class CommandRefused(DriverError):
    """charon answered, and the answer is no; the message is charon's own."""


class CharonAbsent(Unresponsive):
    """Nobody listens on the socket."""


class CommandSession:
    """A session for commands. It connects at once; `Absent` if nobody listens."""

    def __init__(self, directory: Path, deadline: float = DEADLINE) -> None:
        self._deadline = deadline
        self._socket = _Socket(directory, deadline)
        self.pid = self._socket.peer()
        self._session = vici.session.Session(self._socket)

    def ask(self, command: str, message: ViciMessage | None = None) -> ViciMessage:
        """One command and its answer. `Refused` with charon's words, `Unresponsive` without a sound one in time."""
        answer: ViciMessage = self._run(command, lambda: self._session.request(command, message))
        return answer

    def list(self, command: str, event: str, message: ViciMessage | None = None) -> list[ViciMessage]:
        """A command that answers with a stream of events, read to its end. Errors as with `ask`."""
        stream: list[ViciMessage] = self._run(
            command, lambda: list(self._session.streamed_request(command, event, message))
        )
        return stream

    def close(self) -> None:
        """End the session. May be called twice."""
        self._socket.close()

    def _run(self, command: str, function: Callable[[], Any]) -> Any:
        self._socket.limit(self._deadline)
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
            # Whatever a broken peer makes the package raise means the same to us.
            self.close()
            raise Unresponsive(f"charon's answer to '{command}' made no sense: {error}") from error


class EventSession:
    """A session for events: registered when the constructor returns, then read on its own thread until it ends.

    `deliver` gets an event's name and content on that thread and has to be quick; `ended` is called once when the
    stream ends without `stop`. `Absent` if nobody listens.
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
        self._transport = vici.protocol.Transport(self._socket)
        early: list[Any] = []
        try:
            for name in names:
                self._register(name, early)
        except Exception as error:
            self._socket.close()
            raise Unresponsive(f"charon does not tell its events: {error}") from error
        self._socket.limit(None)
        self._thread = threading.Thread(target=self._read, args=(early,), name="vici-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the session; nothing is delivered after that. May be called from the receiver and twice."""
        self._stopped = True
        self._socket.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def expect_end(self) -> None:
        """From now on the end of the stream is no news: `ended` is not called. Events still are delivered."""
        self._stopped = True

    def mute(self, name: str) -> None:
        """Have charon not tell one kind of event until `unmute`. What happens meanwhile is never told."""
        self._transport.send(vici.protocol.Packet.unregister_event(name))

    def unmute(self, name: str) -> None:
        """Have charon tell this kind of event again."""
        self._transport.send(vici.protocol.Packet.register_event(name))

    def _register(self, name: str, early: list[Any]) -> None:
        packet = vici.protocol.Packet
        self._transport.send(packet.register_event(name))
        while True:
            answer = packet.parse(self._transport.receive())
            if answer.response_type == packet.EVENT_CONFIRM:
                return
            if answer.response_type != packet.EVENT:
                raise OSError(f"it knows no event '{name}'")
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
        except Exception as error:  # noqa: BLE001 # as in Requests; also how every stream ends
            _log.debug("the event stream ended", error=str(error))
        self._socket.close()
        if not self._stopped:
            self._ended()

    def _hand_over(self, event: Any) -> None:
        content = vici.protocol.Message.deserialize(event.payload)
        try:
            self._deliver(event.event_type.decode(), content)
        except Exception:  # noqa: BLE001 # logged with its traceback
            # The receiver's mistake must not end the reading.
            _log.exception("an event could not be delivered")


class _Socket:
    """What the package takes for a socket: with a deadline over many reads, and a limit to what one read takes."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._end: float | None = None
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._raw.settimeout(seconds)
        # A socket's path has at most 108 bytes; through a descriptor of its directory that length does not matter.
        try:
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._raw.connect(f"/proc/self/fd/{fd}/{SOCKET}")
            finally:
                os.close(fd)
        except OSError as error:
            self._raw.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise CharonAbsent("charon does not run") from error
            raise Unresponsive(f"charon takes no connection: {error.strerror or error}") from error
        self.limit(seconds)

    def peer(self) -> int:
        """The pid of whoever listens (unix(7): SO_PEERCRED)."""
        size = struct.calcsize("3i")
        pid: int = struct.unpack("3i", self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0]
        return pid

    def limit(self, seconds: float | None) -> None:
        """Everything from now on together may take so long; None = for ever."""
        self._end = None if seconds is None else time.monotonic() + seconds

    def sendall(self, data: bytes) -> None:
        self._arm()
        self._raw.sendall(data)

    def recv(self, count: int) -> bytes:
        if count > vici.protocol.Transport.MAX_SEGMENT:
            raise OSError(f"a message of {count} bytes")
        self._arm()
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
        """The package sets limits for single reads; ours is for all of them."""

    def _arm(self) -> None:
        if self._end is None:
            self._raw.settimeout(None)
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._raw.settimeout(left)
