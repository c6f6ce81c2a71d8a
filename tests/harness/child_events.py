"""Records in which order a peer's child SAs come up and go down, as its charon reports it over VICI."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from tests.harness.peer import Peer, decoded, vici_session

EVENT = "child-updown"
PAUSE = 0.2


class ChildEvents:
    """Records into `seen` during the `with` block: True for up, by the name of the peer's child. A rekey is neither,
    and when an IKE SA ends, charon reports each of its children."""

    def __init__(self, peer: Peer) -> None:
        self.seen: dict[str, list[bool]] = {}
        self._peer = peer
        self._ready = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10.0)

    def of(self, child: str) -> list[bool]:
        """Return what has happened to the child SAs of a name."""
        return list(self.seen.get(child, ()))

    def _listen(self) -> None:
        with vici_session(self._peer.folder / "vici") as session:
            for event, message in session.listen([EVENT], timeout=PAUSE):
                # Registered by the time that the first event, or none, is there.
                self._ready.set()
                if self._over.is_set():
                    return
                if event is not None:
                    self._record(decoded(message))

    def _record(self, message: dict[str, object]) -> None:
        is_up = message.get("up") == "yes"
        for section in message.values():
            children = section.get("child-sas", {}) if isinstance(section, dict) else {}
            for child in children.values():
                self.seen.setdefault(child["name"], []).append(is_up)
