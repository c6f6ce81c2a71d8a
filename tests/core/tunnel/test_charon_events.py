"""charon's words as facts: the lines are what charon 5.9.8 said when the fault was made between two gateways."""

from __future__ import annotations

import pytest

from linkspan.core.tunnel import charon_events, sas
from linkspan.core.tunnel.charon_events import (
    Cause,
    ChildCounted,
    ChildInstalled,
    Initiating,
    PeerSeen,
    PeerTimedOut,
    ProbeSent,
    RekeyBegun,
    RekeyFailed,
    Retransmitted,
    SaChanged,
)

ID = "10000000-e29b-41d4-a716-446655440000"
NAME = f"{ID}.c17e4e6a"

CAUSES = [
    # IKEv2: what the initiator says, and what the responder says.
    ("received AUTHENTICATION_FAILED notify error", "AUTHENTICATION_REFUSED"),
    ("tried 1 shared key for '203.0.113.2' - '203.0.113.1', but MAC mismatched", "PSK_MISMATCH"),
    ("tried 2 shared keys for '203.0.113.2' - '203.0.113.1', but MAC mismatched", "PSK_MISMATCH"),
    ("no matching peer config found", "PEER_ID_MISMATCH"),
    ("no shared key found for '203.0.113.2' - '203.0.113.1'", "PSK_MISSING"),
    ("parsed IKE_SA_INIT response 0 [ N(NO_PROP) ]", "IKE_REFUSED"),
    ("parsed IKE_AUTH response 1 [ N(NO_PROP) ]", "ESP_PROPOSAL_MISMATCH"),
    ("parsed IKE_SA_INIT response 0 [ N(INVAL_MAJOR) ]", "IKE_VERSION_MISMATCH"),
    ("constraint check failed: identity 'siteb.example' required", "PEER_ID_MISMATCH"),
    ("retransmit 1 of request with message ID 1", "UDP_4500_BLOCKED"),
    ("received proposals unacceptable", "IKE_PROPOSAL_MISMATCH"),
    ("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "ESP_PROPOSAL_MISMATCH"),
    ("no acceptable proposal found", "ESP_PROPOSAL_MISMATCH"),
    ("received TS_UNACCEPTABLE notify, no CHILD_SA built", "SELECTORS_UNACCEPTABLE"),
    ("traffic selectors 10.2.0.0/24 === 10.1.0.0/24 unacceptable", "SELECTORS_UNACCEPTABLE"),
    ("error installing route with policy 10.77.0.0/24 === 10.2.0.0/24 out", "SELECTORS_UNACCEPTABLE"),
    ("no IKE config found for 203.0.113.2...203.0.113.1, sending NO_PROPOSAL_CHOSEN", "UNKNOWN_SOURCE"),
    ("retransmit 1 of request with message ID 0", "PEER_NO_REPLY"),
    ("giving up after 5 retransmits", "PEER_NO_REPLY"),
    ("received INTERNAL_ADDRESS_FAILURE notify, no CHILD_SA built", "CHILD_REFUSED"),
    # IKEv1, main and aggressive mode.
    ("received AUTHENTICATION_FAILED error notify", "AUTHENTICATION_REFUSED"),
    ("could not decrypt payloads", "PSK_MISMATCH"),
    ("calculated HASH does not match HASH payload", "PSK_MISMATCH"),
    ("IDir '203.0.113.2' does not match to 'siteb.example'", "PEER_ID_MISMATCH"),
    ("no peer config found", "PEER_ID_MISMATCH"),
    ("no shared key found for '203.0.113.2'[203.0.113.2] - '203.0.113.1'[203.0.113.1]", "PSK_MISSING"),
    ("received INVALID_KE_PAYLOAD error notify", "PSK_MISSING_AT_PEER"),
    (
        "found 1 matching config, but none allows pre-shared key authentication using Main Mode",
        "EXCHANGE_MODE_MISMATCH",
    ),
    ("parsed INFORMATIONAL_V1 request 321455057 [ N(NO_PROP) ]", "IKE_REFUSED"),
    ("no proposal found", "IKE_PROPOSAL_MISMATCH"),
    ("parsed INFORMATIONAL_V1 request 1546371961 [ HASH N(NO_PROP) ]", "ESP_PROPOSAL_MISMATCH"),
    ("no matching proposal found, sending NO_PROPOSAL_CHOSEN", "ESP_PROPOSAL_MISMATCH"),
    ("received INVALID_ID_INFORMATION error notify", "SELECTORS_UNACCEPTABLE"),
    ("remote traffic selector missing in configuration", "SELECTORS_UNACCEPTABLE"),
    ("no matching CHILD_SA config found for 10.1.0.0/24 === 10.2.0.0/24", "SELECTORS_UNACCEPTABLE"),
    ("sending retransmit 1 of request message ID 0, seq 1", "PEER_NO_REPLY"),
    ("sending retransmit 1 of request message ID 0, seq 3", "ENCRYPTED_UNANSWERED"),
    ("IKE version 1 not supported", "IKE_VERSION_UNSUPPORTED_HERE"),
    ("no shared key found for 203.0.113.2", "PSK_MISSING"),
    ("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "ESP_PROPOSAL_MISMATCH"),
]

HARMLESS = [
    "203.0.113.2 is initiating an IKE_SA",
    "authentication of '203.0.113.2' with pre-shared key successful",
    "failed to establish CHILD_SA, keeping IKE_SA",
    "selected proposal: ESP:AES_CBC_128/HMAC_SHA2_256_128/NO_EXT_SEQ",
    # Says the same of both phases, a line after one that tells them apart.
    "received NO_PROPOSAL_CHOSEN error notify",
    "received NO_PROPOSAL_CHOSEN notify error",
    "parsed IKE_SA_INIT response 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) ]",
    # Encrypted, but by somebody who has proved nothing yet.
    "parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]",
]

ALIVE = [
    "parsed INFORMATIONAL response 2 [ ]",
    "parsed INFORMATIONAL request 0 [ ]",
    "parsed CREATE_CHILD_SA response 3 [ SA No KE ]",
    "parsed INFORMATIONAL_V1 request 3510179531 [ HASH N(DPD_ACK) ]",
    "parsed QUICK_MODE response 525172120 [ HASH SA No KE ID ID ]",
]


def _causes(found: tuple[charon_events.CharonEvent, ...]) -> list[Cause]:
    return [fact for fact in found if isinstance(fact, Cause)]


@pytest.mark.parametrize(("line", "code"), CAUSES)
def test_a_line_that_names_a_cause(line: str, code: str) -> None:
    (cause,) = _causes(charon_events.from_log(NAME, line))
    assert (cause.about, cause.code) == (ID, code)
    assert cause.text


def test_every_row_of_the_table_has_a_line_here() -> None:
    lines = [line for line, _ in CAUSES]
    unused = [
        pattern.pattern
        for pattern, _, _ in charon_events._CAUSES
        if not any(next(p for p, _, _ in charon_events._CAUSES if p.search(line)) is pattern for line in lines)
    ]
    assert unused == []


@pytest.mark.parametrize("line", HARMLESS)
def test_a_line_that_says_nothing(line: str) -> None:
    assert charon_events.from_log(NAME, line) == ()


@pytest.mark.parametrize("line", ALIVE)
def test_a_liveness(line: str) -> None:
    assert charon_events.from_log(NAME, line) == (PeerSeen(ID),)
    assert charon_events.from_log("", line) == ()


def test_an_unanswered_request_of_an_established_sa_is_no_cause() -> None:
    assert charon_events.from_log(NAME, "retransmit 3 of request with message ID 2") == (Retransmitted(ID),)
    assert charon_events.from_log(NAME, "sending retransmit 2 of request message ID 1774, seq 3") == (
        Retransmitted(ID),
    )


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("sending DPD request", ProbeSent(ID, 7)),
        ("CHILD_SA rekeying failed, trying again in 14 seconds", RekeyFailed(ID)),
        ("retransmit 1 of request with message ID 2", Retransmitted(ID, 7)),
        ("DPD check timed out, enforcing DPD action", PeerTimedOut(ID, 7)),
        ("parsed INFORMATIONAL response 2 [ ]", PeerSeen(ID, 7)),
        ("parsed INFORMATIONAL_V1 request 2077 [ HASH N(DPD_ACK) ]", PeerSeen(ID, 7)),
        (f"initiating IKE_SA {NAME}[7] to 203.0.113.2", Initiating(ID)),
        (f"initiating Main Mode IKE_SA {NAME}[7] to 203.0.113.2", Initiating(ID)),
        (f"initiating Aggressive Mode IKE_SA {NAME}[7] to 203.0.113.2", Initiating(ID)),
    ],
)
def test_what_dead_peer_detection_needs_to_know(line: str, fact: charon_events.CharonEvent) -> None:
    event = {"ikesa-name": NAME.encode(), "ikesa-uniqueid": b"7", "msg": line.encode()}
    assert charon_events.from_event("log", event) == (fact,)


