"""What a charon that somebody has broken into cannot do: a program is started in its place, and tries it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.drivers.charon import confinement, launcher, log_file, strongswan_conf, system_calls
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.charon.vici import ListeningProcess
from linkspan.drivers.gateway.namespace import NetworkNamespaces
from linkspan.drivers.linux import interface_names, netlink, netns, process, user_namespace
from linkspan.drivers.ports import NAMESPACE, DriverError, Unresponsive
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import Machine, gateway, isolated_machine
from tests.harness.world import until

pytestmark = [pytest.mark.root, pytest.mark.wire]
INTRUDER = Path(__file__).parents[2] / "harness" / "intruder.py"
PYTHON = "/usr/bin/python3"
OVER_THE_NETWORK = ("link into", "list links", "link on a wire", "delete a link")
"""Attempts that a kernel without user namespaces cannot refuse."""


class Scene:
    """A machine with the gateways `broken` and `other`, and secrets in its state directory."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.drivers = machine.drivers()
        self.broken, self.other = (RunningGateway(self.drivers, number, 3 - number) for number in (1, 2))
        self.namespace = self.drivers.namespaces.name(self.broken.gateway.id)
        self.directory = machine.state / "node-a" / "gateways" / self.broken.gateway.id
        self.secrets = {name: machine.state / name for name in ("seal", "linkspan.db", "node-1.token")}
        self.agent = subprocess.Popen(["sleep", "300"])
        for path in self.secrets.values():
            path.write_text("secret")
            path.chmod(0o600)

    def reach(self) -> str:
        """Return what the intruder tries to reach."""
        other = self.machine.state / "node-a" / "gateways" / self.other.gateway.id
        files = {name: str(path) for name, path in self.secrets.items()}
        bridge = interface_names.bridge(self.machine.instance, self.other.gateway.outside.network_id)
        return json.dumps(
            {
                "files": files
                | {"the other gateway's log": str(other / "charon.log"), "the passwords": "/etc/shadow"}
                | {"the users": "/etc/passwd", "the agent's program": confinement.__file__},
                "sockets": {"the other gateway's charon": str(other / "charon.vici")},
                "folders": ["/etc", "/usr/lib", "/usr/bin", "/tmp", "/root", str(self.machine.state), str(other)],
                "processes": {"the other charon": _pid(self.other), "the agent": self.agent.pid},
                "namespace": str(netns.path(self.drivers.namespaces.name(self.other.gateway.id))),
                "link": netns.run_inside(self.machine.home, lambda: _index(bridge)),
                "decoy": netns.run_inside(self.machine.home, _make_decoy),
            }
        )

    def intrude(self, namespace: str, directory: Path) -> dict[str, str]:
        """Run the intruder as this module's charon would run; return its results."""
        output = os.memfd_create("output")
        try:
            arguments = ["-I", "-S", "-c", INTRUDER.read_text(), self.reach()]
            child = confinement.start(PYTHON, arguments, namespace, directory, "", output, tun=True)
            assert child.wait(30) == 0, os.pread(output, 65536, 0)
            return dict(json.loads(os.pread(output, 65536, 0)))
        finally:
            os.close(output)


def _pid(running: RunningGateway) -> int:
    assert isinstance(running.charon, StrongswanCharon)
    return running.charon.pid


def _make_decoy() -> int:
    """Return the index of a link, made if there is none, that nothing needs."""
    subprocess.run(["ip", "link", "add", "decoy", "type", "bridge"], check=False, capture_output=True)
    return _index("decoy")


def _index(name: str) -> int:
    with netlink.connect() as kernel:
        return kernel.links()[name].index


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with isolated_machine(tmp_path_factory.mktemp("confinement")) as machine:
        built = Scene(machine)
        try:
            yield built
        finally:
            built.agent.kill()
            built.agent.wait()


@pytest.mark.security(
    "9",
    tried="50 ways out of a gateway, by a program with charon's rights",
    control="test_started_as_before_it_reaches_everything",
)
def test_a_program_in_charons_place_reaches_nothing_outside_of_its_gateway(scene: Scene) -> None:
    assert scene.drivers.capabilities.isolation == "full"
    scene.broken.charon.stop()
    results = scene.intrude(scene.namespace, scene.directory)
    assert len(results) > 45
    assert [name for name, error in results.items() if not error] == []
    assert scene.other.charon.sas() == ()


