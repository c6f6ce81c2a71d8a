"""Printable text, by Unicode categories, and what makes other text harmless."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import printable
from linkspan.core.errors import ApiError
from linkspan.core.schema.attribute_types import Text

PRINTABLE = ("", "office", "a b", "Büro", "東京\u3000支店", "🔒\ufe0f", "e\u0301", "سلام", "a\u00a0b")
OTHERS = {
    "C0": "\x1b",
    "NUL": "\x00",
    "DEL": "\x7f",
    "C1 (CSI)": "\x9b",
    "bidi override": "\u202e",
    "bidi isolate": "\u2066",
    "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "word joiner": "\u2060",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "tag": "\U000e0041",
    "private": "\ue000",
    "surrogate": "\ud800",
    "unassigned": "\u0378",
    "no character": "\uffff",
    "Hangul filler": "\u3164",
    "combining grapheme joiner": "\u034f",
    "interlinear annotation": "\ufff9",
}


@pytest.mark.parametrize("text", PRINTABLE)
def test_printable_text_is_taken_and_left_as_it_is(text: str) -> None:
    assert printable.unprintable(text) == ""
    assert printable.harmless(text) == text
    assert Text().convert("name", text) == text
    assert re.fullmatch(Text().schema()["pattern"], text)


@pytest.mark.parametrize("char", OTHERS.values(), ids=OTHERS)
def test_other_text_is_refused_and_made_harmless(char: str) -> None:
    text = f"office{char}x"
    assert printable.unprintable(text) == char
    with pytest.raises(ApiError, match=r"not printable \(U\+"):
        Text().convert("name", text)
    with pytest.raises(ApiError, match=r"not printable \(U\+"):
        Text(controls="lines").convert("description", text)
    assert printable.harmless(text) == f"office<U+{ord(char):04X}>x"


def test_a_key_may_have_any_character_that_can_be_encoded() -> None:
    for name, char in OTHERS.items():
        if name != "surrogate":
            assert Text(controls="any").convert("psk", f"a{char}") == f"a{char}"
    with pytest.raises(ApiError):
        Text(controls="any").convert("psk", "a\ud800")


def test_a_description_may_have_lines() -> None:
    assert Text(controls="lines").convert("it", "a\r\n\tb") == "a\r\n\tb"
    assert printable.harmless("a\r\n\tb", "\n\t") == "a<U+000D>\n\tb"


@given(st.text())
def test_the_schemas_pattern_refuses_nothing_that_is_taken(text: str) -> None:
    if not printable.unprintable(text):
        assert re.fullmatch(Text().schema()["pattern"], text)


@given(st.text(st.characters(codec=None)))
def test_harmless_text_is_printable(text: str) -> None:
    assert printable.unprintable(printable.harmless(text)) == ""
    assert printable.unprintable(printable.one_line(text), "\t") == ""
    assert len(printable.bounded(text, 20)) <= 20
    harmless = printable.harmless_json(json.dumps([text], ensure_ascii=False, indent=1))
    assert printable.unprintable(harmless, "\n") == ""
    assert json.loads(harmless) == [text]


def test_every_control_format_and_unassigned_character_is_found() -> None:
    for number in (*range(0x20000), *range(0xE0000, 0xE1000)):
        bad = unicodedata.category(chr(number)) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        assert not bad or not printable.is_printable(chr(number)), hex(number)
