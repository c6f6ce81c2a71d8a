"""Exported configurations of the peer bring tunnels up, against a plain charon that swanctl configures with them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from linkspan.core.peer_side.formats import swanctl
from tests.harness.exports import Combination, Exported, assert_all_up, combinations, connect, exported, files_of
from tests.harness.ours import CONNECTIONS, VPN, Ours
from tests.harness.peer import Peer
from tests.harness.project_site import ProjectSite
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import until
from tests.wire.test_policies import ENCRYPTION, GROUPS, INTEGRITY, TOGETHER, sample

pytestmark = [pytest.mark.wire, pytest.mark.root]

KEY = 'a "key" # with {braces}\\, \t and 0x'
USUAL = Combination("v2", ("aes-128", "sha256", "group14"), ("aes-128", "sha256", "group14"))


def load(peer: Peer, texts: Sequence[str]) -> None:
    """Have swanctl load files into the peer's charon, as one. Sections of one name are one section."""
    file = peer.folder / "swanctl.conf"
    file.write_text("".join(texts))
    folder = f"SWANCTL_DIR={peer.folder}"
    socket = f"unix://{peer.folder}/vici"
    said = peer.run("env", folder, "swanctl", "--load-all", "--noprompt", "--file", str(file), "--uri", socket)
    assert said.count("loaded connection") == len(texts), said


def all_come_up(ours: Ours, peer: Peer, cases: Sequence[Exported]) -> None:
    with peer.recorder() as wire:
        assert_all_up(ours, peer, cases, 40.0)
    assert wire.plaintext == 0
    assert wire.esp >= 6 * len(cases)


@pytest.mark.timeout(180)
def test_swanctl_takes_the_exported_file_and_every_algorithm_comes_up(ours: Ours, peer: Peer) -> None:
    cases = combinations(swanctl.DEVICE)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda place: connect(ours, peer, place, cases[place], "swanctl"), range(len(cases))))
    load(peer, [each.files["swanctl.conf"] for each in made])
    all_come_up(ours, peer, made)


@pytest.mark.whole
@pytest.mark.timeout(900)
def test_the_exported_file_of_every_suite_of_the_sample_comes_up(ours: Ours, peer: Peer) -> None:
    cases = [
        Combination(case.mode, (case.cipher, case.hash, case.group), (case.esp_cipher, case.esp_hash, case.pfs))
        for case in sample()
    ]
    for start in range(0, len(cases), TOGETHER):
        some = cases[start : start + TOGETHER]
        made = [connect(ours, peer, place, each, "swanctl") for place, each in enumerate(some)]
        load(peer, [each.files["swanctl.conf"] for each in made])
        all_come_up(ours, peer, made)
        ours.clear()


@pytest.mark.parametrize("version", [f"v{number}" for number in IKE_VERSIONS])
def test_a_peer_of_a_response_only_connection_initiates(ours: Ours, peer: Peer, version: str) -> None:
    both: dict[str, Any] = {
        "initiator": "response-only",
        "psk": KEY,
        "dpd": {"action": "hold", "interval": 10, "timeout": 30},
    }
    made = connect(ours, peer, 1, Combination(version, USUAL.ike, USUAL.esp), "swanctl", **both)
    made.link.wait_reason("waits for the peer to initiate")
    load(peer, [made.files["swanctl.conf"]])
    all_come_up(ours, peer, [made])


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"peer_id": "keyid:branch #7 {left}", "local_id": 'keyid:"ours"'}, id="key ids"),
        pytest.param({"peer_id": "ops@theirs.example.org", "local_id": "ops@ours.example.org"}, id="mail addresses"),
        pytest.param({"peer_id": "keyid:Büro", "local_id": ""}, id="not ASCII, and the address"),
    ],
)
def test_identities_of_every_kind_are_taken(ours: Ours, peer: Peer, more: dict[str, Any]) -> None:
    peer.run("ip", "address", "replace", "10.201.0.1/24", "dev", "lo")
    link = ours.connect(peer, peer_cidrs=["10.201.0.0/24"], name='"} connections { #', psk=KEY, **more)
    made = Exported(link, "10.201.0.1", files_of(exported(ours, link.id, "swanctl")))
    load(peer, [made.files["swanctl.conf"]])
    all_come_up(ours, peer, [made])


