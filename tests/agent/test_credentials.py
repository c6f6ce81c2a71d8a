"""The credentials that a gateway's worker loads into charon and unloads, over fake drivers."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from linkspan.agent import credentials
from linkspan.agent.expiry import LATER, Expiry
from linkspan.agent.revocation_lists import RevocationLists
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.crl_schedule import ANSWERED, Fetched
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey, TrustAnchor
from linkspan.core.state.desired import Connection, Gone
from linkspan.core.tunnel import tunnel
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.testing.fake_drivers import FakeDrivers
from linkspan.testing.fake_world import FakeDaemon, FakeWorld
from tests.agent.test_gateway_worker import LEFT, GatewayUnderTest
from tests.core import samples
from tests.drivers.machine import connection, eventually
from tests.harness.authorities import Ca
from tests.harness.credentials import anchor, certificates

_set = msgspec.structs.replace


def certified(peer: int = 2, key: str = "private", root: str = "root", **changes: object) -> Connection:
    """The connection of gateway 1 to another one with certificates; the fake charon names keys by their text."""
    digest = hashlib.sha1(key.encode()).hexdigest()
    sample = samples.certified(private_key=Secret(key), key_id=digest, chain=(f"leaf {key}",), roots=(root,))
    values = {"auth_mode": "certs", "psk": Secret(""), "psk_ref": "", "certificates": sample.certificates}
    return connection(1, peer, **(values | changes))


def key_id(key: str) -> str:
    return hashlib.sha1(key.encode()).hexdigest()


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def left(world: FakeWorld) -> Iterator[GatewayUnderTest]:
    gateway = GatewayUnderTest(FakeDrivers(world), LEFT)
    yield gateway
    gateway.stop()


def daemon(world: FakeWorld) -> FakeDaemon:
    (running,) = world.daemons.values()
    return running


def test_a_connection_has_its_key_and_its_root(world: FakeWorld, left: GatewayUnderTest) -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum"), required=False)
    item = certified(ppk=ppk)
    left.set_desired(item)
    left.wait(item.id, "down")
    assert daemon(world).private_keys.keys() == {key_id("private")}
    assert daemon(world).authorities == {"root"}
    assert daemon(world).ppks == {"ppk@example.org": Secret("quantum")}
    left.set_desired(gone=(Gone("connection", item.id, 2, LEFT.id),))
    eventually(lambda: not daemon(world).private_keys and not daemon(world).ppks)


def test_a_key_that_another_connection_needs_stays(world: FakeWorld, left: GatewayUnderTest) -> None:
    one, other, third = certified(2), certified(3), certified(4, "another")
    left.set_desired(one, other, third)
    left.wait(third.id, "down")
    assert daemon(world).private_keys.keys() == {key_id("private"), key_id("another")}
    left.set_desired(other, gone=tuple(Gone("connection", each.id, 2, LEFT.id) for each in (one, third)))
    eventually(lambda: daemon(world).private_keys.keys() == {key_id("private")})


def test_a_restarted_agent_unloads_what_nothing_needs(world: FakeWorld) -> None:
    first = GatewayUnderTest(FakeDrivers(world), LEFT)
    first.set_desired(certified(ppk=PostQuantumKey(id="old", key=Secret("old"), required=False)))
    first.wait(certified().id, "down")
    first.stop()
    second = GatewayUnderTest(FakeDrivers(world), LEFT)
    second.set_desired(certified(key="renewed", revision=2))
    try:
        eventually(lambda: daemon(world).private_keys.keys() == {key_id("renewed")})
        assert daemon(world).ppks == {}
    finally:
        second.stop()


def test_a_key_of_another_certificate_is_an_error(world: FakeWorld, left: GatewayUnderTest) -> None:
    item = certified()
    assert item.certificates
    local = _set(item.certificates.local, key_id="c" * 40)
    left.set_desired(_set(item, certificates=_set(item.certificates, local=local)))
    assert "does not fit" in left.wait(item.id, "error").reason
    assert not daemon(world).configs


def test_leftovers_are_unloaded_with_everything_and_loaded_again(
    world: FakeWorld, left: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "AUTHORITIES", 3)
    keyed, item = connection(1, 3), certified()
    for number in range(6):
        item = certified(root=f"root {number}", revision=number + 1)
        left.set_desired(keyed, item)
        left.wait(keyed.id, "down")
        name = ipsec_config.build(item).name
        eventually(lambda name=name: name in daemon(world).configs)  # type: ignore[misc]
    assert "root 5" in daemon(world).authorities
    assert len(daemon(world).authorities) <= 3
    assert ipsec_config.build(keyed).name in daemon(world).keys
    assert daemon(world).private_keys.keys() == {key_id("private")}


# -- revocation lists ----------------------------------------------------------------------------------------------

CA = Ca("CA")


class Fetches:
    """A `Fetcher` that collects what it was asked for."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def fetch(self, gateway_id: str, url: str, deliver: object) -> None:
        self.urls.append(url)


