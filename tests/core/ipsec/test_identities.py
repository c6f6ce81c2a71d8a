"""IKE identities: a text has exactly one type or is refused, and no identity matches more than one peer."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec.identities import MAX_LENGTH, Identity, is_peer_name, parse, stored


@pytest.mark.parametrize(
    ("text", "kind", "charon"),
    [
        ("198.51.100.7", "ipv4", "198.51.100.7"),
        ("2001:DB8::0:7", "ipv6", "2001:db8::7"),
        ("gw.example.org", "fqdn", "fqdn:gw.example.org"),
        ("gw", "fqdn", "fqdn:gw"),
        ("@gw.example.org", "fqdn", "fqdn:gw.example.org"),
        ("me@example.org", "email", "email:me@example.org"),
        ("a.b+c@mail.example.org", "email", "email:a.b+c@mail.example.org"),
        ("keyid:branch 7", "keyid", "keyid:branch 7"),
        ("branch 7", "keyid", "keyid:branch 7"),
        ("keyid:198.51.100.7", "keyid", "keyid:198.51.100.7"),
        ("1.2.3.4.5", "fqdn", "fqdn:1.2.3.4.5"),
        ("GW.Example.ORG", "fqdn", "fqdn:gw.example.org"),
        ("@GW.example.org", "fqdn", "fqdn:gw.example.org"),
        ("Me@Example.org", "email", "email:me@example.org"),
        ("fqdn:GW.example.org", "fqdn", "fqdn:gw.example.org"),
        ("dns:gw.example.org", "fqdn", "fqdn:gw.example.org"),
        ("FQDN:gw", "fqdn", "fqdn:gw"),
        ("email:me@example.org", "email", "email:me@example.org"),
        ("userfqdn:me@example.org", "email", "email:me@example.org"),
        ("rfc822:Me@example.org", "email", "email:me@example.org"),
        ("ipv4:203.0.113.5", "ipv4", "203.0.113.5"),
        ("ipv6:2001:DB8::7", "ipv6", "2001:db8::7"),
        ("KEYID:Branch 7", "keyid", "keyid:Branch 7"),
        ("branch:7", "keyid", "keyid:branch:7"),
        ("C=CH, O=strongSwan", "dn", "C=CH, O=strongSwan"),
        ("c=CH,o=The Lab , cn = gw=1", "dn", "C=CH, O=The Lab, CN=gw=1"),
        ("asn1dn:CN=gw", "dn", "CN=gw"),
        ("DN:emailAddress=me@example.org", "dn", "E=me@example.org"),
        ("ü" * 126, "keyid", "keyid:" + "ü" * 126),
        ("a" * 255, "keyid", "keyid:" + "a" * 255),
    ],
)
def test_the_form_of_a_text_decides_its_type(text: str, kind: str, charon: str) -> None:
    identity = parse(text)
    assert (identity.kind, identity.charon()) == (kind, charon)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%any",
        "%any6",
        "%",
        "*",
        "*@example.org",
        "*.example.org",
        "gw*",
        "keyid:%any",
        "0.0.0.0",
        "::",
        "0:0:0:0:0:0:0:0",
        "fe80::1%eth0",
        "a\nb",
        "a\x00b",
        "a\x7f",
        "\u2028",
        "keyid:",
        "CN=a/b",
        "CN=a, b",
        "XX=peer",
        "C=CH,",
        " cn = peer",
        "keyid:CN=peer",
        "@#6162",
        "#6162",
        "keyid:#6162",
        "@@gw",
        "{1}",
        "a" * 256,
        "ü" * 127,
        "keyid:" + "日" * 85,
        "fqdn:",
        "fqdn:a b",
        "dns:%any",
        "email:gw.example.org",
        "ipv4:2001:db8::7",
        "ipv4:gw",
        "ipv4:0.0.0.0",
        "ipv6:203.0.113.5",
        "ipv6:fe80::1%eth0",
        "asn1dn:#300d",
        "dn:gw",
    ],
)
def test_ambiguous_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


@given(text=st.text(max_size=30) | st.from_regex(r"[a-zA-Z0-9.@:-]{1,30}", fullmatch=True))
def test_the_text_for_charon_is_the_identity_again(text: str) -> None:
    """So it can be compared and digested as a text, and stays the same wherever it is parsed once more."""
    try:
        identity = parse(text)
    except ValueError:
        return
    assert parse(identity.charon()) == identity


@pytest.mark.parametrize(
    "text",
    [" gw", "gw ", "203.0.113.5 ", " cn = peer", "keyid:branch ", "keyid: branch", "fqdn: gw", "ipv4: 203.0.113.5"],
)
def test_blanks_at_the_ends_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="blank"):
        parse(text)
    parse(text.replace(" ", "").replace("=", ""))


@pytest.mark.security(
    "4",
    tried="a corpus of texts that are almost an address or a name",
    control="test_the_form_of_a_text_decides_its_type",
)
@pytest.mark.parametrize(
    "text",
    [
        "256.1.1.1",
        "198.51.100.007",
        "010.0.0.1",
        "198.51.100.7/32",
        "2001:db8::7/128",
        "ipv4:198.51.100.256",
        "ipv4net:10.0.0.0/8",
        "ipv6net:2001:db8::/32",
        "asn1gn:x",
        "XMPPAddr:a@b",
    ],
)
def test_what_is_almost_another_type_is_not_taken_for_a_name_or_key_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|not supported"):
        parse(text)


@pytest.mark.parametrize(
    "texts",
    [
        ("peer.example.org", "Peer.Example.Org", "@PEER.example.org", "fqdn:Peer.example.org", "dns:peer.EXAMPLE.org"),
        ("gw@example.org", "GW@Example.org", "email:gw@EXAMPLE.org", "rfc822:Gw@example.org"),
        ("2001:db8::7", "2001:DB8:0::7", "2001:0db8:0000:0000:0000:0000:0000:0007", "ipv6:2001:db8:0:0::7"),
        ("203.0.113.5", "ipv4:203.0.113.5", "IPv4:203.0.113.5"),
        ("keyid:branch 7", "branch 7", "KeyID:branch 7"),
        ("::ffff:203.0.113.5", "::FFFF:cb00:7105", "ipv6:::ffff:203.0.113.5"),
    ],
)
def test_the_spellings_of_an_identity_have_one_text(texts: tuple[str, ...]) -> None:
    assert len({parse(text).charon() for text in texts}) == len({stored(text) for text in texts}) == 1


def test_what_charon_distinguishes_stays_distinct() -> None:
    texts = ["gw", "gw.", "keyid:gw", "keyid:GW", "gw@example.org", "keyid:gw@example.org", "203.0.113.5"]
    texts += ["fqdn:203.0.113.5", "keyid:203.0.113.5", "keyid:fqdn:gw"]
    assert len({parse(text).charon() for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "charon"),
    [
        ("203.0.113.5 ", "keyid:203.0.113.5 "),
        ("keyid: branch", "keyid: branch"),
        ("asn1dn:CN", "keyid:asn1dn:CN"),
        ("fqdn:a b", "keyid:fqdn:a b"),
        ("256.1.1.1", "fqdn:256.1.1.1"),
        ("198.51.100.7/32", "keyid:198.51.100.7/32"),
        ("\u00fc" * 127, "keyid:" + "\u00fc" * 127),
    ],
)
def test_a_stored_text_that_is_refused_now_keeps_its_meaning(text: str, charon: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)
    assert stored(text).charon() == charon


@given(text=st.text(max_size=30) | st.from_regex(r"[a-zA-Z0-9.@:-]{1,30}", fullmatch=True))
def test_any_stored_text_has_an_identity(text: str) -> None:
    try:
        assert stored(text) == parse(text)
    except ValueError:
        assert stored(text).charon()


@given(text=st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        identity = parse(text)
    except ValueError:
        return
    assert len(text) <= MAX_LENGTH
    notation = identity.charon()
    assert not any(wildcard in notation for wildcard in "%*")
    assert notation.isprintable()
    # The notation for charon is unambiguous: a prefix names the type, or it is an address.
    assert notation.startswith((f"{identity.kind}:", "")) or identity.kind in ("ipv4", "ipv6")
    assert parse(text) == identity


@given(address=st.ip_addresses())
def test_any_address_is_its_own_type(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if int(address) == 0 or (mapped and int(mapped) == 0):
        return
    text = f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}" if mapped else str(address)
    assert parse(str(address)) == Identity("ipv6" if ":" in text else "ipv4", text)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("::ffff:192.0.2.1", "::ffff:c000:201"),
        ("::ffff:c000:201", "::ffff:c000:201"),
        ("::FFFF:C000:0201", "::ffff:c000:201"),
        ("0:0:0:0:0:ffff:192.0.2.1", "::ffff:c000:201"),
        ("ipv6:::ffff:c000:201", "::ffff:c000:201"),
        ("::ffff:0.0.0.1", "::ffff:0:1"),
        ("::192.0.2.1", "::c000:201"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ("::ffff:0:192.0.2.1", "::ffff:0:c000:201"),
    ],
)
def test_an_address_has_the_same_text_on_every_python(written: str, text: str) -> None:
    assert parse(written) == Identity("ipv6", text)


@pytest.mark.parametrize("text", ["::ffff:0.0.0.0", "::ffff:0:0", "ipv6:::ffff:0:0", "::", "0.0.0.0", "0::0.0.0.0"])
def test_the_unspecified_address_is_refused_in_every_form(text: str) -> None:
    with pytest.raises(ValueError, match="any peer"):
        parse(text)


@pytest.mark.parametrize("text", ["vpn.example.org", "vpn.example.org.", "a", "a-b.c1", "x" * 63 + ".de", "1.2.3.a"])
def test_dns_names_are_accepted_as_peers(text: str) -> None:
    assert is_peer_name(text)


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a", "a-", "a_b", "1.2.3.4", "1.2.3", "x" * 64, "a b", "a.b.c.9", "ä.de", "%any", "a\n"]
)
def test_other_texts_are_no_dns_names(text: str) -> None:
    assert not is_peer_name(text)