def test_a_peer_that_lost_its_keys_gives_no_liveness() -> None:
    assert charon_events.from_log(NAME, "parsed INFORMATIONAL_V1 request 0 [ N(INVAL_COOKIE) ]") == ()


def test_an_sa_without_a_name_belongs_to_nobody() -> None:
    (cause,) = _causes(charon_events.from_log("(unnamed)", "no matching peer config found"))
    assert cause.about == ""
    assert charon_events.from_event("ike-updown", {"(unnamed)": {"uniqueid": b"1"}}) == ()


def test_a_child_is_installed_once_charon_can_send_by_it() -> None:
    rest = "established with SPIs c1_i c2_o and TS 10.1.0.0/24 === 10.2.0.0/24"
    child = f"{ID}.0a1b2c3d{{7}}"
    for line in (f"CHILD_SA {child} {rest}", f"outbound CHILD_SA {child} {rest}"):
        assert charon_events.from_log(NAME, line) == (ChildInstalled(ID, 7),)
    # The responder of a rekey sends by the old child until its peer has deleted that.
    assert charon_events.from_log(NAME, f"inbound CHILD_SA {child} {rest}") == ()
    assert charon_events.from_log(NAME, f"establishing CHILD_SA {child}") == ()


def test_this_end_is_about_to_rekey_a_child_that_has_a_reqid() -> None:
    assert charon_events.from_log(NAME, f"establishing CHILD_SA {ID}.0a1b2c3d{{7}} reqid 1") == (RekeyBegun(),)


