"""Comparisons: what fits is said to fit, and each change is named with its field, code and severity, and only it."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.peer_side.candidates import chosen
from linkspan.core.peer_side.comparison import compare
from linkspan.core.peer_side.differences import Difference, fits
from linkspan.core.peer_side.parsers import formats
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PreviousKey
from linkspan.core.state.desired import Connection
from tests.core.peer_side import fitting
from tests.core.peer_side.fitting import CONNECTIONS
from tests.core.peer_side.mutations import Mutation, cases
from tests.core.samples import CONNECTION

WRITERS = {"swanctl": fitting.swanctl, "ipsec.conf": fitting.stroke, "libreswan": fitting.libreswan}


def compared(ours: Connection, text: str, name: str = "") -> tuple[Difference, ...]:
    """The differences between a connection and a text, whose format is found in it."""
    reading = formats.read(text.encode())
    narrows = reading.format in formats.NARROWS_V1
    return compare(ours, chosen(reading, ours, name).config, reading.keys, narrows_v1=narrows)


def told(found: tuple[Difference, ...]) -> set[tuple[str, str, str]]:
    return {(difference.field, difference.severity, difference.code) for difference in found}


@pytest.mark.parametrize("dialect", WRITERS)
@pytest.mark.parametrize("name", CONNECTIONS)
def test_what_fits_is_said_to_fit(name: str, dialect: str) -> None:
    ours = CONNECTIONS[name]
    found = compared(ours, WRITERS[dialect](fitting.fitting(ours)))
    assert told(found) == set()


@pytest.mark.parametrize(
    ("dialect", "name", "mutation"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{case[2].name}") for case in cases(CONNECTIONS, WRITERS)],
)
def test_each_change_is_named_and_nothing_else(dialect: str, name: str, mutation: Mutation) -> None:
    ours = CONNECTIONS[name]
    text = WRITERS[dialect](mutation.peer(fitting.fitting(ours)))
    found = compared(ours, text)
    assert (mutation.field, mutation.severity, mutation.code) in told(found)
    others = {difference.field for difference in found if difference.severity in ("cannot", "impaired")}
    assert others <= {mutation.field}
    assert fits(found) == (mutation.severity == "differs")
    named = next(difference for difference in found if difference.field == mutation.field)
    assert named.line is not None
    assert named.code == "" or named.here == CAUSES[named.code].ours  # type: ignore[index]


def test_a_secret_is_in_no_difference() -> None:
    peer = msgspec.structs.replace(fitting.fitting(CONNECTION), psk="a very secret key")
    found = compared(CONNECTION, fitting.swanctl(peer))
    assert ("psk", "cannot", "PSK_MISMATCH") in told(found)
    text = msgspec.json.encode(found).decode()
    assert "secret key" not in text
    assert CONNECTION.psk.reveal() not in text


def test_the_previous_key_counts_for_some_time() -> None:
    ours = msgspec.structs.replace(CONNECTION, psk=Secret("new"), previous_psk=PreviousKey(CONNECTION.psk, "ref-0"))
    found = compared(ours, fitting.swanctl(fitting.fitting(CONNECTION)))
    assert told(found) == {("psk", "impaired", "PSK_MISMATCH")}


def test_without_a_key_in_the_text_it_is_not_known() -> None:
    text = fitting.swanctl(fitting.fitting(CONNECTION)).partition("secrets")[0]
    assert told(compared(CONNECTION, text)) == {("psk", "unknown", "")}


def test_a_key_for_somebody_else_is_none_for_us() -> None:
    whole = fitting.swanctl(fitting.fitting(CONNECTION))
    connections, _, secrets = whole.partition("secrets")
    text = f"{connections}secrets{secrets.replace('198.51.100.1', '203.0.113.8').replace('198.51.100.2', 'x')}"
    assert ("psk", "cannot", "PSK_MISSING_AT_PEER") in told(compared(CONNECTION, text))


def test_an_address_behind_a_nat_only_differs() -> None:
    peer = msgspec.structs.replace(fitting.fitting(CONNECTION), local_address="10.2.0.1")
    found = compared(CONNECTION, fitting.swanctl(peer))
    assert told(found) == {("peer_address", "differs", "")}


def test_an_end_that_takes_any_address_cannot_initiate() -> None:
    ours = CONNECTIONS["response-only"]
    peer = msgspec.structs.replace(fitting.fitting(ours), remote_address="%any")
    assert told(compared(ours, fitting.swanctl(peer))) == {("initiator", "cannot", "BOTH_RESPONSE_ONLY")}
    assert told(compared(CONNECTION, fitting.swanctl(peer))) == set()


def test_wildcards_count_as_in_charon() -> None:
    ours = CONNECTIONS["names"]
    for pattern, fit in (("*.example.org", True), ("*.example.net", False), ("%any", True), ("@gw.example.org", True)):
        peer = msgspec.structs.replace(fitting.fitting(ours), remote_id=pattern, psk=ours.psk.reveal())
        fields = {difference.field for difference in compared(ours, fitting.swanctl(peer))}
        assert ("local_id" not in fields) == fit, pattern


def test_a_name_in_place_of_an_address_may_fit() -> None:
    peer = msgspec.structs.replace(fitting.fitting(CONNECTION), remote_address="gw.example.org")
    found = compared(CONNECTION, fitting.swanctl(peer))
    assert told(found) == {("external_ip", "unknown", "")}
