"""peer_id and local_id: each form arrives as its ID type (RFC 7296 3.5), and nobody else's identity is let in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
import vici

from linkspan.cli.client import ApiError
from tests.harness.ours import CONNECTIONS, Link, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

FORMS: Final = {
    # ID type: what our user writes for our own end and for the peer, and the same as swanctl.conf(5) has them
    "ID_IPV4_ADDR": (("203.0.113.77", "203.0.113.78"), ("203.0.113.77", "203.0.113.78")),
    "ID_FQDN": (("gw.example.org", "@peer.example.org"), ("fqdn:gw.example.org", "fqdn:peer.example.org")),
    "ID_RFC822_ADDR": (("gw@example.org", "peer@example.org"), ("email:gw@example.org", "email:peer@example.org")),
    "ID_IPV6_ADDR": (("2001:DB8:77::1", "2001:db8:77::2"), ("2001:db8:77::1", "2001:db8:77::2")),
    "ID_KEY_ID": (("branch 7", "keyid:10.0.0.1"), ("keyid:branch 7", "keyid:10.0.0.1")),
}
TYPES: Final = {"1": "ID_IPV4_ADDR", "2": "ID_FQDN", "3": "ID_RFC822_ADDR", "5": "ID_IPV6_ADDR", "11": "ID_KEY_ID"}


def heard(log: str, payload: str) -> list[str]:
    """The types of the ID payloads that a charon has parsed, in order: the second octet field of each (enc = 3)."""
    found = []
    for part in log.split(f"parsing {payload} payload, ")[1:]:
        octets = re.findall(r"U_INT_8\n.*=> (\d+)", part)
        if len(octets) > 1:  # the log may end in the middle of one
            found.append(TYPES.get(octets[1], octets[1]))
    return found


def ids(form: str) -> dict[str, Any]:
    (ours, theirs), _ = FORMS[form]
    return {"local_id": ours, "peer_id": theirs}


def expect(peer: Peer, ours: Ours, form: str, version: str) -> None:
    """Have the peer know us by these identities and by no others."""
    _, (gateway, own) = FORMS[form]
    peer.load(ours.v4, ours.psk, local=own, remote=gateway, version=version)


@pytest.mark.shows("connection.peer_id", "connection.local_id")
@pytest.mark.parametrize("version", ["2", "1"])
def test_each_form_arrives_as_its_type(ours: Ours, new_peer: Callable[..., Peer], version: str) -> None:
    """Made with one form, changed to the next; so each of the five is seen both ways."""
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
    # In IKEv1 the initiator does not name the responder: that the tunnel is up says that our end knows it.
    payloads = ("ID_INITIATOR", "ID_RESPONDER") if version == "2" else ("ID_V1",)

    def seen() -> bool:
        new = link.peer.log[before:]
        return all(form in heard(new, payload)[:1] for payload in payloads)

    until(seen, 10.0, lambda: f"{form}: {link.shown} {[heard(link.peer.log, payload) for payload in payloads]}")
    link.wait("ACTIVE", 10.0)
    ((sa),) = [one for one in link.peer.sas() if one["state"] == "ESTABLISHED"]
    _, (gateway, own) = FORMS[form]
    assert [sa["remote-id"], sa["local-id"]] == [re.sub("^(fqdn|email|keyid):", "", one) for one in (gateway, own)]


@pytest.mark.shows("connection.local_id")
def test_an_empty_local_id_is_the_outside_address(ours: Ours, new_peer: Callable[..., Peer]) -> None:
    four, six = new_peer(levels="enc = 3"), new_peer(levels="enc = 3")
    four.load(ours.v4, ours.psk)
    six.load(ours.v6, ours.psk)
    links = [ours.connect(four), ours.connect(six, peer_address=six.v6, peer_id=six.v6)]
    for link, form in zip(links, ("ID_IPV4_ADDR", "ID_IPV6_ADDR"), strict=True):
        link.wait("ACTIVE")
        assert heard(link.peer.log, "ID_INITIATOR") == [form]


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
]


@pytest.mark.parametrize("attribute", ["peer_id", "local_id"])
def test_hostile_identities_are_refused_with_a_sentence(ours: Ours, peer: Peer, attribute: str) -> None:
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


@pytest.mark.shows("connection.peer_id")
@pytest.mark.parametrize("version", ["2", "1"])
def test_whoever_has_the_key_and_another_identity_is_not_let_in(ours: Ours, peer: Peer, version: str) -> None:
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
    # The control: the same peer with the right name.
    peer.load(ours.v4, ours.psk, local="fqdn:gw.example.org", remote="fqdn:we.example.org", version=version)
    peer.initiate()
    link.wait("ACTIVE")
    link.assert_pings()
