"""The program of a probe: sends IKE messages and echo requests from a gateway's namespace, and prints what came back.

It runs alone, as text, with the standard library only (`drivers.gateway.prober`): its sockets are opened with the
rights of root, which are gone before it reads what strangers send. Sockets are connected, so that the kernel delivers
only packets of the one address that is probed; ICMP errors come from the error queue (ip(7), IP_RECVERR).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

ATTEMPTS = (0.0, 0.4, 0.9)
"""Seconds after which an IKE message is sent, if none was answered."""
LISTENING = 3.3
"""Seconds for which the first packets are waited for: until the kernel gives up an address without a host."""
ECHOES, PACE = 3, 0.1
"""Echo requests that are not about size, and seconds between them."""
ROUNDS = 4
WAIT = (0.3, 0.8)
"""Seconds for which the packets of one round of the search are waited for: at least, at most."""
USUAL = (1492, 1480, 1472, 1460, 1450, 1438, 1420, 1400, 1380, 1350, 1300, 1280, 1200, 1000, 576)
SMALL = 84
"""Bytes of an echo request that is not about size."""
PIECES = 8

_ERROR_QUEUE = 0x2000
_BIND_TO_DEVICE = 25
_PROBE = 3
# Level, option of the error queue, option of the path MTU discovery.
_OPTIONS = {4: (socket.IPPROTO_IP, 11, 10), 6: (socket.IPPROTO_IPV6, 25, 23)}
_HEADER = {4: 20, 6: 40}
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_UNREACHABLE = {
    4: {0: "network unreachable", 1: "host unreachable", 3: "port closed", **dict.fromkeys((9, 10, 13), "filtered")},
    6: {0: "no route", 1: "filtered", 3: "address unreachable", 4: "port closed", 5: "filtered", 6: "filtered"},
}
_CLOSED = "port closed"


class ProbeSocket:
    """A connected socket, and what came back to it. `state`: as in `core.state.probes`."""

    def __init__(self, kind: int, protocol: int, source: str, port: int, target: str, to: int, device: str) -> None:
        self.version = ipaddress.ip_address(target).version
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        self.socket = socket.socket(family, kind, protocol)
        self.state, self.note, self.reporter = "silent", "", ""
        self.next_hop_mtu = 0
        level, errors, discovery = _OPTIONS[self.version]
        self.socket.setsockopt(level, errors, 1)
        self.socket.setsockopt(level, discovery, _PROBE)
        if device:
            self.socket.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, device.encode())
        self.socket.bind((source, port))
        self.socket.setblocking(False)
        self._to = (target, to)
        self._connected = False

    def send(self, data: bytes) -> bool:
        """Send a packet; whether it went out."""
        try:
            if not self._connected:
                self.socket.connect(self._to)
                self._connected = True
            self.socket.send(data)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return False
            self.read_errors()
            if self.state == "silent":
                self.state = "not sent" if error.errno in (errno.EPERM, errno.EACCES) else "unreachable"
                self.note = os.strerror(error.errno or 0).lower()
            return False
        return True

    def receive(self) -> bytes:
        """The next packet; empty if there is none."""
        try:
            return self.socket.recv(65_536)
        except OSError:
            self.read_errors()
            return b""

    def read_errors(self) -> None:
        """Take what ICMP errors say from the error queue."""
        while True:
            try:
                _, ancillary, _, _ = self.socket.recvmsg(512, 512, _ERROR_QUEUE)
            except OSError:
                return
            for _, _, data in ancillary:
                self._take_error(data)

    def _take_error(self, data: bytes) -> None:
        if len(data) < 16:
            return
        number, origin, kind, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
        if number == errno.EMSGSIZE:
            self.next_hop_mtu = info if origin != 1 else self.next_hop_mtu
            return
        if origin in (2, 3) and self.state in ("silent", "refused", "unreachable"):
            unreachable = {4: 3, 6: 1}[self.version]
            words = _UNREACHABLE[self.version].get(code, f"code {code}") if kind == unreachable else "time exceeded"
            self.state, self.note = ("refused" if words == _CLOSED else "unreachable"), words
            self.reporter = _address(data[16:])


def _address(data: bytes) -> str:
    family = int.from_bytes(data[:2], "little" if struct.pack("=H", 1)[0] else "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(family, data[4:8])
    return socket.inet_ntop(family, data[8:24]) if family == socket.AF_INET6 else ""


class PortSocket(ProbeSocket):
    """IKE messages to one port. `messages`: each with the SPI that its answer has; `marker`: what they begin with."""

    def __init__(self, plan: Mapping[str, Any], port: int, sources: Iterable[int]) -> None:
        for source in sources:
            try:
                kind = socket.SOCK_DGRAM
                super().__init__(kind, 0, plan["source"], source, plan["peer"], port, "")
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        else:
            raise OSError(errno.EADDRINUSE, "every source port of probes is in use")
        self.port = port
        self.answer, self.milliseconds = "", -1.0
        part = plan["messages"][str(port)]
        self.marker = bytes.fromhex(part["marker"])
        self.messages = [(bytes.fromhex(spi), bytes.fromhex(message)) for spi, message in part["messages"]]
        self._sent: dict[bytes, float] = {}

    def attempt(self, number: int) -> None:
        """Send one of the messages."""
        if self.state == "silent":
            spi, message = self.messages[number]
            self._sent[spi] = time.monotonic()
            self.send(self.marker + message)

    def take(self) -> None:
        """Take what came back."""
        while packet := self.receive():
            answer = packet[len(self.marker) :] if packet.startswith(self.marker) else b""
            began = self._sent.get(answer[:8])
            if began is not None and len(answer) >= 28:
                self.state, self.note, self.reporter = "answered", "", ""
                self.milliseconds = (time.monotonic() - began) * 1000
                self.answer = answer[:256].hex()

    def result(self) -> dict[str, Any]:
        """Returns what came back, for the driver."""
        return {
            "port": self.port,
            "state": self.state,
            "milliseconds": self.milliseconds,
            "note": self.note,
            "reporter": self.reporter,
            "answer": self.answer,
        }


class EchoSocket(ProbeSocket):
    """Echo requests to one address, none of which may be fragmented; then the search for the largest that passes."""

    def __init__(self, source: str, target: str, limit: int, device: str) -> None:
        version = ipaddress.ip_address(target).version
        protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
        super().__init__(socket.SOCK_RAW, protocol, source, 0, target, 0, device)
        self.source, self.target, self.limit = source, target, limit
        self._id = int.from_bytes(os.urandom(2), "big")
        self._sent: dict[int, tuple[int, float]] = {}
        self._numbers = 0
        self.sent = self.received = 0
        self.best = -1.0
        self.passed, self.fails = 0, limit + 1
        self._tried: set[int] = set()

    def attempt(self) -> None:
        """Send a small request."""
        if self.state in ("silent", "answered"):
            self.sent += self.request(SMALL)

    def request(self, size: int) -> bool:
        """Send a request of so many bytes, IP header included; whether it went out."""
        self._numbers += 1
        head = struct.pack("!BBHHH", _REQUEST[self.version], 0, 0, self._id, self._numbers)
        data = bytes(size - _HEADER[self.version] - len(head))
        if self.version == 4:
            head = head[:2] + struct.pack("!H", _checksum(head + data)) + head[4:]
        self._sent[self._numbers] = (size, time.monotonic())
        return self.send(head + data)

    def take(self) -> None:
        """Take what came back."""
        while packet := self.receive():
            message = packet[(packet[0] & 15) * 4 :] if self.version == 4 else packet
            if len(message) < 8 or message[0] != _REPLY[self.version]:
                continue
            identifier, number = struct.unpack_from("!HH", message, 4)
            size, began = self._sent.pop(number, (0, 0.0)) if identifier == self._id else (0, 0.0)
            if not size:
                continue
            took = (time.monotonic() - began) * 1000
            self.state, self.note, self.reporter = "answered", "", ""
            self.received += size == SMALL
            self.best = took if self.best < 0 else min(self.best, took)
            self.passed = max(self.passed, size)

    @property
    def is_answered(self) -> bool:
        """True once nothing more can come back to the small requests."""
        return self.state in ("not sent", "unreachable") or self.received == ECHOES

    @property
    def is_searching(self) -> bool:
        """True while a size may pass that is larger than those that have passed."""
        return self.state == "answered" and self.passed + 1 < self.fails

    def sizes(self, number: int) -> list[int]:
        """The sizes to try in a round of the search."""
        if number == 0:
            return [self.limit, *(size for size in USUAL if self.passed < size < self.limit)]
        step = max(1, (self.fails - self.passed) // (PIECES + 1))
        # The one that seems too large is tried again: it may have been lost.
        return [self.fails, *range(self.passed + step, self.fails, step)][: 2 * PIECES]

    def failed(self, sizes: Iterable[int]) -> None:
        """Conclude a round: of these sizes the smallest that has not passed is too large."""
        self._tried.update(sizes)
        self.fails = min((size for size in self._tried if size > self.passed), default=self.limit + 1)

    def result(self) -> dict[str, Any]:
        """Returns what came back, for the driver."""
        return {
            "source": self.source,
            "target": self.target,
            "state": self.state,
            "sent": self.sent,
            "received": min(self.received, self.sent),
            "milliseconds": self.best,
            "note": self.note,
            "reporter": self.reporter,
            "passes": self.passed if self.state == "answered" else 0,
            "limit": self.limit,
            "next_hop_mtu": self.next_hop_mtu,
        }


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


Sockets = tuple[list[PortSocket], list[tuple[str, EchoSocket]]]


def opened(plan: Mapping[str, Any]) -> Sockets:
    """The sockets of a plan. Raises OSError."""
    sources = sorted(plan["source_ports"], key=lambda _: os.urandom(2))
    ports = [PortSocket(plan, int(port), sources) for port in plan["messages"]]
    echoes = [
        (name, EchoSocket(part["source"], part["target"], part["limit"], part["device"]))
        for name, part in plan["echoes"].items()
    ]
    return ports, echoes


def run(probes: Sockets) -> dict[str, Any]:
    """Send, wait, search; return what came back."""
    ports, echoes = probes
    begun = time.monotonic()
    due: list[tuple[float, Callable[..., None], tuple[int, ...]]] = [
        (at, port.attempt, (number,)) for port in ports for number, at in enumerate(ATTEMPTS)
    ]
    due += [(PACE * number, echo.attempt, ()) for _, echo in echoes for number in range(ECHOES)]
    due.sort(key=lambda item: item[0])
    sockets: list[PortSocket | EchoSocket] = [*ports, *(echo for _, echo in echoes)]

    def is_over() -> bool:
        return all(port.state != "silent" for port in ports) and all(echo.is_answered for _, echo in echoes)

    while (passed := time.monotonic() - begun) < LISTENING and not is_over():
        while due and due[0][0] <= passed:
            _, function, arguments = due.pop(0)
            function(*arguments)
        listen(sockets, min(LISTENING - passed, due[0][0] - passed if due else LISTENING))
    for number in range(ROUNDS):
        searching = [echo for _, echo in echoes if echo.is_searching]
        if not searching:
            break
        search(searching, number)
    return {"ports": [port.result() for port in ports], "echoes": {name: echo.result() for name, echo in echoes}}


def search(echoes: list[EchoSocket], number: int) -> None:
    """One round of the search for the largest packet. Each size is sent twice, since one may be lost."""
    tried = [(echo, echo.sizes(number)) for echo in echoes]
    end = time.monotonic() + max(min(max(4 * echo.best / 1000 for echo in echoes), WAIT[1]), WAIT[0])
    for _ in range(2):
        for echo, sizes in tried:
            for size in sizes:
                if size > echo.passed:
                    echo.request(size)
            listen(echoes, 0.02)
    while (left := end - time.monotonic()) > 0 and any(echo.passed < max(sizes, default=0) for echo, sizes in tried):
        listen(echoes, left)
    for echo, sizes in tried:
        echo.failed(sizes)


def listen(probes: Iterable[PortSocket | EchoSocket], seconds: float) -> None:
    """Wait for packets for so long at most, and take them."""
    by_number = {probe.socket.fileno(): probe for probe in probes}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    for number, _ in poll.poll(max(0.0, seconds) * 1000):
        by_number[number].take()
        by_number[number].read_errors()
