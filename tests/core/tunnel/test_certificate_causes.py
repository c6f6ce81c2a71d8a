"""Why a certificate was refused: the lines of charon 5.9.8, in any order, and what takes a cause back."""

from __future__ import annotations

import itertools
import time

import msgspec
import pytest

from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey
from linkspan.core.tunnel import cause_context, certificate_causes, charon_events, peer_attempts
from linkspan.core.tunnel.charon_events import Cause, CharonEvent, PeerRefused, Retracted
from linkspan.core.tunnel.peer_attempts import LATE, PeerAttempts
from linkspan.core.tunnel.sas import UNNAMED
from tests.core.samples import certified, connection

NOW = time.mktime((2026, 11, 29, 7, 0, 0, 0, 0, -1))
CLOSING = "no trusted ECDSA public key found for 'peer.example.org'"
FAULTS = {
    "subject certificate invalid (valid from Nov 27 06:48:17 2026 to Nov 28 06:48:17 2026)": "CERT_EXPIRED",
    "issuer certificate invalid (valid from Nov 27 06:48:17 2026 to Nov 28 06:48:17 2026)": "CERT_EXPIRED",
    "subject certificate invalid (valid from Nov 30 06:48:15 2026 to Dec 01 06:48:15 2026)": "CERT_NOT_YET_VALID",
    '  issuer is "C=CH, O=Lab, CN=Stranger"': "CERT_NO_ISSUER",
    "constraint check failed: peer not authenticated by CA 'C=CH, O=Lab, CN=One'": "CERT_UNTRUSTED_ROOT",
    "constraint check failed: peer not authenticated with peer cert 'C=CH, O=Lab, CN=peer'": "CERT_NOT_PINNED",
    "certificate was revoked on Nov 29 06:04:43 UTC 2026, reason: key compromise": "CERT_REVOKED",
    "constraint check failed: RULE_CRL_VALIDATION is SKIPPED, but requires at least GOOD": "REVOCATION_UNREACHABLE",
    "constraint check failed: RULE_CRL_VALIDATION is STALE, but requires at least GOOD": "REVOCATION_UNREACHABLE",
    "path length of 1 violates constraint of 0": "CERT_POLICY",
    "X.509 signature scheme ECDSA_WITH_SHA1_DER not acceptable": "CERT_POLICY",
    "IKE signature scheme RSA_EMSA_PSS not acceptable": "CERT_POLICY",
    "no private key found for 'gw.example.org'": "LOCAL_CERT_MISSING",
    "no RSA private key found for 'gw2.example.org'": "LOCAL_CERT_MISSING",
    "PPK required but peer does not support PPK": "PPK_REQUIRED",
    "PPK required but no PPK found for 'ppk@x'": "PPK_MISMATCH",
    "received PPK_ID 'ppk@x', but require 'ppk@y'": "PPK_MISMATCH",
    CLOSING: "ID_NOT_IN_CERT",
}


def read(*lines: tuple[str, str], number: int = 1, step: float = 0.0) -> list[CharonEvent]:
    """The events in lines of the log of one IKE SA, each with the name that it had then."""
    attempts: PeerAttempts = {}
    found: list[CharonEvent] = []
    for count, (name, line) in enumerate(lines):
        message = {"ikesa-name": name, "ikesa-uniqueid": str(number), "msg": line}
        attempts, events = peer_attempts.read(attempts, "log", message, NOW + count * step)
        found += [event for event in events if isinstance(event, Cause | PeerRefused | Retracted)]
    return found


@pytest.mark.parametrize("line", FAULTS)
def test_each_fault_has_its_cause(line: str) -> None:
    (cause,) = read(("peer-1-2", line))
    assert isinstance(cause, Cause)
    assert (cause.about, cause.code, cause.at) == ("peer-1-2", FAULTS[line], None)


def test_no_two_faults_have_the_same_words() -> None:
    texts = [cause.text for line in FAULTS for cause in read(("c", line)) if isinstance(cause, Cause)]
    assert len(set(texts)) == len(FAULTS)


@pytest.mark.parametrize("fault", [line for line in FAULTS if line != CLOSING])
def test_the_closing_line_is_a_cause_only_alone(fault: str) -> None:
    for order in itertools.permutations([fault, CLOSING]):
        assert read(*(("c", line) for line in order))[-1].code == FAULTS[fault]  # type: ignore[union-attr]
    late = read(("c", fault), ("c", CLOSING), step=LATE + 0.1)
    assert [cause.code for cause in late if isinstance(cause, Cause)] == [FAULTS[fault], "ID_NOT_IN_CERT"]


@pytest.mark.parametrize(
    "line",
    [
        "certificate status is not available",
        "signature validation failed, looking for another key",
        "constraint requires pre-shared key authentication, but public key was used",
        "selected peer config 'c.1' unacceptable: constraint checking failed",
        'no issuer certificate found for "C=CH, O=Lab, CN=peer"',
        "authentication of 'no trusted x public key found for ' with ED25519 successful",
    ],
)
def test_lines_of_good_attempts_and_of_peers_are_no_causes(line: str) -> None:
    assert certificate_causes.read("c", line, NOW) is None


