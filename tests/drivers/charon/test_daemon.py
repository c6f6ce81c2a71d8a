"""The real charon: its directory, process, plugins, algorithms and identities."""

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
from linkspan.core.ipsec import capabilities, identities
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.secret import Secret
from linkspan.core.tunnel.charon_events import Cause
from linkspan.drivers.charon import log_file, strongswan_conf
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import netns
from linkspan.drivers.ports import Charon, DriverError
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import Machine, connection, eventually, gateway
from tests.harness.world import freeze, until

pytestmark = [pytest.mark.root, pytest.mark.wire]


def real(charon: Charon) -> StrongswanCharon:
    assert isinstance(charon, StrongswanCharon)
    return charon


def directory(machine: Machine, number: int = 1) -> Path:
    return machine.state / "node-a" / "gateways" / gateway(number).id


def test_a_long_path_of_the_state_directory_works(machine: Machine) -> None:
    machine.state = machine.state / ("x" * 200)
    drivers = machine.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.charon.detach()
    assert not drivers.charon(left.gateway).start()


def test_only_the_owner_can_read_the_directory_and_connect_to_charon(machine: Machine) -> None:
    RunningGateway(machine.drivers(), 1, 2)
    assert directory(machine).stat().st_mode & 0o777 == 0o700
    for file in ("", "charon.vici", "charon.log"):
        status = (directory(machine) / file).stat()
        assert status.st_mode & 0o077 == 0, file
        assert status.st_uid == status.st_gid > 60_000, file


@pytest.mark.security(
    "3",
    tried="charon's arguments, environment, files, errors and events, after a failed authentication",
    control="tests/wire/test_secrets.py::test_a_secret_that_is_in_such_a_place_is_found",
)
def test_a_psk_is_in_charons_memory_only(machine: Machine) -> None:
    key = secrets.token_hex(16)
    drivers = machine.drivers()
    left, right = (
        RunningGateway(drivers, 1, 2, psk=Secret(key)),
        RunningGateway(drivers, 2, 1, psk=Secret(f"{key}-other")),
    )
    left.initiate()
    left.events.wait(lambda event: isinstance(event, Cause))
    with pytest.raises(DriverError) as refusal:
        left.charon.load(
            msgspec.structs.replace(left.config, proposals=("nonsense",)),
            ipsec_config.shared_key(left.connection, left.config),
        )
    pid = real(left.charon).pid
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()]
    seen += [path.read_bytes() for path in machine.state.rglob("*") if path.is_file()]
    seen += [f"{refusal.value!r} {left.events.all} {right.events.all} {left.connection}".encode()]
    assert len(seen) > 4
    assert not [text for text in seen if key.encode() in text]


