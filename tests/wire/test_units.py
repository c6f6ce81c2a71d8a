"""The units of `linkspan install`, run by a real systemd: the services start under their restrictions, a tunnel comes
up, and a restart of the agent loses no packet of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.admin import units
from linkspan.lab.fabric import fabric_namespace
from tests.harness import systemd
from tests.harness.systemd import Systemd
from tests.harness.unit_site import AGENT, CLOUDS, INSTANCE, TOKEN, USERS

pytestmark = [pytest.mark.wire, pytest.mark.root]

ROOT = Path(__file__).parents[2]
LINKSPAN = (sys.executable, "-m", "linkspan.bootstrap")
PASSWORD = "a password of the test"
_CLOUD = """\
  {name}:
    auth_type: http_basic
    auth: {{endpoint: "http://127.0.0.1:9696", username: {name}, password: "{password}"}}
"""
# The API listens before its database is up to date, and answers afterwards.
_UNTIL_API = r"""
healthy() {
    exec 3<>/dev/tcp/127.0.0.1/9696 && printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3 && read -r line <&3 || return
    [[ $line == *200* ]]
}
for ((i = 0; i < 300; i++)); do
    ! healthy 2>/dev/null || exit 0
    sleep 0.1
done
exit 1
"""


class Installed:
    """A systemd that runs the installed units. `built`: what the laboratory found when its tunnel was up."""

    def __init__(self, systemd: Systemd) -> None:
        self.systemd = systemd
        run = self.systemd.run
        run(*LINKSPAN, "install")
        run("systemd-sysusers")
        run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/linkspan.conf")
        run("systemctl", "daemon-reload")
        run("systemctl", "start", "linkspan-api")
        run("bash", "-c", _UNTIL_API)
        self.write("/run/password", PASSWORD)
        assert set(self.step("accounts")["codes"]) == {0}
        self.write(str(CLOUDS), "clouds:\n" + "".join(_CLOUD.format(name=name, password=PASSWORD) for name in USERS))
        settings = f'instance = "{INSTANCE}"\nbridge_namespace = "{fabric_namespace(INSTANCE)}"\n'
        text = run("cat", units.SETTINGS["agent"]).stdout
        self.write(units.SETTINGS["agent"], f'{text}[agent]\ntoken_file = "{TOKEN}"\n{settings}')
        run("systemctl", "start", AGENT)
        self.built = self.step("build")

    def write(self, path: str, text: str) -> None:
        self.systemd.run("sh", "-c", 'umask 077; printf %s "$2" >"$1"', "sh", path, text)

    def step(self, name: str) -> dict[str, Any]:
        """Run a step of `tests.harness.unit_site`."""
        command = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.harness.unit_site", name)
        done = self.systemd.run(*command, check=False, timeout=90.0)
        assert done.returncode == 0, done.stderr + self.systemd.log("linkspan-agent")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    if reason := systemd.can_run():
        pytest.skip(reason)
    running = Systemd(tmp_path_factory.mktemp("systemd"))
    try:
        yield Installed(running)
    finally:
        running.stop()


def bounding(installed: Installed, unit: str) -> int:
    """Return the capabilities that a unit's main process, and whatever it starts, can ever have."""
    status = installed.systemd.run("cat", f"/proc/{installed.systemd.main_pid(unit)}/status").stdout
    (line,) = [line for line in status.splitlines() if line.startswith("CapBnd:")]
    return int(line.split()[1], 16)


def test_a_tunnel_comes_up_under_the_restrictions_of_the_units(installed: Installed) -> None:
    built = installed.built
    assert (built["faults"], len(built["gateways"]), built["charons"]) == ([], 2, 2)
    assert bounding(installed, "linkspan-api") == 0
    assert bounding(installed, AGENT).bit_count() == len(units.CAPABILITIES)
    status = installed.systemd.run("cat", f"/proc/{installed.systemd.main_pid('linkspan-api')}/status").stdout
    assert "Uid:\t0" not in status
    assert "isolation" not in installed.systemd.log("linkspan-agent"), "charons must be isolated in full"


def test_the_operator_leaves_no_file_of_roots_in_the_services_folder(installed: Installed) -> None:
    """Root ran the commands that made the accounts, beside the service."""
    owners = installed.systemd.run("find", units.STATES["api"], "-printf", "%u\\n").stdout.split()
    assert set(owners) == {units.USER}
    assert installed.systemd.run("stat", "-c", "%U %a", TOKEN).stdout.split() == ["root", "400"]


@pytest.mark.security(
    "16",
    tried="the agent's unit is stopped and started under 1,000 pings 2 ms apart",
    control="test_without_the_kill_mode_packets_are_lost",
)
def test_an_upgrade_of_the_agent_loses_no_packet(installed: Installed) -> None:
    result = installed.step("restart")
    print(f"agent stopped and started: {result}")
    assert result["sent"] == result["received"] >= 1000
    assert result["protected"] >= 2 * result["sent"], "the pings were not carried by ESP"
    assert result["plaintext"] == 0
    assert result["without_agent"]
    assert result["charons_kept"]


def test_without_the_kill_mode_packets_are_lost(installed: Installed) -> None:
    """The control: the same restart, when systemd ends all processes of the unit."""
    folder = f"/etc/systemd/system/{AGENT}.d"
    installed.systemd.run("mkdir", folder)
    installed.write(f"{folder}/control.conf", "[Service]\nKillMode=control-group\n")
    installed.systemd.run("systemctl", "daemon-reload")
    try:
        result = installed.step("restart")
    finally:
        installed.systemd.run("rm", "-r", folder)
        installed.systemd.run("systemctl", "daemon-reload")
    print(f"with KillMode=control-group: {result}")
    assert result["received"] < result["sent"]
    assert not result["without_agent"]


def test_a_restarted_agent_removes_what_an_earlier_one_has_named(installed: Installed) -> None:
    assert installed.step("remove") == {"gateways": [], "charons": 0}
