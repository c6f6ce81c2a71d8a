"""What a dry run foretells is what happens then: for each attribute that an update may change, at the peer.

The connections of a case differ in nothing else, and their peer has the change already. Its charon says in which order
SAs come up and go down, and pings show whether packets pass meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from linkspan.core.schema.resources import CERTIFICATE, CONNECTION, IKE_POLICY, IPSEC_POLICY, TRUST_ANCHOR
from linkspan.lab.fabric import Ping, ping
from tests.harness.authorities import Ca, Issued
from tests.harness.certified import THEM, US, load_ppk
from tests.harness.child_events import ChildEvents
from tests.harness.ours import CONNECTIONS, SINGULAR, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import PATIENCE, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, INTERVAL = 400, 0.005
ESP = ["aes128-sha256-modp2048", "aes256-sha512-ecp256", "aes256gcm16-ecp256"]
PROPOSALS = [*ESP[:2], "aes256gcm16-prfsha256-ecp256"]
"""What the peers accept: the defaults, and what the updates change them to."""
IKE, IPSEC, SERVICES = "ikepolicies", "ipsecpolicies", "vpnservices"


class Case(msgspec.Struct, frozen=True):
    """An update of what `path` names. `{…}` in a value is replaced: `new`, another identity of the peer; `alias`,
    another address of it; `net`, its other network. `peer`: what differs at the peer, which has it from the start."""

    path: str
    values: dict[str, Any]
    peer: dict[str, Any] = {}
    before: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return f"{SINGULAR[self.path]} {self.values}"


WITHOUT_A_GAP = ("nothing", "make-before-break")
SAFE = {"encryption_algorithm": "aes-256", "auth_algorithm": "sha512", "pfs": "group19"}
CASES: list[list[Case]] = [
    [
        Case(CONNECTIONS, {"name": "other"}),
        Case(CONNECTIONS, {"description": "words"}),
        Case(CONNECTIONS, {"peer_address": "{alias}"}, {"local_addrs": ["{alias}"]}),
        Case(CONNECTIONS, {"peer_id": "{new}"}, {"local": "{new}"}),
        Case(CONNECTIONS, {"local_id": "{new}"}, {"remote": "{new}"}),
        Case(CONNECTIONS, {"peer_cidrs": ["{net}"]}),
        Case(CONNECTIONS, {"psk": "another key of both ends"}, {"psk": "another key of both ends"}),
        Case(CONNECTIONS, {"mtu": 1300}),
        Case(CONNECTIONS, {"initiator": "response-only"}),
    ],
    [
        Case(CONNECTIONS, {"dpd": {"action": "restart"}}),
        Case(CONNECTIONS, {"dpd": {"interval": 7}}),
        Case(CONNECTIONS, {"dpd": {"timeout": 90}}),
        Case(CONNECTIONS, {"admin_state_up": False}),
        Case(CONNECTIONS, {"admin_state_up": True}, before={"admin_state_up": False}),
        Case(IKE, {"name": "other"}),
        Case(IKE, {"description": "words"}),
        Case(IKE, SAFE),
        Case(IKE, {"lifetime": {"value": 7200}}),
        Case(IKE, {"phase1_negotiation_mode": "aggressive"}),
    ],
    [
        Case(IKE, {"crypto_profile": "recommended"}),
        Case(IPSEC, {"name": "other"}),
        Case(IPSEC, {"description": "words"}),
        Case(IPSEC, SAFE),
        Case(IPSEC, {"lifetime": {"value": 7200}}),
        Case(IPSEC, {"lifetime": {"units": "kilobytes", "value": 900_000}}),
        Case(IPSEC, {"transform_protocol": "ah", "auth_algorithm": "sha256"}),
        Case(IPSEC, {"encapsulation_mode": "transport"}),
        Case(IPSEC, {"crypto_profile": "recommended"}),
        Case(IKE, {"ike_version": "v1"}, {"version": "0"}),
    ],
]
"""Those of one list are tried at once, each with a connection of its own."""


class Trial(msgspec.Struct, frozen=True):
    """A case with its connection. `values`: of the update; `child`: the name of the peer's child; `target`: an address
    behind the peer."""

    case: Case
    link: Link
    values: dict[str, Any]
    child: str
    target: str

    @property
    def url(self) -> str:
        """The path of what is updated."""
        ids = {CONNECTIONS: self.link.id, IKE: self.link.ike_policy, IPSEC: self.link.ipsec_policy}
        return f"{VPN}/{self.case.path}/{ids[self.case.path]}"

    def update(self, **query: str) -> Any:
        """Send the update."""
        body = {SINGULAR[self.case.path]: self.values}
        return self.link.ours.user.request("PUT", self.url, body, query)

    def foretold(self) -> str:
        """Return the effect that a dry run foretells; nothing if it names no connection."""
        answer = self.update(dry_run="true")["dry_run"]["connections"]
        return next((entry["effect"] for entry in answer if entry["id"] == self.link.id), "nothing")


def usable(cases: list[Case]) -> list[Case]:
    """Return the cases that the installed strongSwan knows."""
    return [case for case in cases if case.values.get("ike_version") != "v1" or "1" in IKE_VERSIONS]


def filled(value: Any, words: dict[str, str]) -> Any:
    """Return a value with these words in it."""
    if isinstance(value, dict):
        return {key: filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, words) for item in value]
    return value.format(**words) if isinstance(value, str) else value


def words_of(peer: Peer, number: int) -> dict[str, str]:
    """Return the words of a case: those of its values, and what is its own at both ends."""
    prefix = peer.net4.rpartition(".0.0/")[0]
    # Another one for each peer: the gateway knows the MAC address of the one before for a while.
    alias = 203 + int(peer.v4.rpartition(".")[2]) % 45
    return {
        "new": f"new-{number}.example.org",
        "alias": f"198.51.100.{alias}",
        "net": f"{prefix}.{2 * number}.0/25",
        "own": f"{prefix}.{2 * number}.0/24",
        "target": f"{prefix}.{2 * number}.1",
        "us": f"us-{number}.example.org",
        "them": f"them-{number}.example.org",
        "child": f"case{number}",
    }


def load(ours: Ours, peer: Peer, words: dict[str, str], name: str, **changes: Any) -> None:
    """Load the peer's side of a case, with these changes."""
    options = {"local": words["them"], "remote": words["us"], "psk": ours.psk} | filled(changes, words)
    child = {"local_ts": [words["own"]], "remote_ts": ["10.1.0.0/24"], "esp_proposals": ESP, "start_action": "none"}
    children = {words["child"]: child}
    peer.load(ours.v4, options.pop("psk"), name=name, children=children, proposals=PROPOSALS, **options)


