"""Attribute types: the values that each accepts, converts and refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import addresses
from linkspan.core.errors import ApiError
from linkspan.core.schema import attribute_types
from linkspan.core.schema.attribute_types import (
    MAX_INT,
    AttributeType,
    Boolean,
    Choice,
    Cidrs,
    Endpoints,
    Integer,
    IpAddress,
    Json,
    Text,
    Uuid,
)
from linkspan.core.schema.gateway_info import GatewayInfo
from linkspan.core.schema.resources import RESOURCES
from linkspan.core.schema.vpn_types import DeadPeerDetection, IkeIdentity, Lifetime, PeerAddress
from tests.core.samples import attempt

UUID = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"
LIFETIME = Lifetime(units=("seconds", "kilobytes"))


def rows_for(kind: AttributeType, values: tuple[Any, ...], *rest: Any) -> list[tuple[Any, ...]]:
    """Parameter sets that differ only in the value."""
    return [(kind, value, *rest) for value in values]


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (Text(), "", ""),
        (Text(), "🔒 ünïcode", "🔒 ünïcode"),
        (Text(), "n" * 255, "n" * 255),
        (Text(controls="lines"), "a\n\tb\r", "a\n\tb\r"),
        (Text(controls="any"), "a\x00\x7f\n", "a\x00\x7f\n"),
        (Choice(("a", "b")), "a", "a"),
        (Uuid(), UUID.upper(), UUID),
        (Uuid(optional=True), None, None),
        (Uuid(optional=True), "", None),
        (Uuid(optional=True), UUID.upper(), UUID),
        *rows_for(Boolean(), (True, "true", "True", "TRUE", "1", 1, "on", "yes", "t", "y"), True),
        *rows_for(Boolean(), (False, "false", "False", "0", 0, "off", "no", "f", "n"), False),
        (Integer(), 7, 7),
        (Integer(), "7", 7),
        (Integer(), " -7 ", -7),
        (Integer(minimum=0, maximum=5), 5, 5),
        (Cidrs(), "10.0.0.0/24", ["10.0.0.0/24"]),
        (Cidrs(), ["10.0.0.9/24", "fd00::1/64"], ["10.0.0.9/24", "fd00::1/64"]),
        (Cidrs(), [], []),
        (Endpoints(), "x", ["x"]),
        (Endpoints(), ["b", "a"], ["b", "a"]),
        (LIFETIME, None, {"units": "seconds", "value": 3600}),
        (LIFETIME, {}, {"units": "seconds", "value": 3600}),
        (LIFETIME, {"value": "60"}, {"units": "seconds", "value": 60}),
        (LIFETIME, {"units": "kilobytes"}, {"units": "kilobytes", "value": 3600}),
        (DeadPeerDetection(), None, {"action": "hold", "interval": 30, "timeout": 120}),
        (DeadPeerDetection(), {"timeout": "31"}, {"action": "hold", "interval": 30, "timeout": 31}),
        (PeerAddress(), "198.51.100.7", "198.51.100.7"),
        (PeerAddress(), "2001:db8::7", "2001:db8::7"),
        *((IpAddress(), text, text) for text in ("198.51.100.7", "2001:db8::7", "::")),
        (PeerAddress(), "vpn.Example.org.", "vpn.Example.org."),
        (IkeIdentity(), "@gw", "@gw"),
        (IkeIdentity(optional=True), "", ""),
        (Json(), [1], [1]),
        (GatewayInfo(), {}, {}),
    ],
)
def test_valid_values_are_converted(kind: AttributeType, value: Any, converted: Any) -> None:
    assert kind.convert("it", value) == converted
    assert kind.convert("it", converted) == converted


@pytest.mark.parametrize(
    ("kind", "value", "type_", "words"),
    [
        (Text(), None, "HTTPBadRequest", "Invalid input for it. Reason: 'None' is not a valid string."),
        (Text(), 17, "HTTPBadRequest", "Invalid input for it. Reason: '17' is not a valid string."),
        (Text(), "n" * 256, "HTTPBadRequest", "exceeds maximum length of 255."),
        (Text(min_length=1), "", "HTTPBadRequest", "empty"),
        *rows_for(Text(), ("\n", "\x00", "\x7f", "\ud800"), "HTTPBadRequest", "not printable"),
        (Text(controls="lines"), "\x00", "HTTPBadRequest", "not printable"),
        (Text(controls="any"), "\udfff", "HTTPBadRequest", "not printable"),
        (Choice(("a",)), "b", "HTTPBadRequest", "Invalid input for it. Reason: b is not in valid_values."),
        (Choice(("a",)), None, "HTTPBadRequest", "valid_values"),
        (Choice(("a",)), ["a"], "HTTPBadRequest", "valid_values"),
        *rows_for(Uuid(), (None, "", 7, UUID[:-1], UUID.replace("-", ""), f"{UUID}\n"), "HTTPBadRequest", "UUID"),
        *rows_for(Uuid(optional=True), (" ", 0, False, [], "none"), "HTTPBadRequest", "UUID"),
        (DeadPeerDetection(), {"actions": "explode"}, "HTTPBadRequest", "explode is not in valid_values."),
        (DeadPeerDetection(), {"action": "hold", "actions": "clear"}, "HTTPBadRequest", "do not match"),
        *rows_for(Boolean(), (None, "", "maybe", 2, 1.0, [], {}), "InvalidInput", "boolean"),
        *rows_for(
            Integer(), (None, "", "big", 1.5, True, [], math.inf, "1e3", "٣"), "InvalidInput", "is not an integer."
        ),
        (Integer(minimum=0, maximum=5), 6, "HTTPBadRequest", "'6' is too large - must be no larger than '5'"),
        (Integer(minimum=0, maximum=5), -1, "HTTPBadRequest", "'-1' is too small - must be at least '0'"),
        (Integer(), 2**31, "HTTPBadRequest", "too large"),
        (Integer(), 10**300, "HTTPBadRequest", "too large"),
        *rows_for(
            Cidrs(),
            tuple(
                [value]
                for value in (
                    "10.0.0.0",
                    "10.0.0.0/33",
                    "10.0.0/24",
                    "x",
                    7,
                    None,
                    "fd00::%eth0/64",
                    "10.0.0.0/255.0.0.0",
                    "10.0.0.0/08",
                    "FD00::/64",
                    "fd00:0::/64",
                    "fd00::00a5/64",
                )
            ),
            "HTTPBadRequest",
            "is not a valid IP subnet",
        ),
        (Cidrs(), "::ffff:10.0.0.0/120", "HTTPBadRequest", "write the IPv4 network"),
        *rows_for(
            IpAddress(),
            (
                "2001:db8::2%a",
                "2001:db8::2%\x1b[31m",
                "2001:db8::2%",
                "2001:db8::2/64",
                "2001:DB8::2",
                "2001:db8:0::2",
                "2001:db8::0002",
                "198.51.100.07",
                "198.51.100.7/32",
                " 198.51.100.7",
                "198.51.100.7\n",
                "198.51.100",
                "0xc6336407",
                3325256711,
                None,
                "",
            ),
            "HTTPBadRequest",
            "is not a valid IP address",
        ),
        (IpAddress(), "::ffff:198.51.100.7", "HTTPBadRequest", "write the IPv4 address"),
        (IpAddress(), "::ffff:c633:6407", "HTTPBadRequest", "write the IPv4 address"),
        (Cidrs(), ["10.0.0.0/24"] * 2, "HTTPBadRequest", "Duplicate items in the list: '10.0.0.0/24'."),
        (Cidrs(), ["10.0.0.0/24", "10.0.0.1/24"], "HTTPBadRequest", "Duplicate"),
        *rows_for(Cidrs(), (None, {}, 7), "HTTPBadRequest", "not a list"),
        *rows_for(Endpoints(), (None, {}, [7], [None]), "HTTPBadRequest", "not a list"),
        (LIFETIME, {"value": 59}, "HTTPBadRequest", "'59' is too small - must be at least '60'."),
        (LIFETIME, {"value": 2**31}, "HTTPBadRequest", "too large"),
        (LIFETIME, {"value": "soon"}, "HTTPBadRequest", "not an integer"),
        (LIFETIME, {"value": None}, "HTTPBadRequest", "not an integer"),
        (LIFETIME, {"units": "hours"}, "HTTPBadRequest", "hours is not in valid_values."),
        (LIFETIME, {"units": ["seconds"]}, "HTTPBadRequest", "valid_values"),
        (LIFETIME, {"x": 1}, "HTTPBadRequest", "Unexpected keys supplied: x."),
        *rows_for(LIFETIME, ([], "x", 7, False), "HTTPBadRequest", "not a dictionary"),
        (DeadPeerDetection(), {"action": "explode"}, "HTTPBadRequest", "explode is not in valid_values."),
        (DeadPeerDetection(), {"action": {}}, "HTTPBadRequest", "valid_values"),
        (DeadPeerDetection(), {"interval": -1}, "HTTPBadRequest", "'-1' should be non-negative."),
        (DeadPeerDetection(), {"interval": 0}, "HTTPBadRequest", "positive"),
        (DeadPeerDetection(), {"timeout": 86_401}, "HTTPBadRequest", "too large"),
        *rows_for(
            DeadPeerDetection(),
            ({"interval": 120}, {"timeout": 30}, {"interval": "100", "timeout": "99"}),
            "IPsecSiteConnectionDpdIntervalValueError",
            "equal to or less than",
        ),
        *rows_for(
            PeerAddress(),
            (
                "",
                "a b",
                "%any",
                "0.0.0.0",
                "::",
                "224.0.0.1",
                "fe80::1%eth0",
                "1.2.3.4.5",
                "300.1.1.1",
                "-a",
            ),
            "VPNPeerAddressNotResolved",
            "Peer address",
        ),
        (PeerAddress(), None, "HTTPBadRequest", "not a valid string"),
        (IkeIdentity(), "", "HTTPBadRequest", "empty"),
        (IkeIdentity(), "%any", "HTTPBadRequest", "exactly one peer"),
        (IkeIdentity(), "a\nb", "HTTPBadRequest", "not printable"),
        (IkeIdentity(), None, "HTTPBadRequest", "not a valid string"),
        (Json(), {}, "HTTPBadRequest", "array"),
    ],
)
def test_invalid_values_are_refused(kind: AttributeType, value: Any, type_: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        kind.convert("it", value)
    assert caught.value.type == type_
    assert caught.value.status == 400
    assert words in caught.value.message


def test_an_update_is_merged_with_the_stored_value() -> None:
    stored = {"units": "kilobytes", "value": 7200}
    assert LIFETIME.merge("it", stored, {"value": "60"}) == {"units": "kilobytes", "value": 60}
    assert LIFETIME.merge("it", stored, None) == stored
    dpd = {"action": "restart", "interval": 10, "timeout": 60}
    assert DeadPeerDetection().merge("it", dpd, {"action": "clear"}) == dpd | {"action": "clear"}
    assert DeadPeerDetection().merge("it", dpd, {"actions": "clear"}) == dpd | {"action": "clear"}
    assert DeadPeerDetection().merge("it", dpd, {"actions": "clear", "action": "clear"}) == dpd | {"action": "clear"}
    assert DeadPeerDetection().merge("it", dpd, {"timeout": 90}) == dpd | {"timeout": 90}
    with pytest.raises(ApiError):
        DeadPeerDetection().merge("it", dpd, {"interval": 60})
    assert Text().merge("it", "old", "new") == "new"


def test_a_merge_does_not_change_the_stored_value() -> None:
    stored = {"units": "seconds", "value": 7200}
    LIFETIME.merge("it", stored, {"value": 60})
    assert stored == {"units": "seconds", "value": 7200}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EVERY = [(resource, attribute) for resource in RESOURCES for attribute in resource.attributes]


@pytest.mark.parametrize(("resource", "attribute"), EVERY, ids=[f"{r.name}.{a.name}" for r, a in EVERY])
def test_any_json_is_converted_or_refused(resource: Any, attribute: Any) -> None:
    kind: AttributeType = attribute.kind
    plausible = st.sampled_from(
        [{"value": 7}, {"units": "seconds"}, {"action": "hold", "interval": 5, "timeout": "7"}, ["10.0.0.0/8"], UUID]
    )

    @given(value=st.one_of(JSON, plausible, st.dictionaries(st.sampled_from(["value", "units", "timeout"]), JSON)))
    def check(value: Any) -> None:
        converted = attempt(kind.convert, attribute.name, value)
        if converted is None:
            return
        assert kind.convert(attribute.name, converted) == converted
        expected: dict[str, type | tuple[type, ...]] = {
            "text": (str, type(None)),
            "integer": int,
            "boolean": bool,
            "json": (list, dict),
        }
        assert isinstance(converted, expected[kind.column])
        if isinstance(converted, int):
            assert -MAX_INT <= converted <= MAX_INT

    check()


@pytest.mark.parametrize(("resource", "attribute"), EVERY, ids=[f"{r.name}.{a.name}" for r, a in EVERY])
def test_every_default_is_a_valid_value(resource: Any, attribute: Any) -> None:
    assert attribute.help
    assert attribute.kind.schema()
    if attribute.post and not attribute.required and attribute.default is not None:
        assert attribute.kind.convert(attribute.name, attribute.default) == attribute.default


@given(text=st.text())
def test_any_text_is_tested_for_uuid_and_network(text: str) -> None:
    network = addresses.as_network(text)
    assert not attribute_types.is_uuid(text) or len(text) == 36
    assert network is None or addresses.as_network(str(network)) == network


@given(number=st.integers(-(10**17), 10**17))
def test_integers_are_accepted_as_decimal_text(number: int) -> None:
    assert attribute_types.as_integer(number) == attribute_types.as_integer(str(number)) == number
