"""Judges a machine that runs the API or a node: one finding for each subject, with what to do. Pure.

The shell collects `MachineFacts`. What it could not find out is None and gives a warning, not an all-clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec

from linkspan.core.state.observed import Isolation

Level = Literal["ok", "warning", "error"]
IsOlder = Callable[[str, str], bool]
"""True if the first version of a Debian package is older than the second (deb-version(7))."""

FIXED_UPSTREAM: Final = "6.1.0"
FIXED_IN_RELEASES: Final = {"+deb12": "5.9.8-5+deb12u6", "+deb13": "6.0.1-6+deb13u7"}
"""The first versions with all known fixes, by the mark of their release: Debian mends the version that it has, and
charon's own version does not show that."""
KNOWN_FLAWS: Final = "CVE-2026-78135 and others"
MOST_OFFSET: Final = 5.0
"""Seconds by which the clocks of a node and the API may differ: certificates and tokens have times in them."""


class Finding(msgspec.Struct, frozen=True):
    """The state of one subject in a sentence; `remedy`: what to do, empty if there is nothing to do."""

    subject: str
    level: Level
    text: str
    remedy: str = ""


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The findings on the machine.

    `missing`: Debian packages of programs that are not there. `strongswan`: the version of its Debian package, empty
    without one. `backend`: words for the kind of ESP; `backend_error`: why no gateway can run. `lacks`: what its
    strongSwan and kernel cannot do. `isolation`: of charons, empty if unknown. `synchronised`: the kernel says that the
    clock is. `api_error`: why the API cannot be reached; `offset`: its clock minus this one's, seconds.
    `exposed`: sentences about files and folders that others can use. `limits`: sentences about limits that are too low.
    """

    is_root: bool
    missing: tuple[str, ...] = ()
    strongswan: str = ""
    backend: str = ""
    backend_error: str = ""
    lacks: tuple[str, ...] = ()
    isolation: Isolation | Literal[""] = ""
    synchronised: bool | None = None
    api_error: str = ""
    offset: float | None = None
    exposed: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


def findings(facts: MachineFacts, is_older: IsOlder) -> Iterator[Finding]:
    """The findings about a machine, one for each subject."""
    yield _programs(facts)
    yield strongswan(facts.strongswan, is_older)
    yield from _gateways(facts)
    yield _isolation(facts)
    yield _clock(facts)
    yield _api(facts)
    yield _all_faults("files", facts.exposed, "nobody else can use the state directory")
    yield _all_faults("limits", facts.limits, "the machine's limits suffice for its gateways")


def strongswan(version: str, is_older: IsOlder) -> Finding:
    """The finding about a version of Debian's package."""
    subject = "strongSwan"
    if not version:
        return Finding(subject, "warning", "is not from a Debian package: nobody knows what it lacks", _UPSTREAM_REMEDY)
    if not is_older(version.partition("-")[0], FIXED_UPSTREAM):
        return Finding(subject, "ok", f"{version} has all known fixes")
    for release, fixed in FIXED_IN_RELEASES.items():
        if release in version:
            if is_older(version, fixed):
                remedy = "apt-get update && apt-get install --only-upgrade charon-systemd libstrongswan"
                return Finding(subject, "error", f"{version} lacks the fixes of {fixed} ({KNOWN_FLAWS})", remedy)
            return Finding(subject, "ok", f"{version} has all known fixes")
    text = f"{version} is of a release whose fixes are not known here ({KNOWN_FLAWS})"
    return Finding(subject, "warning", text, "look it up in the distribution's security tracker")


_UPSTREAM_REMEDY: Final = f"make sure that it is {FIXED_UPSTREAM} or newer"


def _programs(facts: MachineFacts) -> Finding:
    if facts.missing:
        packages = " ".join(facts.missing)
        return Finding("programs", "error", f"packages are missing: {packages}", f"apt-get install {packages}")
    return Finding("programs", "ok", "all are installed")


def _gateways(facts: MachineFacts) -> Iterator[Finding]:
    if not facts.is_root:
        yield Finding("gateways", "warning", "cannot be tried without root", "sudo linkspan doctor")
    elif facts.backend_error:
        yield Finding("gateways", "error", "cannot run", facts.backend_error)
    else:
        yield Finding("gateways", "ok", f"can run, with {facts.backend}")
        if facts.lacks:
            yield Finding("capabilities", "ok", f"not possible here: {', '.join(facts.lacks)}")


def _isolation(facts: MachineFacts) -> Finding:
    subject = "isolation"
    if facts.isolation == "full":
        return Finding(subject, "ok", "a charon has no right outside of its gateway")
    if not facts.isolation:
        return Finding(subject, "warning", "cannot be tried where no gateway can run")
    remedy = "sysctl -w user.max_user_namespaces=65536, or a kernel that has user namespaces"
    return Finding(subject, "warning", "a charon keeps rights over the node's network", remedy)


def _clock(facts: MachineFacts) -> Finding:
    if facts.offset is not None and abs(facts.offset) > MOST_OFFSET:
        text = f"{abs(facts.offset):.0f} s {'behind' if facts.offset > 0 else 'ahead of'} the API's"
        return Finding("clock", "error", text, _CLOCK_REMEDY)
    if facts.synchronised:
        return Finding("clock", "ok", "is synchronised")
    return Finding("clock", "warning", "is not synchronised with any other", _CLOCK_REMEDY)


_CLOCK_REMEDY: Final = "apt-get install chrony, and see 'chronyc tracking'"


def _api(facts: MachineFacts) -> Finding:
    if facts.api_error:
        return Finding("API", "error", "cannot be reached", facts.api_error)
    return Finding("API", "ok", "answers")


def _all_faults(subject: str, faults: tuple[str, ...], fine: str) -> Finding:
    return Finding(subject, "warning", "; ".join(faults)) if faults else Finding(subject, "ok", fine)
