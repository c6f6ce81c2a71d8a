"""What is particular to the real charon: its directory, its process, its identities, its plugins."""

from __future__ import annotations

import ipaddress
import os
import secrets
import signal
import threading
from pathlib import Path

import msgspec
import pytest

from linkspan.core.ipsec import algorithms as ipsec_algorithms
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import identities
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.secret import Secret
from linkspan.core.tunnel.charon_events import Cause
from linkspan.drivers.charon import strongswan_conf
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import netns
from linkspan.drivers.ports import Charon, DriverError
from tests.drivers.conftest import Site
from tests.drivers.machine import Machine, connection, eventually, gateway
from tests.harness.world import freeze

pytestmark = [pytest.mark.root, pytest.mark.wire]


def real(charon: Charon) -> StrongswanCharon:
    assert isinstance(charon, StrongswanCharon)
    return charon


def directory(here: Machine, number: int = 1) -> Path:
    return here.state / "node-a" / "gateways" / gateway(number).id


def test_a_long_state_directory_is_no_obstacle(here: Machine) -> None:
    here.state = here.state / ("x" * 200)
    drivers = here.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.charon.detach()
    assert not drivers.charon(left.gateway).start()


def test_nobody_else_can_read_the_directory_or_speak_to_charon(here: Machine) -> None:
    Site(here.drivers(), 1, 2)
    assert directory(here).stat().st_mode & 0o777 == 0o700
    for file in ("vici", "charon.log", "charon.out"):
        assert (directory(here) / file).stat().st_mode & 0o077 == 0, file


def test_a_secret_is_in_charons_memory_only(here: Machine) -> None:
    key = secrets.token_hex(16)
    drivers = here.drivers()
    left, right = Site(drivers, 1, 2, psk=Secret(key)), Site(drivers, 2, 1, psk=Secret(f"{key}-other"))
    left.initiate()
    left.facts.wait(lambda fact: isinstance(fact, Cause))
    with pytest.raises(DriverError) as refusal:
        left.charon.load(
            msgspec.structs.replace(left.config, proposals=("nonsense",)),
            ipsec_config.shared_key(left.connection, left.config),
        )
    pid = real(left.charon).pid
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()]
    seen += [path.read_bytes() for path in here.state.rglob("*") if path.is_file()]
    seen += [f"{refusal.value!r} {left.facts.all} {right.facts.all} {left.connection}".encode()]
    assert len(seen) > 6
    assert not [text for text in seen if key.encode() in text]


