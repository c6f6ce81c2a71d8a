"""Watches the networks of a node's gateways: one thread for all of them, and some sockets for each.

The sockets are inside the namespaces. The bridges' namespace has one, for the ports; an owner mark says whose a port
is. The kernel says when a mount was added or removed, and so when a namespace may have lost its name.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from linkspan.core.state.observed import Backend
from linkspan.drivers.linux import interface_names, kernel_events, netns
from linkspan.drivers.linux.kernel_events import GROUPS, LINKS, NETLINK_ROUTE, NETLINK_XFRM
from linkspan.drivers.ports import DriverError

_GATHERING: Final = 0.02
"""Seconds in which changes are gathered before they are delivered: most come in groups."""
_RECEIVED: Final = 65536
_log = structlog.get_logger("drivers.network_watch")


class _Watched:
    def __init__(self, deliver: Callable[[], None], name: str, inode: int, sockets: dict[int, socket.socket]) -> None:
        self.deliver = deliver
        self.name = name
        self.inode = inode
        self.sockets = sockets


class NetlinkWatch:
    """The `NetworkWatch` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(
        self, instance: str, node: str, backend: Backend, namespace: Callable[[str], str], bridges_in: str
    ) -> None:
        self._owner = instance, node
        self._protocols = [protocol for protocol in GROUPS if protocol != NETLINK_XFRM or backend == "kernel"]
        self._namespace = namespace
        self._bridges_in = bridges_in
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._by_fd: dict[int, tuple[str, int, socket.socket]] = {}
        self._poll: select.epoll | None = None
        self._ports: socket.socket | None = None
        self._mounts = -1

    def watch(self, gateway_id: str, deliver: Callable[[], None]) -> None:
        name = self._namespace(gateway_id)
        self.forget(gateway_id)
        try:
            inode = os.stat(netns.path(name)).st_ino
            sockets = netns.run_inside(name, self._subscribe)
            with self._lock:
                poll = self._poll or self._start()
                self._watched[gateway_id] = _Watched(deliver, name, inode, sockets)
                for protocol, kernel in sockets.items():
                    self._by_fd[kernel.fileno()] = gateway_id, protocol, kernel
                    poll.register(kernel.fileno(), select.EPOLLIN)
        except OSError as error:
            raise DriverError(f"the gateway's network cannot be watched: {error}") from error

    def forget(self, gateway_id: str) -> None:
        with self._lock:
            watched = self._watched.pop(gateway_id, None)
            for kernel in watched.sockets.values() if watched else ():
                del self._by_fd[kernel.fileno()]
                kernel.close()

    def _subscribe(self) -> dict[int, socket.socket]:
        return {protocol: kernel_events.subscribe(protocol, GROUPS[protocol]) for protocol in self._protocols}

    def _start(self) -> select.epoll:
        poll = select.epoll()
        self._ports = netns.run_inside(self._bridges_in, lambda: kernel_events.subscribe(NETLINK_ROUTE, LINKS))
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        poll.register(self._ports.fileno(), select.EPOLLIN)
        poll.register(self._mounts, select.EPOLLPRI)
        self._poll = poll
        threading.Thread(target=self._run, args=(poll,), name="network-watch", daemon=True).start()
        return poll

    # -- on the thread -------------------------------------------------------------------------------------------

    def _run(self, poll: select.epoll) -> None:
        while True:
            ready = [fd for fd, _ in poll.poll()]
            time.sleep(_GATHERING)
            try:
                self._deliver({id for fd in ready for id in self._concerned(fd)})
            except Exception:  # noqa: BLE001 # without this thread changes would be seen much later
                _log.exception("unexpected")

    def _deliver(self, ids: set[str]) -> None:
        for id in ids:
            with self._lock:
                watched = self._watched.get(id)
            if watched:
                watched.deliver()

    def _concerned(self, fd: int) -> set[str]:
        """The gateways that what has happened at a descriptor may be about."""
        with self._lock:
            if fd == self._mounts:
                return {id for id, watched in self._watched.items() if not _has_name(watched)}
            if self._ports and fd == self._ports.fileno():
                return self._owners(self._ports)
            id, protocol, kernel = self._by_fd.get(fd, ("", 0, None))
            return {id} if kernel and _is_changed(protocol, kernel) else set()

    def _owners(self, ports: socket.socket) -> set[str]:
        owners: set[str] = set()
        data: bytes | None = b""
        while (data := _receive(ports)) != b"":
            if data is None:
                return set(self._watched)
            for change in map(kernel_events.link_change, kernel_events.messages(data)):
                mark = interface_names.read_mark(change.alias) if change else None
                if change and mark and mark.gateway and (mark.instance, mark.node) == self._owner:
                    owners.add(mark.gateway)
                elif change and mark and not mark.gateway and mark.instance == self._owner[0] and not change.up:
                    return set(self._watched)  # a bridge is down or gone
        return owners


def _is_changed(protocol: int, kernel: socket.socket) -> bool:
    changed = False
    while (data := _receive(kernel)) != b"":
        if data is None:
            return True
        changed = changed or any(
            kernel_events.is_foreign(protocol, message) for message in kernel_events.messages(data)
        )
    return changed


def _receive(kernel: socket.socket) -> bytes | None:
    """Return what was received, empty if nothing waits, None if messages were lost."""
    try:
        return kernel.recv(_RECEIVED)
    except BlockingIOError:
        return b""
    except OSError:
        return None


def _has_name(watched: _Watched) -> bool:
    try:
        return os.stat(netns.path(watched.name)).st_ino == watched.inode
    except OSError:
        return False
