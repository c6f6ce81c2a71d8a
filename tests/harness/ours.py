"""Our side of the wire matrix: connections of one gateway, made and changed through the API as any user does.

Everything that a test makes goes again, newest first. The gateway is the laboratory's left one: its own tunnel to the
right one stays up beside whatever a test does.
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
from tests.harness.world import World, rekeyed, steady, until

VPN = "/v2.0/vpn"
SINGULAR = {
    "vpnservices": "vpnservice",
    "ikepolicies": "ikepolicy",
    "ipsecpolicies": "ipsecpolicy",
    "ipsec-site-connections": "ipsec_site_connection",
    "endpoint-groups": "endpoint_group",
}
CONNECTIONS = "ipsec-site-connections"
LOCAL4, LOCAL6 = "10.1.0.0/24", "fd00:1::/64"
HOST4, HOST6 = "10.1.0.10", "fd00:1::10"


class Ours:
    """`v4` and `v6`: the gateway's outside addresses."""

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
        """Make an object through the API; its id. It goes with `clear`."""
        singular = SINGULAR[path]
        id: str = self.user.request("POST", f"{VPN}/{path}", {singular: values})[singular]["id"]
        self._undo.append(lambda: self._remove(path, id))
        return id

    def update(self, path: str, id: str, **values: Any) -> dict[str, Any]:
        """Change an object; it as the API answers."""
        singular = SINGULAR[path]
        changed: dict[str, Any] = self.user.request("PUT", f"{VPN}/{path}/{id}", {singular: values})[singular]
        return changed

    def delete(self, path: str, id: str) -> None:
        """Delete an object."""
        self.user.request("DELETE", f"{VPN}/{path}/{id}")

    def _remove(self, path: str, id: str) -> None:
        try:
            self.delete(path, id)
        except ApiError as error:
            if error.status != 404:
                raise

    def on_clear(self, undo: Callable[[], None]) -> None:
        """Have something undone with the objects, newest first."""
        self._undo.append(undo)

    def clear(self) -> None:
        """Everything that was made goes."""
        while self._undo:
            self._undo.pop()()

    def charon(self) -> AbstractContextManager[StrongswanCharon]:
        """A session of our own with our gateway's charon."""
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
        """A connection to a peer, with policies of its own. With `local` (subnets by IP version: 4, 6) and `peers`
        (CIDRs) it uses endpoint groups, else the service's subnet and the peer's `net4`. `values` are its attributes.
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
        """Ping from the host behind our gateway."""
        return ping(self.host, destination, count, interval, timeout)


@contextmanager
def raw_charon(ours: Ours) -> Iterator[vici.Session]:
    """A raw VICI session with our gateway's charon."""
    (directory,) = ours.world.state.glob(f"**/gateways/{ours.router_id}")
    with vici_session(directory / "vici") as session:
        yield session


class Link:
    """A connection of our gateway to a peer."""

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
        """Change its IKE policy."""
        self.ours.update("ikepolicies", self.ike_policy, **values)

    def set_ipsec(self, **values: Any) -> None:
        """Change its IPsec policy."""
        self.ours.update("ipsecpolicies", self.ipsec_policy, **values)

    @property
    def shown(self) -> dict[str, Any]:
        """The connection as its user sees it."""
        found: dict[str, Any] = self.ours.user.request("GET", f"{VPN}/{CONNECTIONS}/{self.id}")
        shown: dict[str, Any] = found["ipsec_site_connection"]
        return shown

    @property
    def status(self) -> str:
        """Its status."""
        status: str = self.shown["status"]
        return status

    @property
    def reason(self) -> str:
        """Its status_reason."""
        return self.shown["status_reason"] or ""

    def wait(self, status: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait for a status."""
        until(lambda: self.status == status, seconds, lambda: str(self.shown))
        return self.shown

    def rekeyed(self, seconds: float = 20.0) -> None:
        """Wait until it is ACTIVE and quiet: its children have keys of their own exchange, and SPIs stay."""
        self.wait("ACTIVE", seconds)
        until(self._quiet, seconds, lambda: str(self.sas()))

    def _quiet(self) -> bool:
        with self.ours.charon() as charon:
            return rekeyed([child for sa in charon.sas() for child in sa.children if child.name.startswith(self.id)])

    def wait_reason(self, words: str, seconds: float = 20.0) -> str:
        """Wait until the reason has these words in it."""
        until(lambda: words in self.reason, seconds, lambda: str(self.shown))
        return self.reason

    def sas(self) -> list[dict[str, Any]]:
        """Our own charon's SAs that carry this connection: name, uniqueid, spi-in, spi-out."""
        with self.ours.charon() as charon:
            return [
                {"ike": sa.name, "uniqueid": sa.unique_id, "spi-in": child.spi_in, "spi-out": child.spi_out}
                for sa in charon.sas()
                for child in sa.children
                if child.name.startswith(self.id) and child.state == "INSTALLED"
            ]

    def listed(self) -> list[dict[str, Any]]:
        """The same as VICI lists them, every field; each has its IKE SA under `ike`."""
        with raw_charon(self.ours) as session:
            sas = [decoded(message) for message in session.list_sas()]
        return [
            child | {"ike": sa | {"name": name}}
            for message in sas
            for name, sa in message.items()
            for child in sa.get("child-sas", {}).values()
            if child["name"].startswith(self.id) and child["state"] == "INSTALLED"
        ]

    def pinged(self, destination: str = "", count: int = 5) -> None:
        """Pings pass, as ESP and never in plaintext. Not during a rekey, which may cost charon a packet."""
        end = time.monotonic() + 4.0
        while not self._quiet() and time.monotonic() < end:
            time.sleep(0.05)
        with self.peer.recorder() as seen:
            answer = steady(lambda: self.ours.ping(destination or self.peer.in4, count))
        assert (answer.received, seen.clear) == (count, 0), answer
        assert seen.esp >= 2 * count, "without ESP on the wire, an answered ping says nothing"