def test_the_environment_of_the_agent_does_not_reach_charon(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSPAN_TEST_TOKEN", "do-not-pass-on")
    site = Site(here.drivers(), 1, 2)
    environment = Path(f"/proc/{real(site.charon).pid}/environ").read_bytes()
    assert b"do-not-pass-on" not in environment
    assert b"STRONGSWAN_CONF=strongswan.conf" in environment


def test_it_is_found_without_a_pid_file_and_leads_a_session(here: Machine) -> None:
    site = Site(here.drivers(), 1, 2)
    pid = real(site.charon).pid
    assert netns.is_inside(pid, here.drivers().namespaces.name(site.gateway.id))
    assert os.getsid(pid) == pid
    assert not list(directory(here).rglob("*.pid"))


def test_a_charon_of_a_namespace_that_is_gone_is_replaced(here: Machine) -> None:
    drivers = here.drivers()
    site = Site(drivers, 1, 2)
    before = real(site.charon).pid
    netns.delete(drivers.namespaces.name(site.gateway.id))
    drivers.namespaces.apply(site.gateway)
    assert site.charon.start()
    assert real(site.charon).pid != before
    assert not Path(f"/proc/{before}/exe").exists()


def test_a_charon_whose_socket_was_removed_is_replaced(here: Machine) -> None:
    site = Site(here.drivers(), 1, 2)
    before = real(site.charon).pid
    site.charon.detach()
    (directory(here) / "vici").unlink()
    (directory(here) / "vici").touch()
    assert site.charon.start()
    assert not Path(f"/proc/{before}/exe").exists()


def test_a_charon_that_ends_while_it_is_asked_is_replaced(here: Machine) -> None:
    """It is stopped, so that it takes up the question and has no answer when it is killed."""
    site = Site(here.drivers(), 1, 2)
    before = real(site.charon).pid
    freeze(before)
    threading.Timer(0.5, os.kill, (before, signal.SIGKILL)).start()
    assert site.charon.start()
    assert real(site.charon).pid != before


def test_plugins_that_may_not_be_loaded_end_the_start(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = here.drivers()
    drivers.namespaces.apply(gateway(1))
    allowed = strongswan_conf.allowed_plugins(drivers.backend)
    monkeypatch.setattr(strongswan_conf, "allowed_plugins", lambda backend: allowed - {"counters"})
    with pytest.raises(DriverError, match="may not: counters"):
        drivers.charon(gateway(1)).start()
    assert netns.processes(drivers.namespaces.name(gateway(1).id)) == []


def test_plugins_that_are_missing_are_named(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = here.drivers()
    drivers.namespaces.apply(gateway(1))
    required = strongswan_conf.required_plugins(drivers.backend)
    monkeypatch.setattr(strongswan_conf, "required_plugins", lambda backend: required | {"no-such-plugin"})
    with pytest.raises(DriverError, match="lacks the plugins no-such-plugin"):
        drivers.charon(gateway(1)).start()


def test_a_charon_that_ends_at_once_leaves_its_last_words(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = here.drivers()
    drivers.namespaces.apply(gateway(1))
    monkeypatch.setattr(strongswan_conf, "render", lambda backend: "charon { load_modular = no\n load = nonce }\n")
    with pytest.raises(DriverError, match=r"charon ended at once: .+|did not open its socket"):
        drivers.charon(gateway(1)).start()


def test_every_algorithm_of_the_api_is_there(here: Machine) -> None:
    site = Site(here.drivers(), 1, 2)
    for encryption in ipsec_algorithms.ENCRYPTION:
        _loads(
            site,
            ike=ipsec_algorithms.ike_proposal(encryption, "sha256", "group14"),
            esp=ipsec_algorithms.esp_proposal(encryption, "sha256", "group14"),
        )
    for integrity in ipsec_algorithms.INTEGRITY:
        _loads(
            site,
            ike=ipsec_algorithms.ike_proposal("aes-128", integrity, "group14"),
            esp=ipsec_algorithms.esp_proposal("aes-128", integrity, "group14"),
        )
    for group in ipsec_algorithms.GROUPS:
        _loads(
            site,
            ike=ipsec_algorithms.ike_proposal("aes-128", "sha256", group),
            esp=ipsec_algorithms.esp_proposal("aes-128", "sha256", group),
        )
    algorithms = real(site.charon)._ask("get-algorithms")
    offered = {name for kind in algorithms.values() for name in kind}
    wanted = {"3DES_CBC", "AES_CBC", "AES_CTR", "HMAC_SHA1_96", "HMAC_SHA2_256_128", "HMAC_SHA2_384_192"}
    wanted |= {"HMAC_SHA2_512_256", "AES_XCBC_96", "AES_CMAC_96", "PRF_AES128_XCBC", "PRF_AES128_CMAC"}
    wanted |= {f"AES_{mode}_{size}" for mode in ("GCM", "CCM") for size in (8, 12, 16)}
    wanted |= {"MODP_1024", "MODP_1536", "MODP_2048", "MODP_3072", "MODP_4096", "MODP_6144", "MODP_8192"}
    wanted |= {"ECP_256", "ECP_384", "ECP_521", "MODP_1024_160", "MODP_2048_224", "MODP_2048_256", "ECP_192"}
    wanted |= {"ECP_224", "ECP_224_BP", "ECP_256_BP", "ECP_384_BP", "ECP_512_BP", "CURVE_25519"}
    assert wanted - offered == set()


def _loads(site: Site, *, ike: str, esp: str) -> None:
    child = msgspec.structs.replace(site.config.children[0], esp_proposals=(esp,))
    site.charon.load(msgspec.structs.replace(site.config, proposals=(ike,), children=(child,)), None)


IDENTITIES = [
    ("198.51.100.7", 1),
    ("2001:db8::7", 5),
    ("site-a.example", 2),
    ("@site-a", 2),
    ("admin@site-a.example", 3),
    ("keyid:branch", 11),
    ("keyid:10.0.0.1", 11),
    ("keyid:site-a.example", 11),
    ("branch office 7", 11),
    ('odd "quoted" \\ {braces}; <angle> & more, #hash', 11),
    ("Zürich – 日本", 11),
    ("é" * 126, 11),
    ("k " * 126, 11),
]


def _as_type(text: str, number: int) -> str:
    """An identity of exactly this type and these bytes, whatever charon would make of the text."""
    parsed = identities.parse(text)
    is_address = parsed.kind in ("ipv4", "ipv6")
    raw = ipaddress.ip_address(parsed.text).packed if is_address else parsed.text.encode()
    return f"{{{number}}}:#{raw.hex()}"


def test_every_form_of_identity_arrives_as_its_type(here: Machine) -> None:
    drivers = here.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    for text, number in IDENTITIES:
        left.connection = connection(1, 2, local_id=text)
        left.config = ipsec_config.build(left.connection)
        left.load()
        for expected in (number, 2 if number == 11 else 11):
            right.config = msgspec.structs.replace(right.config, remote_id=_as_type(text, expected))
            right.load()
            left.facts.all.clear()
            left.initiate()
            if expected == number:
                eventually(lambda: left.up() and right.up())
                left.end()
                eventually(lambda: left.idle() and right.idle())
            else:
                # The negative control: the same bytes as another type are somebody else.
                left.facts.wait(lambda fact: isinstance(fact, Cause) and fact.code == "auth-failed")
                eventually(left.idle)
        left.charon.unload(left.config.name)


def test_what_charon_refuses_is_said_in_its_words_and_the_session_lives_on(here: Machine) -> None:
    site = Site(here.drivers(), 1, 2)
    bad: IkeConfig = msgspec.structs.replace(site.config, name="bad", proposals=("nonsense",))
    with pytest.raises(DriverError, match="invalid value for: proposals"):
        site.charon.load(bad, None)
    assert site.charon.loaded() == site.held


def test_it_goes_on_trying_for_as_long_as_the_agent_wants(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedule, with steps so large that the time between two tries overflows at the third."""
    text = strongswan_conf.render("user-space").replace("retransmit_timeout = 2.0", "retransmit_timeout = 0.02")
    text = text.replace("retransmit_base = 1.5", "retransmit_base = 1000")
    text = text.replace("retransmit_limit = 15", "retransmit_limit = 1")
    drivers = here.drivers()
    if drivers.backend == "kernel":
        text = text.replace("kernel-libipsec ", "")
    monkeypatch.setattr(strongswan_conf, "render", lambda backend: text)
    site = Site(drivers, 1, 9)
    site.initiate()
    eventually(lambda: "retransmit 6 of request" in (directory(here) / "charon.log").read_text(), 20)
    assert [sa.state for sa in site.charon.sas()] == ["CONNECTING"]
