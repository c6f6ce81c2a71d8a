"""peer_id and local_id: each form is sent with its ID type (RFC 7296 3.5); other identities are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
import vici

from linkspan.cli.client import ApiError
from tests.harness.ours import CONNECTIONS, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

FORMS: Final = {
    # ID type: local_id and peer_id in the API, and the same identities in swanctl.conf(5)
    "ID_IPV4_ADDR": (("203.0.113.77", "203.0.113.78"), ("203.0.113.77", "203.0.113.78")),
    "ID_FQDN": (("gw.example.org", "@peer.example.org"), ("fqdn:gw.example.org", "fqdn:peer.example.org")),
    "ID_RFC822_ADDR": (("gw@example.org", "peer@example.org"), ("email:gw@example.org", "email:peer@example.org")),
    "ID_IPV6_ADDR": (("2001:DB8:77::1", "2001:db8:77::2"), ("2001:db8:77::1", "2001:db8:77::2")),
    "ID_KEY_ID": (("branch 7", "keyid:10.0.0.1"), ("keyid:branch 7", "keyid:10.0.0.1")),
}
TYPES: Final = {"1": "ID_IPV4_ADDR", "2": "ID_FQDN", "3": "ID_RFC822_ADDR", "5": "ID_IPV6_ADDR", "11": "ID_KEY_ID"}


def parsed_types(log: str, payload: str) -> list[str]:
    """Return the types of the ID payloads that a charon has parsed, in order, from its log (enc = 3)."""
    types = []
    for part in log.split(f"parsing {payload} payload, ")[1:]:
        octets = re.findall(r"U_INT_8\n.*=> (\d+)", part)
        if len(octets) > 1:  # the log may end within a payload
            types.append(TYPES.get(octets[1], octets[1]))
    return types


def ids(form: str) -> dict[str, Any]:
    (ours, theirs), _ = FORMS[form]
    return {"local_id": ours, "peer_id": theirs}


def expect(peer: Peer, ours: Ours, form: str, version: str) -> None:
    """Configure the peer with exactly these identities."""
    _, (gateway, own) = FORMS[form]
    peer.load(ours.v4, ours.psk, local=own, remote=gateway, version=version)


@pytest.mark.shows("connection.peer_id", "connection.local_id")
@pytest.mark.parametrize("version", IKE_VERSIONS)
def test_each_form_is_sent_with_its_id_type(ours: Ours, new_peer: Callable[..., Peer], version: str) -> None:
    """Creates a connection with one form and updates it to the next, so that each form is sent by both ends."""
    peer = new_peer(levels="enc = 3")
    forms = list(FORMS)
    for form, following in zip(forms, forms[1:] + forms[:1], strict=True):
        expect(peer, ours, form, version)
        before = len(peer.log)
        link = ours.connect(peer, ike={"ike_version": f"v{version}"}, **ids(form))
        arrives(link, form, version, before)
        expect(peer, ours, following, version)
        before = len(peer.log)
        link.set(**ids(following))
        arrives(link, following, version, before)
        link.assert_pings(count=2)
        ours.delete(CONNECTIONS, link.id)
        peer.wait_down()


def arrives(link: Link, form: str, version: str, before: int) -> None:
    # In IKEv1 the initiator does not send the responder's identity; the tunnel shows that the responder accepted it.
    payloads = ("ID_INITIATOR", "ID_RESPONDER") if version == "2" else ("ID_V1",)

    def seen() -> bool:
        new = link.peer.log[before:]
        return all(form in parsed_types(new, payload)[:1] for payload in payloads)

    until(seen, 10.0, lambda: f"{form}: {link.shown} {[parsed_types(link.peer.log, payload) for payload in payloads]}")
    link.wait("ACTIVE", 10.0)
    ((sa),) = [established for established in link.peer.sas() if established["state"] == "ESTABLISHED"]
    _, (gateway, own) = FORMS[form]
    assert [sa["remote-id"], sa["local-id"]] == [re.sub("^(fqdn|email|keyid):", "", id) for id in (gateway, own)]


@pytest.mark.shows("connection.local_id")
def test_an_empty_local_id_is_the_outside_address(ours: Ours, new_peer: Callable[..., Peer]) -> None:
    four, six = new_peer(levels="enc = 3"), new_peer(levels="enc = 3")
    four.load(ours.v4, ours.psk)
    six.load(ours.v6, ours.psk)
    links = [ours.connect(four), ours.connect(six, peer_address=six.v6, peer_id=six.v6)]
    for link, form in zip(links, ("ID_IPV4_ADDR", "ID_IPV6_ADDR"), strict=True):
        link.wait("ACTIVE")
        assert parsed_types(link.peer.log, "ID_INITIATOR") == [form]


SPELLINGS: Final = {
    # The peer's identity in swanctl.conf(5): two texts of it in the API
    "fqdn:peer.example.org": ("Peer.Example.ORG", "dns:peer.example.org"),
    "email:gw@example.org": ("GW@example.org", "email:gw@example.org"),
    "2001:db8:77::2": ("2001:DB8:77:0::2", "ipv6:2001:db8:77::2"),
    "203.0.113.78": ("203.0.113.78", "ipv4:203.0.113.78"),
}


@pytest.mark.shows("connection.peer_id")
@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_two_spellings_are_one_identity(ours: Ours, new_peer: Callable[..., Peer], initiator: str) -> None:
    """Two connections to each peer, which spell its identity in two ways, are up at once, and nothing of them stays."""
    networks = {text: f"10.{209 + number}.0" for number, text in enumerate(SPELLINGS)}
    for own, texts in SPELLINGS.items():
        peer = new_peer()
        peer.run("ip", "address", "add", f"{networks[own]}.1/24", "dev", "lo")
        children = {
            name: {"local_ts": [network], "remote_ts": ["10.1.0.0/24"], "esp_proposals": ["aes128-sha256-modp2048"]}
            for name, network in (("one", peer.net4), ("two", f"{networks[own]}.0/24"))
        }
        peer.load(ours.v4, ours.psk, children=children, local=own)
        links = [
            ours.connect(peer, initiator=initiator, peer_id=text, peer_cidrs=child["local_ts"])
            for text, child in zip(texts, children.values(), strict=True)
        ]
        if initiator == "response-only":
            for link, child in zip(links, children, strict=True):
                link.wait_reason("waits for the peer")
                peer.initiate(child)
        for link in links:
            link.wait("ACTIVE")
        links[0].assert_pings()
        assert ours.ping(f"{networks[own]}.1").received == 3
        for link in links:
            ours.delete(CONNECTIONS, link.id)
        peer.wait_down()


HOSTILE: Final = [
    "%any",
    "%any6",
    "%fromcert",
    "*",
    "*@example.org",
    "*.example.org",
    "keyid:%any",
    "0.0.0.0",
    "::",
    "fe80::1%eth0",
    "gw\nremote_addrs=%any",
    "gw\r",
    "gw\x00",
    "gw\x1b[2J",
    "gw\u2028",
    "C=CH, O=strongSwan, CN=gw",
    "keyid:CN=gw",
    "@#6162",
    "#6162",
    "@@gw",
    "{gw}",
    "keyid:",
    "a" * 256,
    "gw ",
    "asn1dn:CN=gw",
    "fqdn:a b",
    "ü" * 127,
]


@pytest.mark.parametrize("attribute", ["peer_id", "local_id"])
def test_invalid_identities_are_refused_with_a_message(ours: Ours, peer: Peer, attribute: str) -> None:
    link = ours.connect(peer, admin_state_up=False)
    before = {key: value for key, value in link.shown.items() if not key.startswith("status")}
    for text in HOSTILE:
        for method, path, values in (
            ("PUT", f"/{link.id}", {}),
            ("POST", "", {key: before[key] for key in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id")}),
        ):
            body = values | {"peer_address": peer.v4, "peer_cidrs": ["10.88.0.0/24"], "psk": ours.psk, "peer_id": "gw"}
            with pytest.raises(ApiError, match=r"\w+ \w+ \w+") as refused:
                ours.world.user.request(
                    method, f"/v2.0/vpn/{CONNECTIONS}{path}", {"ipsec_site_connection": body | {attribute: text}}
                )
            assert refused.value.status == 400, text
            assert attribute in str(refused.value)
    after = {key: value for key, value in link.shown.items() if not key.startswith("status")}
    assert after == before


STRANGERS: Final = [
    "fqdn:other.example.org",
    "fqdn:*",
    "fqdn:*.example.org",
    "fqdn:gw.example.org.evil.org",
    "fqdn:w.example.org",
    "fqdn:gw.example.or",
    "keyid:gw.example.org",
    "keyid:%any",
    "keyid:*",
    "email:gw.example.org",
    "email:*@example.org",
    "email:gw@example.org",
    "asn1dn:#300d310b3009060355040613024348",
    "0.0.0.0",
    "198.51.100.1",
    "2001:db8::1",
]


@pytest.mark.security(
    "4",
    tried="a peer with the right key and another identity",
    control="test_each_form_is_sent_with_its_id_type",
)
@pytest.mark.shows("connection.peer_id")
@pytest.mark.parametrize("version", IKE_VERSIONS)
def test_a_peer_with_the_psk_and_another_identity_is_refused(ours: Ours, peer: Peer, version: str) -> None:
    link = ours.connect(
        peer,
        ike={"ike_version": f"v{version}"},
        initiator="response-only",
        peer_id="gw.example.org",
        local_id="we.example.org",
    )
    link.wait_reason("waits for the peer")
    for stranger in STRANGERS:
        peer.load(ours.v4, ours.psk, local=stranger, remote="fqdn:we.example.org", version=version)
        with pytest.raises(vici.exception.CommandException):
            peer.initiate(seconds=3.0)
        assert link.sas() == [], stranger
        assert not peer.children(), stranger
    # Control: the same peer with the right identity.
    peer.load(ours.v4, ours.psk, local="fqdn:gw.example.org", remote="fqdn:we.example.org", version=version)
    peer.initiate()
    link.wait("ACTIVE")
    link.assert_pings()
