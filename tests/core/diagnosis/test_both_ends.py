"""What the other end knows: exact where it says more than this one, silent where it does not."""

from __future__ import annotations

import pytest

from linkspan.core.diagnosis.both_ends import OtherEnd, joined

CANARY = "canary-value-of-the-other-project"


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("AUTHENTICATION_REFUSED", "PSK_MISMATCH", "PSK_MISMATCH"),
        ("AUTHENTICATION_REFUSED", "PEER_ID_MISMATCH", "LOCAL_ID_REFUSED"),
        ("AUTHENTICATION_REFUSED", "LOCAL_ID_REFUSED", "PEER_ID_MISMATCH"),
        ("IKE_REFUSED", "IKE_PROPOSAL_MISMATCH_DH", "IKE_PROPOSAL_MISMATCH_DH"),
        ("IKE_REFUSED", "IKE_VERSION_MISMATCH", "IKE_VERSION_MISMATCH"),
        ("ESP_PROPOSAL_MISMATCH", "PFS_MISMATCH", "PFS_MISMATCH"),
        ("PSK_MISMATCH", "PEER_ID_MISMATCH", None),
        ("AUTHENTICATION_REFUSED", "AUTHENTICATION_REFUSED", None),
        ("AUTHENTICATION_REFUSED", "", None),
        ("AUTHENTICATION_REFUSED", "A_CODE_OF_A_NEWER_NODE", None),
    ],
)
def test_the_exact_cause_is_that_of_who_has_refused(ours: str, theirs: str, expected: str | None) -> None:
    found = joined(ours, "bi-directional", OtherEnd(True, "bi-directional", theirs))
    assert (found and found.code) == expected


@pytest.mark.parametrize("ours", ["AUTHENTICATION_REFUSED", "PEER_ID_MISMATCH", "LOCAL_ID_REFUSED"])
@pytest.mark.parametrize("theirs", ["PEER_ID_MISMATCH", "LOCAL_ID_REFUSED"])
def test_of_identities_with_the_same_text_the_types_decide(ours: str, theirs: str) -> None:
    for fits, expected in (((False, True), "PEER_ID_MISMATCH"), ((True, False), "LOCAL_ID_REFUSED")):
        other = OtherEnd(True, "bi-directional", theirs, "", *fits)
        found = joined(ours, "bi-directional", other)
        assert (found.code if found else ours) == expected


def test_what_no_packet_shows() -> None:
    waits = joined("WAITING_FOR_PEER", "response-only", OtherEnd(True, "response-only", "WAITING_FOR_PEER"))
    assert waits is not None
    assert waits.code == "BOTH_RESPONSE_ONLY"
    assert joined("WAITING_FOR_PEER", "response-only", OtherEnd(True, "bi-directional", "")) is None
    off = joined("IKE_REFUSED", "bi-directional", OtherEnd(False, "bi-directional", "ADMIN_DISABLED"))
    assert off is not None
    assert off.code == "PEER_END_DISABLED"


def test_the_values_are_there_for_the_same_project_only() -> None:
    own = joined("AUTHENTICATION_REFUSED", "bi-directional", OtherEnd(True, "bi-directional", "PSK_MISMATCH", CANARY))
    others = joined("AUTHENTICATION_REFUSED", "bi-directional", OtherEnd(True, "bi-directional", "PSK_MISMATCH"))
    assert own is not None
    assert others is not None
    assert (CANARY in own.sentence, CANARY in others.sentence) == (True, False)
    assert "set psk" in others.sentence
