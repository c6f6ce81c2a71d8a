"""IPsec policies that let traffic between attached networks pass, ahead of charon's (ip-xfrm(8)).

Kernel ESP decides by policies: one whose remote prefix contains an attached network would send that network's packets
into the tunnel, and drop the ones in plaintext that come from there. A policy without a template exempts them. Each
carries a mark of its own, which every packet has, so that it is a policy beside charon's even where the selectors are
equal: the peer may narrow the negotiated ones. User-space ESP needs none; there routes decide
(`drivers.gateway.main_routing`).

No state is kept outside the kernel. charon never touches policies that it did not install, but a start of it is
preceded by a flush of all.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from linkspan.core.ipsec import exemptions
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers.linux import netns, xfrm
from linkspan.drivers.ports import DriverError

_DEADLINE: Final = 10.0
_MASK: Final = 0x80000000
_MARK: Final = f"mark 0 mask {_MASK:#x}"
"""Selects packets without this bit, which nothing sets in a gateway."""
_PRIORITY: Final = 1
"""The first of all; charon's own priorities are above 100,000."""
_OUTBOUND: Final = re.compile(
    rf"^src (\S+) dst (\S+)\s+dir out priority {_PRIORITY} .*\s+mark 0/{_MASK:#x}\s*$", re.MULTILINE
)


class XfrmPolicyBypass:
    """The `PolicyBypass` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._without_policies: dict[str, int] = {}

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        if self._backend != "kernel":
            return
        name, wanted = self._namespace(gateway.id), exemptions.exempt_pairs(gateway, pairs)
        try:
            inode = netns.path(name).stat().st_ino
            # Most gateways have none, and listing all of charon's policies to find that out takes time.
            if wanted or self._without_policies.get(name) != inode:
                self._without_policies.pop(name, None)
                netns.run_inside(name, lambda: _change(wanted))
            if not wanted:
                self._without_policies[name] = inode
        except (OSError, subprocess.SubprocessError) as error:
            raise DriverError(f"attached networks cannot be exempted from IPsec: {error}") from error

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        wanted = exemptions.exempt_pairs(gateway, pairs) if self._backend == "kernel" else frozenset()
        missing = wanted - self.current(gateway.id) if wanted else frozenset()
        if missing:
            self.apply(gateway, pairs)
        return tuple(f"bypass policy from {pair.local} to {pair.remote}" for pair in sorted(missing))

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        name = self._namespace(gateway_id)
        if self._backend != "kernel" or not netns.exists(name):
            return frozenset()
        return netns.run_inside(name, _read)


def parse(listing: str) -> frozenset[SelectorPair]:
    """Return the pairs that are exempt in a listing of `ip xfrm policy`. Pure."""
    return frozenset(SelectorPair(*match.groups()) for match in _OUTBOUND.finditer(listing))


def commands(wanted: Iterable[SelectorPair]) -> list[str]:
    """Return the commands for `ip -batch` that exempt these pairs, whether or not they are exempt already. Pure."""
    return [
        f"xfrm policy update src {source} dst {destination} dir {direction} {_MARK} priority {_PRIORITY}"
        for pair in sorted(wanted)
        for source, destination, direction in _policies(pair)
    ]


def _policies(pair: SelectorPair) -> Iterator[tuple[str, str, xfrm.Direction]]:
    # The outbound policy comes last: by it the pair is found again.
    yield pair.remote, pair.local, "in"
    yield pair.remote, pair.local, "fwd"
    yield pair.local, pair.remote, "out"


def _change(wanted: frozenset[SelectorPair]) -> None:
    present = _read()
    # All of them: an interrupted change may have left a part of a pair.
    if wanted - present:
        _ip("-batch", "-", text="\n".join(commands(wanted)) + "\n")
    for pair in sorted(present - wanted):
        for policy in _policies(pair):
            xfrm.delete_policy(*policy, _MASK)


def _read() -> frozenset[SelectorPair]:
    """Read the exempt pairs of the calling thread's namespace."""
    return parse(_ip("xfrm", "policy", "list"))


def _ip(*arguments: str, text: str = "") -> str:
    done = subprocess.run(
        ["ip", *arguments], input=text, capture_output=True, text=True, timeout=_DEADLINE, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.strip().partition("\n")[0] or f"ip ended with {done.returncode}")
    return done.stdout