def add_addresses(peer: Peer, case: Case, words: dict[str, str]) -> None:
    """Give the peer the addresses of a case."""
    peer.run("ip", "address", "add", f"{words['target']}/32", "dev", "lo", check=False)
    if "local_addrs" in case.peer:
        device = peer.run("ip", "-o", "-4", "address", "show", "to", peer.v4).split()[1]
        peer.run("ip", "address", "add", f"{words['alias']}/24", "dev", device)


def trial(ours: Ours, peer: Peer, number: int, case: Case) -> Trial:
    """Create the connection of a case at both ends; the peer accepts what it is before the update and after it."""
    words = words_of(peer, number)
    add_addresses(peer, case, words)
    load(ours, peer, words, words["child"])
    ends: dict[str, Any] = {"local_id": words["us"], "peer_id": words["them"], "peer_cidrs": [words["own"]]}
    link = ours.connect(peer, **ends, **case.before)
    return Trial(case, link, filled(case.values, words), words["child"], words["target"])


def with_change(ours: Ours, peer: Peer, number: int, case: Case) -> None:
    """Let the peer have the change of a case too. Its SAs stay."""
    if case.peer:
        words = words_of(peer, number)
        is_instead = not case.peer.keys().isdisjoint({"psk", "version"})
        load(ours, peer, words, words["child"] if is_instead else f"{words['child']}-changed", **case.peer)


def is_settled(link: Link) -> bool:
    """True if the gateway has done what it was told, and waits for nothing."""
    shown = link.shown
    if shown["status"] == "ACTIVE":
        return "in use" not in (shown["status_reason"] or "")
    return shown["status"] in ("DOWN", "ERROR")


