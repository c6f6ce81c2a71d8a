"""Sessions with a charon that answers nonsense, late, too much or not at all: an error in time, and never more."""

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
    """A listener on the directory's socket that treats each connection so."""
    (directory / "vici").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(directory / "vici"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                with one:
                    try:
                        answer(one)
                    except (OSError, struct.error):
                        continue  # our side has hung up

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def read(one: socket.socket) -> bytes:
    (length,) = struct.unpack("!I", one.recv(4, socket.MSG_WAITALL))
    return one.recv(length, socket.MSG_WAITALL)


def send(one: socket.socket, packet: bytes) -> None:
    one.sendall(struct.pack("!I", len(packet)) + packet)


def response(content: dict[str, Any]) -> bytes:
    return bytes([Packet.CMD_RESPONSE, *Message.serialize(content)])


def event(name: str, content: dict[str, Any]) -> bytes:
    return bytes([Packet.EVENT, len(name), *name.encode(), *Message.serialize(content)])


def test_an_answer(tmp_path: Path) -> None:
    def answer(one: socket.socket) -> None:
        while read(one):
            send(one, response({"version": "5.9.8"}))

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path)
        assert requests.ask("version") == {"version": b"5.9.8"}
        assert requests.ask("version") == {"version": b"5.9.8"}
        requests.close()
        requests.close()


def test_a_refusal_carries_charons_words_and_the_session_goes_on(tmp_path: Path) -> None:
    def answer(one: socket.socket) -> None:
        read(one)
        send(one, response({"success": "no", "errmsg": "invalid value for: proposals"}))
        read(one)
        send(one, response({}))

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path)
        with pytest.raises(CommandRefused, match=r"^invalid value for: proposals$"):
            requests.ask("load-conn")
        assert requests.ask("version") == {}
        requests.close()


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(CharonAbsent):
        CommandSession(tmp_path)
    with pytest.raises(CharonAbsent):
        CommandSession(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "vici"))
    with pytest.raises(CharonAbsent):
        EventSession(tmp_path, ("log",), lambda name, content: None, lambda: None)


def drip(one: socket.socket) -> None:
    """A byte now and then: each read is in time, the answer is not."""
    read(one)
    for byte in struct.pack("!I", 100) + bytes(100):
        one.sendall(bytes([byte]))
        time.sleep(0.05)


def endless(one: socket.socket) -> None:
    """Events for ever, and never the answer."""
    read(one)
    send(one, bytes([Packet.EVENT_CONFIRM]))
    read(one)
    while True:
        send(one, event("list-sa", {"one": {"uniqueid": "1"}}))


def silent(one: socket.socket) -> None:
    while one.recv(65536):
        continue


@pytest.mark.parametrize("answer", [drip, endless, silent])
def test_late_is_an_error_in_time(tmp_path: Path, answer: Answer) -> None:
    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=0.3)
        before = time.monotonic()
        with pytest.raises(Unresponsive, match="did not answer 'list-sas'"):
            requests.list("list-sas", "list-sa")
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
def test_what_makes_no_sense_is_an_error(tmp_path: Path, raw: bytes) -> None:
    def answer(one: socket.socket) -> None:
        read(one)
        one.sendall(raw)

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=1)
        with pytest.raises(Unresponsive):
            requests.ask("version")


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_noise_is_never_more_than_an_error(tmp_path: Path, noise: bytes, framed: bool) -> None:
    def answer(one: socket.socket) -> None:
        read(one)
        one.sendall(struct.pack("!I", len(noise)) + noise if framed else noise)

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=1)
        with suppress(Unresponsive, CommandRefused):
            assert isinstance(requests.ask("version"), dict)
        requests.close()


def test_sections_in_sections_without_end_are_no_danger(tmp_path: Path) -> None:
    deep = bytes([Message.SECTION_START, 1, 65]) * 100_000 + bytes([Message.SECTION_END]) * 100_000

    def answer(one: socket.socket) -> None:
        read(one)
        send(one, bytes([Packet.CMD_RESPONSE]) + deep)

    with serving(tmp_path, answer):
        requests = CommandSession(tmp_path, deadline=5)
        assert set(requests.ask("version")) == {"A"}
        requests.close()


def confirm(one: socket.socket, count: int) -> None:
    for _ in range(count):
        read(one)
        send(one, bytes([Packet.EVENT_CONFIRM]))


def test_events_arrive_also_those_before_the_last_is_registered(tmp_path: Path) -> None:
    def answer(one: socket.socket) -> None:
        confirm(one, 1)
        read(one)
        send(one, event("log", {"msg": "early"}))
        send(one, bytes([Packet.EVENT_CONFIRM]))
        send(one, event("log", {"msg": "late"}))

    seen: list[object] = []
    over = threading.Event()
    with serving(tmp_path, answer):
        events = EventSession(
            tmp_path, ("log", "ike-updown"), lambda name, content: seen.append((name, content)), over.set
        )
        assert over.wait(5)
        events.stop()
    assert seen == [("log", {"msg": b"early"}), ("log", {"msg": b"late"})]


def test_a_receiver_that_fails_does_not_end_the_reading(tmp_path: Path) -> None:
    def answer(one: socket.socket) -> None:
        confirm(one, 1)
        for number in range(3):
            send(one, event("log", {"msg": str(number)}))

    seen: list[object] = []

    def deliver(name: str, content: dict[str, Any]) -> None:
        seen.append(content["msg"])
        raise RuntimeError("the receiver is broken")

    over = threading.Event()
    with serving(tmp_path, answer):
        EventSession(tmp_path, ("log",), deliver, over.set)
        assert over.wait(5)
    assert seen == [b"0", b"1", b"2"]


def test_after_stop_there_is_no_end_to_tell(tmp_path: Path) -> None:
    told: list[str] = []

    def answer(one: socket.socket) -> None:
        confirm(one, 1)
        silent(one)

    with serving(tmp_path, answer):
        events = EventSession(tmp_path, ("log",), lambda name, content: None, lambda: told.append("end"))
        events.stop()
        events.stop()
    assert told == []


def test_an_event_that_charon_does_not_know_is_an_error(tmp_path: Path) -> None:
    def answer(one: socket.socket) -> None:
        read(one)
        send(one, bytes([Packet.EVENT_UNKNOWN]))

    with serving(tmp_path, answer), pytest.raises(Unresponsive, match="knows no event 'nonsense'"):
        EventSession(tmp_path, ("nonsense",), lambda name, content: None, lambda: None)
