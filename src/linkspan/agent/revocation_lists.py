"""The revocation lists of one gateway: those of the desired state, and those that are fetched from the URLs of anchors.

charon takes any list without a look at its signature or number, and it would fetch from whatever URL stands in the
certificate of a peer. So it fetches nothing, and is given only what was checked here. Used only on the thread of the
gateway's worker; what was fetched arrives as messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from linkspan.agent import x509
from linkspan.agent.x509 import RevocationList
from linkspan.core.ipsec import crl_schedule
from linkspan.core.ipsec.crl_schedule import Fetched, FetchState
from linkspan.core.state.credentials import TrustAnchor
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel.tunnel import Tunnels
from linkspan.drivers.ports import Fetcher


class RevocationLists:
    """`deliver` takes what was fetched, on any thread; `now` gives seconds since the epoch."""

    def __init__(
        self,
        gateway_id: str,
        fetcher: Fetcher,
        deliver: Callable[[Fetched], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._gateway_id = gateway_id
        self._fetcher = fetcher
        self._deliver = deliver
        self._now = now
        self._log = structlog.get_logger("agent.revocation").bind(gateway=gateway_id)
        self._anchors: dict[str, TrustAnchor] = {}
        self._fetches: dict[str, FetchState] = {}
        self._fetched: dict[str, bytes] = {}
        self._parsed: dict[tuple[str, bytes], RevocationList | None] = {}
        self._newest: dict[str, RevocationList] = {}
        self._revoked: dict[str, frozenset[int]] = {}
        self._digests: dict[str, str] = {}

    def adopt(self, loaded: Iterable[bytes], tunnels: Tunnels) -> None:
        """A running charon has these lists, in DER: what they revoke is checked already."""
        self._set_anchors(tunnels)
        for anchor in self._anchors.values():
            for crl in loaded:
                if known := self._parse(anchor, crl):
                    before = self._revoked.get(known.issuer, frozenset())
                    self._revoked[known.issuer] = before | known.revoked

    def update(self, tunnels: Tunnels) -> frozenset[str]:
        """Take the lists of these tunnels' anchors. Returns the tunnels whose anchors revoke more than before."""
        self._set_anchors(tunnels)
        present = {(anchor.id, crl): anchor for anchor in self._anchors.values() for crl in self._lists_of(anchor)}
        parsed = [self._parse(anchor, crl) for (_, crl), anchor in present.items()]
        self._parsed = {key: kept for key, kept in self._parsed.items() if key in present}
        grown = {each.issuer for each in parsed if each and self._take(each)}
        of_grown = {id for id, anchor in self._anchors.items() if grown & self._issuers(anchor)}
        return frozenset(id for id, tunnel in tunnels.items() if _anchor_id(tunnel.connection) in of_grown)

    @property
    def lists(self) -> frozenset[RevocationList]:
        """The lists that count: of each CA the newest."""
        return frozenset(self._newest.values())

    def accept(self, fetched: Fetched) -> bool:
        """Store what was fetched. Returns whether it is something new."""
        state = self._fetches.get(fetched.url)
        if state is None:
            return False
        now = self._now()
        error = fetched.error or self._fault(fetched)
        if error:
            self._log.warning("a revocation list cannot be fetched", url=fetched.url, error=error)
            self._fetches[fetched.url] = crl_schedule.failed(state, now)
            return False
        is_new = self._fetched.get(fetched.url) != fetched.data
        self._fetched[fetched.url] = fetched.data
        ends = [parsed.next_update for parsed in self._parses(fetched)]
        self._fetches[fetched.url] = crl_schedule.succeeded(state, now, min(ends))
        return is_new

    def fetch(self) -> None:
        """Start the fetches that are due."""
        now = self._now()
        for url, state in list(self._fetches.items()):
            if state.next_at <= now:
                self._fetches[url] = crl_schedule.started(state, now)
                self._fetcher.fetch(self._gateway_id, url, self._deliver)

    def seconds_to_next_fetch(self) -> float | None:
        """Seconds until `fetch` has something to do, None if no anchor has a URL."""
        return min((max(0.0, state.next_at - self._now()) for state in self._fetches.values()), default=None)

    def _set_anchors(self, tunnels: Tunnels) -> None:
        desired = (tunnel.connection.certificates for tunnel in tunnels.values() if tunnel.config)
        self._anchors = {each.anchor.id: each.anchor for each in desired if each and each.anchor.revocation != "none"}
        urls = {url for anchor in self._anchors.values() for url in anchor.crl_urls}
        self._fetches = {url: self._fetches.get(url, FetchState()) for url in urls}
        self._fetched = {url: data for url, data in self._fetched.items() if url in urls}
        issuers = {issuer for anchor in self._anchors.values() for issuer in self._issuers(anchor)}
        self._newest = {issuer: newest for issuer, newest in self._newest.items() if issuer in issuers}
        self._digests = {pem: digest for pem, digest in self._digests.items() if digest in issuers}

    def _lists_of(self, anchor: TrustAnchor) -> list[bytes]:
        fetched = [self._fetched[url] for url in anchor.crl_urls if url in self._fetched]
        return [*(text.encode() for text in anchor.crls), *fetched]

    def _issuers(self, anchor: TrustAnchor) -> set[str]:
        """The digests of the CAs of an anchor."""
        for pem in _authorities(anchor):
            if pem not in self._digests:
                self._digests[pem] = x509.authority_digest(pem)
        return {self._digests[pem] for pem in _authorities(anchor)}

    def _take(self, parsed: RevocationList) -> bool:
        """Let a list count if it is the newest of its CA. Returns whether it revokes more than is known."""
        before = self._newest.get(parsed.issuer)
        if before and (before.number, before.issued_at) >= (parsed.number, parsed.issued_at):
            return False
        self._newest[parsed.issuer] = parsed
        known = self._revoked.get(parsed.issuer, frozenset())
        self._revoked[parsed.issuer] = known | parsed.revoked
        return not parsed.revoked <= known

    def _fault(self, fetched: Fetched) -> str:
        return "" if self._parses(fetched) else "it is no revocation list that the anchor's CA has signed"

    def _parses(self, fetched: Fetched) -> list[RevocationList]:
        users = (anchor for anchor in self._anchors.values() if fetched.url in anchor.crl_urls)
        return [parsed for anchor in users if (parsed := self._parse(anchor, fetched.data))]

    def _parse(self, anchor: TrustAnchor, data: bytes) -> RevocationList | None:
        key = (anchor.id, data)
        if key not in self._parsed:
            self._parsed[key] = x509.revocation_list(data, _authorities(anchor))
        return self._parsed[key]


def _anchor_id(connection: Connection) -> str:
    return connection.certificates.anchor.id if connection.certificates else ""


def _authorities(anchor: TrustAnchor) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*anchor.roots, *anchor.issuers)))