def wait_settled(link: Link, events: ChildEvents, count: int) -> None:
    """Wait until the gateway has done what it was told, and its peer has so many events of its child."""
    until(
        lambda: len(events.of("net")) >= count and is_settled(link),
        30.0,
        lambda: f"{link.shown}\n{events.seen}\n{link.peer.log[-2000:]}",
    )


def happened(was_up: bool, events: list[bool]) -> str:
    """Return the effect of an update. `events`: of the peer's child SAs, True for up."""
    if not events:
        return "nothing"
    if not was_up:
        return "comes up" if events[0] else "down before it was up"
    if True not in events:
        return "goes down"
    return "make-before-break" if events[0] else "interruption"


@pytest.mark.parametrize("cases", CASES, ids=["connections", "states and IKE", "IPsec"])
def test_updates_are_foretold_rightly(ours: Ours, new_peer: Callable[[], Peer], cases: list[Case]) -> None:
    peer = new_peer()
    trials = [trial(ours, peer, number, case) for number, case in enumerate(usable(cases))]
    for each in trials:
        if each.case.before:
            each.link.wait("DOWN")
        else:
            each.link.wait_rekeyed(30.0)
    foretold = {each.case.name: each.foretold() for each in trials}
    spis = {each.case.name: each.link.sas() for each in trials}
    for number, each in enumerate(trials):
        with_change(ours, peer, number, each.case)
    with ThreadPoolExecutor(len(trials)) as pool, ChildEvents(peer) as events, peer.recorder() as wire:
        pings = [pool.submit(ping, ours.host, each.target, COUNT, INTERVAL) for each in trials]
        time.sleep(0.3)
        for each in trials:
            each.update()
        for each in trials:
            until(lambda each=each: is_settled(each.link), 30.0, lambda each=each: str(each.link.shown))  # type: ignore[misc]
        answers: list[Ping] = [each.result() for each in pings]
    seen: dict[str, str] = {}
    for each, answer in zip(trials, answers, strict=True):
        name, lost = each.case.name, answer.sent - answer.received
        seen[name] = happened(bool(spis[name]), events.of(each.child))
        print(f"{name}: foretold {foretold[name]}; {seen[name]}, {lost} of {answer.sent} lost, {events.of(each.child)}")
        if seen[name] == "nothing" and spis[name]:
            assert each.link.sas() == spis[name], name
        if seen[name] in WITHOUT_A_GAP and spis[name]:
            # What is lost on a busy machine, where all connections lose it; as in test_generations.py.
            assert lost * INTERVAL < PATIENCE, (name, answer)
        elif seen[name] != "interruption":
            # Both ends may be faster than the next ping.
            assert lost > 0, name
    assert seen == foretold
    assert {"nothing", "make-before-break"} < set(seen.values()), "not all are the same"
    assert wire.plaintext == 0


@pytest.mark.parametrize("cases", CASES, ids=["connections", "states and IKE", "IPsec"])
def test_creations_are_foretold_rightly(ours: Ours, new_peer: Callable[[], Peer], cases: list[Case]) -> None:
    """New connections with the values of the cases, whose peer has them too."""
    peer = new_peer()
    foretold: dict[str, str] = {}
    links: dict[str, Link] = {}
    with ChildEvents(peer) as events:
        for number, case in enumerate(each for each in usable(cases) if not each.before):
            words = words_of(peer, number)
            add_addresses(peer, case, words)
            load(ours, peer, words, words["child"], **case.peer)
            values = {path: case.values if path == case.path else {} for path in (IKE, IPSEC, CONNECTIONS)}
            ike, ipsec = (ours.create(path, **values[path]) for path in (IKE, IPSEC))
            body = {"name": "new", "vpnservice_id": ours.subnet_service, "ikepolicy_id": ike, "ipsecpolicy_id": ipsec}
            body |= {"peer_address": peer.v4, "peer_id": words["them"], "local_id": words["us"], "psk": ours.psk}
            body |= {"peer_cidrs": [words["own"]]} | filled(values[CONNECTIONS], words)
            singular = SINGULAR[CONNECTIONS]
            answer = ours.user.request("POST", f"{VPN}/{CONNECTIONS}", {singular: body}, {"dry_run": "true"})
            (entry,) = answer["dry_run"]["connections"]
            foretold[case.name] = entry["effect"]
            link = links[case.name] = Link(ours, peer, ours.create(CONNECTIONS, **body), ike, ipsec)
            if body.get("initiator") == "response-only":
                link.wait_reason("waits for the peer")
                peer.initiate(words["child"], words["child"])
        for link in links.values():
            until(partial(is_settled, link), 30.0, lambda link=link: str(link.shown))  # type: ignore[misc]
        numbers = {name: number for number, name in enumerate(links)}
        seen = {name: happened(False, events.of(f"case{numbers[name]}")) for name in links}
    assert seen == foretold
    assert "comes up" in seen.values()


