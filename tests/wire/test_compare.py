"""What a comparison foretells is what happens: a real charon is loaded with the text, by swanctl, and initiates."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.core.peer_side import fitting, mutations
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS, needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

DOWN = (
    *("own identity", "our identity", "key", "IKE encryption", "IKE integrity", "IKE group", "IKE PRF", "all of IKE"),
    *("ESP encryption", "ESP integrity", "all of ESP", "own networks"),
)
"""Mutations with which the tunnel cannot come up, each with a code of its own or after another one."""
UP = ("PFS, IKEv2", "half of a network, IKEv2", "one network more", "ESP lifetime", "DPD interval")
"""Mutations with which it comes up."""
DOWN_V1 = ("PFS, IKEv1", "mode", "key", "protocol", "own networks")
UP_V1 = ("half of a network, IKEv1",)
"""The same with IKEv1."""
BY_NAME = {mutation.name: mutation for mutation in mutations.MUTATIONS}


def fitting_peer(ours: Ours, peer: Peer) -> fitting.Peer:
    """The peer's side of a connection with the API's defaults."""
    return fitting.Peer(
        version=2,
        aggressive=False,
        local_address=peer.v4,
        remote_address=ours.v4,
        local_id=peer.v4,
        remote_id=ours.v4,
        auth="psk",
        psk=ours.psk,
        ike="aes128-sha256-modp2048",
        protocol="esp",
        child="aes128-sha256-modp2048",
        local_networks=(peer.net4,),
        remote_networks=("10.1.0.0/24",),
        ike_seconds=3600,
        child_seconds=3600,
        dpd_action="hold",
        dpd_interval=30,
    )


def load(peer: Peer, text: str) -> None:
    """Has swanctl load a file, as the peer's administrator would. Its connection initiates by itself."""
    peer.restart()
    path = peer.folder / "swanctl.conf"
    path.write_text(text)
    uri = f"unix://{peer.folder}/vici"
    command = ["swanctl", "--load-all", "--noprompt", "--file", str(path), "--uri", uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def foretold(link: Link, text: str) -> tuple[bool, dict[str, Any] | None]:
    """Whether the text fits, and the worst of what differs."""
    body = {"compare": {"configuration": text}}
    path = f"{VPN}/{CONNECTIONS}/{link.id}/compare"
    compared = link.ours.user.request("POST", path, body)["compare"]
    return compared["fits"], next(iter(compared["differences"]), None)


def check(link: Link, fits: fitting.Peer, down: Sequence[str], up: Sequence[str]) -> None:
    """Loads each changed file into the peer, and the one that fits at the end."""
    peer = link.peer
    wrong: list[tuple[str, ...]] = []
    for name in down:
        text = fitting.swanctl(BY_NAME[name].peer(fits))
        _, worst = foretold(link, text)
        assert worst is not None
        assert worst["severity"] == "cannot"
        load(peer, text)
        try:
            until(lambda code=worst["code"]: link.shown["status_code"] == code, 8.0)  # type: ignore[misc]
        except AssertionError:
            wrong.append((name, worst["code"], link.shown["status_code"], link.reason))
        if link.status == "ACTIVE":
            wrong.append((name, "it came up"))
    assert wrong == []
    for name in up:
        text = fitting.swanctl(BY_NAME[name].peer(fits))
        _, worst = foretold(link, text)
        assert worst is not None
        assert worst["severity"] in ("impaired", "differs")
        load(peer, text)
        until(lambda: link.status == "ACTIVE", 10.0, lambda: f"{link.shown}\n{peer.log[-2000:]}")
        code = worst["code"]
        until(lambda code=code: link.shown["status_code"] == code, 8.0, lambda: str(link.shown))  # type: ignore[misc]
    load(peer, fitting.swanctl(fits))
    assert foretold(link, fitting.swanctl(fits)) == (True, None)
    until(lambda: (link.status, link.shown["status_code"]) == ("ACTIVE", ""), 10.0, lambda: str(link.shown))


def test_what_is_foretold_is_what_happens(ours: Ours, peer: Peer) -> None:
    link = ours.connect(peer, initiator="response-only")
    check(link, fitting_peer(ours, peer), [*DOWN, *(["version"] if "1" in IKE_VERSIONS else [])], UP)


@needs_ikev1
def test_what_is_foretold_with_ikev1(ours: Ours, peer: Peer) -> None:
    link = ours.connect(peer, initiator="response-only", ike={"ike_version": "v1"})
    check(link, msgspec.structs.replace(fitting_peer(ours, peer), version=1), DOWN_V1, UP_V1)
