"""The VICI messages that configure charon."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import ChildConfig
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Dpd, IkePolicy, IpsecPolicy
from linkspan.drivers.charon import vici_messages
from tests.drivers.machine import connection

ID = "00010002-e29b-41d4-a716-446655440000"


def _sent(**changes: object) -> dict[str, Any]:
    """What is sent for a connection, without what only tells it from others (see the last tests)."""
    ((name, section),) = vici_messages.load_conn(ipsec_config.build(connection(1, 2, **changes))).items()
    assert isinstance(section, dict)
    assert section["local"].pop("aaa_id") == name
    for child in section["children"].values():
        assert (child.pop("rekey_packets"), child.pop("rand_packets")) == ("0", "0")
        assert int(child.pop("life_packets")) >= 2**52
    return section


def _child(config: ChildConfig) -> str:
    return msgspec.json.encode(vici_messages._child(config)).decode()


def test_an_ikev2_connection() -> None:
    section = _sent(dpd=Dpd("restart", 10, 60))
    (child,) = section["children"]
    assert child.partition(".")[0] == ID
    assert section == {
        "version": "2",
        "local_addrs": ["203.0.113.1"],
        "remote_addrs": ["203.0.113.2"],
        "proposals": ["aes128-sha256-modp2048"],
        "mobike": "no",
        "unique": "no",
        "keyingtries": "1",
        "reauth_time": "0",
        "rekey_time": "3240",
        "over_time": "360",
        "rand_time": "360",
        "dpd_delay": "10",
        "local": {"auth": "psk", "id": "203.0.113.1"},
        "remote": {"auth": "psk", "id": "203.0.113.2"},
        "children": {
            child: {
                "local_ts": ["10.1.0.0/24"],
                "remote_ts": ["10.2.0.0/24"],
                "mode": "tunnel",
                "esp_proposals": ["aes128-sha256-modp2048"],
                "start_action": "none",
                "close_action": "none",
                "dpd_action": "clear",
                "rekey_time": "3240",
                "life_time": "3600",
            }
        },
    }


def test_charons_dpd_timeout_is_later_than_the_agents() -> None:
    """Otherwise charon would delete an IKEv1 SA whatever the DPD action is."""
    main = IkePolicy("v1", "main", "aes-128", "sha256", "group14", 3600)
    assert _sent(ike=main, dpd=Dpd("clear", 10, 60))["dpd_timeout"] == str(ipsec_config.LAST_RESORT)
    assert _sent(ike=main, dpd=Dpd("clear", 10, 9000))["dpd_timeout"] == "18000"


def test_an_ikev1_connection_with_everything_different() -> None:
    section = _sent(
        ike=IkePolicy("v1", "aggressive", "aes-256", "sha512", "group19", 7200),
        ipsec=IpsecPolicy("ah", "transport", "aes-128", "sha384", "group20", "kilobytes", 1000),
        dpd=Dpd("disabled", 10, 60),
        local_id="admin@site-a.example",
        peer_id="branch office",
        local_cidrs=("10.1.0.0/24", "10.3.0.0/24"),
    )
    assert section["version"] == "1"
    assert section["aggressive"] == "yes"
    assert not {"dpd_delay", "dpd_timeout"} & section.keys()
    assert section["local"] == {"auth": "psk", "id": "email:admin@site-a.example"}
    assert section["remote"] == {"auth": "psk", "id": "keyid:branch office"}
    first = next(iter(section["children"])).removesuffix("-1")
    assert section["children"] == {
        f"{first}-{number}": {
            "local_ts": [local],
            "remote_ts": ["10.2.0.0/24"],
            "mode": "transport",
            "ah_proposals": ["sha384-ecp384"],
            "start_action": "none",
            "close_action": "none",
            "dpd_action": "clear",
            "rekey_bytes": "921600",
            "life_bytes": "1024000",
        }
        for number, local in ((1, "10.1.0.0/24"), (2, "10.3.0.0/24"))
    }


@pytest.mark.security(
    "5",
    tried="updown in what a connection becomes",
    control="tests/security/test_text.py::test_a_key_that_runs_programs_is_found",
)
def test_updown_is_never_sent() -> None:
    text = msgspec.json.encode(vici_messages.load_conn(ipsec_config.build(connection(1, 2)))).decode()
    assert "updown" not in text


def test_a_key_and_its_owners() -> None:
    connected = connection(1, 2, peer_id="site-b.example")
    config = ipsec_config.build(connected)
    assert vici_messages.load_shared(ipsec_config.shared_key(connected, config)) == {
        "id": config.name,
        "type": "IKE",
        "data": b"open sesame",
        "owners": ["203.0.113.1", "fqdn:site-b.example"],
    }


def test_a_non_ascii_key_id_is_sent_in_hexadecimal() -> None:
    connected = connection(1, 2, local_id="Zürich")
    section = _sent(local_id="Zürich")
    assert section["local"] == {"auth": "psk", "id": "keyid:#5ac3bc72696368"}
    assert (
        vici_messages.load_shared(ipsec_config.shared_key(connected, ipsec_config.build(connected)))["owners"][0]
        == "keyid:#5ac3bc72696368"
    )


def test_charon_takes_no_two_connections_for_one() -> None:
    """It compares what is loaded without names and keys."""

    def sent(config: ipsec_config.IkeConfig) -> str:
        (section,) = vici_messages.load_conn(config).values()
        assert isinstance(section, dict)
        return msgspec.json.encode(section | {"children": {}}).decode()

    first, same = ipsec_config.build(connection(1, 2)), ipsec_config.build(connection(1, 2, id="another", mtu=1300))
    assert sent(first) == sent(same), "connections with one key share an IKE SA"
    assert sent(first) != sent(ipsec_config.build(connection(1, 2, psk=Secret("x"), psk_ref="x")))
    (one,), (other,) = first.children, same.children
    assert _child(one) != _child(other), "the successor of an equal connection is initiated beside it"
    assert _child(one) != _child(msgspec.structs.replace(one, rank=1)), "it is loaded anew behind its successor"
    assert _child(one) == _child(msgspec.structs.replace(one, name=f"{ID}.00000000")), "no edit of its own names"


def test_the_words_for_signatures_are_not_cut_off() -> None:
    """charon reads 63 characters of `auth` (vici_config.c, parse_auth), and drops the others without a word."""
    assert len(vici_messages._PEERS_SIGNATURES) <= 63
