"""A program in the place of a charon that somebody has broken into: tries everything that a charon must not do.

It is started with `-c` and a JSON object of what to reach, and prints a JSON object: the error of each attempt, empty
if it succeeded. It needs nothing but the standard library, which is in the private root of a charon.
"""

import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNET, NEWUSER, NEWNS = 0x40000000, 0x10000000, 0x20000
PTRACE_SEIZE, MS_BIND = 0x4206, 4096
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
REQUEST_ACK, CREATE, DUMP = 0x5, 0x600, 0x300
IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_NET_NS_PID, IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 3, 5, 18, 19, 37, 46
SYSTEM_CALLS = {
    "x86_64": {"bpf": 321, "keyctl": 250, "io_uring_setup": 425},
    "aarch64": {"bpf": 280, "keyctl": 219, "io_uring_setup": 425},
}


def call(result: int) -> None:
    """Raise OSError if a function of the C library has failed."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def read(path: str) -> None:
    """Read something of a file."""
    with Path(path).open("rb") as file:
        file.read(1)


def write(path: str) -> None:
    """Write a file, and remove it again."""
    Path(path).write_bytes(b"x")
    Path(path).unlink()


def connect(path: str) -> None:
    """Connect to a unix socket."""
    folder = os.open(Path(path).parent, os.O_PATH)  # a path may be too long
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(f"/proc/self/fd/{folder}/{Path(path).name}")


def enter(path: str) -> None:
    """Enter a network namespace, and come back."""
    own, other = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(path, os.O_RDONLY)
    call(LIBC.setns(other, NEWNET))
    call(LIBC.setns(own, NEWNET))


def open_socket(family: int, kind: int, protocol: int) -> None:
    """Open a socket."""
    socket.socket(family, kind, protocol).close()


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a child, which shows whether it failed."""
    child = os.fork()
    if not child:
        with contextlib.suppress(OSError):
            function()
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise PermissionError(1, "failed in a child")


def attribute(number: int, content: bytes) -> bytes:
    """Return an attribute of rtnetlink."""
    return struct.pack("=HH", 4 + len(content), number) + content + bytes(-len(content) % 4)


def link(name: str, kind: str, more: bytes = b"", data: bytes = b"") -> bytes:
    """Return the body of a request for a new link."""
    info = attribute(1, kind.encode()) + (attribute(2, data) if data else b"")
    return bytes(16) + attribute(IFLA_IFNAME, name.encode()) + attribute(IFLA_LINKINFO, info) + more


def netlink(kind: int, flags: int, body: bytes) -> bytes:
    """Send a request to rtnetlink; return the first part of the answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        # Without the check of extended attributes a dump would ignore which namespace is asked for.
        kernel.setsockopt(270, 12, 1)
        kernel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = kernel.recv(65536)
    # NLMSG_ERROR, and NLMSG_DONE, with which a dump that fails begins.
    if struct.unpack_from("=H", answer, 4)[0] in (2, 3) and (code := -struct.unpack_from("=i", answer, 16)[0]):
        raise OSError(code, os.strerror(code))
    return answer


def veth_into(pid: int) -> None:
    """Make a veth with one end in the network namespace of a process."""
    peer = bytes(16) + attribute(IFLA_IFNAME, b"intruder1") + attribute(IFLA_NET_NS_PID, struct.pack("=I", pid))
    netlink(RTM_NEWLINK, REQUEST_ACK | CREATE, link("intruder0", "veth", data=attribute(1, peer)))
    netlink(RTM_DELLINK, REQUEST_ACK, bytes(16) + attribute(IFLA_IFNAME, b"intruder0"))


def macvlan_on(index: int) -> None:
    """Make a macvlan on a link of the namespace with this gateway's other ends of wires."""
    more = attribute(IFLA_LINK, struct.pack("=I", index)) + attribute(IFLA_LINK_NETNSID, struct.pack("=i", 0))
    netlink(RTM_NEWLINK, REQUEST_ACK | CREATE, link("intruder2", "macvlan", more))


