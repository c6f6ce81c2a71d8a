"""Signs that peers are not there: one thread reads the ICMP errors about what all gateways of a node have sent.

Anybody can send such errors, as many as they like. So each gateway's are read a few times a second at most, and the
kernel keeps few of them meanwhile.
"""

from __future__ import annotations

import heapq
import select
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from linkspan.drivers.gateway.icmp_errors import IcmpError, IcmpErrors
from linkspan.drivers.linux import netns
from linkspan.drivers.ports import DriverError

PAUSE: Final = 0.25
"""Seconds between two readings of one gateway's errors."""
_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT
_log = structlog.get_logger("drivers.peer_signs")


class _Watched:
    def __init__(self, errors: IcmpErrors, deliver: Callable[[frozenset[str]], None]) -> None:
        self.errors = errors
        self.deliver = deliver


class IcmpPeerSigns:
    """The `PeerSigns` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, namespace: Callable[[str], str]) -> None:
        self._namespace = namespace
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._by_fd: dict[int, _Watched] = {}
        self._poll: select.epoll | None = None

    def watch(self, gateway_id: str, deliver: Callable[[frozenset[str]], None]) -> None:
        self.forget(gateway_id)
        try:
            errors = netns.run_inside(self._namespace(gateway_id), IcmpErrors)
        except OSError as error:
            raise DriverError(f"ICMP errors about the gateway's peers cannot be read: {error}") from error
        with self._lock:
            poll = self._poll or self._start()
            watched = self._watched[gateway_id] = _Watched(errors, deliver)
            for fd in errors.descriptors():
                self._by_fd[fd] = watched
                poll.register(fd, _ONCE)

    def forget(self, gateway_id: str) -> None:
        with self._lock:
            if watched := self._watched.pop(gateway_id, None):
                for fd in watched.errors.descriptors():
                    del self._by_fd[fd]
                watched.errors.close()

    def about(self, gateway_id: str, peer: str) -> IcmpError | None:
        """Return the newest error about a peer, if there was one lately."""
        with self._lock:
            watched = self._watched.get(gateway_id)
            return watched.errors.about(peer) if watched else None

    def _start(self) -> select.epoll:
        self._poll = select.epoll()
        threading.Thread(target=self._run, args=(self._poll,), name="peer-signs", daemon=True).start()
        return self._poll

    # -- on the thread -------------------------------------------------------------------------------------------

    def _run(self, poll: select.epoll) -> None:
        paused: list[tuple[float, int, _Watched]] = []
        while True:
            ready = [fd for fd, _ in poll.poll(max(0.0, paused[0][0] - time.monotonic()) if paused else None)]
            try:
                for fd in ready:
                    if watched := self._read(fd):
                        heapq.heappush(paused, (time.monotonic() + PAUSE, fd, watched))
                while paused and paused[0][0] <= time.monotonic():
                    self._resume(poll, *heapq.heappop(paused)[1:])
            except Exception:  # noqa: BLE001 # without this thread dead peers would be noticed later
                _log.exception("unexpected")

    def _read(self, fd: int) -> _Watched | None:
        """Deliver the peers that errors are about. Returns whose they are, None if that is watched no more."""
        with self._lock:
            watched = self._by_fd.get(fd)
            peers = watched.errors.read() if watched else frozenset()
        if watched and peers:
            watched.deliver(peers)
        return watched

    def _resume(self, poll: select.epoll, fd: int, watched: _Watched) -> None:
        with self._lock:
            if self._by_fd.get(fd) is watched:
                poll.modify(fd, _ONCE)