def test_another_update_than_the_foretold_one_is_noticed(ours: Ours, peer: Peer) -> None:
    """The control: what happens is not read from what was foretold."""
    told = trial(ours, peer, 0, Case(CONNECTIONS, {"mtu": 1300}))
    told.link.wait_rekeyed(30.0)
    foretold = told.foretold()
    with ChildEvents(peer) as events:
        told.link.set_ipsec(**SAFE)
        until(lambda: len(events.of(told.child)) >= 2 and is_settled(told.link), 30.0, lambda: str(told.link.shown))
    assert (foretold, happened(True, events.of(told.child))) == ("nothing", "make-before-break")


# --- certificates -------------------------------------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True):
    """An update of what certificates are made of. `at`: its path without /v2.0/vpn."""

    at: str
    values: dict[str, Any]

    @property
    def attributes(self) -> set[str]:
        """What it changes, as `resource.attribute`."""
        return {f"{SINGULAR[self.at.partition('/')[0]]}.{name}" for name in self.values}

    def send(self, ours: Ours, **query: str) -> Any:
        """Send the update."""
        path = self.at.partition("/")[0]
        return ours.user.request("PUT", f"{VPN}/{self.at}", {SINGULAR[path]: self.values}, query)


OF_CERTIFICATES = {
    "ipsec_site_connection": (
        *("auth_mode", "local_certificate_id", "trust_anchor_id", "peer_certificates"),
        *("ppk_id", "ppk", "ppk_required"),
    ),
    "certificate": ("name", "description", "certificate", "private_key"),
    "trust_anchor": ("name", "description", "ca_bundle", "revocation", "crl_urls", "crl"),
}


def changes(ours: Ours, link: Link, ca: Ca, theirs: Issued) -> list[Change]:
    """The updates of a connection that a key authenticates at first, one after another; the peer has them all."""
    connection = f"{CONNECTIONS}/{link.id}"
    anchor = ours.create("trust-anchors", name="ca", ca_bundle=ca.pem)
    same = ours.create("trust-anchors", name="same", ca_bundle=ca.pem)
    first, second, renewed = (ca.issued(US, subject="gw") for _ in range(3))
    mine, other = (
        ours.create("certificates", name="gw", source="imported", certificate=each.chain[0], private_key=each.key_pem)
        for each in (first, second)
    )
    users = {"auth_mode": "certs", "local_certificate_id": mine, "trust_anchor_id": anchor}
    return [
        Change(connection, users),
        Change(connection, {"local_certificate_id": other}),
        Change(connection, {"trust_anchor_id": same}),
        Change(f"certificates/{other}", {"certificate": renewed.chain[0], "private_key": renewed.key_pem}),
        Change(f"certificates/{other}", {"name": "other", "description": "words"}),
        Change(f"trust-anchors/{same}", {"name": "other", "description": "words"}),
        Change(f"trust-anchors/{same}", {"crl": ca.crl()}),
        Change(f"trust-anchors/{same}", {"crl": ca.crl(ca.issued("somebody.example.org"))}),
        Change(f"trust-anchors/{same}", {"crl_urls": ["http://198.51.100.1/none.crl"]}),
        Change(f"trust-anchors/{same}", {"revocation": "strict"}),
        Change(f"trust-anchors/{same}", {"ca_bundle": ca.pem + Ca("Another").pem}),
        Change(connection, {"peer_certificates": [theirs.chain[0]]}),
        Change(connection, {"ppk_id": "ppk@example.org", "ppk": "a post-quantum key of some length"}),
        Change(connection, {"ppk_required": True}),
    ]


