"""The text that a run of the laboratory prints: topology, results, and commands to try next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from linkspan.lab.demo import Proof


def report(lab: dict[str, Any], proof: Proof, esp: str, seconds: float) -> str:
    """Return the report of a run. `esp`: the ESP backend of the nodes, in words; `seconds`: the duration of the run."""
    left, right = lab["sites"]["left"], lab["sites"]["right"]
    wire = proof.wire
    lines = [
        "",
        *_picture(left, right),
        "",
        *(f"  {name:<16} ACTIVE after {after:.2f} s" for name, after in proof.active.items()),
        *(
            f"  {ping.source:>9} → {ping.destination:<12}{ping.received}/{ping.sent} pings, {ping.loss:.0f} % loss, "
            f"{ping.milliseconds:.2f} ms"
            for ping in proof.pings
        ),
        f"  between the gateways: {_esp(wire.esp, wire.udp_esp)}, {wire.plaintext} in plaintext"
        + (f", {wire.drops} missed" if wire.drops else ""),
        *([f"  ESP by {esp}"] if esp else []),
        "",
    ]
    if proof.faults:
        lines += ["FAILED", *(f"  {fault}" for fault in proof.faults)]
    else:
        lines += [f"  ✓ two hosts talk through the tunnel, and nothing was sent in plaintext ({seconds:.1f} s in all)"]
    return "\n".join(lines) + "\n"


def _picture(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    columns = [
        ("host-left", left["host"]["addresses"][0].partition("/")[0]),
        ("left", left["gateway"]["outside_address"]),
        ("right", right["gateway"]["outside_address"]),
        ("host-right", right["host"]["addresses"][0].partition("/")[0]),
    ]
    joints = (" ─── ", " ═══ IPsec ═══ ", " ─── ", "")
    widths = [max(map(len, column)) for column in columns]
    top, bottom = "  ", "  "
    for (name, address), width, joint in zip(columns, widths, joints, strict=True):
        top += name.center(width) + joint
        bottom += address.center(width) + " " * len(joint)
    return [top.rstrip(), bottom.rstrip()]


def _esp(plain: int, in_udp: int) -> str:
    parts = [f"{plain} ESP packets"] if plain else []
    parts += [f"{in_udp} ESP packets in UDP"] if in_udp else []
    return " and ".join(parts) or "no ESP packet"


def hints(url: str, state: Path, command: str, lab: dict[str, Any] | None) -> str:
    """Return commands to try, ready to be pasted. `command`: the command line that starts `linkspan` here."""
    clouds, curl = shlex.quote(str(state / "clouds.yaml")), shlex.quote(str(state / "curl.conf"))
    at = "" if str(state) == ".linkspan" else f" --state {shlex.quote(str(state))}"
    lines = [
        f"The console is at {url}/console/",
        f"Log in as demo, or as admin; the passwords are in {clouds}",
        "",
        f"The API is at {url}. Try, in another terminal:",
        "",
        f"  {command} status --watch{at}",
        f"  {command} connection list{at}",
        f"  curl -K {curl} {url}/v2.0/vpn/ipsec-site-connections",
        f"  OS_CLIENT_CONFIG_FILE={clouds} openstack --os-cloud linkspan-demo vpn ipsec site connection list",
    ]
    if lab:
        left, right = lab["sites"]["left"]["host"], lab["sites"]["right"]["host"]
        lines += [
            f"  ip netns exec {left['namespace']} ping {right['addresses'][0].partition('/')[0]}",
            f"  ip netns exec {left['namespace']} bash          a shell on host-left",
            f"  {command} lab show{at}          all names, addresses, ids",
        ]
    return "\n".join([*lines, "", "Ctrl-C ends it and cleans up."]) + "\n"
