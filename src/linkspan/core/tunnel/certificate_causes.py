"""Why a certificate was refused, in charon's log and in words. Pure.

charon says it in pairs of lines: one names the fault, and `no trusted ... public key found` closes nearly every
refusal. Alone, the second one means that no certificate carries the identity. Where charon knows other certificates
with the identity, it tries their keys too, and nothing closes the refusal. `core.tunnel.peer_attempts` puts lines
together.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import Code, Details
from linkspan.core.printable import bounded
from linkspan.core.tunnel.charon_events import LONGEST, Cause

CLOSING: Final[Code] = "ID_NOT_IN_CERT"
"""The code of the line that closes a refusal, and counts only alone."""
OF_PEERS: Final[frozenset[Code]] = frozenset(
    {
        *("CERT_EXPIRED", "CERT_NOT_YET_VALID", "CERT_NO_ISSUER", "CERT_UNTRUSTED_ROOT", "CERT_NOT_PINNED"),
        *("CERT_REVOKED", "REVOCATION_UNREACHABLE", "CERT_POLICY", "ID_NOT_IN_CERT", "CERT_KEY_MISMATCH"),
    }
)
"""The codes of faults of the peer's certificate."""
_VALIDITY = re.compile(
    r"(?P<whose>subject|issuer) certificate invalid \(valid from (?P<start>[^)]+?) to (?P<end>[^)]+)\)"
)
_REFUSES = re.compile(r"generating (IKE_AUTH|INFORMATIONAL|INFORMATIONAL_V1) .*\bN\(AUTH_FAILED\)")
_SWITCH = re.compile(r"switching to peer config '(?P<name>[^']+)'")
_TIME: Final = "%b %d %H:%M:%S %Y"
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TABLE: Final[tuple[tuple[str, Code, str], ...]] = (
    (r"issuer is \"(?P<name>.*)\"", "CERT_NO_ISSUER", ""),
    (r"constraint check failed: peer not authenticated by CA '(?P<name>.*)'", "CERT_UNTRUSTED_ROOT", ""),
    (r"constraint check failed: peer not authenticated with peer cert", "CERT_NOT_PINNED", ""),
    (r"certificate was revoked on (?P<name>.*)", "CERT_REVOKED", ""),
    (r"constraint check failed: RULE_CRL_VALIDATION is STALE", "REVOCATION_UNREACHABLE", "stale"),
    (r"constraint check failed: RULE_CRL_VALIDATION is", "REVOCATION_UNREACHABLE", ""),
    (r"path length of \d+ violates constraint of \d+", "CERT_POLICY", "path"),
    (r"X\.509 signature scheme (?P<name>\S+) not acceptable", "CERT_POLICY", ""),
    (r"IKE signature scheme (?P<name>\S+) not acceptable", "CERT_POLICY", "hash"),
    (r"no (\S+ )?private key found for '(?P<name>.*)'", "LOCAL_CERT_MISSING", ""),
    (r"PPK required but peer does not support PPK", "PPK_REQUIRED", ""),
    (r"PPK required but no PPK found for", "PPK_MISMATCH", "unloaded"),
    (r"received PPK_ID '(?P<name>.*)', but require", "PPK_MISMATCH", ""),
    (r"no trusted \S+ public key found for '(?P<name>.*)'", CLOSING, ""),
)
_LINES: Final = tuple((re.compile(rf"\s*{pattern}"), code, variant) for pattern, code, variant in _TABLE)


def read(about: str, line: str, at: float) -> Cause | None:
    """The cause in a line of charon's log, None if there is none. `at`: now, in seconds since the epoch."""
    if match := _VALIDITY.match(line):
        return _out_of_date(about, match, at)
    for pattern, code, variant in _LINES:
        if match := pattern.match(line):
            name = bounded(match.groupdict().get("name") or "", LONGEST)
            text = causes.sentence(code, variant, name=name)
            return Cause(about, code, text, details=Details(peer=name, line=bounded(line, 2 * LONGEST)))
    return None


def is_unfit(line: str) -> bool:
    """True if a key of the peer's identity did not fit its signature. Another one may: then it is no cause."""
    return line.startswith("signature validation failed")


def is_refusal(line: str) -> bool:
    """True if charon refuses the peer's authentication."""
    return _REFUSES.match(line) is not None


def unfit(about: str, line: str) -> Cause:
    """The cause of a refusal because no key fits."""
    details = Details(line=bounded(line, 2 * LONGEST))
    return Cause(about, "CERT_KEY_MISMATCH", causes.sentence("CERT_KEY_MISMATCH"), details=details)


def switched_to(line: str) -> str:
    """The name of the connection with which charon goes on for the same peer; empty if a line does not say that."""
    match = _SWITCH.match(line)
    return match["name"] if match else ""


def _out_of_date(about: str, match: re.Match[str], at: float) -> Cause:
    whose = "the peer's certificate" if match["whose"] == "subject" else "a CA's certificate above the peer's"
    start, line = _time(match["start"]), bounded(match.string, 2 * LONGEST)
    if start is not None and at < start:
        text = causes.sentence("CERT_NOT_YET_VALID", whose=whose, start=match["start"])
        return Cause(about, "CERT_NOT_YET_VALID", text, details=Details(peer=match["start"], line=line))
    text = causes.sentence("CERT_EXPIRED", whose=whose, end=match["end"])
    return Cause(about, "CERT_EXPIRED", text, details=Details(peer=match["end"], line=line))


def _time(text: str) -> float | None:
    """The time that charon prints, in the machine's time zone and in English."""
    parts = text.split()
    try:
        month, (day, clock, year) = _MONTHS.index(parts[0]) + 1, parts[1:4]
        hour, minute, second = (int(number) for number in clock.split(":"))
        return dt.datetime(int(year), month, int(day), hour, minute, second).timestamp()  # noqa: DTZ001 # local
    except (ValueError, IndexError):
        return None
