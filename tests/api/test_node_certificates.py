"""Nodes join with one-time tokens and are known by certificates: over real TLS, with the agent's own client.

What a node may not do is tried over the same listener with its control: the same request of who may.
"""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import Engine, text

from linkspan.agent.agent import POLL
from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.agent.certificate_renewal import keep_renewed
from linkspan.agent.joining import join
from linkspan.agent.node_identity import IdentityFile, NewKey, NodeIdentity
from linkspan.api import agent_protocol
from linkspan.api.app import create_app
from linkspan.api.http.messages import Request
from linkspan.api.http.notifications import Notifier
from linkspan.core.node_join import CERTIFICATE_LIFETIME, SERVER_NAME, Join, Renewal, authority_of
from linkspan.core.secret import hash_token
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store import certificates, migrate
from linkspan.store.audit import Actor
from linkspan.store.database import engine as engines
from linkspan.store.database.statements import Statement
from linkspan.store.nodes import authority, credentials, membership, registry
from tests.api.serving import Served, served, wait_for
from tests.api.world import Api, ByName, LocalSite, encode
from tests.harness.databases import Clock, open_store

HELLO = Hello("kernel", "1.0", "6.0.1")
NODES = "/linkspan/nodes"
ACTOR = Actor("uid:0", "root")
KEYS = {"a": "psk of node a only", "b": "psk of node b only"}


@pytest.fixture
def clock() -> Clock:
    """A clock of the API and of the agents, which TLS does not have: so it is behind, by half of a certificate's life,
    and what is issued now or then is valid for TLS."""
    return Clock(time.time() - CERTIFICATE_LIFETIME / 2)


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a fresh database."""
    path = tmp_path / "linkspan.db"
    shutil.copy(sqlite_template, path)
    engine = engines.connect(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def service(sqlite: Engine, clock: Clock) -> Iterator[Served]:
    """An API with a listener for nodes, on SQLite: what the database decides is tested on both."""
    # Of hint streams, so that one that was revoked by another process ends soon.
    with served(sqlite, with_nodes=True, store={"clock": clock}, heartbeat=0.1, recheck=0.1) as running:
        yield running


def invite(service: Served, name: str, **more: Any) -> str:
    """A join token."""
    response = service.api.as_("admin").send("POST", NODES, {"node": {"name": name, **more}})
    assert response.status_code == 201, response.text
    token: str = response.json()["join_token"]
    return token


def shown(service: Served, name: str) -> dict[str, Any]:
    """A node as an admin sees it."""
    nodes = service.api.as_("admin").get(NODES)["nodes"]
    node: dict[str, Any] = next(node for node in nodes if node["name"] == name)
    return node


def act(service: Served, method: str, name: str, action: str = "") -> httpx.Response:
    """What an admin does to a node."""
    return service.api.as_("admin").send(method, f"{NODES}/{shown(service, name)['id']}{action}")


class Joined:
    """A node that has joined, with its own state directory."""

    def __init__(self, service: Served, name: str, state: Path, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.identity = join(service.node_url, invite(service, name), state)
        self.file = IdentityFile(state / "nodes" / f"{name}.pem", clock)

    def client(self, holder: str = "") -> ApiClient:
        """The agent's client."""
        return ApiClient("", holder=holder, identity=self.file)

    def raw(self) -> httpx.Client:
        """A client that sends what an agent would not."""
        return raw(self.identity.url, self.identity.authorities, self.file.path)


def raw(url: str, authorities: str, certificate: Path | None = None) -> httpx.Client:
    """A client of the listener for nodes with any certificate or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities)
    if certificate is not None:
        context.load_cert_chain(certificate)
    client = httpx.Client(base_url=url, verify=context, trust_env=False)
    client.event_hooks = {"request": [lambda request: request.extensions.update(sni_hostname=SERVER_NAME)]}
    return client


def is_known(client: httpx.Client) -> bool:
    """True if the API takes a client for a node; False if it refuses it, in TLS or in HTTP."""
    try:
        response = client.get("/agent/v1/desired")
    except httpx.TransportError:
        return False
    assert response.status_code in (200, 401)
    return response.status_code == 200


@contextmanager
def with_certificate(node: Joined, certificate: x509.Certificate, key: bytes, folder: Path) -> Iterator[httpx.Client]:
    """A client with another certificate than the node's."""
    file = folder / "other.pem"
    file.write_bytes(key + certificates.to_pem(certificate).encode())
    with raw(node.identity.url, node.identity.authorities, file) as client:
        yield client