def test_started_as_before_it_reaches_everything(scene: Scene) -> None:
    """The control: every attempt is one that succeeds for a charon that runs as root."""
    command = ["ip", "netns", "exec", scene.namespace, PYTHON, "-I", "-S", "-c", INTRUDER.read_text(), scene.reach()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    results = json.loads(done.stdout)
    assert {name: error for name, error in results.items() if error} == {}


def test_without_user_namespaces_it_reaches_other_networks_and_nothing_else(scene: Scene, tmp_path: Path) -> None:
    """The second control: it is the user namespace that refuses these, and the rest does not need it."""
    namespace = f"{interface_names.namespace_prefix(scene.machine.instance)}plain"
    netns.create(namespace, lambda: None)
    uid = confinement.uid(namespace)
    os.chown(tmp_path, uid, uid)
    results = scene.intrude(namespace, tmp_path)
    allowed = [name for name, error in results.items() if not error]
    assert [name for name in allowed if not name.startswith(OVER_THE_NETWORK)] == []


def test_without_user_namespaces_the_node_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_namespace, "_WAIT", "echo unshare failed >&2; exit 1")
    drivers = machine.drivers()
    assert drivers.capabilities.isolation == "partial"
    running = RunningGateway(drivers, 1, 2)
    assert not netns.has_owner(drivers.namespaces.name(running.gateway.id))
    assert _status(running)["Uid"] == [str(confinement.uid(drivers.namespaces.name(running.gateway.id)))] * 4
    # A gateway that is idle gets a better namespace where there can be one, and an agent of another kind adopts it.
    monkeypatch.undo()
    running.charon.stop()
    assert NAMESPACE in machine.drivers().namespaces.apply(running.gateway)
    assert netns.has_owner(drivers.namespaces.name(running.gateway.id))


def _status(running: RunningGateway) -> dict[str, list[str]]:
    lines = Path(f"/proc/{_pid(running)}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


def test_a_running_charon_has_one_capability_and_no_core_dumps(machine: Machine) -> None:
    running = RunningGateway(machine.drivers(), 1, 2)
    status = _status(running)
    net_admin = f"{1 << 12:016x}"
    assert (status["CapPrm"], status["CapEff"]) == ([net_admin], [net_admin])
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"]) == (["1"], ["2"], [])
    assert len(status["NSpid"]) > len(
        Path("/proc/self/status").read_text().partition("NSpid:")[2].split("\n")[0].split()
    )
    limits = Path(f"/proc/{_pid(running)}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    # The kernel gives the files of a process that has no core dumps to root.
    assert Path(f"/proc/{_pid(running)}/environ").stat().st_uid == 0
    assert int(status["Uid"][0]) > 60_000


def test_charon_does_not_start_without_its_confinement(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = machine.drivers()
    drivers.namespaces.apply(gateway(1))
    monkeypatch.setattr(system_calls, "program", lambda: b"no filter")
    with pytest.raises(DriverError, match=r"charon cannot be confined: .*the filter of system calls"):
        drivers.charon(gateway(1)).start()
    monkeypatch.setattr(system_calls, "program", _no_library)
    with pytest.raises(DriverError, match="libseccomp"):
        drivers.charon(gateway(1)).start()
    name = drivers.namespaces.name(gateway(1).id)
    until(lambda: not [pid for pid in netns.processes(name) if process.executable(pid).startswith("charon")], 10.0)


def _no_library() -> bytes:
    raise OSError("libseccomp.so.2: cannot open shared object file")


def test_what_a_broken_charon_leaves_in_its_folder_leads_the_agent_nowhere(scene: Scene, tmp_path: Path) -> None:
    """A link in the place of each file that the agent uses: to a secret, and to the other gateway's socket."""
    running = RunningGateway(scene.drivers, 3, 2)
    directory = scene.directory.parent / running.gateway.id
    other = scene.directory.parent / scene.other.gateway.id
    secret = tmp_path / "secret"
    secret.write_text(
        "2026-11-28T11:44:33 12[CFG] vici initiate CHILD_SA 'x'\n2026-11-28T11:44:33 12[IKE] secret\n" * 99
    )
    large = tmp_path / "large"
    large.write_bytes(bytes(log_file.LIMIT + 1))
    assert log_file.reason(tmp_path, "x") == ""
    (tmp_path / "charon.log").write_text(secret.read_text())
    assert log_file.reason(tmp_path, "x") == "secret", "the control"
    running.charon.stop()
    for name in ("charon.vici", "charon.log"):
        (directory / name).unlink(missing_ok=True)
    for name in ("charon.log", "charon.log.1", "strongswan.conf", "charon.out"):
        (directory / name).symlink_to(large)
    log_file.rotate(directory)
    (directory / "charon.log").unlink()
    (directory / "charon.log").symlink_to(secret)
    assert log_file.reason(directory, "x") == ""
    os.mkfifo(directory / "vici")
    (directory / "charon.vici").symlink_to(other / "charon.vici")
    with pytest.raises(Unresponsive):
        running.charon.sas()
    before = _pid(scene.other)
    assert running.charon.start()
    assert _pid(scene.other) == before
    assert _pid(running) != before
    assert (large.stat().st_size, large.stat().st_uid, secret.stat().st_uid) == (log_file.LIMIT + 1, 0, 0)
    running.charon.remove()
    assert large.exists()


def test_another_gateways_charon_is_not_taken_for_ones_own(scene: Scene, tmp_path: Path) -> None:
    """Its socket itself in the folder, as a bind mount would put it there: uid and namespace tell."""
    stranger = StrongswanCharon(scene.directory.parent / scene.other.gateway.id, scene.namespace, scene.drivers.backend)
    with pytest.raises(Unresponsive, match="another process"):
        stranger.sas()
    assert not stranger._is_ours(ListeningProcess(os.getpid(), 0, 0))


def test_a_charon_of_an_earlier_version_goes_on_until_it_ends(machine: Machine) -> None:
    drivers = machine.drivers()
    namespaces = NetworkNamespaces(machine.instance, "node-a", machine.home)
    namespaces.apply(gateway(1))
    name = namespaces.name(gateway(1).id)
    directory = machine.state / "node-a" / "gateways" / gateway(1).id
    former = _former_charon(directory, name, strongswan_conf.render(drivers.backend))
    drivers.namespaces.apply(gateway(1))
    assert not netns.has_owner(name)
    charon = drivers.charon(gateway(1))
    assert not charon.start()
    assert charon.pid == former.pid
    former.kill()
    former.wait()
    assert NAMESPACE in drivers.namespaces.apply(gateway(1))
    assert netns.has_owner(name)
    assert charon.start()
    assert (directory / "charon.log").stat().st_uid == confinement.uid(name)
    assert not (directory / "strongswan.conf").exists()
    assert drivers.namespaces.apply(gateway(1)) == ()


def _former_charon(directory: Path, namespace: str, configuration: str) -> subprocess.Popen[bytes]:
    """Start a charon as Linkspan did before: as root, in its directory, with relative paths."""
    directory.mkdir(parents=True)
    text = configuration.replace("unix:///run/charon.vici", "unix://vici").replace("/run/", "")
    (directory / "strongswan.conf").write_text(text)
    former = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "charon-systemd"],
        cwd=directory,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "STRONGSWAN_CONF": "strongswan.conf"},
    )
    until((directory / "vici").exists, 10.0)
    return former


