"""The acts of faults, beside configuration: each by its name, with its undoing on the stack of the scene."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from linkspan.core.schema.resources import ROUTER, SERVICE
from linkspan.drivers.linux import interface_names, netlink, netns, nft, process
from linkspan.lab import fabric, plain_gateway
from linkspan.lab.fabric import LabError
from linkspan.lab.faults.declaration import Act, Case
from linkspan.lab.faults.scene import Scene

_PATH: Final = "table bridge fault"
_NAT: Final = "table ip fault"
_HOST: Final = "table inet fault"
_DEAF: Final = f"{_HOST} {{ chain inner {{ type filter hook input priority 0; icmp type echo-request drop; }}; }}"


def block_path(scene: Scene, case: Case) -> None:
    """Apply the rules of a fault to the packets between the gateways, on the bridge of their network."""
    rules = " ".join(f"{rule.format(**scene.words(case))};" for rule in case.fault.path)
    chain = f"type filter hook prerouting priority 0; {rules}"
    _nft(scene.fabric, f"{_PATH} {{ chain path {{ {chain} }}; }}")
    scene.undo.callback(_nft, scene.fabric, f"delete {_PATH}")


def remove_leftovers(scene: Scene) -> None:
    """Remove the rules and processes of a stage that was killed."""
    plain = fabric.host_namespace(scene.instance, plain_gateway.NAME)
    for namespace in (*scene.hosts.values(), plain):
        process.terminate(
            pid for pid in netns.processes(namespace) if process.executable(pid) in ("ping", "charon-systemd")
        )
    if netns.exists(plain):
        fabric.remove(scene.instance, plain_gateway.NAME)
    # To delete a table that may not be there, it is added before (nft(8)).
    _nft(scene.fabric, f"add {_PATH}\ndelete {_PATH}")
    for namespace in scene.hosts.values():
        _nft(namespace, f"add {_HOST}\ndelete {_HOST}")


def _nft(namespace: str, text: str) -> None:
    netns.run_inside(namespace, lambda: nft.apply(text, "fault"))


def _ping(scene: Scene, case: Case) -> None:
    _send(scene, scene.hosts["near"], scene.host_address("far", case))


def _ping_back(scene: Scene, case: Case) -> None:
    source = () if case.kind == "ours" else ("-I", plain_gateway.INSIDE)
    namespace = scene.hosts["far"] if case.kind == "ours" else scene.plain().namespace
    _send(scene, namespace, scene.host_address("near", case), *source)


def _ping_large(scene: Scene, case: Case) -> None:
    _send(scene, scene.hosts["near"], scene.host_address("far", case), "-s", "1300")


def _send(scene: Scene, namespace: str, destination: str, *options: str) -> None:
    command = ["ping", "-q", "-i", "0.2", *options, destination]
    null = subprocess.DEVNULL
    sender = netns.run_inside(
        namespace, lambda: subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
    )

    def stop() -> None:
        sender.kill()
        sender.wait()

    scene.undo.callback(stop)


def _freeze_charon(scene: Scene, case: Case) -> None:
    if case.kind == "plain" and case.fault.at == "far":
        pid = scene.plain().process.pid
    else:
        found = [
            pid
            for pid in netns.processes(scene.gateways[case.fault.at])
            if process.executable(pid).startswith("charon")
        ]
        if not found:
            raise LabError(f"the {case.fault.at} gateway has no charon")
        (pid,) = found
    _freeze(scene, pid)


def _freeze(scene: Scene, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)

    def thaw() -> None:
        # The agent may have ended a charon that did not answer.
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return

    scene.undo.callback(thaw)


def _kill_charon(scene: Scene, _case: Case) -> None:
    scene.plain().kill()
    scene.undo.callback(scene.plain().restart)


def _stop_agent(scene: Scene, _case: Case) -> None:
    """The first agent of the laboratory, by its command line."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "agent" in words and any(word.startswith(f"{scene.state}/run/") for word in words):
            _freeze(scene, int(entry.name))
            return
    raise LabError("the laboratory has no agent")


def _unplug(scene: Scene, case: Case) -> None:
    """Take the carrier from the outside interface of a gateway, at the bridge's end of its cable."""

    def outside() -> int:
        with netlink.connect() as kernel:
            link = kernel.link(interface_names.OUTSIDE)
            if link is None:
                raise LabError(f"the {case.fault.at} gateway has no outside interface")
            return link.peer

    port = netns.run_inside(scene.gateways[case.fault.at], outside)

    def change(state: str) -> None:
        with netlink.connect() as kernel:
            link = kernel.link_at(port)
            if link is not None:
                kernel.change(link, state=state)

    netns.run_inside(scene.fabric, lambda: change("down"))
    scene.undo.callback(netns.run_inside, scene.fabric, lambda: change("up"))


def _forget(scene: Scene, _case: Case) -> None:
    scene.plain().restart()


def _delete(scene: Scene, _case: Case) -> None:
    """The peer does not initiate again."""
    scene.repeated.clear()
    scene.plain().terminate()


def _delete_often(scene: Scene, _case: Case) -> None:
    def again() -> None:
        if scene.status("near") == "ACTIVE":
            scene.plain().terminate()

    scene.repeat(again)


def _deaf_host(scene: Scene, case: Case) -> None:
    is_plain = case.kind == "plain" and case.fault.at == "far"
    namespace = scene.plain().namespace if is_plain else scene.hosts[case.fault.at]
    _nft(namespace, _DEAF)
    scene.undo.callback(_nft, namespace, f"delete {_HOST}")


def _no_route_back(scene: Scene, _case: Case) -> None:
    """The routes into the tunnel are charon's, in a table of its own (ip-rule(8))."""
    scene.plain().run("ip", "route", "flush", "table", "220")


def _prohibit(scene: Scene, _case: Case) -> None:
    """A packet filter before the peer refuses IKE, and says so (RFC 1812, section 5.2.7.1)."""
    rule = "udp dport { 500, 4500 } reject with icmp type admin-prohibited"
    _nft(scene.plain().namespace, f"{_HOST} {{ chain outer {{ type filter hook input priority 0; {rule}; }}; }}")
    scene.undo.callback(_nft, scene.plain().namespace, f"delete {_HOST}")


def _translate(scene: Scene, _case: Case) -> None:
    """Address translation before the peer: its packets come from other ports (RFC 3948, section 2.3)."""
    rules = " ".join(f"udp sport {port} masquerade to :{port + 10_000};" for port in (500, 4500))
    chain = f"type nat hook postrouting priority srcnat; {rules}"
    namespace = scene.plain().namespace
    _nft(namespace, f"{_NAT} {{ chain out {{ {chain} }}; }}")
    scene.undo.callback(_nft, namespace, f"delete {_NAT}")


def _service_down(scene: Scene, case: Case) -> None:
    scene.set_admin_state(SERVICE, scene.service_id(case.fault.at), False)


def _router_down(scene: Scene, case: Case) -> None:
    scene.set_admin_state(ROUTER, scene.router_id(case.fault.at), False)


ACTS: Final[Mapping[Act, Callable[[Scene, Case], None]]] = {
    "ping": _ping,
    "ping-back": _ping_back,
    "ping-large": _ping_large,
    "freeze-charon": _freeze_charon,
    "kill-charon": _kill_charon,
    "stop-agent": _stop_agent,
    "unplug": _unplug,
    "forget": _forget,
    "delete": _delete,
    "delete-often": _delete_often,
    "deaf-host": _deaf_host,
    "no-route-back": _no_route_back,
    "prohibit": _prohibit,
    "translate": _translate,
    "service-down": _service_down,
    "router-down": _router_down,
}