def links_elsewhere() -> None:
    """List the links of that namespace."""
    netlink(RTM_GETLINK, 1 | DUMP, bytes(16) + attribute(IFLA_TARGET_NETNSID, struct.pack("=i", 0)))


def delete_elsewhere(index: int) -> None:
    """Delete a link of that namespace."""
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute(IFLA_TARGET_NETNSID, struct.pack("=i", 0))
    netlink(RTM_DELLINK, REQUEST_ACK, body)


def attempts(reach: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Return every attempt by name."""
    tried: dict[str, Callable[[], object]] = {
        f"read {name}": partial(read, path) for name, path in reach["files"].items()
    }
    tried |= {f"connect to {name}": partial(connect, path) for name, path in reach["sockets"].items()}
    tried |= {f"write into {path}": partial(write, f"{path}/intruder") for path in reach["folders"]}
    for name, pid in reach["processes"].items():
        tried |= {f"{file} of {name}": partial(read, f"/proc/{pid}/{file}") for file in ("environ", "cmdline", "maps")}
        tried |= {
            f"memory of {name}": partial(os.open, f"/proc/{pid}/mem", os.O_RDWR),
            f"files of {name}": partial(os.listdir, f"/proc/{pid}/root"),
            f"signal to {name}": partial(os.kill, pid, 0),
            f"namespace of {name}": partial(enter, f"/proc/{pid}/ns/net"),
            f"link into the namespace of {name}": partial(veth_into, pid),
            f"trace {name}": partial(in_child, partial(trace, pid)),
        }
    tried |= {
        "other gateway's namespace": partial(enter, reach["namespace"]),
        "list links elsewhere": links_elsewhere,
        "link on a wire elsewhere": partial(macvlan_on, reach["link"]),
        "delete a link elsewhere": partial(delete_elsewhere, reach["decoy"]),
        "packet socket": partial(open_socket, socket.AF_PACKET, socket.SOCK_RAW, 0),
        "raw socket": partial(open_socket, socket.AF_INET, socket.SOCK_RAW, 1),
        "packet filter": partial(open_socket, socket.AF_NETLINK, socket.SOCK_RAW, 12),
        "mount": partial(in_child, mount),
        "user namespace": partial(in_child, user_namespace),
        "child process": partial(in_child, bool),
        LAST: become_another,
    }
    numbers = SYSTEM_CALLS.get(os.uname().machine, {})
    return tried | {name: partial(passes, number) for name, number in numbers.items()}


def trace(pid: int) -> None:
    """Trace a process, without stopping it."""
    call(LIBC.ptrace(PTRACE_SEIZE, pid, None, None))


def mount() -> None:
    """Make a mount."""
    call(LIBC.unshare(NEWNS))
    call(LIBC.mount(b"/usr", b"/proc", None, MS_BIND, None))


def user_namespace() -> None:
    """Make a user namespace."""
    call(LIBC.unshare(NEWUSER))


def become_another() -> None:
    """Become another program, which prints the results."""
    os.execv("/usr/bin/python3", ["python3", "-c", PASSED_ON, json.dumps(RESULTS)])


def passes(number: int) -> None:
    """Raise OSError if a system call is not even looked at; its arguments are nonsense."""
    if LIBC.syscall(number, -1, 0, 0) < 0 and ctypes.get_errno() == 1:
        raise PermissionError(1, "the system call is refused")


LAST = "another program"
PASSED_ON = f"import json, sys; print(json.dumps(json.loads(sys.argv[1]) | {{'{LAST}': ''}}))"
RESULTS: dict[str, str] = {}


def main() -> None:
    """Try everything, and print the results."""
    tried = attempts(json.loads(sys.argv[1]))
    for name in sorted(tried, key=LAST.__eq__):
        try:
            tried[name]()
            RESULTS[name] = ""
        except Exception as error:
            RESULTS[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(RESULTS))


if __name__ == "__main__":
    main()
