"""The declarations of the faults, and the judgement of what an end tells."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from linkspan.bootstrap import lab_fault
from linkspan.bootstrap.command_line import execute
from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY
from linkspan.lab.faults.acts import ACTS
from linkspan.lab.faults.catalogue import FAULTS
from linkspan.lab.faults.declaration import Act, Case, Change, Codes, TunnelFault, cases
from linkspan.lab.faults.judgement import judge
from linkspan.lab.faults.plain_end import message
from tests.faults import known

SAMPLE = TunnelFault(
    name="sample",
    title="a sample",
    codes=Codes(
        near=("PSK_MISMATCH",),
        far=None,
        alone_initiator=("AUTHENTICATION_REFUSED",),
        vague=("PEER_NO_REPLY",),
    ),
)
OURS, PLAIN = Case(SAMPLE, "v2", "initiator", "ours"), Case(SAMPLE, "v2", "initiator", "plain")
GROUP = TunnelFault(name="group", title="groups", codes=Codes(any=("IKE_PROPOSAL_MISMATCH_DH",)))


def test_there_are_enough_faults_of_every_kind() -> None:
    arrangements = list(cases(FAULTS.values()))
    assert len(arrangements) >= 90
    assert {case.version for case in arrangements} == {"v1", "v2"}
    assert {case.role for case in arrangements} == {"initiator", "responder"}
    assert {case.kind for case in arrangements} == {"ours", "plain"}
    assert len({case.name for case in arrangements}) == len(arrangements)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_declaration_can_be_set_up_and_judged(fault: TunnelFault) -> None:
    for change in (fault.near, fault.far, fault.both):
        for resource, values in (
            (CONNECTION, change.connection),
            (IKE_POLICY, change.ike),
            (IPSEC_POLICY, change.ipsec),
        ):
            assert values.keys() <= {attribute.name for attribute in resource.attributes}
        assert not (change.charon or change.child) or (change is fault.far and fault.kinds == ("plain",))
    assert all(act in ACTS for act in fault.acts)
    found = list(cases([fault]))
    assert found
    for case in found:
        assert any(case.right(end) is not None for end in case.ends()), case.name


NOT_DECLARED = {
    *("ESP_BLOCKED", "PATH_LOSSY", "PATH_MTU_TOO_SMALL", "DF_BLACKHOLE"),
    *("PEER_KNOWS_NO_SUCH_CONNECTION", "PEER_ADDRESS_CHANGED"),
    *("ROUTE_MISSING_AT_PEER", "FILTERED_AT_PEER", "INNER_HOST_SILENT", "UP_IDLE"),
}
"""Codes that would be right, and that the product cannot give yet."""


def test_right_codes_are_those_of_the_product() -> None:
    codes = {code for case in cases(FAULTS.values()) for end in case.ends() for code in case.right(end) or ()}
    codes |= {code for fault in FAULTS.values() for code in fault.codes.vague}
    assert codes - set(CAUSES) - {""} <= NOT_DECLARED


def test_the_sample_and_what_is_known_are_cases() -> None:
    names = {case.name for case in cases(FAULTS.values())}
    assert names >= known.SAMPLE
    assert names >= known.KNOWN.keys()
    assert known.SAMPLE.isdisjoint(known.KNOWN)
    sampled = [case for case in cases(FAULTS.values()) if case.name in known.SAMPLE]
    assert len({case.fault.name for case in sampled}) >= 12
    assert {(case.version, case.role, case.kind) for case in sampled} >= {
        ("v2", "initiator", "ours"),
        ("v2", "responder", "plain"),
        ("v1", "initiator", "plain"),
        ("v1", "responder", "ours"),
    }


def test_every_act_is_of_a_fault() -> None:
    assert set(ACTS) == set(Act.__args__)  # type: ignore[attr-defined] # of a Literal
    assert {act for fault in FAULTS.values() for act in fault.acts} == set(ACTS)


@pytest.mark.parametrize(
    ("case", "end", "code", "judgement"),
    [
        (OURS, "near", "PSK_MISMATCH", "right"),
        (OURS, "near", "AUTHENTICATION_REFUSED", "vague"),
        (OURS, "near", "IKE_REFUSED", "wrong"),
        (OURS, "near", "LOCAL_ID_REFUSED", "wrong"),
        (OURS, "near", "", "nothing"),
        (OURS, "near", "WAITING_FOR_PEER", "nothing"),
        (OURS, "near", "UNKNOWN", "vague"),
        (OURS, "near", "PEER_NO_REPLY", "vague"),
        (OURS, "far", "PSK_MISMATCH", "cannot know"),
        (PLAIN, "near", "AUTHENTICATION_REFUSED", "right"),
        (PLAIN, "near", "PSK_MISMATCH", "wrong"),
        (Case(GROUP, "v2", "initiator", "ours"), "far", "IKE_PROPOSAL_MISMATCH", "vague"),
        (Case(GROUP, "v2", "initiator", "ours"), "far", "IKE_PROPOSAL_MISMATCH_PRF", "wrong"),
    ],
)
def test_a_code_is_judged(case: Case, end: str, code: str, judgement: str) -> None:
    assert judge(case, end, code) == judgement  # type: ignore[arg-type] # of an TunnelEnd


def test_attributes_of_the_api_in_the_words_of_a_plain_charon() -> None:
    attributes = {"peer_address": "198.51.100.2", "peer_id": "keyid:hq", "local_id": "", "peer_cidrs": ["10.1.0.0/24"]}
    ike = {"ike_version": "v1", "phase1_negotiation_mode": "aggressive", "pfs": "group20"}
    found = message(attributes, ike, {"auth_algorithm": "sha512"}, "198.51.100.9", ["10.9.0.0/24"], None)
    assert (found["version"], found["aggressive"], found["proposals"]) == ("1", "yes", ["aes128-sha256-ecp384"])
    assert (found["local"]["id"], found["remote"]["id"]) == ("198.51.100.9", "keyid:hq")
    assert found["children"]["net"]["esp_proposals"] == ["aes128-sha512-modp2048"]


def test_the_command_lists_the_faults_and_refuses_others(capsys: pytest.CaptureFixture[str]) -> None:
    listed = CliRunner().invoke(lab_fault.command(), []).output
    assert set(FAULTS) <= {line.split()[0] for line in listed.splitlines()}
    assert execute(["lab", "fault", "psk-blnk"]) == 2
    assert "did you mean 'psk-blank'?" in capsys.readouterr().err


def test_the_command_takes_the_arrangements_that_a_fault_has() -> None:
    case = lab_fault.choose(FAULTS["psk"], "v1", "far", "plain")
    assert (case.version, case.role, case.kind) == ("v1", "responder", "plain")
    with pytest.raises(click.UsageError, match="--ike v1 --initiator near --peer ours"):
        lab_fault.choose(FAULTS["ike-mode"], "v2", None, None)


def test_a_change_is_empty_by_default() -> None:
    assert Change() == Change(connection={}, ike={}, ipsec={}, charon={}, child={})