def test_a_child_that_was_rekeyed_or_has_ended_is_counted() -> None:
    counters = {"bytes-in": b"840", "bytes-out": b"168", "packets-in": b"10", "packets-out": b"2"}
    old = {"name": NAME.encode(), "spi-in": b"c1", "spi-out": b"c2", "install-time": b"30", **counters}
    new = {"name": NAME.encode(), "spi-in": b"c3", "spi-out": b"c4"}
    for event, children in (("child-rekey", {NAME: {"old": old, "new": new}}), ("child-updown", {f"{NAME}-7": old})):
        counted, changed = charon_events.from_event(event, {"peer-0a1b2c3d-4e5f6071": {"child-sas": children}})
        assert isinstance(counted, ChildCounted)
        child = counted.child
        assert (child.spi_in, child.bytes_in, child.packets_out, child.age) == ("c1", 840, 2, 30)
        assert isinstance(changed, SaChanged)
    (only,) = charon_events.from_event("child-updown", {"up": b"yes", NAME: {"child-sas": {f"{NAME}-7": new}}})
    assert isinstance(only, SaChanged)


def test_updown_events_ask_for_a_look() -> None:
    peer = "peer-0a1b2c3d-4e5f6071"
    assert charon_events.from_event("ike-updown", {"up": b"yes", peer: {"uniqueid": b"1"}}) == (SaChanged(peer),)
    children = {f"{NAME}-7": {"name": NAME.encode()}}
    assert charon_events.from_event("child-updown", {peer: {"child-sas": children}}) == (SaChanged(ID, down=True),)
    rekeyed = {NAME: {"old": {"name": NAME.encode()}, "new": {"name": NAME.encode()}}}
    assert charon_events.from_event("child-rekey", {peer: {"child-sas": rekeyed}}) == (SaChanged(ID, rekeyed=True),)


def test_a_log_event_is_read_as_a_line() -> None:
    message = {
        "group": b"IKE",
        "level": b"1",
        "ikesa-name": NAME.encode(),
        "msg": b"parsed INFORMATIONAL response 2 [ ]",
    }
    assert charon_events.from_event("log", message) == (PeerSeen(ID),)


def test_a_listing_without_the_optional_fields() -> None:
    (sa,) = sas.ike_sas([{NAME: {"uniqueid": b"7", "state": b"CONNECTING"}}])
    assert (sa.name, sa.unique_id, sa.established, sa.installed) == (NAME, 7, False, frozenset())
