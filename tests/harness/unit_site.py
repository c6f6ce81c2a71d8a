"""Runs inside `tests.harness.systemd`: the laboratory with the services of the units, and what becomes of its tunnel.

`python -m tests.harness.unit_site STEP`; each step prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from linkspan.admin import units
from linkspan.bootstrap.command_line import execute
from linkspan.cli.client import Client, load_cloud
from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.drivers.linux import interface_names, netns
from linkspan.lab import demo, fabric, sites
from linkspan.lab.progress import Progress
from tests.harness.world import World, until

INSTANCE: Final = "5e7d0c"
AGENT: Final = "linkspan-agent.service"
USERS: Final = {"admin": "admin", "demo": "member"}
"""Users by name, with the role that each has in a project of that name."""
TOKEN: Final = "/etc/linkspan/node.token"
CLOUDS: Final = Path("/run/clouds.yaml")
_DESCRIPTION: Final = Path("/run/lab.json")
_PINGS: Final = 1000
_INTERVAL: Final = 0.002


class _Attached(World):
    """The laboratory of `build`, whose processes are the units'."""

    def __init__(self) -> None:
        self.state = Path(units.STATES["agent"])
        self.lab = json.loads(_DESCRIPTION.read_text())


def clients() -> tuple[Client, Client]:
    """Return clients of an administrator and of a user."""
    return Client(load_cloud("admin", CLOUDS)), Client(load_cloud("demo", CLOUDS))


def accounts() -> dict[str, Any]:
    """Make users and a node as the operator, root, does."""
    commands = []
    for name, role in USERS.items():
        commands.append(["project", "create", name])
        user = ["user", "create", name, "--project", name, "--role", role, "--password-file", "/run/password"]
        commands.append(user)
    commands.append(["node", "create", "node-1", "--token-file", TOKEN])
    return {"codes": [execute([*command, "--config", units.SETTINGS["api"]]) for command in commands]}


def build() -> dict[str, Any]:
    """Build the laboratory and prove its tunnel."""
    admin, user = clients()
    fabric.make_fabric(INSTANCE)
    started = time.monotonic()
    lab = sites.build(admin, user)
    proof, hosts = demo.prove(INSTANCE, lab, user, Progress(sys.stderr), started, lambda: None, 30.0)
    description = demo.describe(INSTANCE, lab, hosts, "", Path(units.STATES["agent"]))
    _DESCRIPTION.write_text(json.dumps(description))
    return {"faults": proof.faults, "gateways": _gateways(), "charons": len(_charons())}


def restart() -> dict[str, Any]:
    """Stop the agent and start it again, under 1,000 pings 2 ms apart, and more if it takes longer."""
    world = _Attached()
    until(world.one_tunnel, 30.0)
    charons, log = _charons(), Path("/run/linkspan-agent.log")
    adopted = log.read_text().count("charon adopted")
    sent = received = 0
    with ThreadPoolExecutor(1) as pool, world.wire() as wire:
        change = pool.submit(_restart_agent, log, adopted)
        while sent < _PINGS or not change.done():
            answer = fabric.ping(world.host("left"), "10.2.0.10", _PINGS, _INTERVAL)
            sent, received = sent + answer.sent, received + answer.received
            if received < sent:
                break
        stopped = change.result()
    return {
        "sent": sent,
        "received": received,
        "protected": wire.tally.protected,
        "plaintext": wire.tally.plaintext,
        "charons_kept": _charons() == charons,
        "without_agent": stopped == charons,
    }


def remove() -> dict[str, Any]:
    """Delete connections and services; return the gateways that are left."""
    _, user = clients()
    for resource in (CONNECTION, SERVICE):
        for item in user.request("GET", f"/v2.0/{resource.path}")[resource.plural]:
            user.request("DELETE", f"/v2.0/{resource.path}/{item['id']}")
    until(lambda: not _gateways(), 20.0)
    return {"gateways": _gateways(), "charons": len(_charons())}


def _restart_agent(log: Path, adopted: int) -> list[int]:
    subprocess.run(["systemctl", "stop", AGENT], check=True)
    stopped = _charons()
    subprocess.run(["systemctl", "start", AGENT], check=True)
    if stopped:
        until(lambda: log.read_text().count("charon adopted") >= adopted + 2, 20.0)
    return stopped


def _gateways() -> list[str]:
    others = {fabric.fabric_namespace(INSTANCE), *(fabric.host_namespace(INSTANCE, side) for side in sites.LANS)}
    prefix = interface_names.namespace_prefix(INSTANCE)
    return [name for name in netns.names() if name.startswith(prefix) and name not in others]


def _charons() -> list[int]:
    pids = sorted(pid for name in _gateways() for pid in netns.processes(name))
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().startswith("charon")]


if __name__ == "__main__":
    print(json.dumps({step.__name__: step for step in (accounts, build, restart, remove)}[sys.argv[1]]()))