def test_without_the_secret_the_key_is_not_in_any_file_and_the_peer_is_refused(ours: Ours, peer: Peer) -> None:
    """The negative control of the tests above, whose tunnels need the exported key."""
    link = ours.connect(peer, initiator="response-only")
    link.wait_reason("waits for the peer to initiate")
    found = exported(ours, link.id, "swanctl", secret=False)
    assert ours.psk not in str(found)
    load(peer, [files_of(found)["swanctl.conf"]])
    peer.wait_log("received AUTHENTICATION_FAILED notify", 20.0)
    assert link.status != "ACTIVE"


def test_the_values_of_the_json_are_all_that_a_peer_needs(ours: Ours, peer: Peer) -> None:
    """The peer is configured from them by this test, with words of its own."""
    made = connect(ours, peer, 1, USUAL, "json", mtu=1300)
    values = json.loads(made.files["peer.json"])
    (ike,), (esp,) = values["ike"], values["child"]
    (pair,) = values["pairs"]
    words = [ENCRYPTION[esp["encryption"]][0], INTEGRITY[esp["integrity"]][0], GROUPS[esp["group"]][0]]
    peer.load(
        values["remote_address"],
        values["psk"],
        local=values["local_id"],
        remote=values["remote_id"],
        version=values["versions"][0][1:],
        local_addrs=[values["local_address"]],
        proposals=[f"{ENCRYPTION[ike['encryption']][0]}-{INTEGRITY[ike['integrity']][0]}-{GROUPS[ike['group']][0]}"],
        child={"esp_proposals": ["-".join(words)], "local_ts": [pair[0]], "remote_ts": [pair[1]]},
    )
    all_come_up(ours, peer, [made])


def remove_all(site: ProjectSite, name: str) -> None:
    """Remove what the commands of an export have made."""
    for path in (CONNECTIONS, "endpoint-groups", "ikepolicies", "ipsecpolicies", "vpnservices"):
        for each in next(iter(site.user.request("GET", f"{VPN}/{path}").values())):
            if each["name"].startswith(name):
                site.delete(path, each["id"])
        until(lambda path=path: name not in str(site.user.request("GET", f"{VPN}/{path}")), 10.0)  # type: ignore[misc]


@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_the_commands_make_the_other_end_on_another_gateway(
    ours: Ours, new_site: Callable[..., ProjectSite], tmp_path: Path, initiator: str
) -> None:
    theirs = new_site("branch", "other")
    policies = {
        "ikepolicy_id": ours.create("ikepolicies", encryption_algorithm="aes-256-gcm-16", pfs="group31"),
        "ipsecpolicy_id": ours.create("ipsecpolicies", encryption_algorithm="aes-256-gcm-16", pfs="group19"),
    }
    id = ours.create(
        CONNECTIONS,
        **policies,
        name="to branch; exit 1",
        vpnservice_id=ours.subnet_service,
        peer_address=theirs.v4,
        peer_id="keyid:it's $HOME `id`",
        local_id="ours.example.org",
        peer_cidrs=[theirs.cidr],
        psk=KEY,
        initiator=initiator,
    )
    for name, text in files_of(exported(ours, id, "linkspan")).items():
        replaced = re.sub(r"\bROUTER\b", theirs.router_id, text).replace("SUBNET_1", theirs.subnets[4])
        (tmp_path / name).write_text(replaced)
    theirs.on_clear(lambda: remove_all(theirs, "to-branch"))
    state = {"LINKSPAN_STATE": str(ours.world.state), "OS_CLOUD": "linkspan-other"}
    script = f'linkspan() {{ "{sys.executable}" -m linkspan.bootstrap "$@"; }}\n. ./connection.sh'
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, env=os.environ | state, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (other,) = theirs.user.request("GET", f"{VPN}/{CONNECTIONS}")["ipsec_site_connections"]
    assert other["name"].startswith("to-branch")
    shown = [f"{VPN}/{CONNECTIONS}/{id}", f"{VPN}/{CONNECTIONS}/{other['id']}"]
    users = [ours.user, theirs.user]

    def states() -> list[tuple[str, str]]:
        ends = [user.request("GET", path)["ipsec_site_connection"] for user, path in zip(users, shown, strict=True)]
        return [(end["status"], end["status_reason"]) for end in ends]

    until(lambda: states() == [("ACTIVE", "")] * 2, 30.0, lambda: str(states()))
    until(lambda: ours.ping(theirs.cidr.replace(".0/24", ".10"), 3).received == 3, 10.0)
    back = theirs.user.request("GET", f"{shown[1]}/peer-config?format=json&secret=true")["peer_config"]
    forth = exported(ours, id, "json")
    assert json.loads(back["files"][0]["text"])["pairs"] == [
        pair[::-1] for pair in json.loads(forth["files"][0]["text"])["pairs"]
    ]
    theirs.clear()
