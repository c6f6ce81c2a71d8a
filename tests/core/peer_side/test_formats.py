"""Every format: what users choose stays in its place, whatever it is; and what a device has is what is written."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkspan.core.ipsec import algorithms, identities
from linkspan.core.peer_side.export import PeerConfig, peer_config
from linkspan.core.peer_side.formats.format import PLACEHOLDER, PeerFormat
from linkspan.core.peer_side.formats.registry import FORMATS
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection
from tests.core.peer_side.syntaxes import READERS, Parts
from tests.core.samples import connection, ikev1

CLOUDS = ("aws", "azure", "gcp")
KEY = "Correct.Horse.42"
SIGNS = "\"'\\#{}$%!?;|&<>()[]=,:@ \t\n\r\x00`~^*+-_./abcXYZ019ßé\u202e"
texts = st.text(st.sampled_from(SIGNS) | st.characters(codec="utf-8"), min_size=1, max_size=40)
every_format = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


def sample(form: PeerFormat, **changes: Any) -> Connection:
    """A connection that the device can carry, with changes."""
    ends = {} if form.name in (*CLOUDS, "cisco-asa") else {"peer_id": "gw.example.org", "local_id": "hq.example.org"}
    return connection(**{"psk": Secret(KEY), "name": "branch"} | ends | changes)


def export(form: PeerFormat, found: Connection, *, secret: bool = True) -> PeerConfig:
    return peer_config(found, form, secret=secret, judge_key=True)


def parts(config: PeerConfig) -> list[Parts]:
    """The files, taken apart."""
    return [READERS[file.name](file.text) for file in config.files]


def shape(config: PeerConfig) -> list[list[int]]:
    """How many parts each line of each file has."""
    return [[len(line) for line in file] for file in parts(config)]


def errors(config: PeerConfig) -> list[str]:
    return [finding.attribute for finding in config.findings if finding.severity == "error"]


@every_format
def test_a_plain_connection_is_written_and_read(form: PeerFormat) -> None:
    found = export(form, sample(form))
    assert errors(found) == []
    assert found.files
    assert found.secret
    assert KEY in str(parts(found))


@pytest.mark.security(
    "5",
    tried="exports keys with every character in every format",
    control="test_a_writer_that_does_not_quote_is_noticed",
)
@every_format
@given(key=texts)
@example(key='"; exit')
@example(key="'\n#")
@example(key="0x41")
@example(key="0sQQ==")
@example(key="${file}")
@example(key="a\\")
def test_no_key_gets_out_of_its_place(form: PeerFormat, key: str) -> None:
    found = export(form, sample(form, psk=Secret(key)))
    if found.files:
        assert shape(found) == shape(export(form, sample(form)))
    else:
        assert errors(found) == ["connection.psk"]


@every_format
def test_a_writer_that_does_not_quote_is_noticed(form: PeerFormat) -> None:
    """The negative control: the same files with a key as it is, in the place of a harmless one."""
    for file in export(form, sample(form)).files:
        if KEY not in file.text or file.name == "psk.txt":
            continue
        careless = file.text.replace(KEY, "a\" b' c\n}\nd = e")
        try:
            found = READERS[file.name](careless)
        except Exception:  # each reader has errors of its own
            continue
        assert list(map(len, found)) != list(map(len, READERS[file.name](file.text)))


PLAIN = {
    "ipv4": "198.51.100.9",
    "ipv6": "2001:db8::9",
    "email": "ops@example.org",
    "fqdn": "gw.example.org",
    "keyid": "keyid:plain",
    "dn": "C=DE, CN=gw",
}
"""By type, an identity without anything special."""
mails = st.text(st.sampled_from(".!#$&'+/=?^_`{|}~-az09"), min_size=1, max_size=20).map(lambda text: f"{text}@x.org")
subjects = st.text(st.sampled_from("aB \"'#{}=;$\\"), min_size=1, max_size=20).map(lambda text: f"C=DE, CN={text}")


@every_format
@given(text=texts.map(lambda text: f"keyid:{text}") | mails | subjects | texts)
@example(text='keyid:x"\nyes = no\n#')
@example(text="keyid:x' 'y")
@example(text="keyid:x; exit")
@example(text="keyid:x }")
@example(text="a#{b}'@x.org")
def test_no_identity_gets_out_of_its_place(form: PeerFormat, text: str) -> None:
    """Also none that an earlier version has stored, whatever it is."""
    for attribute in ("peer_id", "local_id"):
        found = export(form, sample(form, **{attribute: text}))
        if found.files:
            plain = PLAIN[identities.stored(text).kind]
            assert shape(found) == shape(export(form, sample(form, **{attribute: plain})))
        else:
            assert set(errors(found)) == {f"connection.{attribute}"}


@every_format
@given(name=texts)
def test_a_name_only_names(form: PeerFormat, name: str) -> None:
    found, plain = export(form, sample(form, name=name)), export(form, sample(form))
    if form.name != "json":
        assert shape(found) == shape(plain)
    assert errors(found) == []


@every_format
def test_without_the_key_a_word_stands_for_it(form: PeerFormat) -> None:
    hidden = export(form, sample(form), secret=False)
    assert KEY not in str(msgspec.json.encode(hidden))
    assert not hidden.secret
    if form.name not in ("text", "json"):
        assert PLACEHOLDER in str(hidden.files)


def suites(form: PeerFormat) -> list[tuple[tuple[str, str, str], tuple[str, str, str]]]:
    """Every algorithm that a device has, at least once."""
    device = form.device
    columns = [device.ike_encryption, device.ike_integrity, device.ike_groups]
    columns += [device.encryption, device.integrity, device.groups]
    rows = itertools.zip_longest(*map(list, columns))
    usual = [next(iter(column)) for column in columns]
    full = ([value or plain for value, plain in zip(row, usual, strict=True)] for row in rows)
    return [((row[0], row[1], row[2]), (row[3], row[4], row[2] if device.one_group else row[5])) for row in full]


def with_suite(
    found: Connection, ike: tuple[str, str, str], esp: tuple[str, str, str], version: Any = "v2"
) -> Connection:
    return msgspec.structs.replace(
        found,
        ike=msgspec.structs.replace(
            found.ike, ike_version=version, encryption_algorithm=ike[0], auth_algorithm=ike[1], pfs=ike[2]
        ),
        ipsec=msgspec.structs.replace(found.ipsec, encryption_algorithm=esp[0], auth_algorithm=esp[1], pfs=esp[2]),
    )


@every_format
def test_every_algorithm_of_a_device_is_written_with_its_word(form: PeerFormat) -> None:
    device = form.device
    for ike, esp in suites(form):
        for version in device.versions:
            if version == "v1" and algorithms.impossible_ike("v1", ike[0], ike[1]):
                continue
            if version == "v1" and esp[2] not in (device.groups_of_v1 or device.groups):
                continue
            found = export(form, with_suite(sample(form), ike, esp, version))
            assert errors(found) == [], (ike, esp)
            text = found.files[0].text
            words = [device.ike_groups[ike[2]], device.encryption[esp[0]], device.groups[esp[2]]]
            if form.name not in ("text", "json", "linkspan", "gcp"):
                assert all(word in text for word in words), (words, text)


@every_format
def test_every_other_algorithm_is_an_error_that_names_the_attribute(form: PeerFormat) -> None:
    device = form.device
    known = {
        ("ike_policy", "encryption_algorithm"): (algorithms.ENCRYPTION, device.ike_encryption),
        ("ike_policy", "pfs"): (algorithms.GROUPS, device.ike_groups),
        ("ipsec_policy", "encryption_algorithm"): (algorithms.ENCRYPTION, device.encryption),
        ("ipsec_policy", "pfs"): (algorithms.GROUPS, device.groups),
    }
    missing = [(place, name) for place, (every, has) in known.items() for name in every if name not in has]
    for (policy, attribute), name in missing:
        found = sample(form)
        field = "ike" if policy == "ike_policy" else "ipsec"
        changed = msgspec.structs.replace(getattr(found, field), **{attribute: name})
        config = export(form, msgspec.structs.replace(found, **{field: changed}))
        assert errors(config) == [f"{policy}.{attribute}"], name
        assert config.files == ()


@every_format
@pytest.mark.parametrize(
    "changes",
    [
        {"peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24"), "local_cidrs": ("10.1.0.0/24", "10.4.0.0/24")},
        {"peer_cidrs": ("fd00:2::/64",), "local_cidrs": ("fd00:1::/64",)},
        {"peer_address": "branch.example.org"},
        {"peer_address": "0.0.0.0"},  # what an earlier version may have stored
        {"initiator": "response-only"},
        {"ike": ikev1()},
        {"ike": ikev1(phase1_negotiation_mode="aggressive")},
    ],
    ids=["four pairs", "IPv6 inside", "a name", "any address", "response-only", "IKEv1", "aggressive mode"],
)
def test_other_connections_are_written_or_refused_and_never_break(form: PeerFormat, changes: dict[str, Any]) -> None:
    found = export(form, sample(form, **changes))
    assert bool(found.files) == (errors(found) == [])
    parts(found)
    for value in ("None", "{", "}") if form.name in ("vyos", "cisco-ios-xe", "cisco-asa", "juniper-srx") else ("None",):
        assert value not in str([file.text for file in found.files])


@every_format
def test_the_words_to_replace_are_in_the_files(form: PeerFormat) -> None:
    found = export(form, sample(form))
    for word in form.by_hand:
        assert word.removesuffix("N") in "".join(file.text.partition("\n\n")[0] for file in found.files)