def test_changes_of_certificates_are_foretold_rightly(ours: Ours, peer: Peer) -> None:
    ca = Ca()
    theirs = ca.issued(THEM, subject="peer")
    load_ppk(peer, "ppk@example.org", "a post-quantum key of some length")
    known: dict[str, Any] = {"local": THEM, "remote": US, "ppk_id": "ppk@example.org", "ppk_required": "no"}
    peer.load(ours.v4, ours.psk, **known)
    peer.load(ours.v4, "", name="certified", issued=theirs, authorities=[ca.pem], **known)
    link = ours.connect(peer, local_id=US, peer_id=THEM)
    link.wait_rekeyed(30.0)
    tried = changes(ours, link, ca, theirs)
    # Before what it uses.
    ours.on_clear(lambda: ours.delete(CONNECTIONS, link.id))
    foretold: list[str] = []
    seen: list[str] = []
    for change in tried:
        (before,) = {sa["ike"] for sa in link.sas()}
        answer = change.send(ours, dry_run="true")["dry_run"]["connections"]
        foretold.append(next((entry["effect"] for entry in answer), "nothing"))
        with ChildEvents(peer) as events:
            change.send(ours)
            wanted = 0 if foretold[-1] == "nothing" else 2
            wait_settled(link, events, wanted)
            link.wait_rekeyed(30.0)
        effect = happened(True, events.of("net"))
        is_same = {sa["ike"] for sa in link.sas()} == {before}
        seen.append("rekey" if effect == "make-before-break" and is_same else effect)
        print(f"{sorted(change.attributes)}: foretold {foretold[-1]}; {seen[-1]}, {events.of('net')}")
    assert seen == foretold
    assert {"nothing", "make-before-break", "rekey"} <= set(seen)
    every = {f"{resource}.{name}" for resource, names in OF_CERTIFICATES.items() for name in names}
    assert every == {name for change in tried for name in change.attributes}


# --- what connections stand on ------------------------------------------------------------------------------------


def test_changes_of_services_and_the_inventory_are_foretold_rightly(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, local=[4], peers=[peer.net4])
    link.wait_rekeyed(30.0)
    shown = link.shown
    (network,) = [
        subnet["network_id"] for subnet in ours.user.request("GET", f"/v2.0/subnets?id={ours.subnets[4]}")["subnets"]
    ]
    admin, service = ours.world.admin, f"{VPN}/vpnservices/{shown['vpnservice_id']}"
    group = f"{VPN}/endpoint-groups/{shown['local_ep_group_id']}"
    states: list[tuple[str, str, str, Any]] = [
        (service, "vpnservice", "name", "other"),
        (service, "vpnservice", "description", "words"),
        (group, "endpoint_group", "name", "other"),
        (f"/v2.0/routers/{ours.router_id}", "router", "name", "other"),
        (f"/v2.0/subnets/{ours.subnets[4]}", "subnet", "description", "words"),
        *(
            (path, singular, "admin_state_up", value)
            for path, singular in (
                (service, "vpnservice"),
                (f"/v2.0/networks/{network}", "network"),
                (f"/v2.0/routers/{ours.router_id}", "router"),
            )
            for value in (False, True)
        ),
    ]
    for path, singular, name, value in states:
        before = admin.request("GET", path)[singular][name]
        was_up, body = bool(link.sas()), {singular: {name: value}}
        answer = admin.request("PUT", path, body, {"dry_run": "true"})["dry_run"]["connections"]
        foretold = next((entry["effect"] for entry in answer if entry["id"] == link.id), "nothing")
        ours.on_clear(partial(admin.request, "PUT", path, {singular: {name: before}}))
        with ChildEvents(peer) as events:
            admin.request("PUT", path, body)
            wanted = 0 if foretold == "nothing" else 1
            wait_settled(link, events, wanted)
        print(f"{singular} {name} {value}: foretold {foretold}; {events.of('net')}")
        assert happened(was_up, events.of("net")) == foretold, (singular, name, value)
        if link.sas():
            link.wait_rekeyed(30.0)
    for side in ours.world.lab["sites"].values():
        ours.world.wait_status(side["connection_id"], "ACTIVE", 30.0)