def test_the_log_stays_within_its_bounds(machine: Machine) -> None:
    """Also if nobody looks: charon itself cannot write beyond the limit, and goes on."""
    running = RunningGateway(machine.drivers(), 1, 2)
    log = machine.state / "node-a" / "gateways" / running.gateway.id / "charon.log"
    os.truncate(log, launcher.LARGEST_FILE - 100)  # sparse
    for _ in range(20):
        running.load()
        running.charon.unload(running.config.name)
    assert log.stat().st_size <= launcher.LARGEST_FILE
    running.charon.ask()
    older = log.with_name(log_file.OLDER)
    assert older.stat().st_size == log_file.LIMIT
    running.load()
    until(lambda: running.config.name in log.read_text(), 10.0)
    assert log.stat().st_size < log_file.LIMIT


def test_packets_write_no_lines_of_the_log(machine: Machine) -> None:
    """What can be sent without a limit, and the control: a message of IKE, of which the log says what is wrong."""
    running = RunningGateway(machine.drivers(), 1, 2)
    namespace = machine.drivers().namespaces.name(running.gateway.id)
    log = machine.state / "node-a" / "gateways" / running.gateway.id / "charon.log"
    spis = bytes(range(8)) + bytes(8)
    initial = spis + bytes.fromhex("21202208 00000000 0000001c")
    unknown = spis + bytes.fromhex("2e202308 00000001 0000001c")
    before = log.stat().st_size

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for packet in (b"x" * 28, bytes(28), b"\xff" * 1200, unknown, initial):
                sender.sendto(packet, ("203.0.113.1", 500))

    netns.run_inside(namespace, send)
    until(lambda: "message parsing failed" in log.read_text(), 10.0)
    written = log.read_text()[before:]
    assert not re.findall(r"\[(?:NET|ENC)\]", written), written
