"""VICI sessions with a charon that answers malformed, late, endlessly or not at all raise errors in time."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vici.protocol import Message, Packet

from linkspan.drivers.charon.vici import CharonAbsent, CommandRefused, CommandSession, EventSession
from linkspan.drivers.ports import Unresponsive
from tests.harness.examples import examples

Answer = Callable[[socket.socket], None]


@contextmanager
def serving(directory: Path, answer: Answer) -> Iterator[None]:
    """Listen on the directory's socket and handle each connection with `answer`."""
    (directory / "charon.vici").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(directory / "charon.vici"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        answer(connection)
                    except (OSError, struct.error):
                        continue  # the session under test has closed the connection

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def read(connection: socket.socket) -> bytes:
    (length,) = struct.unpack("!I", connection.recv(4, socket.MSG_WAITALL))
    return connection.recv(length, socket.MSG_WAITALL)


def send(connection: socket.socket, packet: bytes) -> None:
    connection.sendall(struct.pack("!I", len(packet)) + packet)


def response(content: dict[str, Any]) -> bytes:
    return bytes([Packet.CMD_RESPONSE, *Message.serialize(content)])


def event(name: str, content: dict[str, Any]) -> bytes:
    return bytes([Packet.EVENT, len(name), *name.encode(), *Message.serialize(content)])


def test_an_answer(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        while read(connection):
            send(connection, response({"version": "5.9.8"}))

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path)
        assert requests.request("version") == {"version": b"5.9.8"}
        assert requests.request("version") == {"version": b"5.9.8"}
        requests.close()
        requests.close()


def test_a_refusal_carries_charons_words_and_the_session_goes_on(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        read(connection)
        send(connection, response({"success": "no", "errmsg": "invalid value for: proposals"}))
        read(connection)
        send(connection, response({}))

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path)
        with pytest.raises(CommandRefused, match=r"^invalid value for: proposals$"):
            requests.request("load-conn")
        assert requests.request("version") == {}
        requests.close()


def test_connecting_fails_without_a_listener(tmp_path: Path) -> None:
    with pytest.raises(CharonAbsent):
        CommandSession(tmp_path)
    with pytest.raises(CharonAbsent):
        CommandSession(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "charon.vici"))
    with pytest.raises(CharonAbsent):
        EventSession(tmp_path, ("log",), lambda name, content: None, lambda: None)


def drip(connection: socket.socket) -> None:
    """Send bytes slowly: each read is in time, the whole answer is not."""
    read(connection)
    for byte in struct.pack("!I", 100) + bytes(100):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    """Send events for ever and never the answer."""
    read(connection)
    send(connection, bytes([Packet.EVENT_CONFIRM]))
    read(connection)
    while True:
        send(connection, event("list-sa", {"one": {"uniqueid": "1"}}))


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        continue


@pytest.mark.parametrize("answer", [drip, endless, silent])
def test_a_late_answer_is_an_error_at_the_deadline(tmp_path: Path, answer: Answer) -> None:
    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=0.3)
        before = time.monotonic()
        with pytest.raises(Unresponsive, match="did not answer 'list-sas'"):
            requests.stream("list-sas", "list-sa")
        assert time.monotonic() - before < 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        struct.pack("!I", 512 * 1024 + 1) + bytes(1000),
        struct.pack("!I", 2**32 - 1),
        struct.pack("!I", 0),
        struct.pack("!I", 1) + bytes([Packet.CMD_UNKNOWN]),
        struct.pack("!I", 1) + bytes([99]),
        struct.pack("!I", 3) + bytes([Packet.CMD_RESPONSE, Message.SECTION_END, 0]),
        struct.pack("!I", 5) + bytes([Packet.CMD_RESPONSE, Message.KEY_VALUE, 200, 65, 65]),
        struct.pack("!I", 4) + bytes([Packet.CMD_RESPONSE, Message.KEY_VALUE, 1, 0xFF]),
        struct.pack("!I", 7) + bytes([Packet.CMD_RESPONSE]) + Message.serialize({"success": "no"})[:6],
    ],
)
def test_a_malformed_answer_is_an_error(tmp_path: Path, raw: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(raw)

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=1)
        with pytest.raises(Unresponsive):
            requests.request("version")


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_raise_only_driver_errors(tmp_path: Path, noise: bytes, framed: bool) -> None:
    def answer(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(struct.pack("!I", len(noise)) + noise if framed else noise)

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=1)
        with suppress(Unresponsive, CommandRefused):
            assert isinstance(requests.request("version"), dict)
        requests.close()


def test_deeply_nested_sections_are_parsed(tmp_path: Path) -> None:
    deep = bytes([Message.SECTION_START, 1, 65]) * 100_000 + bytes([Message.SECTION_END]) * 100_000

    def answer(connection: socket.socket) -> None:
        read(connection)
        send(connection, bytes([Packet.CMD_RESPONSE]) + deep)

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=5)
        assert set(requests.request("version")) == {"A"}
        requests.close()


def confirm(connection: socket.socket, count: int) -> None:
    for _ in range(count):
        read(connection)
        send(connection, bytes([Packet.EVENT_CONFIRM]))


def test_events_during_registration_are_delivered(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        confirm(connection, 1)
        read(connection)
        send(connection, event("log", {"msg": "early"}))
        send(connection, bytes([Packet.EVENT_CONFIRM]))
        send(connection, event("log", {"msg": "late"}))

    seen: list[object] = []
    over = threading.Event()
    with serving(tmp_path, answer):
        events = EventSession(
            tmp_path, ("log", "ike-updown"), lambda name, content: seen.append((name, content)), over.set
        )
        assert over.wait(5)
        events.stop()
    assert seen == [("log", {"msg": b"early"}), ("log", {"msg": b"late"})]


def test_a_failing_receiver_does_not_end_the_stream(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        confirm(connection, 1)
        for number in range(3):
            send(connection, event("log", {"msg": str(number)}))

    seen: list[object] = []

    def deliver(name: str, content: dict[str, Any]) -> None:
        seen.append(content["msg"])
        raise RuntimeError("the receiver is broken")

    over = threading.Event()
    with serving(tmp_path, answer):
        EventSession(tmp_path, ("log",), deliver, over.set)
        assert over.wait(5)
    assert seen == [b"0", b"1", b"2"]


def test_ended_is_not_called_after_stop(tmp_path: Path) -> None:
    ends: list[str] = []

    def answer(connection: socket.socket) -> None:
        confirm(connection, 1)
        silent(connection)

    with serving(tmp_path, answer):
        events = EventSession(tmp_path, ("log",), lambda name, content: None, lambda: ends.append("end"))
        events.stop()
        events.stop()
    assert ends == []


def test_an_unknown_event_is_an_error(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        read(connection)
        send(connection, bytes([Packet.EVENT_UNKNOWN]))

    with serving(tmp_path, answer), pytest.raises(Unresponsive, match="has no event 'nonsense'"):
        EventSession(tmp_path, ("nonsense",), lambda name, content: None, lambda: None)