def with_anchor(anchor: TrustAnchor) -> dict[str, Tunnel]:
    """The tunnels of one connection with this anchor."""
    item = samples.certified()
    assert item.certificates
    item = _set(item, certificates=_set(item.certificates, anchor=anchor))
    return {item.id: tunnel.new_tunnel(item, ipsec_config.build(item), "")}


def lists(now: float = 0.0) -> tuple[RevocationLists, Fetches, list[float]]:
    fetches, clock = Fetches(), [now]
    return RevocationLists("gateway", fetches, lambda _: None, lambda: clock[0]), fetches, clock


def test_a_list_counts_if_its_ca_has_signed_it_and_it_is_the_newest() -> None:
    revoked = CA.issue("peer")
    first, second = CA.crl(number=1), CA.crl(revoked, number=2)
    known, _, _ = lists()
    assert known.update(with_anchor(anchor(CA, revocation="if_available", crls=[first]))) == frozenset()
    grown = known.update(with_anchor(anchor(CA, revocation="if_available", crls=[first, second])))
    assert grown == {samples.ID}
    assert [each.number for each in known.lists] == [2]
    # An older one changes nothing, nor does that of a stranger of the same name.
    forged = Ca("CA").crl(revoked, number=9)
    assert known.update(with_anchor(anchor(CA, revocation="if_available", crls=[first, forged]))) == frozenset()
    assert [each.number for each in known.lists] == [2]
    assert known.update(with_anchor(anchor(CA, revocation="none", crls=[second]))) == frozenset()
    assert known.lists == frozenset()


def test_what_a_running_charon_has_is_no_news() -> None:
    revoked = CA.issue("peer")
    text = CA.crl(revoked, number=20)
    tunnels = with_anchor(anchor(CA, revocation="strict", crls=[text]))
    known, _, _ = lists()
    known.adopt([text.encode()], tunnels)
    assert known.update(tunnels) == frozenset()
    assert [each.number for each in known.lists] == [20]


def test_rubbish_is_no_list() -> None:
    known, _, _ = lists()
    for crl in ("", "rubbish", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----", CA.pem):
        known.update(with_anchor(anchor(CA, revocation="strict", crls=[crl])))
        assert known.lists == frozenset()


def test_urls_are_fetched_and_fetched_again() -> None:
    known, fetches, clock = lists(dt.datetime.now(dt.UTC).timestamp())
    tunnels = with_anchor(anchor(CA, revocation="strict", crl_urls=["http://ca/crl"]))
    known.fetch()
    assert known.seconds_to_next_fetch() is None
    known.update(tunnels)
    assert known.seconds_to_next_fetch() == 0.0
    known.fetch()
    known.fetch()
    assert fetches.urls == ["http://ca/crl"]
    assert not known.accept(Fetched("http://ca/crl", error="the server answers 404"))
    assert not known.accept(Fetched("http://ca/crl", b"rubbish"))
    assert not known.accept(Fetched("http://another/crl", CA.crl().encode()))
    assert known.accept(Fetched("http://ca/crl", CA.crl(number=30, end=dt.timedelta(hours=1)).encode()))
    known.update(tunnels)
    assert [each.number for each in known.lists] == [30]
    # It is valid for an hour: half of that is left when it is fetched again.
    assert known.seconds_to_next_fetch() == pytest.approx(1800, abs=5)
    clock[0] += 1801
    known.fetch()
    assert len(fetches.urls) == 2
    assert known.seconds_to_next_fetch() == pytest.approx(ANSWERED, abs=1)
    known.update({})
    assert known.seconds_to_next_fetch() is None


# -- certificates that end -----------------------------------------------------------------------------------------


def test_the_ends_of_our_certificate_and_of_the_peers() -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    clock = [now]
    expiry = Expiry(lambda: clock[0])
    mine, theirs = CA.issued("gw", end=dt.timedelta(hours=2)), CA.issue("Peer.example.org", end=dt.timedelta(days=1))
    stranger = CA.issue("other.example.org", end=dt.timedelta(minutes=1))
    item = _set(samples.certified(), certificates=certificates(mine, anchor(CA)), peer_id="peer.example.org")
    config = ipsec_config.build(item)
    up = _set(tunnel.new_tunnel(item, config, ""), up=frozenset({config.children[0].name}))
    tunnels = {item.id: up}
    der = [each.public_bytes(Encoding.DER) for each in (theirs, stranger, CA.certificate)] + [b"rubbish"]
    expiry.look(tunnels, der)
    assert expiry.seconds_to_next() == pytest.approx(7200 + LATER[0], abs=5)
    assert expiry.due(tunnels) == frozenset()
    clock[0] = now + 7200 + LATER[0] + 5
    assert expiry.due(tunnels) == {item.id}
    assert expiry.due(tunnels) == frozenset()
    clock[0] = now + 24 * 3600 + LATER[0] + 5
    assert expiry.due(tunnels) == {item.id}
    assert expiry.due({}) == frozenset()
    assert expiry.seconds_to_next() is None


def test_a_tunnel_that_is_down_is_not_checked() -> None:
    item = samples.certified()
    expiry = Expiry(lambda: 0.0)
    expiry.look({item.id: tunnel.new_tunnel(item, ipsec_config.build(item), "")}, ())
    assert expiry.seconds_to_next() is None