FIRST = (
    (UNNAMED, "received packet: from 198.51.100.2[500] to 198.51.100.1[500] (464 bytes)"),
    (UNNAMED, "parsed IKE_SA_INIT request 0 [ SA KE No ]"),
)


def test_an_attempt_of_the_peer_has_its_time() -> None:
    (cause,) = read(*FIRST, ("c", '  issuer is "CN=x"'), ("c", CLOSING))
    assert isinstance(cause, Cause)
    assert cause.at == NOW


def test_a_cause_is_taken_back_if_charon_goes_on_with_another_connection() -> None:
    fault = "constraint check failed: peer not authenticated by CA 'CN=One'"
    cause, retracted = read(*FIRST, ("peer-1-a", fault), ("peer-1-b", "switching to peer config 'peer-1-b'"))
    assert isinstance(cause, Cause)
    assert retracted == Retracted("peer-1-a", cause.text)
    assert read(*FIRST, ("peer-1-b", "switching to peer config 'peer-1-b'"), ("peer-1-a", fault)) == []
    (other,) = read(*FIRST, ("peer-1-b", "switching to peer config 'peer-1-b'"), ("peer-1-b", fault))
    assert isinstance(other, Cause)


UNFIT = "signature validation failed, looking for another key"
REFUSED = "generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"


@pytest.mark.parametrize("last", [REFUSED, "generating INFORMATIONAL_V1 request 4082637294 [ HASH N(AUTH_FAILED) ]"])
def test_a_signature_that_fits_no_key_is_a_cause_once_the_peer_is_refused(last: str) -> None:
    (ours,) = read(("c", UNFIT), ("c", UNFIT), ("c", last))
    assert isinstance(ours, Cause)
    assert (ours.about, ours.code, ours.at) == ("c", "CERT_KEY_MISMATCH", None)
    (theirs,) = read(*FIRST, ("c", UNFIT), ("c", last))
    assert isinstance(theirs, Cause)
    assert theirs.at == NOW
    # Not if another key fits, if another fault is known, or if the signature was not at fault.
    fits = (("c", UNFIT), ("c", "authentication of 'peer.example.org' with ECDSA_WITH_SHA256_DER successful"))
    assert read(*FIRST, *fits, ("c", "generating IKE_AUTH response 1 [ IDr AUTH SA TSi TSr ]")) == []
    assert [cause.code for cause in read(("c", UNFIT), ("c", CLOSING), ("c", last)) if isinstance(cause, Cause)] == [
        "ID_NOT_IN_CERT"
    ]
    assert [
        cause for cause in read(*FIRST, ("c", last)) if isinstance(cause, Cause) and cause.code == "CERT_KEY_MISMATCH"
    ] == []


def test_what_the_peer_refuses_is_said_for_what_it_was_given() -> None:
    text = "the peer refused our authentication: compare the pre-shared key and the identities on both sides"
    refused = Cause("c", "AUTHENTICATION_REFUSED", text)
    ppk = PostQuantumKey(id="p", key=Secret("k"), required=False)
    assert cause_context.in_context(refused, connection()).text == text
    assert "the CA that it trusts" in cause_context.in_context(refused, certified()).text
    assert "post-quantum" in cause_context.in_context(refused, connection(ppk=ppk)).text
    unfit = certificate_causes.unfit("c", UNFIT)
    assert cause_context.in_context(unfit, certified()).text == unfit.text
    assert "compare ppk" in cause_context.in_context(unfit, msgspec.structs.replace(certified(), ppk=ppk)).text


def test_a_key_that_meets_a_certificate_is_said() -> None:
    (no_key,) = charon_events.from_log("peer-1-2", "no shared key found for 'a.example.org' - 'b.example.org'")
    (no_certificate,) = read(("peer-1-2", CLOSING))
    for cause, certs in ((no_key, True), (no_certificate, False)):
        assert isinstance(cause, Cause)
        for item in (certified(), connection()):
            found = cause_context.in_context(cause, item)
            assert (found.code == "AUTH_METHOD_MISMATCH") == ((item.auth_mode == "certs") == certs)
    for method, certs in (("pre-shared key", True), ("ECDSA-256 signature", False)):
        line = f"found 1 matching config, but none allows {method} authentication using Main Mode"
        (cause,) = charon_events.from_log("peer-1-2", line)
        assert isinstance(cause, Cause)
        for item in (certified(), connection()):
            found = cause_context.in_context(cause, item)
            is_method = (item.auth_mode == "certs") == certs
            assert found.code == ("AUTH_METHOD_MISMATCH" if is_method else "EXCHANGE_MODE_MISMATCH")


def test_a_name_that_a_peer_has_chosen_is_bounded() -> None:
    cause = certificate_causes.read("c", f"no trusted RSA public key found for '{'x' * 5000}\x1b[2J'", NOW)
    assert cause is not None
    assert len(cause.text) < 400
    assert cause.text.isprintable()