def test_a_successor_is_foretold_rightly(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    older = ours.connect(peer, name="older")
    older.wait_rekeyed(30.0)
    body = {name: older.shown[name] for name in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_cidrs")}
    body |= {"name": "newer", "peer_address": peer.v4, "peer_id": peer.v4, "psk": ours.psk}
    path, singular = f"{VPN}/{CONNECTIONS}", SINGULAR[CONNECTIONS]
    answer = ours.user.request("POST", path, {singular: body}, {"dry_run": "true"})["dry_run"]["connections"]
    assert {entry["name"]: entry["effect"] for entry in answer} == {"newer": "comes up", "older": "superseded"}
    with ChildEvents(peer) as events:
        id = ours.create(CONNECTIONS, **body)
        until(lambda: "superseded by newer" in older.reason and not older.sas(), 30.0, lambda: str(older.shown))
    assert happened(True, events.of("net")) == "make-before-break", "the newer one is up before the older one is down"
    newer = Link(ours, peer, id, older.ike_policy, older.ipsec_policy)
    newer.wait_rekeyed(30.0)
    answer = ours.user.request("DELETE", f"{path}/{id}", None, {"dry_run": "true"})["dry_run"]["connections"]
    assert {entry["name"]: entry["effect"] for entry in answer} == {"newer": "goes down", "older": "comes up"}
    ours.delete(CONNECTIONS, id)
    older.wait_rekeyed(30.0)


def test_endpoint_groups_are_foretold_rightly(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    """Another group with the same networks is nothing to the gateway."""
    peer, other = new_peer(), new_peer()
    for each in (peer, other):
        each.load(ours.v4, ours.psk)
    link = ours.connect(peer, local=[4], peers=[peer.net4])
    link.wait_rekeyed(30.0)
    half = str(next(ip_network(peer.net4).subnets()))
    groups = [ours.create("endpoint-groups", type="cidr", endpoints=[net]) for net in (peer.net4, half, other.net4)]
    mine = ours.create("endpoint-groups", type="subnet", endpoints=[ours.subnets[4]])
    # Before the groups.
    ours.on_clear(lambda: ours.delete(CONNECTIONS, link.id))
    for name, group, effect in (
        ("peer_ep_group_id", groups[0], "nothing"),
        ("local_ep_group_id", mine, "nothing"),
        ("peer_ep_group_id", groups[1], "make-before-break"),
    ):
        path, change = f"{VPN}/{CONNECTIONS}/{link.id}", {SINGULAR[CONNECTIONS]: {name: group}}
        (entry,) = ours.user.request("PUT", path, change, {"dry_run": "true"})["dry_run"]["connections"]
        with ChildEvents(peer) as events:
            ours.user.request("PUT", path, change)
            wait_settled(link, events, 0 if effect == "nothing" else 2)
            link.wait_rekeyed(30.0)
        assert entry["effect"] == happened(True, events.of("net")) == effect, (name, group)
    body = {name: link.shown[name] for name in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "local_ep_group_id")}
    body |= {"name": "with groups", "peer_address": other.v4, "peer_id": other.v4, "psk": ours.psk}
    body["peer_ep_group_id"] = groups[2]
    path = f"{VPN}/{CONNECTIONS}"
    answer = ours.user.request("POST", path, {SINGULAR[CONNECTIONS]: body}, {"dry_run": "true"})
    assert [(each["name"], each["effect"]) for each in answer["dry_run"]["connections"]] == [
        ("with groups", "comes up")
    ]
    created = Link(ours, other, ours.create(CONNECTIONS, **body), link.ike_policy, link.ipsec_policy)
    created.wait_rekeyed(30.0)
    ours.delete(CONNECTIONS, created.id)


OF_GROUPS = {("ipsec_site_connection", "local_ep_group_id"), ("ipsec_site_connection", "peer_ep_group_id")}


def test_every_attribute_is_tried() -> None:
    """Those of connections and policies; services and the inventory have few that matter to a node."""
    tried = {(SINGULAR[case.path], name) for cases in CASES for case in cases for name in case.values}
    certified = {(resource, name) for resource, names in OF_CERTIFICATES.items() for name in names}
    resources = (CONNECTION, IKE_POLICY, IPSEC_POLICY, CERTIFICATE, TRUST_ANCHOR)
    every = {(each.singular, attribute.name) for each in resources for attribute in each.attributes if attribute.put}
    assert tried | certified | OF_GROUPS == every
    assert not tried & certified
