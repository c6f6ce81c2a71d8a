"""Attempts of peers that fail here: from the lines of charon's log to the reason of the connections they were for.

The lines are what charon 5.9.8 logs as a responder.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import msgspec
import pytest

from linkspan.core.ipsec import algorithms
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import cause_context, lifecycle, peer_attempts, peer_refusals, reconcile, reports
from linkspan.core.tunnel.charon_events import LONGEST, Cause, CharonEvent, PeerRefused
from linkspan.core.tunnel.events import Loaded, SasListed
from linkspan.core.tunnel.peer_attempts import LATE, LIMIT, PeerAttempts
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, ikev1, sa

US, PEER = "198.51.100.1", "198.51.100.2"
AT = 1_795_864_562.0
TIME = "2026-11-28 11:16:02 UTC"
V2 = (f"received packet: from {PEER}[500] to {US}[500] (464 bytes)", "parsed IKE_SA_INIT request 0 [ SA KE No ]")
V1 = (f"received packet: from {PEER}[500] to {US}[500] (180 bytes)", "parsed ID_PROT request 0 [ SA V V V V V ]")
AGGRESSIVE = (V1[0], "parsed AGGRESSIVE request 0 [ SA KE No ID V V V V V ]")
OFFER = (
    "received proposals: IKE:AES_CBC_256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/MODP_3072",
    "configured proposals: IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
)
CHILD_OFFER = (
    "received proposals: ESP:AES_GCM_16_256/MODP_3072/NO_EXT_SEQ, ESP:3DES_CBC/HMAC_MD5_96/NO_EXT_SEQ",
    "configured proposals: ESP:AES_CBC_128/HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ",
)
OFFERED = "it offers aes-256, sha384, group15; here it is aes-128, sha256, group14"
FIND = f"looking for peer configs matching {US}[{{us}}]...{PEER}[{{itself}}]"
FIND_V1 = f"looking for pre-shared key peer configs matching {US}...{PEER}[{{itself}}]"


def logged(lines: Iterable[str], name: str = "(unnamed)", number: int = 7, at: float = AT) -> list[CharonEvent]:
    """The events in these lines of the log about one IKE SA."""
    return read({}, lines, name, number, at)[1]


def read(
    attempts: PeerAttempts, lines: Iterable[str], name: str = "(unnamed)", number: int = 7, at: float = AT
) -> tuple[PeerAttempts, list[CharonEvent]]:
    events: list[CharonEvent] = []
    for line in lines:
        message = {"ikesa-name": name.encode(), "ikesa-uniqueid": str(number).encode(), "msg": line.encode()}
        attempts, more = peer_attempts.read(attempts, "log", message, at)
        events += more
    return attempts, events


def refusal(lines: Iterable[str]) -> PeerRefused:
    (event,) = logged(lines)
    assert isinstance(event, PeerRefused)
    return event


REFUSED = [
    ("v2", (*V2, *OFFER, "received proposals unacceptable"), OFFERED),
    ("v1", (*V1, *OFFER, "no proposal found"), OFFERED),
    ("v1", (*AGGRESSIVE, *OFFER, "no proposal found"), OFFERED),
    ("v2", (*V2, "received proposals unacceptable"), "compare the IKE policies"),
    (
        "v2",
        (V1[0], V1[1], f"no IKE config found for {US}...{PEER}, sending NO_PROPOSAL_CHOSEN"),
        "the peer uses IKEv1, and ike_version here is v2",
    ),
    (
        "v1",
        (V2[0], V2[1], f"no IKE config found for {US}...{PEER}, sending NO_PROPOSAL_CHOSEN"),
        "the peer uses IKEv2, and ike_version here is v1",
    ),
    (
        "v2",
        (*V2, FIND.format(us=US, itself="stranger.example.org"), "no matching peer config found"),
        f"the peer calls itself 'stranger.example.org', and peer_id here is '{PEER}'",
    ),
    (
        "v2",
        (*V2, FIND.format(us="other.example.org", itself=PEER), "no matching peer config found"),
        f"the peer calls us 'other.example.org', and local_id here is '{US}'",
    ),
    (
        "v1",
        (*V1, FIND_V1.format(itself="stranger.example.org"), "no peer config found"),
        f"the peer calls itself 'stranger.example.org', and peer_id here is '{PEER}'",
    ),
    (
        "v1",
        (
            *AGGRESSIVE,
            FIND_V1.format(itself=PEER),
            "found 1 matching config, but none allows pre-shared key authentication using Aggressive Mode",
        ),
        "compare phase1_negotiation_mode",
    ),
    ("v1", (*V1, "could not decrypt payloads"), "compare the pre-shared key"),
    ("v2", (*V2, f"deleting half open IKE_SA with {PEER} after timeout"), "UDP 4500, has not come"),
]


@pytest.mark.parametrize(("version", "lines", "words"), REFUSED)
@pytest.mark.parametrize("initiator", ["response-only", "bi-directional"])
def test_the_reason_is_the_cause_in_words_and_the_time(
    version: str, lines: tuple[str, ...], words: str, initiator: str
) -> None:
    tunnel = waiting(version, initiator)
    event = refusal(lines)
    assert peer_refusals.concerned(event, [tunnel.connection]) == [tunnel.connection]
    reason = reason_of(lifecycle.step(tunnel, event, 1.0)[0])
    assert words in reason
    assert TIME in reason
    assert "waits for the peer" not in reason


@pytest.mark.parametrize(("version", "lines", "words"), REFUSED)
def test_the_reason_is_the_same_in_whatever_order_the_lines_arrive(
    version: str, lines: tuple[str, ...], words: str
) -> None:
    """charon logs them in one order, and two threads of it may deliver them in another."""
    for order in itertools.permutations(lines):
        tunnel = waiting(version)
        for event in logged(order):
            assert isinstance(event, PeerRefused)
            for _ in peer_refusals.concerned(event, [tunnel.connection]):
                tunnel = lifecycle.step(tunnel, event, 1.0)[0]
        assert words in reason_of(tunnel), order


def test_a_line_of_another_attempt_in_the_ike_sa_does_not_change_the_cause() -> None:
    """Its proposals are those that the peer offers next."""
    attempts, _ = read({}, (*V2, *CHILD_OFFER, "no acceptable proposal found"), "peer-1-2")
    again = "received proposals: ESP:AES_CBC_128/HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ"
    assert read(attempts, [again], "peer-1-2", at=AT + LATE + 0.1)[1] == []


def waiting(version: str = "v2", initiator: str = "response-only") -> Tunnel:
    """A tunnel that is loaded and not up."""
    ike = ikev1() if version == "v1" else connection().ike
    tunnel = reconcile.tunnel_for(connection(initiator=initiator, ike=ike), "user-space")
    return lifecycle.step(tunnel, Loaded(), 0.0)[0]


def reason_of(tunnel: Tunnel) -> str:
    report = reports.report(tunnel, 1)
    assert report
    return report.reason


def test_without_the_lines_before_it_a_refusal_is_for_nobody() -> None:
    event = refusal(["received proposals unacceptable"])
    assert peer_refusals.concerned(event, [connection()]) == []


def test_lines_of_attempts_at_the_same_time_are_told_apart_by_number() -> None:
    attempts, _ = read({}, V2, number=1)
    attempts, _ = read(attempts, [line.replace(PEER, "198.51.100.9") for line in V2], number=2)
    for number, address in ((1, PEER), (2, "198.51.100.9")):
        _, (event,) = read(attempts, ["received proposals unacceptable"], number=number)
        assert isinstance(event, PeerRefused)
        assert event.address == address


def test_a_cause_that_charon_names_has_the_time_of_the_peers_attempt() -> None:
    """It has none if this end initiated, as the number tells."""
    attempts, _ = read({}, V2)
    line = "tried 1 shared key for '198.51.100.1' - '198.51.100.2', but MAC mismatched"
    for number, at in ((7, AT), (8, None)):
        _, (cause,) = read(attempts, [line], "peer-1-2", number)
        assert isinstance(cause, Cause)
        assert (cause.about, cause.code, cause.at) == ("peer-1-2", "PSK_MISMATCH", at)


def test_proposals_of_a_child_are_named_too() -> None:
    lines = (*CHILD_OFFER, "no acceptable proposal found")
    for order in itertools.permutations(lines):
        attempts, _ = read({}, (*V2, *OFFER))
        cause = read(attempts, order, "peer-1-2")[1][-1]
        assert isinstance(cause, Cause)
        offered = "it offers aes-256-gcm-16, group15 or 3des, HMAC_MD5_96; here it is aes-128, sha256, group14"
        assert offered in cause.text


@pytest.mark.parametrize(
    ("lines", "name", "code"),
    [
        (
            (
                *V2,
                "received retransmit of request with ID 0, retransmitting response",
                "deleting half open IKE_SA with x",
            ),
            "(unnamed)",
            "PEER_BROKE_OFF",
        ),
        ((*V2, "deleting half open IKE_SA with x"), "(unnamed)", "UDP_4500_BLOCKED"),
        (
            (
                *V2,
                "parsed IKE_AUTH request 1 [ IDi AUTH N(USE_TRANSP) SA TSi TSr ]",
                "traffic selectors  ===  unacceptable",
            ),
            "peer-1-2",
            "ENCAPSULATION_MODE_MISMATCH",
        ),
        ((*V2, "traffic selectors  ===  unacceptable"), "peer-1-2", "SELECTORS_UNACCEPTABLE"),
    ],
)
def test_what_came_before_refines_the_cause(lines: tuple[str, ...], name: str, code: str) -> None:
    attempts, _ = read({}, lines[:-1])
    cause = read(attempts, lines[-1:], name)[1][-1]
    assert isinstance(cause, Cause | PeerRefused)
    assert cause.code == code


def test_a_large_message_of_ours_that_is_not_answered() -> None:
    split = "splitting IKE message (2312 bytes) into 2 fragments"
    for before, code in (((split,), "IKE_FRAGMENTS_LOST"), ((), "UDP_4500_BLOCKED")):
        attempts, _ = read({}, before, "peer-1-2")
        (_, cause) = read(attempts, ["retransmit 1 of request with message ID 1"], "peer-1-2")[1]
        assert isinstance(cause, Cause)
        assert cause.code == code


def test_a_call_from_an_unknown_address_may_be_for_those_that_wait() -> None:
    line = f"no IKE config found for {US}...203.0.113.7, sending NO_PROPOSAL_CHOSEN"
    waits, off = connection(id="waits", initiator="response-only"), connection(id="off", enabled=False)
    many = [connection(id=f"{number}", initiator="response-only") for number in range(5)]
    event = refusal([line])
    assert peer_refusals.concerned(event, [waits, connection(id="initiates"), off]) == [waits]
    assert peer_refusals.concerned(event, many) == [], "a forged packet must not change every reason"
    cause = cause_context.of_refusal(event, waits)
    assert (cause.code, cause.details.ours, cause.details.peer) == ("UNKNOWN_SOURCE", PEER, "203.0.113.7")


def test_our_own_address_is_no_peer() -> None:
    """A name can resolve to it."""
    item = connection(peer_address=US)
    tunnel = lifecycle.step(reconcile.tunnel_for(item, "user-space"), Loaded(), 0.0)[0]
    tunnel, _ = lifecycle.step(tunnel, Cause(item.id, "AUTHENTICATION_REFUSED", "compare the keys"), 1.0)
    report = reports.report(tunnel, 1)
    assert report
    assert (report.code, "keys" in report.reason) == ("PEER_ADDRESS_IS_OURS", False)


ENDS = [
    "received DELETE for IKE_SA peer-1-2[7]",
    "queueing INFORMATIONAL_V1 request as tasks still active",
    f"deleting half open IKE_SA with {PEER} after timeout",
    f"deleting half open IKE_SA peer-1-2[7] with {PEER} after timeout",  # strongSwan 6.1
]


@pytest.mark.parametrize("end", ENDS)
def test_an_attempt_that_ends_without_a_cause_is_one(end: str) -> None:
    attempts, _ = read({}, V1)
    _, (cause,) = read(attempts, [end], "peer-1-2")
    assert isinstance(cause, Cause)
    assert (cause.about, cause.at) == ("peer-1-2", AT)
    assert cause.code == ("UDP_4500_BLOCKED" if end.startswith("deleting") else "PEER_BROKE_OFF")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "before", ["no acceptable proposal found", "CHILD_SA a{1} established with SPIs c1_i c2_o and TS a === b"]
)
def test_the_end_is_none_after_a_cause_or_a_child(end: str, before: str) -> None:
    attempts, _ = read({}, V2)
    attempts, _ = read(attempts, [before], "peer-1-2")
    assert read(attempts, [end], "peer-1-2")[1] == []


def test_the_end_of_an_ike_sa_of_ours_is_none() -> None:
    assert logged(ENDS, "peer-1-2") == []


def test_the_attempts_of_a_flood_are_forgotten() -> None:
    attempts: PeerAttempts = {}
    for number in range(3 * LIMIT):
        attempts, _ = read(attempts, V2, number=number)
    assert list(attempts) == list(range(2 * LIMIT, 3 * LIMIT))


# --- several connections to one address ---------------------------------------------------------------------------

V1_CONNECTION = connection(id="v1", ike=ikev1())
ONE = connection(id="one", peer_id="one.example.org")
OTHER = connection(id="other", peer_id="Other.example.org")
ELSEWHERE = connection(id="elsewhere", peer_address="198.51.100.3")
ALL = [V1_CONNECTION, ONE, OTHER, ELSEWHERE]


@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        ((*V2, "received proposals unacceptable"), ["one", "other"]),
        ((*V1, "no proposal found"), ["v1"]),
        (
            (*V2, FIND.format(us="x.example.org", itself="other.example.org"), "no matching peer config found"),
            ["other"],
        ),
        (
            (*V2, FIND.format(us=US, itself="third.example.org"), "no matching peer config found"),
            ["one", "other"],
        ),
        ((*V1, f"no IKE config found for {US}...{PEER}, sending NO_PROPOSAL_CHOSEN"), ["one", "other"]),
        ((*V2, f"no IKE config found for {US}...{PEER}, sending NO_PROPOSAL_CHOSEN"), ["v1"]),
        (
            (f"no IKE config found for {US}...2001:db8::1, sending NO_PROPOSAL_CHOSEN",),
            [],
        ),
    ],
)
def test_an_attempt_is_for_the_connections_that_it_may_have_meant(lines: tuple[str, ...], ids: list[str]) -> None:
    assert [one.id for one in peer_refusals.concerned(refusal(lines), ALL)] == ids


def test_addresses_and_identities_of_ipv6_are_read() -> None:
    lines = [
        "received packet: from 2001:db8::2[4500] to 2001:db8::1[4500] (464 bytes)",
        "parsed IKE_AUTH request 1 [ IDi IDr AUTH SA TSi TSr ]",
        "looking for peer configs matching 2001:db8::1[2001:db8::1]...2001:db8::2[a [b] c@example.org]",
        "no matching peer config found",
    ]
    event = refusal(lines)
    assert (event.address, event.calls_us, event.calls_itself) == ("2001:db8::2", "2001:db8::1", "a [b] c@example.org")


# --- the reason of a tunnel ---------------------------------------------------------------------------------------


def test_the_peers_attempt_does_not_hide_what_our_own_met() -> None:
    tunnel = waiting(initiator="bi-directional")
    tunnel, _ = lifecycle.step(tunnel, Cause(tunnel.connection.id, "PEER_NO_REPLY", "the peer does not answer"), 1.0)
    tunnel, _ = lifecycle.step(tunnel, refusal((*V2, *OFFER, "received proposals unacceptable")), 2.0)
    assert reason_of(tunnel).startswith(f"the peer does not answer; the peer's own attempt failed at {TIME}: ")


def test_a_tunnel_that_is_up_ignores_strangers_and_forgets_failed_attempts() -> None:
    event = refusal((*V2, "received proposals unacceptable"))
    tunnel, _ = lifecycle.step(waiting(), event, 1.0)
    assert TIME in reason_of(tunnel)
    assert tunnel.config
    carrying = sa(tunnel.config.name, child(tunnel.config.children[0].name), initiator=False)
    tunnel, _ = lifecycle.step(tunnel, SasListed((carrying,)), 2.0)
    tunnel, actions = lifecycle.step(tunnel, event, 3.0)
    assert (reason_of(tunnel), actions) == ("", ())
    tunnel, _ = lifecycle.step(tunnel, SasListed(()), 4.0)
    assert reason_of(tunnel) == "the peer ended the tunnel"


def test_the_newest_attempt_counts_and_a_repeated_one_says_so_now_and_then() -> None:
    tunnel = waiting()
    seen = []
    for seconds, line in ((0, OFFER), (1, OFFER), (6, OFFER), (7, ())):
        event = msgspec.structs.replace(refusal((*V2, *line, "received proposals unacceptable")), at=AT + seconds)
        tunnel, _ = lifecycle.step(tunnel, event, float(seconds))
        assert tunnel.failed_attempt
        seen.append(tunnel.failed_attempt.at - AT)
    assert seen == [0, 0, 6, 7]


def test_what_the_peer_wrote_is_printable_and_bounded() -> None:
    itself = "x\x1b[31m" + "y" * 400
    event = refusal((*V2, FIND.format(us=US, itself=itself), "no matching peer config found"))
    reason = cause_context.of_refusal(event, connection()).text
    assert reason.isprintable()
    assert len(reason) < LONGEST + 120


# --- proposals in the API's names ---------------------------------------------------------------------------------


def test_every_algorithm_of_the_api_is_named_as_in_the_api() -> None:
    """charon's text of each: its name, and for AES the length of the key."""
    for encryption, keyword in algorithms.ENCRYPTION.items():
        name = algorithms.TRANSFORMS[keyword]
        charons = name if encryption == "3des" else f"{name}_{encryption.split('-')[1]}"
        assert algorithms.api_names(f"ESP:{charons}/NO_EXT_SEQ") == encryption
    for name, keyword in (algorithms.INTEGRITY | algorithms.GROUPS).items():
        assert algorithms.api_names(f"IKE:{algorithms.TRANSFORMS[keyword]}") == name


def test_a_prf_of_its_own_is_named() -> None:
    assert algorithms.api_names("IKE:AES_GCM_16_256/PRF_HMAC_SHA2_256/ECP_256") == "aes-256-gcm-16, sha256, group19"
    assert algorithms.api_names("IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA2_256") == "aes-128, sha1, sha256"


def test_samples_are_of_one_address() -> None:
    one: Connection = connection()
    assert (one.local_address, one.peer_address) == (US, PEER)