# --- joining ------------------------------------------------------------------------------------------------------


def test_a_node_joins_with_a_token_and_its_own_key(service: Served, tmp_path: Path, clock: Clock) -> None:
    token = invite(service, "edge-1")
    before = shown(service, "edge-1")
    identity = join(service.node_url, token, tmp_path)
    file = tmp_path / "nodes" / "edge-1.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate(identity.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:uuid:{before['id']}"]
    assert certificate.not_valid_after_utc.timestamp() == pytest.approx(clock.now + CERTIFICATE_LIFETIME, abs=2)
    assert (before["credential"], before["alive"]) == ("none", False)
    with closing(ApiClient("", identity=IdentityFile(file))) as client:
        assert client.hello(HELLO).node_name == "edge-1"
        assert client.desired(0).gateways == ()
    after = shown(service, "edge-1")
    assert (after["credential"], after["alive"]) == ("certificate", True)
    assert dt.datetime.fromisoformat(after["credential_expires_at"]).timestamp() == pytest.approx(
        identity.valid_until, abs=2
    )


def test_the_database_has_neither_tokens_nor_private_keys(service: Served, tmp_path: Path, sqlite: Engine) -> None:
    token = invite(service, "edge-1")
    node = Joined(service, "edge-2", tmp_path)
    with sqlite.connect() as connection:
        rows = [
            str(row)
            for table in ("node", "node_credential", "node_authority", "audit")
            for row in connection.execute(text(f"SELECT * FROM {table}"))  # names of this test
        ]
    everything = "\n".join(rows)
    assert "BEGIN CERTIFICATE" in everything  # the control: the search finds what is there
    for secret in (token, token.partition(".")[0], node.identity.key, "PRIVATE KEY"):
        assert secret not in everything


@pytest.mark.security(
    "13 joining",
    tried="a join token a second time",
    control="test_a_node_joins_with_a_token_and_its_own_key",
)
def test_a_join_token_is_used_once(service: Served, tmp_path: Path) -> None:
    token = invite(service, "edge-1")
    join(service.node_url, token, tmp_path / "one")
    with pytest.raises(ApiUnreachable, match="was used, has expired or was replaced"):
        join(service.node_url, token, tmp_path / "two")
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("end", ["expired", "replaced", "revoked", "deleted", "never made"])
def test_a_join_token_that_has_ended_is_refused(service: Served, tmp_path: Path, clock: Clock, end: str) -> None:
    token = invite(service, "edge-1", expires_in=60)
    match end:
        case "expired":
            clock.pass_(60)
        case "replaced":
            join(service.node_url, invite(service, "edge-1"), tmp_path / "control")
        case "revoked":
            assert act(service, "PUT", "edge-1", "/revoke").status_code == 200
        case "deleted":
            assert act(service, "DELETE", "edge-1").status_code == 204
        case _:
            token = f"{'A' * 43}.{token.partition('.')[2]}"
    with pytest.raises(ApiUnreachable, match="does not accept this join token"):
        join(service.node_url, token, tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "n", "expires_in": 3601},
        {"name": "n", "expires_in": 0},
        {"name": "n", "expires_in": -5},
        {"name": "n", "expires_in": True},
        {"name": "n", "expires_in": "sixty"},
        {"name": "n", "expires_in": 60.5},
        {"name": ""},
        {"name": "a/b"},
        {"name": ".."},
        {"name": "x" * 241},
        {"name": "\u00e4" * 121},
        {"name": "../x"},
        {"name": "a\nb"},
        {"name": "n" * 256},
        {"name": 5},
        {"name": "n", "token": "x"},
        {},
    ],
)
def test_a_join_token_of_other_names_and_lifetimes_is_not_made(api: Api, values: dict[str, Any]) -> None:
    status, kind = api.as_("admin").refused("POST", NODES, {"node": values})
    assert (status, kind in ("HTTPBadRequest", "InvalidInput")) == (400, True)


def test_a_token_sent_to_another_server_than_its_api_is_not_sent(service: Served, tmp_path: Path) -> None:
    """The node compares the authority with the fingerprint in its token before it sends anything."""
    with another_api(tmp_path) as url, pytest.raises(ApiUnreachable, match="somebody is in between: nothing was sent"):
        join(url, invite(service, "edge-1"), tmp_path)


