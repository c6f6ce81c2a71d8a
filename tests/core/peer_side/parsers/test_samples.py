"""Whole configurations in the style of each device's documentation: what fits fits, and a change is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from linkspan.core.peer_side.candidates import chosen
from linkspan.core.peer_side.comparison import compare
from linkspan.core.peer_side.differences import Difference
from linkspan.core.peer_side.parsers import formats
from linkspan.core.peer_side.parsers.reading import Reading, Unreadable
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, IkePolicy, IpsecPolicy
from tests.core.samples import CONNECTION

SAMPLES = Path(__file__).parent / "samples"
WITH_HYPHEN = msgspec.structs.replace(CONNECTION, psk=Secret("correct-horse"))
V1 = msgspec.structs.replace(
    WITH_HYPHEN,
    mtu=1400,
    local_cidrs=("0.0.0.0/0",),
    peer_cidrs=("0.0.0.0/0",),
    ike=IkePolicy("v1", "main", "aes-256", "sha256", "group14", 3600),
    ipsec=IpsecPolicy("esp", "tunnel", "aes-256", "sha1", "group14", "seconds", 3600),
)

FILES: list[Any] = [
    # File, its format, the connection that it fits, what only differs or is not known.
    ("swanctl.conf", "swanctl", CONNECTION, set()),
    ("stroke.conf", "ipsec.conf", CONNECTION, set()),
    ("libreswan.conf", "libreswan", CONNECTION, set()),
    ("vyos-1.4.conf", "vyos", CONNECTION, set()),
    ("vyos-1.3.conf", "vyos", CONNECTION, set()),
    ("ios-xe-ikev2.conf", "cisco-ios-xe", WITH_HYPHEN, set()),
    ("ios-xe-isakmp.conf", "cisco-ios-xe", V1, {"cidrs"}),
]


def read(name: str, *changes: tuple[str, str]) -> Reading:
    text = (SAMPLES / name).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return formats.read(text.encode())


def differences(ours: Connection, reading: Reading, name: str = "") -> tuple[Difference, ...]:
    return compare(ours, chosen(reading, ours, name).config, reading.keys)


@pytest.mark.parametrize(("name", "form", "ours", "others"), FILES)
def test_a_whole_configuration_fits(name: str, form: str, ours: Connection, others: set[str]) -> None:
    reading = read(name)
    found = differences(ours, reading)
    assert reading.format == form
    assert [difference for difference in found if difference.severity in ("cannot", "impaired", "unknown")] == []
    assert {difference.field for difference in found} == others


CHANGES: list[Any] = [
    ("swanctl.conf", [("-modp2048", "-modp3072")], {"ikepolicy", "ipsecpolicy.pfs"}),
    ("swanctl.conf", [("    version = 2", "    version = 1")], {"ike_version"}),
    ("stroke.conf", [("esp=aes128", "esp=aes256")], {"ipsecpolicy"}),
    ("stroke.conf", [("authby=psk", "authby=pubkey")], {"auth_mode"}),
    ("stroke.conf", [('"correct horse"', "correct")], {"psk"}),
    ("libreswan.conf", [("aes128-sha2_256", "aes128-sha2_512")], {"ipsecpolicy"}),
    (
        "libreswan.conf",
        [("\tike=aes_gcm256-sha2_512;dh20,aes128-sha2;dh14", "\tike=aes256-sha1-dh5")],
        {"ikepolicy", "ipsecpolicy.pfs"},
    ),
    ("libreswan.conf", [("rightsubnet=10.2.0.0/24", "rightsubnet=10.3.0.0/24")], {"cidrs"}),
    ("libreswan.conf", [("\tikev2=insist", "\tikev2=no")], {"ike_version"}),
    ("vyos-1.4.conf", [("proposal 1 dh-group '14'", "proposal 1 dh-group '2'")], {"ikepolicy", "ipsecpolicy.pfs"}),
    ("vyos-1.4.conf", [("secret 'correct horse'", "secret 'x'")], {"psk"}),
    ("vyos-1.4.conf", [("remote-id '198.51.100.1'", "remote-id 'hq'")], {"local_id"}),
    ("vyos-1.3.conf", [("key-exchange ikev2", "key-exchange ikev1")], {"ike_version"}),
    ("vyos-1.3.conf", [("dh-group14", "dh-group19")], {"ipsecpolicy.pfs"}),
    ("ios-xe-ikev2.conf", [("group 19 14", "group 19 20")], {"ikepolicy"}),
    ("ios-xe-ikev2.conf", [("esp-aes esp-sha256", "esp-aes 256 esp-sha256")], {"ipsecpolicy"}),
    ("ios-xe-ikev2.conf", [("10.1.0.0 0.0.0.255", "10.1.0.0 0.0.0.127")], {"cidrs"}),
    ("ios-xe-ikev2.conf", [("correct-horse", "wrong-horse")], {"psk"}),
    ("ios-xe-ikev2.conf", [("ip address 198.51.100.2", "ip address 198.51.100.9")], {"peer_address"}),
    ("ios-xe-isakmp.conf", [("hash sha256", "hash md5")], {"ikepolicy"}),
    ("ios-xe-isakmp.conf", [("set pfs group14", "set pfs group5")], {"ipsecpolicy.pfs"}),
    ("ios-xe-isakmp.conf", [("key correct-horse", "key horse")], {"psk"}),
]


@pytest.mark.parametrize(("name", "changes", "fields"), CHANGES)
def test_a_change_of_a_whole_configuration_is_named(
    name: str, changes: list[tuple[str, str]], fields: set[str]
) -> None:
    ours = next(ours for other, _, ours, _ in FILES if other == name)
    found = differences(ours, read(name, *changes))
    assert {difference.field for difference in found if difference.severity in ("cannot", "impaired")} == fields


def test_what_is_not_followed_is_said() -> None:
    for name, line in (("swanctl.conf", 2), ("stroke.conf", 8)):
        (ignored,) = read(name).ignored
        assert ignored.line == line
        assert "paste" in ignored.text


def test_the_keys_of_isakmp_keyrings_are_found() -> None:
    key = ("crypto isakmp key correct-horse address 198.51.100.1", "crypto keyring RING\n pre-shared-key address ")
    for stated, severity in (("198.51.100.1 key correct-horse", None), ("198.51.100.1 key horse", "cannot")):
        found = differences(V1, read("ios-xe-isakmp.conf", (key[0], key[1] + stated)))
        assert next((difference.severity for difference in found if difference.field == "psk"), None) == severity


def test_encrypted_keys_of_ios_are_not_known() -> None:
    found = differences(
        WITH_HYPHEN,
        read("ios-xe-ikev2.conf", ("local correct", "local 6 correct"), ("remote correct", "remote 6 correct")),
    )
    assert [difference.severity for difference in found if difference.field == "psk"] == ["unknown"]


BROKEN: list[Any] = [
    ("swanctl.conf", ("aes128-sha256-modp2048", "aes128-sha3"), 6, "sha3"),
    ("swanctl.conf", ("dpd_delay = 10s", "dpd_delay = soon"), 7, "a time such as"),
    ("swanctl.conf", ("headquarters : defaults", "headquarters : absent"), 17, "no section 'absent'"),
    ("stroke.conf", ("also=algorithms", "also=headquarters"), 29, "leads back"),
    ("stroke.conf", ("also=algorithms", "also=absent"), 15, "there is no 'conn absent'"),
    ("stroke.conf", ("keyexchange=ikev2", "keyexchange=ikev3"), 14, "should be one of ike, ikev1, ikev2"),
    ("stroke.conf", ("\tauthby=psk", "\tauthby psk"), 13, "name=value"),
    ("stroke.conf", ("conn headquarters", "con headquarters"), 28, "conn NAME"),
    ("libreswan.conf", ("aes128-sha2_256", "aes128-sha9"), 15, "a hash or a group"),
    ("libreswan.conf", ("10.2.0.0/24", "10.2.0.0/33"), 11, "should be a network"),
    ("vyos-1.4.conf", ("default-esp-group 'ESP-HQ'", "default-esp-group 'GONE'"), 21, "esp-group GONE"),
    ("vyos-1.4.conf", ("dh-group '14'", "dh-group '99'"), 13, "the number of a Diffie-Hellman group"),
    ("vyos-1.3.conf", ("        site-to-site {", "        site-to-site {{"), 36, "a name before '{'"),
    ("ios-xe-ikev2.conf", ("aes-cbc-256", "aes-xyz-256"), 7, "should be one of 3des"),
    ("ios-xe-ikev2.conf", ("set transform-set TS", "set transform-set GONE"), 40, "transform-set gone"),
    ("ios-xe-ikev2.conf", ("match address VPN", "match address GONE"), 44, "the access list 'gone'"),
]


@pytest.mark.parametrize(("name", "change", "line", "words"), BROKEN)
def test_what_cannot_be_read_is_said_with_its_line(name: str, change: tuple[str, str], line: int, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(name, change)
    assert (caught.value.line, words in caught.value.text) == (line, True), str(caught.value)
