"""Linkspan's side of the wire matrix: connections of one gateway, created and changed through the API.

All objects that a test creates are removed afterwards, newest first. The gateway is the laboratory's left one, whose
own tunnel to the right one stays up meanwhile.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import vici

from linkspan.cli.client import ApiError
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.lab.fabric import Ping, ping
from tests.harness.peer import Peer, decoded, vici_session
from tests.harness.world import World, all_rekeyed, ping_with_retry, until

VPN = "/v2.0/vpn"
SINGULAR = {
    "vpnservices": "vpnservice",
    "ikepolicies": "ikepolicy",
    "ipsecpolicies": "ipsecpolicy",
    "ipsec-site-connections": "ipsec_site_connection",
    "endpoint-groups": "endpoint_group",
    "certificates": "certificate",
    "trust-anchors": "trust_anchor",
}
CONNECTIONS = "ipsec-site-connections"
LOCAL4, LOCAL6 = "10.1.0.0/24", "fd00:1::/64"
HOST4, HOST6 = "10.1.0.10", "fd00:1::10"


class Ours:
    """The gateway under test. `v4` and `v6`: its outside addresses."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.user = world.user
        site = world.lab["sites"]["left"]
        service = world.user.request("GET", f"{VPN}/vpnservices/{site['service_id']}")["vpnservice"]
        self.v4: str = service["external_v4_ip"]
        self.v6: str = service["external_v6_ip"]
        self.router_id: str = site["router_id"]
        self.subnet_service: str = site["service_id"]
        self.subnets: dict[int, str] = {4: site["subnet_ids"][0], 6: site["subnet_ids"][1]}
        self.gateway = world.gateway("left")
        self.host = world.host("left")
        self._undo: list[Callable[[], None]] = []
        self.psk = secrets.token_urlsafe(24)

    # -- objects ---------------------------------------------------------------------------------------------------

    def create(self, path: str, **values: Any) -> str:
        """Create an object through the API, to be removed by `clear`; return its id."""
        singular = SINGULAR[path]
        id: str = self.user.request("POST", f"{VPN}/{path}", {singular: values})[singular]["id"]
        self._undo.append(lambda: self._remove(path, id))
        return id

    def update(self, path: str, id: str, **values: Any) -> dict[str, Any]:
        """Change an object; return it as the API does."""
        singular = SINGULAR[path]
        changed: dict[str, Any] = self.user.request("PUT", f"{VPN}/{path}/{id}", {singular: values})[singular]
        return changed

    def delete(self, path: str, id: str) -> None:
        """Delete an object."""
        self.user.request("DELETE", f"{VPN}/{path}/{id}")

    def set_admin_state(self, path: str, id: str, up: bool) -> None:
        """Change `admin_state_up` of a router or network; `clear` sets it to true again."""
        body = {path.removesuffix("s"): {"admin_state_up": up}}
        self.world.admin.request("PUT", f"/v2.0/{path}/{id}", body)
        if not up:
            self._undo.append(lambda: self._up_again(path, id))

    def _up_again(self, path: str, id: str) -> None:
        self.set_admin_state(path, id, True)
        for side in self.world.lab["sites"].values():
            self.world.wait_status(side["connection_id"], "ACTIVE")

    def service_status(self) -> tuple[str, str]:
        """Return status and reason of the service of the gateway under test."""
        shown = self.user.request("GET", f"{VPN}/vpnservices/{self.subnet_service}")["vpnservice"]
        return shown["status"], shown["status_reason"] or ""

    def _remove(self, path: str, id: str) -> None:
        try:
            self.delete(path, id)
        except ApiError as error:
            if error.status != 404:
                raise

    def on_clear(self, undo: Callable[[], None]) -> None:
        """Register an action for `clear`, which runs them newest first."""
        self._undo.append(undo)

    def clear(self) -> None:
        """Remove everything that was created."""
        while self._undo:
            self._undo.pop()()

    def charon(self) -> AbstractContextManager[StrongswanCharon]:
        """Open a session with the gateway's charon."""
        return self.world.charon_of(self.router_id, self.gateway)

    # -- connections -----------------------------------------------------------------------------------------------

    def connect(
        self,
        peer: Peer,
        *,
        ike: dict[str, Any] | None = None,
        ipsec: dict[str, Any] | None = None,
        local: Sequence[int] = (),
        peers: Sequence[str] = (),
        **values: Any,
    ) -> Link:
        """Create a connection to a peer with its own policies. With `local` (subnets by IP version: 4, 6) and `peers`
        (CIDRs) it uses endpoint groups, else the service's subnet and the peer's `net4`. `values`: its attributes.
        """
        policies = {
            "ikepolicy_id": self.create("ikepolicies", name="matrix", **(ike or {})),
            "ipsecpolicy_id": self.create("ipsecpolicies", name="matrix", **(ipsec or {})),
        }
        body: dict[str, Any] = {
            "name": "matrix",
            "peer_address": peer.v4,
            "peer_id": peer.v4,
            "psk": self.psk,
        }
        if local or peers:
            subnets = [self.subnets[version] for version in local]
            body["vpnservice_id"] = self.create("vpnservices", name="groups", router_id=self.router_id)
            body["local_ep_group_id"] = self.create("endpoint-groups", type="subnet", endpoints=subnets)
            body["peer_ep_group_id"] = self.create("endpoint-groups", type="cidr", endpoints=list(peers))
        else:
            body["vpnservice_id"] = self.subnet_service
            body["peer_cidrs"] = [peer.net4]
        id = self.create(CONNECTIONS, **policies | body | values)
        return Link(self, peer, id, policies["ikepolicy_id"], policies["ipsecpolicy_id"])

    def ping(self, destination: str, count: int = 3, interval: float = 0.05, timeout: int = 1) -> Ping:
        """Ping from the host behind the gateway."""
        return ping(self.host, destination, count, interval, timeout)