@contextmanager
def another_api(folder: Path) -> Iterator[str]:
    """The URL of an API with another authority."""
    engine = engines.connect(f"sqlite:///{folder}/other.db")
    migrate.upgrade(engine)
    with served(engine, with_nodes=True) as other:
        yield other.node_url
    engine.dispose()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9697", "127.0.0.1:9697", "https://", ""])
def test_a_node_joins_over_tls_only(url: str, tmp_path: Path) -> None:
    with pytest.raises(ApiUnreachable, match="https://HOST:9697"):
        join(url, f"{'A' * 43}.{'A' * 43}", tmp_path)


@pytest.mark.parametrize("token", ["", "x", "A" * 43, f"{'A' * 43}.", f"{'A' * 43}.{'A' * 42}"])
def test_what_is_no_join_token_is_named(token: str, tmp_path: Path) -> None:
    assert authority_of(token) is None
    with pytest.raises(ApiUnreachable, match="no join token"):
        join("https://127.0.0.1:1", token, tmp_path)


@pytest.mark.parametrize("kind", ["garbage", "rsa", "another curve", "forged", "certificate", "empty"])
def test_other_requests_for_certificates_are_refused_and_use_no_token_up(
    service: Served, tmp_path: Path, kind: str
) -> None:
    token = invite(service, "edge-1")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    good = NewKey().request
    match kind:
        case "garbage":
            request = "garbage"
        case "rsa":
            request = _pem(builder.sign(rsa.generate_private_key(65_537, 2048), hashes.SHA256()))
        case "another curve":
            request = _pem(builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()))
        case "forged":
            der = bytearray(x509.load_pem_x509_csr(good.encode()).public_bytes(_DER))
            der[-1] ^= 1
            request = _pem(x509.load_der_x509_csr(bytes(der)))
        case "certificate":
            request = certificates.to_pem(certificates.new_authority(time.time()).certificate)
        case _:
            request = ""
    with raw(service.node_url, authorities_of(service)) as client:
        body = encode(Join(token, request))
        assert client.post("/agent/v1/join", content=body).status_code == 400
        assert client.post("/agent/v1/join", content=encode(Join(token, good))).status_code == 200


_DER = serialization.Encoding.DER


def _pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(serialization.Encoding.PEM).decode()


def authorities_of(service: Served) -> str:
    """The authorities that nodes trust."""
    with service.api.store.read() as tx:
        return authority.bundle(tx)


# --- who is known -------------------------------------------------------------------------------------------------


def test_only_the_certificate_that_the_api_has_issued_is_known(service: Served, tmp_path: Path, clock: Clock) -> None:
    node = Joined(service, "edge-1", tmp_path)
    with service.api.store.read() as tx:
        _, issuer = authority.issuing(tx)
    other = certificates.new_authority(clock.now)
    # The same name, so that only the signature tells it from the real one.
    assert other.certificate.subject == issuer.certificate.subject
    key = ec.generate_private_key(ec.SECP256R1())
    id, pem = shown(service, "edge-1")["id"], certificates.key_to_pem(key)

    def issued(by: certificates.IssuingAuthority, now: float, lifetime: float = 3600.0) -> x509.Certificate:
        return certificates.issue_to_node(by, key.public_key(), id, "edge-1", now, lifetime)

    tried: dict[str, bool] = {}
    for name, certificate in {
        "another authority": issued(other, time.time()),
        "expired": issued(issuer, time.time() - 7200.0),
        "not valid yet": issued(issuer, time.time() + 7200.0),
        "issued, but not to a node that has joined": issued(issuer, time.time()),
    }.items():
        with with_certificate(node, certificate, pem, tmp_path) as client:
            tried[name] = is_known(client)
    server, server_key = certificates.issue_to_server(issuer, time.time())
    with with_certificate(node, server, server_key, tmp_path) as client:
        tried["a server's"] = is_known(client)
    with raw(node.identity.url, node.identity.authorities) as client:
        tried["none"] = is_known(client)
        client.headers["authorization"] = "Bearer edge-1"
        tried["none, and a wrong token"] = is_known(client)
    with raw(service.url, node.identity.authorities) as client:
        tried["none, without TLS"] = is_known(client)
    with node.raw() as client:
        tried["control: its own"] = is_known(client)
    assert tried == dict.fromkeys(tried, False) | {"control: its own": True}


