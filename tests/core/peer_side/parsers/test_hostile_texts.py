"""Texts that nobody means well: every one is read or refused with a sentence, quickly, and no key is in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.peer_side.candidates import chosen
from linkspan.core.peer_side.comparison import compare
from linkspan.core.peer_side.parsers import formats
from linkspan.core.peer_side.parsers.reading import MOST_BYTES, Format, Unreadable
from tests.core.samples import CONNECTION

SAMPLES = sorted((Path(__file__).parent / "samples").iterdir())
PIECES = (
    *(
        "{",
        "}",
        "=",
        '"',
        "'",
        "#",
        "\\",
        "\n",
        " ",
        "\t",
        ",",
        ":",
        ";",
        "/*",
        "*/",
        "!",
        "-",
        "%any",
        "also=",
        "conn a\n",
    ),
    *(
        "connections",
        "children",
        "secrets { ike { secret = ",
        "a : a {",
        "set vpn ipsec ",
        "crypto map A 1 ipsec-isakmp\n",
    ),
    *(" set peer 1.2.3.4\n", "include x", "10.0.0.0/8", "::/0", "default", "aes128-sha256-modp2048", ": PSK ", "\x85"),
)


def outcome(text: bytes, wanted: Format | None) -> str:
    """Reads a text and compares it with every connection in it; returns the sentence that refuses it."""
    try:
        reading = formats.read(text, wanted)
        for candidate in reading.candidates[:5]:
            compare(CONNECTION, candidate.config, reading.keys)
        chosen(reading, CONNECTION)
        return ""
    except Unreadable as error:
        refused = error
    assert refused.text
    assert 0 <= refused.line <= text.count(b"\n") + text.count(b"\r") + 1
    assert str(refused).isprintable()
    return str(refused)


formats_or_none = st.sampled_from([None, *formats.NAMES])


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), formats_or_none)
def test_pieces_of_every_dialect(text: str, wanted: Format | None) -> None:
    outcome(text.encode(), wanted)


@given(st.binary(max_size=200), formats_or_none)
def test_bytes(text: bytes, wanted: Format | None) -> None:
    outcome(text, wanted)


@given(st.sampled_from(SAMPLES), st.data())
def test_a_broken_configuration_shows_no_key(sample: Path, data: st.DataObject) -> None:
    text = sample.read_text().replace("correct", "swordfish").encode()
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 40)))
    put = data.draw(st.sampled_from([b"", b"{", b"}", b'"', b"\n", b"=", b"x", b"' "]))
    assert "swordfish" not in outcome(text[:at] + put + text[until:], data.draw(formats_or_none))


_WIDE = "aes128-aes192-aes256-sha1-sha256-sha384-sha512-" + "-".join(f"modp{bits}" for bits in (1024, 2048, 3072, 4096))
_HEIRS = (
    "connections {" + "".join(f"c{n} : base {{ remote_addrs = 10.0.{n // 256}.{n % 256} }}\n" for n in range(512)) + "}"
)
HOSTILE = {
    "proposals, inherited": f"base {{ proposals = {_WIDE}-ecp256, {_WIDE}-ecp384\n}}\n{_HEIRS}",
    "networks, inherited": "base { children {"
    + "".join(f"k{m} {{ local_ts = {','.join(f'10.{m}.{n}.0/24' for n in range(60))} }}\n" for m in range(4))
    + f"}} }}\n{_HEIRS}",
    "deep sections": "a {" * 80_000,
    "deep sections, closed": "a {" * 40_000 + "}" * 40_000,
    "one long word": "x" * 250_000,
    "one long line": "connections { a { x = " + "y " * 120_000,
    "quotes": '"' * 250_000,
    "escapes": 'connections { a { x = "' + "\\\\" * 120_000,
    "comments": "#" * 250_000,
    "half comments": "/*" * 120_000,
    "blanks": " " * 250_000,
    "newlines": "\n" * 250_000,
    "colons": ": " * 120_000,
    "colons and blanks": ":" + " " * 200_000 + "\n" + ": P" * 10_000,
    "many sections": "connections {" + "".join(f"a{number} {{}}\n" for number in range(20_000)) + "}",
    "references": "".join(f"s{n} : s{n + 1} {{ k{n} = 1 }}\n" for n in range(5_000)) + "connections { a { } }",
    "references, multiplied": "s0 { a { b { c = 1 } } }\n"
    + "".join(f"s{n} {{ x : s{n - 1} {{}}\n y : s{n - 1} {{}}\n }}\n" for n in range(1, 40))
    + "connections { a : s39 { } }",
    "itself": "connections { a : connections { b : connections.a { } } }",
    "also, multiplied": "".join(f"conn c{n}\n also=c{n + 1}\n also=c{n + 2}\n" for n in range(5_000)),
    "also, multiplied, fewer": "".join(f"conn c{n}\n also=c{n + 1}\n also=c{n + 2}\n left=1\n" for n in range(500))
    + "conn c500\n left=1.2.3.4\nconn c501\n left=1.2.3.4\n",
    "also, a ladder": "".join(f"conn c{n}\n" + "".join(f" also=c{m}\n" for m in range(n + 1, 17)) for n in range(17)),
    "also, a long chain": "".join(f"conn c{n}\n also=c{n + 1}\n" for n in range(500)) + "conn c500\n left=1.2.3.4\n",
    "proposals": "connections { a { proposals = " + "aes128-sha256-modp2048," * 10_000 + "} }",
    "one wide proposal": "connections { a { proposals = aes128-aes192-aes256-sha1-sha256-sha384-sha512-"
    + "-".join(f"modp{bits}" for bits in (1024, 1536, 2048, 3072, 4096, 6144, 8192))
    + "} }",
    "networks": "connections { a { children { b { local_ts = " + "10.0.0.0/8," * 20_000 + "} } } }",
    "pairs": "connections { a { children {"
    + "".join(f"c{n} {{ local_ts = {','.join(f'10.{n}.{m}.0/24' for m in range(60))} }}\n" for n in range(100))
    + "} } }",
    "set commands": "set vpn ipsec " + "a " * 100_000,
    "many set commands": "set vpn ipsec site-to-site peer a b c\n" * 6_000,
    "crypto maps": "".join(
        f"crypto map A {n} ipsec-isakmp\n set peer 1.2.3.4\n set transform-set T\n" for n in range(3_000)
    )
    + "crypto ipsec transform-set T esp-aes\n",
    "huge numbers": "connections { a { rekey_time = " + "9" * 200_000 + "} }",
    "huge networks": "connections { a { children { b { local_ts = " + "1" * 200_000 + "/8 } } } }",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_refused_or_read_in_time(name: str) -> None:
    """The timeout is that of a fault: all formats together take some seconds at most."""
    text = HOSTILE[name].encode()
    assert len(text) <= MOST_BYTES
    for wanted in (None, *formats.NAMES):
        outcome(text, wanted)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"connections {\n\xff\xfe", "line 2: this is not UTF-8: paste the text itself"),
        (b"connections {\n\n a\0", "line 3: there is a control character: paste the text itself"),
        (b"x" * (MOST_BYTES + 1), "are read at most"),
        (b"", "none of the formats that are read"),
    ],
)
def test_what_is_no_text_is_refused(text: bytes, sentence: str) -> None:
    assert sentence in outcome(text, None)
