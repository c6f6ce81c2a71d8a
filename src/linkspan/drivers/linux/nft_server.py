"""Runs nftables commands in network namespaces: the program that `drivers.linux.nft` starts and asks.

libnftables has a process of its own, because its crash must not end the agent. After a change the kernel lets the close
of a netlink socket wait for a grace period, 10 ms and more, and each nft(8) closes one. So one worker per namespace
keeps its socket, and closes it LINGER seconds after its last command, when there is nothing left to wait for.

The server reads from its standard input, a socket, a message of one byte with two descriptors: a network namespace and
a connection. It forks a worker for them, which shares the server's memory. A request on the connection has the
output's flags and the commands; the answer has the worker's pid when it begins, then the result of
nft_run_cmd_from_buffer (libnftables(3)), its output and its errors. Everything ends when the asking process does.

The file imports nothing but the standard library: it is run without the site-packages.
"""

import ctypes
import os
import select
import signal
import socket
import struct
import traceback

DEADLINE = 10
"""Seconds for a request; a worker that takes longer ends."""
LINGER = 2.0
REQUEST = struct.Struct("!II")
"""Flags, number of bytes of the commands that follow."""
RESULT = struct.Struct("!iII")
"""Result, number of bytes of the output and of the errors that follow."""
BEGUN = struct.Struct("!I")
"""The worker's pid."""
NUMERIC_JSON = 1 << 4 | 0b1111 << 7
"""NFT_CTX_OUTPUT_JSON and NFT_CTX_OUTPUT_NUMERIC_ALL (nftables/libnftables.h)."""

_CLONE_NEWNET = 0x40000000


def receive(connection: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes. Raises EOFError if the other end closes before."""
    parts = []
    while size:
        part = connection.recv(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main() -> None:
    """Fork a worker for each message on standard input, until its other end is closed."""
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    for function in (library.nft_ctx_get_output_buffer, library.nft_ctx_get_error_buffer):
        function.restype = ctypes.c_char_p
    # The program starts it from a thread that is inside a namespace, where it must not stay.
    _enter(os.open(f"/proc/{os.getppid()}/ns/net", os.O_RDONLY))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _work(library, descriptors[0], socket.socket(fileno=descriptors[1]))
        for descriptor in descriptors:
            os.close(descriptor)


def _work(library: ctypes.CDLL, namespace: int, connection: socket.socket) -> None:
    """Answer requests in a namespace; ends the process."""
    try:
        _enter(namespace)
        context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        while select.select([connection], [], [], LINGER)[0]:
            _answer(library, context, connection)
    except (EOFError, ConnectionError):
        pass  # nobody asks any more
    except Exception:  # noqa: BLE001 # the finally clause would swallow it without a word
        traceback.print_exc()
    finally:
        os._exit(0)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None).setns(namespace, _CLONE_NEWNET):
        raise OSError("the namespace cannot be entered")
    os.close(namespace)


def _answer(library: ctypes.CDLL, context: ctypes.c_void_p, connection: socket.socket) -> None:
    flags, size = REQUEST.unpack(receive(connection, REQUEST.size))
    commands = receive(connection, size)
    signal.alarm(DEADLINE)
    connection.sendall(BEGUN.pack(os.getpid()))
    library.nft_ctx_output_set_flags(context, flags)
    result = library.nft_run_cmd_from_buffer(context, commands)
    output = library.nft_ctx_get_output_buffer(context) or b""
    errors = library.nft_ctx_get_error_buffer(context) or b""
    connection.sendall(RESULT.pack(result, len(output), len(errors)) + output + errors)
    signal.alarm(0)


if __name__ == "__main__":
    main()