def test_the_environment_of_the_agent_does_not_reach_charon(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSPAN_TEST_TOKEN", "do-not-pass-on")
    running = RunningGateway(machine.drivers(), 1, 2)
    environment = Path(f"/proc/{real(running.charon).pid}/environ").read_bytes()
    assert b"do-not-pass-on" not in environment
    assert b"STRONGSWAN_CONF=/etc/strongswan.conf" in environment


def test_charon_is_found_without_a_pid_file_and_leads_a_session(machine: Machine) -> None:
    running = RunningGateway(machine.drivers(), 1, 2)
    pid = real(running.charon).pid
    assert netns.is_inside(pid, machine.drivers().namespaces.name(running.gateway.id))
    assert os.getsid(pid) == pid
    assert not list(directory(machine).rglob("*.pid"))


def test_a_charon_in_a_deleted_namespace_is_replaced(machine: Machine) -> None:
    drivers = machine.drivers()
    running = RunningGateway(drivers, 1, 2)
    before = real(running.charon).pid
    netns.delete(drivers.namespaces.name(running.gateway.id))
    machine.drivers().namespaces.apply(running.gateway)  # of a restarted agent, which knows only the name
    assert running.charon.start()
    assert real(running.charon).pid != before
    assert not Path(f"/proc/{before}/exe").exists()


def test_a_charon_whose_socket_was_removed_is_replaced(machine: Machine) -> None:
    running = RunningGateway(machine.drivers(), 1, 2)
    before = real(running.charon).pid
    running.charon.detach()
    (directory(machine) / "charon.vici").unlink()
    (directory(machine) / "charon.vici").touch()
    assert running.charon.start()
    assert not Path(f"/proc/{before}/exe").exists()


def test_a_charon_that_ends_during_a_command_is_replaced(machine: Machine) -> None:
    """The charon is stopped first, so that it has accepted the command and not answered it when it is killed."""
    running = RunningGateway(machine.drivers(), 1, 2)
    before = real(running.charon).pid
    freeze(before)
    threading.Timer(0.5, os.kill, (before, signal.SIGKILL)).start()
    assert running.charon.start()
    assert real(running.charon).pid != before


@pytest.mark.parametrize("plugin", ["pem", "constraints", "revocation"])
def test_start_fails_without_a_plugin_that_checks_certificates(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    """charon itself starts, and would let peers in whose certificates it has not checked."""
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    text = strongswan_conf.render(drivers.backend)
    assert f" {plugin} " in text
    monkeypatch.setattr(strongswan_conf, "render", lambda backend: text.replace(f" {plugin} ", " "))
    with pytest.raises(DriverError, match=f"lacks the plugins {plugin}:"):
        drivers.charon(gateway(1)).start()


def test_charon_fetches_nothing(machine: Machine) -> None:
    backend = machine.drivers().backend
    assert not strongswan_conf.allowed_plugins(backend) & {"curl", "files", "winhttp", "soup", "ldap", "unbound"}


@pytest.mark.security(
    "6",
    tried="a charon with a plugin that is not in the list",
    control="test_charon_is_found_without_a_pid_file_and_leads_a_session",
)
def test_start_fails_if_a_plugin_is_loaded_that_is_not_allowed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    allowed = strongswan_conf.allowed_plugins(drivers.backend)
    monkeypatch.setattr(strongswan_conf, "allowed_plugins", lambda backend: allowed - {"counters"})
    with pytest.raises(DriverError, match="not allowed: counters"):
        drivers.charon(gateway(1)).start()
    # The worker that seals the namespace lingers.
    until(lambda: not netns.processes(drivers.namespaces.name(gateway(1).id)), 10.0)


def test_start_fails_and_names_missing_plugins(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    required = strongswan_conf.required_plugins(drivers.backend)
    monkeypatch.setattr(strongswan_conf, "required_plugins", lambda backend: required | {"no-such-plugin"})
    with pytest.raises(DriverError, match="lacks the plugins no-such-plugin"):
        drivers.charon(gateway(1)).start()


def test_the_error_of_a_failed_start_quotes_charons_log(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    monkeypatch.setattr(strongswan_conf, "render", lambda backend: "charon { load_modular = no\n load = nonce }\n")
    with pytest.raises(DriverError, match=r"charon ended at once: .+|did not open its socket"):
        drivers.charon(gateway(1)).start()


def test_charon_supports_every_algorithm_of_the_api(machine: Machine) -> None:
    running = RunningGateway(machine.drivers(), 1, 2)
    for encryption in ipsec_algorithms.ENCRYPTION:
        _loads(
            running,
            ike=ipsec_algorithms.ike_proposal(encryption, "sha256", "group14"),
            esp=ipsec_algorithms.esp_proposal(encryption, "sha256", "group14"),
        )
    for integrity in ipsec_algorithms.INTEGRITY:
        _loads(
            running,
            ike=ipsec_algorithms.ike_proposal("aes-128", integrity, "group14"),
            esp=ipsec_algorithms.esp_proposal("aes-128", integrity, "group14"),
        )
    for group in ipsec_algorithms.GROUPS:
        _loads(
            running,
            ike=ipsec_algorithms.ike_proposal("aes-128", "sha256", group),
            esp=ipsec_algorithms.esp_proposal("aes-128", "sha256", group),
        )
    algorithms = real(running.charon)._request("get-algorithms")
    offered = {name for kind in algorithms.values() for name in kind}
    wanted = {"3DES_CBC", "AES_CBC", "AES_CTR", "HMAC_SHA1_96", "HMAC_SHA2_256_128", "HMAC_SHA2_384_192"}
    wanted |= {"HMAC_SHA2_512_256", "AES_XCBC_96", "AES_CMAC_96", "PRF_AES128_XCBC", "PRF_AES128_CMAC"}
    wanted |= {f"AES_{mode}_{size}" for mode in ("GCM", "CCM") for size in (8, 12, 16)}
    wanted |= {"MODP_1024", "MODP_1536", "MODP_2048", "MODP_3072", "MODP_4096", "MODP_6144", "MODP_8192"}
    wanted |= {"ECP_256", "ECP_384", "ECP_521", "MODP_1024_160", "MODP_2048_224", "MODP_2048_256", "ECP_192"}
    wanted |= {"ECP_224", "ECP_224_BP", "ECP_256_BP", "ECP_384_BP", "ECP_512_BP", "CURVE_25519"}
    assert wanted - offered == set()


def _loads(running: RunningGateway, *, ike: str, esp: str) -> None:
    child = msgspec.structs.replace(running.config.children[0], esp_proposals=(esp,))
    running.charon.load(msgspec.structs.replace(running.config, proposals=(ike,), children=(child,)), None)


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
    ("k " * 125 + "k", 11),
]


def _as_type(text: str, number: int) -> str:
    """Return an identity with exactly this type and these bytes, independent of charon's own parsing."""
    parsed = identities.parse(text)
    is_address = parsed.kind in ("ipv4", "ipv6")
    raw = ipaddress.ip_address(parsed.text).packed if is_address else parsed.text.encode()
    return f"{{{number}}}:#{raw.hex()}"


def test_every_form_of_identity_is_sent_with_its_id_type(machine: Machine) -> None:
    drivers = machine.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    for text, number in IDENTITIES:
        left.connection = connection(1, 2, local_id=text)
        left.config = ipsec_config.build(left.connection)
        left.load()
        for expected in (number, 2 if number == 11 else 11):
            right.config = msgspec.structs.replace(right.config, remote_id=_as_type(text, expected))
            right.load()
            left.events.all.clear()
            left.initiate()
            if expected == number:
                eventually(lambda: left.up() and right.up())
                left.terminate()
                eventually(lambda: left.idle() and right.idle())
            else:
                # Negative control: the same bytes with another ID type are another identity.
                left.events.wait(lambda event: isinstance(event, Cause) and event.code == "AUTHENTICATION_REFUSED")
                eventually(left.idle)
        left.charon.unload(left.config.name)


def test_a_refused_command_raises_charons_message_and_keeps_the_session(machine: Machine) -> None:
    running = RunningGateway(machine.drivers(), 1, 2)
    bad: IkeConfig = msgspec.structs.replace(running.config, name="bad", proposals=("nonsense",))
    with pytest.raises(DriverError, match="invalid value for: proposals"):
        running.charon.load(bad, None)
    assert running.charon.loaded() == running.expected_loaded


def test_a_refusal_to_initiate_quotes_the_log(machine: Machine) -> None:
    running = RunningGateway(machine.drivers(), 1, 2)
    with pytest.raises(DriverError, match="CHILD_SA config 'nothing' not found"):
        running.charon.initiate(running.config.name, "nothing")
    log = directory(machine) / strongswan_conf.LOG
    with log.open("a") as end:
        end.write("2026-11-28T11:44:32 12[CFG] vici initiate CHILD_SA 'of another time'\n")
        end.write("2026-11-28T11:44:32 12[IKE] another reason\n")
        end.write("2026-11-28T11:44:33 12[CFG] vici initiate CHILD_SA 'nothing'\n")
        end.write("2026-11-28T11:44:33 13[IKE] <peer-1-2|4> sending DPD request\n")
        end.write("2026-11-28T11:44:33 12[IKE] IKE version 1 not supported\n")
    assert log_file.reason(directory(machine), "nothing") == "IKE version 1 not supported"
    assert log_file.reason(directory(machine), "never tried") == ""


def test_capabilities_are_those_of_the_installed_strongswan(machine: Machine) -> None:
    """Of IKEv1 the library tells: it has its messages, or not."""
    drivers = machine.drivers()
    running = RunningGateway(drivers, 1, 2)
    memory = Path(f"/proc/{real(running.charon).pid}")
    maps = (memory / "maps").read_text().splitlines()
    # By its address: in a root of its own the library has another path.
    mapped = next(line.split()[0] for line in maps if "/libcharon.so" in line)
    library = (memory / "map_files" / mapped).read_bytes()
    assert drivers.capabilities.ikev1 is (b"initiating Main Mode IKE_SA" in library)
    assert real(running.charon).can_initiate(2)
    assert set(capabilities.lacks(drivers.capabilities)) <= {"IKEv1", "AH", "transport mode", "traps"}
    if drivers.backend == "user-space":
        assert set(capabilities.lacks(drivers.capabilities)) >= {"AH", "transport mode", "traps"}


def test_charon_retransmits_until_the_agent_gives_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured schedule, with steps so large that the interval overflows at the third retransmission."""
    text = strongswan_conf.render("user-space").replace("retransmit_timeout = 2.0", "retransmit_timeout = 0.02")
    text = text.replace("retransmit_base = 1.5", "retransmit_base = 1000")
    text = text.replace("retransmit_limit = 15", "retransmit_limit = 1")
    drivers = machine.drivers()
    if drivers.backend == "kernel":
        text = text.replace("kernel-libipsec ", "")
    monkeypatch.setattr(strongswan_conf, "render", lambda backend: text)
    running = RunningGateway(drivers, 1, 9)
    running.initiate()
    eventually(lambda: "retransmit 6 of request" in (directory(machine) / "charon.log").read_text(), 20)
    assert [sa.state for sa in running.charon.sas()] == ["CONNECTING"]
