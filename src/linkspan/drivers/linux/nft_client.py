"""Asks `drivers.linux.nft_server` to run nftables commands in the calling thread's namespace.

One server serves the whole program. It is started for the first request, and again if it has ended.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from linkspan.drivers.linux import nft_server, process

_NAMESPACE: Final = "/proc/thread-self/ns/net"
_lock = threading.Lock()
_connections: dict[tuple[int, int], socket.socket] = {}
"""Workers without a request, by device and inode of their namespace, which exists as long as they do."""
_control: socket.socket | None = None
_pids: deque[int] = deque(maxlen=64)


class _NotBegun(Exception):
    """The worker ended before it had looked at the request."""


def ask(commands: str, flags: int = 0) -> tuple[int, str, str]:
    """Run commands; return libnftables' result (0: done), output and errors. `flags` are those of the output.

    Raises TimeoutError, or OSError if the server cannot be started or ends before it has answered.
    """
    status = os.stat(_NAMESPACE)
    namespace = status.st_dev, status.st_ino
    kept = _take(namespace)
    if kept:
        with suppress(_NotBegun):  # it had lingered long enough
            return _exchange(namespace, kept, commands.encode(), flags)
    try:
        return _exchange(namespace, _connect(), commands.encode(), flags)
    except _NotBegun:
        raise OSError("the nftables server ends at once") from None


def recent_pids() -> tuple[int, ...]:
    """Return the pids of the workers that ran the last commands."""
    return tuple(_pids)


def _exchange(
    namespace: tuple[int, int], connection: socket.socket, commands: bytes, flags: int
) -> tuple[int, str, str]:
    try:
        _send(connection, commands, flags)
        result, *sizes = nft_server.RESULT.unpack(nft_server.receive(connection, nft_server.RESULT.size))
        output, errors = (nft_server.receive(connection, size).decode(errors="replace") for size in sizes)
    except BaseException as error:
        connection.close()
        if isinstance(error, EOFError):
            raise OSError("the nftables server ended while it ran the commands") from None
        raise
    with _lock:
        other = _connections.pop(namespace, None)
        _connections[namespace] = connection
    if other:
        other.close()
    return result, output, errors


def _send(connection: socket.socket, commands: bytes, flags: int) -> None:
    """Send a request, and wait until the worker begins. Raises _NotBegun if it has ended."""
    try:
        connection.sendall(nft_server.REQUEST.pack(flags, len(commands)) + commands)
        (pid,) = nft_server.BEGUN.unpack(nft_server.receive(connection, nft_server.BEGUN.size))
        _pids.append(pid)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise _NotBegun from None


def _take(namespace: tuple[int, int]) -> socket.socket | None:
    """Return the connection to a namespace's worker, if there is one. Closes those whose worker has ended."""
    poll = select.poll()
    with _lock:
        keys = {connection.fileno(): key for key, connection in _connections.items()}
        for descriptor in keys:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            _connections.pop(keys[descriptor]).close()
        return _connections.pop(namespace, None)


def _connect() -> socket.socket:
    """Return a connection to a new worker in the calling thread's namespace."""
    ours, theirs = socket.socketpair()
    ours.settimeout(nft_server.DEADLINE)
    namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _lock:
            _fork([namespace, theirs.fileno()])
    finally:
        os.close(namespace)
        theirs.close()
    return ours


def _fork(descriptors: Sequence[int]) -> None:
    global _control  # one server for the program, under the lock
    if _control:
        try:
            socket.send_fds(_control, [b"."], descriptors)
            return
        except OSError:
            _control.close()
    _control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A session of its own: what a terminal sends to the program's process group must not end it first.
    command = [sys.executable, "-I", "-S", nft_server.__file__]
    process.adopt(subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True))
    theirs.close()
    socket.send_fds(_control, [b"."], descriptors)
