"""Connections of every algorithm, and the configurations of their other ends as the API writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.peer_side.device import Device
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import until

FIELDS = ("id", "status", "status_reason")


class Combination(msgspec.Struct, frozen=True):
    """The algorithms of a connection: version and mode of IKE; encryption, integrity and group of IKE and of ESP."""

    mode: str
    ike: tuple[str, str, str]
    esp: tuple[str, str, str]

    def ike_policy(self) -> dict[str, Any]:
        """The attributes of its IKE policy."""
        version, _, mode = self.mode.partition(" ")
        return (
            {"ike_version": version, "encryption_algorithm": self.ike[0]}
            | {"auth_algorithm": self.ike[1], "pfs": self.ike[2]}
            | ({"phase1_negotiation_mode": mode} if mode else {})
        )

    def ipsec_policy(self) -> dict[str, Any]:
        """The attributes of its IPsec policy."""
        return dict(zip(("encryption_algorithm", "auth_algorithm", "pfs"), self.esp, strict=True))


def combinations(device: Device) -> list[Combination]:
    """Every algorithm that a device has, in each phase and, for IKEv1, in each mode: each at least once."""
    found = list(_of("v2", device, device.ike_encryption, device.ike_integrity, device.integrity))
    if device.one_group:
        found = [msgspec.structs.replace(each, esp=(*each.esp[:2], each.ike[2])) for each in found]
    if "1" in IKE_VERSIONS:
        ciphers = [name for name in device.ike_encryption if name in ("3des", "aes-128", "aes-192", "aes-256")]
        hashes = [name for name in device.ike_integrity if name in algorithms.IKEV1_INTEGRITY]
        esp = [name for name in device.integrity if name != "aes-cmac"]
        for mode in ("v1 main", "v1 aggressive"):
            found += itertools.islice(_of(mode, device, ciphers, hashes, esp), 5)
    return found


def _of(mode: str, device: Device, ciphers: Any, hashes: Any, esp_hashes: Any) -> Iterator[Combination]:
    groups = device.groups if mode == "v2" or device.groups_of_v1 is None else device.groups_of_v1
    every = (ciphers, hashes, device.ike_groups, device.encryption, esp_hashes, groups)
    columns = [list(column) for column in every]
    # Other columns are turned by one, so that not only equal algorithms meet.
    for number in range(max(map(len, columns))):
        row = [column[(number + place) % len(column)] for place, column in enumerate(columns)]
        yield Combination(mode, (row[0], row[1], row[2]), (row[3], row[4], row[5]))


def exported(ours: Ours, id: str, form: str, *, secret: bool = True) -> dict[str, Any]:
    """The peer's side of a connection in a format."""
    query = [("format", form), ("secret", str(secret).lower())]
    answer: dict[str, Any] = ours.user.request("GET", f"{VPN}/{CONNECTIONS}/{id}/peer-config", query=query)
    found: dict[str, Any] = answer["peer_config"]
    return found


def files_of(found: dict[str, Any]) -> dict[str, str]:
    """The files of an export, by name. There are some, so nothing is wrong with them."""
    assert found["files"], found["findings"]
    return {file["name"]: file["text"] for file in found["files"]}


class Exported(msgspec.Struct, frozen=True):
    """A connection, the host behind its peer, and the files of its peer."""

    link: Link
    host: str
    files: dict[str, str]


def connect(ours: Ours, peer: Peer, number: int, combination: Combination, form: str, **more: Any) -> Exported:
    """Create a connection to a peer with identities and networks of its own; export it. In IKEv1, and always for
    libreswan, it also has an address of its own: the responder selects its proposals by the addresses alone."""
    net = f"10.{200 + number // 250}.{number % 250}.0/24"
    host = net.replace(".0/24", ".1")
    address = peer.v4
    peer.run("ip", "address", "replace", f"{host}/24", "dev", "lo")
    if combination.mode.startswith("v1") or form == "libreswan":
        address = f"198.51.100.{200 + number}"
        peer.run("ip", "address", "replace", f"{address}/24", "dev", "eth0")
    link = ours.connect(
        peer,
        ike=combination.ike_policy(),
        ipsec=combination.ipsec_policy(),
        name=f"case {number}",
        peer_address=address,
        peer_id=f"case{number}.theirs.example.org",
        local_id=f"case{number}.ours.example.org",
        peer_cidrs=[net],
        **more,
    )
    return Exported(link, host, files_of(exported(ours, link.id, form)))


def assert_all_up(ours: Ours, peer: Peer, cases: Sequence[Exported], seconds: float) -> None:
    """Assert that connections come up within seconds, are rekeyed, and carry pings. Names all that do not."""
    waiting = {case.link.id: case for case in cases}

    def none_waits() -> bool:
        shown = ours.user.request("GET", f"{VPN}/{CONNECTIONS}", query=[("fields", name) for name in FIELDS])
        for each in shown["ipsec_site_connections"]:
            if (each["status"], each["status_reason"]) == ("ACTIVE", ""):
                waiting.pop(each["id"], None)
        return not waiting

    def faults() -> str:
        texts = (f"{case.link.shown}\n{chr(10).join(case.files.values())}" for case in waiting.values())
        return f"{len(waiting)} of {len(cases)}:\n" + "\n".join(texts) + peer.log[-6000:]

    until(none_waits, seconds, faults)
    # The first child has no group of its own: only the first rekey shows that both ends have the same.
    for case in cases:
        case.link.wait_rekeyed(30.0)
    for case in cases:
        until(lambda case=case: ours.ping(case.host, 3).received == 3, 10.0, lambda case=case: str(case))  # type: ignore[misc]