@contextmanager
def raw_charon(ours: Ours) -> Iterator[vici.Session]:
    """Open a raw VICI session with the gateway's charon."""
    (directory,) = ours.world.state.glob(f"**/gateways/{ours.router_id}")
    with vici_session(directory / "charon.vici") as session:
        yield session


class Link:
    """A connection of the gateway under test to a peer."""

    def __init__(self, ours: Ours, peer: Peer, id: str, ike_policy: str, ipsec_policy: str) -> None:
        self.ours = ours
        self.peer = peer
        self.id = id
        self.ike_policy = ike_policy
        self.ipsec_policy = ipsec_policy

    def set(self, **values: Any) -> dict[str, Any]:
        """Change attributes of the connection."""
        return self.ours.update(CONNECTIONS, self.id, **values)

    def set_ike(self, **values: Any) -> None:
        """Change the connection's IKE policy."""
        self.ours.update("ikepolicies", self.ike_policy, **values)

    def set_ipsec(self, **values: Any) -> None:
        """Change the connection's IPsec policy."""
        self.ours.update("ipsecpolicies", self.ipsec_policy, **values)

    @property
    def shown(self) -> dict[str, Any]:
        """The connection as its user sees it."""
        body: dict[str, Any] = self.ours.user.request("GET", f"{VPN}/{CONNECTIONS}/{self.id}")
        shown: dict[str, Any] = body["ipsec_site_connection"]
        return shown

    @property
    def status(self) -> str:
        """The status."""
        status: str = self.shown["status"]
        return status

    @property
    def reason(self) -> str:
        """The status_reason."""
        return self.shown["status_reason"] or ""

    def wait(self, status: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait for a status; return the connection."""
        until(lambda: self.status == status, seconds, lambda: str(self.shown))
        return self.shown

    def wait_rekeyed(self, seconds: float = 20.0) -> None:
        """Wait until the connection is ACTIVE and its first rekey is over, after which SPIs stay."""
        self.wait("ACTIVE", seconds)
        until(self._is_rekeyed, seconds, lambda: str(self.sas()))

    def _is_rekeyed(self) -> bool:
        with self.ours.charon() as charon:
            return all_rekeyed(
                [child for sa in charon.sas() for child in sa.children if child.name.startswith(self.id)]
            )

    def wait_reason(self, words: str, seconds: float = 20.0) -> str:
        """Wait until the reason contains these words; return it."""
        until(lambda: words in self.reason, seconds, lambda: str(self.shown))
        return self.reason

    def sas(self) -> list[dict[str, Any]]:
        """Return the installed child SAs of this connection at the gateway: ike, uniqueid, spi-in, spi-out."""
        with self.ours.charon() as charon:
            return [
                {"ike": sa.name, "uniqueid": sa.unique_id, "spi-in": child.spi_in, "spi-out": child.spi_out}
                for sa in charon.sas()
                for child in sa.children
                if child.name.startswith(self.id) and child.state == "INSTALLED"
            ]

    def listed(self) -> list[dict[str, Any]]:
        """Return the same with all fields that VICI lists; the IKE SA is under `ike`."""
        with raw_charon(self.ours) as session:
            sas = [decoded(message) for message in session.list_sas()]
        return [
            child | {"ike": sa | {"name": name}}
            for message in sas
            for name, sa in message.items()
            for child in sa.get("child-sas", {}).values()
            if child["name"].startswith(self.id) and child["state"] == "INSTALLED"
        ]

    def assert_pings(self, destination: str = "", count: int = 5) -> None:
        """Assert that pings pass, as ESP and never in plaintext. Waits for the first rekey, which may lose a packet."""
        end = time.monotonic() + 4.0
        while not self._is_rekeyed() and time.monotonic() < end:
            time.sleep(0.05)
        with self.peer.recorder() as recorded:
            answer = ping_with_retry(lambda: self.ours.ping(destination or self.peer.in4, count))
        assert (answer.received, recorded.plaintext) == (count, 0), answer
        assert recorded.esp >= 2 * count, "the pings were not carried by ESP"