@pytest.mark.security(
    "13 joining",
    tried="certificates that have ended",
    control="test_a_certificate_is_renewed_at_half_of_its_life",
)
@pytest.mark.parametrize("end", ["revoked", "deleted", "expired"])
def test_a_certificate_that_has_ended_is_refused_at_once(
    service: Served, tmp_path: Path, clock: Clock, end: str
) -> None:
    """Also on a connection that is open since before."""
    node = Joined(service, "edge-1", tmp_path)
    with node.raw() as client:
        assert is_known(client)
        match end:
            case "revoked":
                assert act(service, "PUT", "edge-1", "/revoke").status_code == 200
                assert shown(service, "edge-1")["credential"] == "none"
            case "deleted":
                assert act(service, "DELETE", "edge-1").status_code == 204
            case _:
                clock.pass_(CERTIFICATE_LIFETIME)
        assert not is_known(client)
        assert client.post("/agent/v1/certificate", content=encode(Renewal(NewKey().request))).status_code == 401
    with closing(node.client()) as agent, pytest.raises(ApiUnreachable, match="was revoked, or another") as caught:
        agent.hello(HELLO)
    assert caught.value.final
    assert "linkspan node join-token edge-1" in str(caught.value)


def test_a_server_with_a_nodes_certificate_is_no_api(service: Served, tmp_path: Path) -> None:
    """Who has stolen a certificate cannot pass for the API to other nodes."""
    thief, victim = Joined(service, "a", tmp_path / "a"), Joined(service, "b", tmp_path / "b")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(thief.file.path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as tls:
                        heard.append(tls.recv(1000))
                except OSError:
                    heard.append(b"")

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        victim.file.write(msgspec.structs.replace(victim.identity, url=url))
        with closing(victim.client()) as client, pytest.raises(ApiUnreachable, match="cannot be reached"):
            client.hello(HELLO)
        thread.join()
    assert heard == [b""]
    victim.file.write(victim.identity)  # the control
    with closing(victim.client()) as client:
        assert client.hello(HELLO).node_name == "b"


# --- what a stolen certificate reads --------------------------------------------------------------------------------


def two_nodes(service: Served, folder: Path) -> tuple[Joined, Joined, dict[str, str]]:
    """Two nodes with a gateway each, and the ids of their connections by the name of the node."""
    nodes, ids = [], {}
    for number, name in enumerate(KEYS):
        node = Joined(service, name, folder / name)
        with closing(node.client()) as client:
            client.hello(HELLO)
        if number:
            # The first has a gateway, so that the next one goes to the other.
            assert act(service, "PUT", "a", "/rotate").status_code == 200
        site = LocalSite(service.api, f"198.51.10{number}.0/24", inside=f"10.{number + 1}.0.0/24")
        ids[name] = site.connection(psk=KEYS[name])["id"]
        nodes.append(node)
    return nodes[0], nodes[1], ids


@pytest.mark.security(
    "13 joining",
    tried="a stolen certificate, for other nodes' secrets",
    control="test_a_node_joins_with_a_token_and_its_own_key",
)
def test_a_stolen_certificate_reads_no_foreign_secret(service: Served, tmp_path: Path) -> None:
    """Every path of agents and of the public API, with everything by which a request could name another node."""
    thief, victim, ids = two_nodes(service, tmp_path)
    b = shown(service, "b")
    with closing(victim.client()) as client:
        full = client.desired(0)
        (connection,), (gateway,) = full.connections, full.gateways
        assert connection.psk.reveal() == KEYS["b"]  # the control: it is there to be read
    names = {
        "x-node": b["id"],
        "linkspan-node": "b",
        "x-forwarded-for": "127.0.0.1",
        "linkspan-agent": "b/1",
        "authorization": "Bearer b",
        "x-ssl-client-cert": victim.identity.certificate.replace("\n", "%0A"),
    }
    answers: list[httpx.Response] = []
    routes = service_routes(service)
    assert len(routes) > 80
    with thief.raw() as by_certificate, httpx.Client(base_url=service.url) as public:
        clients = by_certificate, public
        for headers in ({}, names):
            for method, path in routes:
                for id in (b["id"], ids["b"], gateway.id):
                    url = path.replace("{id}", id)
                    if url == "/agent/v1/hints":
                        continue  # revisions only; below
                    query = {"node": b["id"]}
                    answers += [one.request(method, url, headers=headers, params=query) for one in clients]
                    if "{id}" not in path:
                        break
        for more in ({}, {"node_id": b["id"]}, {"name": "b"}):
            own = by_certificate.get("/agent/v1/desired", params={"since": "0"} | more)
            assert KEYS["a"] in own.text  # the control: its own key it reads
            answers.append(own)
        claimed = Report(
            (GatewayReport(gateway.id, gateway.generation, full.revision, "error", "taken"),),
            (ConnectionReport(ids["b"], gateway.generation, full.revision, "up"),),
        )
        assert by_certificate.post("/agent/v1/reports", content=encode(claimed)).status_code == 204
    assert len(answers) > 300
    assert not [answer.url for answer in answers if KEYS["b"] in answer.text]
    shown_connection = service.api.get(f"/vpn/ipsec-site-connections/{ids['b']}")["ipsec_site_connection"]
    assert (shown_connection["status"], "taken" in str(shown_connection)) == ("PENDING_CREATE", False)
    with victim.raw() as by_victim:  # the control: the same report by its node counts
        assert by_victim.post("/agent/v1/reports", content=encode(claimed)).status_code == 204
    assert "taken" in str(service.api.get("/vpn/vpnservices"))
    with closing(victim.client()) as client:
        assert client.desired(0).connections[0].psk.reveal() == KEYS["b"]  # nor was anything ended


def service_routes(service: Served) -> list[tuple[str, str]]:
    """Every route but those that delete or revoke: their refusals are the policy's (`test_rbac`)."""
    dispatcher = create_app(service.api.store, ByName(), Notifier()).dispatcher
    return [(route.method, route.path) for route in dispatcher.routes if route.path != "/agent/v1/certificate"]


def test_the_listener_for_nodes_serves_nodes_only(service: Served, tmp_path: Path) -> None:
    node = Joined(service, "edge-1", tmp_path)
    admin = {"authorization": "admin"}
    with node.raw() as client:
        for path in ("/healthz", "/v2.0/linkspan/nodes", "/openapi.json", "/", "/agent/v1/../../v2.0/networks"):
            assert client.get(path, headers=admin).status_code == 404, path
        assert is_known(client)
    with httpx.Client(base_url=service.url) as public:  # the control
        assert public.get("/v2.0/linkspan/nodes", headers=admin).status_code == 200


# --- renewal --------------------------------------------------------------------------------------------------------


def test_a_certificate_is_renewed_at_half_of_its_life(service: Served, tmp_path: Path, clock: Clock) -> None:
    node = Joined(service, "edge-1", tmp_path, clock)
    with closing(node.client()) as client, node.raw() as previous:
        clock.now = node.identity.renew_at - 1
        assert not client.renewal_is_due()
        clock.pass_(1)
        assert client.renewal_is_due()
        assert is_known(previous)
        client.renew()
        renewed = node.file.read()
        assert renewed.key != node.identity.key
        assert renewed.valid_until > node.identity.valid_until + CERTIFICATE_LIFETIME / 3
        assert not client.renewal_is_due()
        assert is_known(previous), "until the next one is used: it might have been lost on its way"
        client.hello(HELLO)
        assert not is_known(previous)
        client.hello(HELLO)


def test_a_renewal_whose_answer_was_lost_is_repeated(service: Served, tmp_path: Path) -> None:
    node = Joined(service, "edge-1", tmp_path)
    with node.raw() as raw_client:
        for _ in range(5):  # nobody keeps the answers
            body = encode(Renewal(NewKey().request))
            assert raw_client.post("/agent/v1/certificate", content=body).status_code == 200
    with service.api.store.read() as tx:
        ((count,),) = tx.rows(Statement(text("SELECT count(*) FROM node_credential")))
    assert count == 2  # the one in use, and the newest
    with closing(node.client()) as client:
        client.renew()
        client.hello(HELLO)


def test_the_agent_renews_when_an_admin_rotates_and_its_streams_go_on(
    service: Served, tmp_path: Path, clock: Clock
) -> None:
    node = Joined(service, "edge-1", tmp_path, clock)
    stop = threading.Event()
    revisions: list[int] = []
    faults: list[str] = []
    client = node.client()

    def follow() -> None:
        try:
            for revision in client.hints():
                client.desired(revision)
                revisions.append(revision)
        except ApiUnreachable as error:
            if not stop.is_set():
                faults.append(str(error))

    threads = [threading.Thread(target=keep_renewed, args=(client, stop)), threading.Thread(target=follow)]
    try:
        client.hello(HELLO)
        for thread in threads:
            thread.start()
        keys = {node.identity.key}
        for _ in range(3):
            assert act(service, "PUT", "edge-1", "/rotate").status_code == 200
            wait_for(lambda: node.file.read().key not in keys or bool(faults))
            keys.add(node.file.read().key)
            wait_for(lambda: not client.renewal_is_due())
            client.hello(HELLO)
            # The stream of the previous certificate ends, and goes on with the next one.
            wait_for(lambda: shown(service, "edge-1")["revision"] in revisions or bool(faults))
        assert (len(keys), faults) == (4, [])
    finally:
        stop.set()
        client.renewal_asked.set()
        service.stop()
        for thread in threads:
            thread.join()
        client.close()


def test_a_node_without_a_certificate_has_none_to_rotate(service: Served) -> None:
    invite(service, "edge-1")
    assert act(service, "PUT", "edge-1", "/rotate").json()["NeutronError"]["type"] == "HTTPConflict"


def test_a_request_in_progress_goes_on_with_the_next_certificate(service: Served, tmp_path: Path) -> None:
    """One that began with the certificate that has ended meanwhile is sent again, and not reported as revoked."""
    node = Joined(service, "edge-1", tmp_path)
    with closing(node.client()) as client:
        client.hello(HELLO)
        previous = client._http
        client.renew()
        client.hello(HELLO)
        following, client._http = client._http, previous
        sent = previous.request

        def swapped(*arguments: Any, **more: Any) -> httpx.Response:
            response = sent(*arguments, **more)
            client._http = following  # another thread's renewal
            return response

        previous.request = swapped  # type: ignore[method-assign]
        assert client.desired(0).revision == 0


def test_an_expired_certificate_is_one_sentence_with_the_remedy(service: Served, tmp_path: Path, clock: Clock) -> None:
    node = Joined(service, "edge-1", tmp_path, clock)
    with closing(node.client()) as running:
        clock.pass_(CERTIFICATE_LIFETIME + 1)
        for fails in (lambda: running.hello(HELLO), lambda: running.desired(0), lambda: next(running.hints())):
            with pytest.raises(ApiUnreachable, match="the certificate of node edge-1 expired at 20"):
                fails()
        with pytest.raises(ApiUnreachable, match="'linkspan node join-token edge-1'") as caught:
            node.client()
        assert caught.value.final
        assert "\n" not in str(caught.value)
        # Joined again while the agent runs.
        Joined(service, "edge-1", tmp_path, clock)
        assert running.reload_identity()
        assert not running.reload_identity()


def test_an_identity_lives_through_everything_on_each_database(database: Engine, tmp_path: Path) -> None:
    """Joining, renewal, restarts of API and agent, revocation, joining again, deletion."""
    with served(database, with_nodes=True) as first:
        node = Joined(first, "edge-1", tmp_path)
        authorities = authorities_of(first)
        with closing(node.client()) as client:
            client.hello(HELLO)
            client.renew()
            client.report(Report())
            client.report(Report())
        with first.api.store.read() as tx:
            assert tx.first(Statement(text("SELECT count(*) FROM node_credential")))[0] == 1
    with served(database, with_nodes=True) as second:
        assert authorities_of(second) == authorities
        node.file.write(msgspec.structs.replace(node.file.read(), url=second.node_url))
        with closing(node.client()) as client:
            assert client.hello(HELLO).node_name == "edge-1"
            assert act(second, "PUT", "edge-1", "/rotate").status_code == 200
            client.desired(0)
            assert client.renewal_is_due()
            assert act(second, "PUT", "edge-1", "/revoke").status_code == 200
            with pytest.raises(ApiUnreachable, match="was revoked"):
                client.hello(HELLO)
            join(second.node_url, invite(second, "edge-1"), tmp_path)
            assert client.reload_identity()
            client.hello(HELLO)
            assert act(second, "DELETE", "edge-1").status_code == 204
            with pytest.raises(ApiUnreachable, match="was revoked"):
                client.hello(HELLO)


@pytest.mark.parametrize("damage", ["", "x", "half", "no key"])
def test_a_damaged_identity_is_named(tmp_path: Path, damage: str, service: Served) -> None:
    node = Joined(service, "edge-1", tmp_path)
    text = node.file.path.read_text()
    damaged = {"half": text[: len(text) // 2], "no key": text.replace("PRIVATE KEY", "PUBLIC KEY")}
    node.file.path.write_text(damaged.get(damage, damage))
    with pytest.raises(ApiUnreachable, match="linkspan node join") as caught:
        node.client()
    assert str(node.file.path) in str(caught.value)


# --- revocation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["PUT", "DELETE", "another process"])
def test_the_hint_streams_of_a_revoked_node_end(tmp_path: Path, sqlite: Engine, clock: Clock, how: str) -> None:
    # A stream looks by itself only where nobody can end it.
    times: dict[str, Any] = {"heartbeat": 0.1, "recheck": 0.1} if how == "another process" else {"recheck": 3600.0}
    with served(sqlite, with_nodes=True, store={"clock": clock}, **times) as service:
        nodes = [Joined(service, name, tmp_path / name) for name in ("edge-1", "edge-2")]
        ended = {node.name: threading.Event() for node in nodes}
        began = {node.name: threading.Event() for node in nodes}

        def follow(node: Joined) -> None:
            with node.raw() as client, client.stream("GET", "/agent/v1/hints", timeout=30.0) as response:
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        began[node.name].set()
            ended[node.name].set()

        threads = [threading.Thread(target=follow, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        assert all(event.wait(20.0) for event in began.values())
        match how:
            case "PUT":
                act(service, "PUT", "edge-1", "/revoke")
            case "DELETE":
                act(service, "DELETE", "edge-1")
            case _:
                with open_store(sqlite, clock=clock).write() as tx:
                    node = registry.node_by_name(tx, "edge-1")
                    assert node is not None
                    membership.revoke(tx, ACTOR, node)
        has_ended = ended["edge-1"].wait(20.0)
        other_ended = ended["edge-2"].is_set()
        service.stop()
        for thread in threads:
            thread.join()
    assert has_ended
    assert not other_ended  # the control


def test_a_revocation_is_noticed_within_an_agents_poll() -> None:
    assert agent_protocol.RECHECK + agent_protocol.HEARTBEAT < POLL


def test_a_node_with_gateways_is_deleted_by_force_and_they_go_to_another(service: Served, tmp_path: Path) -> None:
    a, b, ids = two_nodes(service, tmp_path)
    refusal = act(service, "DELETE", "a")
    assert (refusal.status_code, refusal.json()["NeutronError"]["type"]) == (409, "HTTPConflict")
    with closing(b.client()) as client:
        before = {connection.id for connection in client.desired(0).connections}
        path = f"{NODES}/{shown(service, 'a')['id']}"
        assert service.api.as_("admin").send("DELETE", path, params={"force": "true"}).status_code == 204
        after = {connection.id for connection in client.desired(0).connections}
    assert (before, after) == ({ids["b"]}, set(ids.values()))
    with a.raw() as client:
        assert not is_known(client)
    assert service.api.as_("admin").send("DELETE", path).status_code == 404


# --- tokens ---------------------------------------------------------------------------------------------------------


def with_token(api: Api, source: str, *, server: str = "192.0.2.1:9696") -> int:
    """The status of a request with node-1's token from an address."""
    protocol = agent_protocol.AgentProtocol(api.store, api.notifier)
    headers = [(b"authorization", b"Bearer token of node-1")]
    return protocol.desired(Request("GET", "/", headers=headers, source=source, server=server)).status


def test_a_token_without_an_end_counts_only_from_the_apis_machine(api: Api) -> None:
    api.node()
    remote = ("192.0.2.7", "10.0.0.1", "2001:db8::7", "::ffff:192.0.2.7", "127.0.0.1.example.org", "localhost.")
    assert {source: with_token(api, source) for source in remote} == dict.fromkeys(remote, 401)
    local = ("127.0.0.1", "127.8.8.8", "::1", "192.0.2.1")
    assert {source: with_token(api, source) for source in local} == dict.fromkeys(local, 200)


def test_a_token_with_an_end_counts_everywhere_until_then(open_api: Any) -> None:
    clock = Clock()
    with open_api(store={"clock": clock}) as api:
        node = api.node().hello()["node_id"]
        with api.store.write() as tx:
            found = registry.node_by_id(tx, node)
            assert found is not None
            token = hashed("token of node-1")
            credentials.set_token(tx, node, token, tx.wall + 100)
        assert [with_token(api, source) for source in ("192.0.2.7", "127.0.0.1")] == [200, 200]
        clock.pass_(100)
        assert [with_token(api, source) for source in ("192.0.2.7", "127.0.0.1")] == [401, 401]


def hashed(token: str) -> str:
    """A token as the database keeps it."""
    return hash_token(token.encode())


def test_a_token_is_revoked_like_a_certificate(api: Api) -> None:
    node = api.node()
    id = node.hello()["node_id"]
    assert with_token(api, "127.0.0.1") == 200
    assert api.as_("admin").send("PUT", f"{NODES}/{id}/revoke").status_code == 200
    assert with_token(api, "127.0.0.1") == 401
    assert node.send("GET", "/desired").status_code == 401


def test_the_first_use_of_a_certificate_ends_the_nodes_token(service: Served, tmp_path: Path) -> None:
    with service.api.store.write() as tx:
        registry.add_node(tx, "node-1", hashed("token of node-1"))
    assert with_token(service.api, "127.0.0.1") == 200
    node = Joined(service, "node-1", tmp_path)
    assert with_token(service.api, "127.0.0.1") == 200, "its agent has not taken the certificate up yet"
    with closing(node.client()) as client:
        client.hello(HELLO)
    assert with_token(service.api, "127.0.0.1") == 401


# --- the authority --------------------------------------------------------------------------------------------------


def test_the_authority_is_followed_by_another_that_all_nodes_trust_before_it_issues(
    service: Served, tmp_path: Path, clock: Clock
) -> None:
    store = service.api.store

    def ensured() -> tuple[int, str]:
        with store.write() as tx:
            authority.ensure(tx)
        with store.read() as tx:
            return len(authority.authorities(tx)), authority.issuing(tx)[0]

    count, first = ensured()
    assert count == 1
    node = Joined(service, "edge-1", tmp_path, clock)
    clock.pass_(certificates.AUTHORITY / 2 - 60)
    assert ensured() == (1, first)
    clock.pass_(61)
    assert ensured() == (2, first), "no node knows the next one yet"
    clock.pass_(CERTIFICATE_LIFETIME)
    assert ensured() == (2, first)
    clock.pass_(CERTIFICATE_LIFETIME)
    count, second = ensured()
    assert count == 2
    assert second != first
    assert node.identity.authorities.count("BEGIN CERTIFICATE") == 1
    assert authorities_of(service).count("BEGIN CERTIFICATE") == 2, "both are trusted meanwhile"
    clock.pass_(certificates.AUTHORITY / 2)
    assert authorities_of(service).count("BEGIN CERTIFICATE") == 1


def test_a_damaged_key_of_the_authority_stops_nothing(service: Served, tmp_path: Path) -> None:
    node = Joined(service, "edge-1", tmp_path)
    with service.api.store.write() as tx:
        tx.run(Statement(text("UPDATE node_authority SET private_key = :x")), x=b"damaged" * 10)
    with node.raw() as client:
        assert is_known(client)
        body = encode(Renewal(NewKey().request))
        assert client.post("/agent/v1/certificate", content=body).status_code == 200
    with service.api.store.read() as tx:
        assert len(authority.authorities(tx)) == 2


# --- audit ----------------------------------------------------------------------------------------------------------


def test_everything_that_happens_to_a_node_is_audited(service: Served, tmp_path: Path) -> None:
    token = invite(service, "edge-1")
    identity: NodeIdentity = join(service.node_url, token, tmp_path)
    for action in ("rotate", "revoke"):
        assert act(service, "PUT", "edge-1", f"/{action}").status_code == 200
    id = shown(service, "edge-1")["id"]
    assert act(service, "DELETE", "edge-1").status_code == 204
    entries = service.api.as_("admin").get("/linkspan/audit?resource=node")["audit"]
    assert {entry["object_id"] for entry in entries} == {id}
    assert [(entry["action"], entry["user_name"]) for entry in reversed(entries)] == [
        ("create", "admin"),
        ("join", "node edge-1"),
        ("rotate", "admin"),
        ("revoke", "admin"),
        ("delete", "admin"),
    ]
    for secret in (token, identity.key, token.partition(".")[0]):
        assert secret not in str(entries)
