"""The scene of a fault: the ends of a tunnel in the laboratory, and what can be asked of them and done to them.

The near end is the laboratory's left gateway, the far end its right one or a plain charon.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from linkspan.core.schema.resources import CONNECTION, Resource
from linkspan.lab import plain_gateway, sites
from linkspan.lab.faults import plain_end
from linkspan.lab.faults.certificates import THEM, US
from linkspan.lab.faults.credentials import CaseCredentials
from linkspan.lab.faults.declaration import ENDS, OTHER, Case, Change, TunnelEnd
from linkspan.lab.plain_gateway import PlainGateway
from linkspan.lab.sites import Api

SIDES: Final = {"near": "left", "far": "right"}


class Told(msgspec.Struct, frozen=True):
    """The words of an end: the code of a cause and its sentence, empty if there is none."""

    status: str
    code: str
    sentence: str


class Scene:
    """The ends of the tunnel in one case after another.

    `lab`: the output of `linkspan lab show`; `user`: a client of its API. `undo`: what takes the current
    case away.
    """

    def __init__(self, lab: dict[str, Any], user: Api) -> None:
        self._lab = lab
        self.user = user
        self.running_plain: PlainGateway | None = None
        self.ids: dict[TunnelEnd, str] = {}
        self.repeated: list[Callable[[], None]] = []
        self.undo = ExitStack()
        self.state = Path(lab["state"])
        self.instance: str = lab["instance"]
        self.fabric: str = lab["fabric"]
        self.sites: dict[TunnelEnd, dict[str, Any]] = {end: lab["sites"][SIDES[end]] for end in ENDS}
        self.gateways: dict[TunnelEnd, str] = {end: site["gateway"]["namespace"] for end, site in self.sites.items()}
        self.hosts: dict[TunnelEnd, str] = {end: site["host"]["namespace"] for end, site in self.sites.items()}
        self._psk = self.own("near")["psk"]
        self._networks: dict[TunnelEnd, str] = {end: sites.LANS[SIDES[end]][0] for end in ENDS}

    def tick(self) -> None:
        """Do what a case does again and again. To be called while its cause is awaited."""
        for action in self.repeated:
            action()

    def repeat(self, action: Callable[[], None], seconds: float = 0.0) -> None:
        """Do something now and with each tick, but not more often than each so many seconds."""
        next_at = 0.0

        def act() -> None:
            nonlocal next_at
            if time.monotonic() >= next_at:
                action()
                next_at = time.monotonic() + seconds

        act()
        self.repeated.append(act)

    # -- what the ends tell ----------------------------------------------------------------------------------------

    def told(self, end: TunnelEnd) -> Told:
        """Return what an end tells at this moment."""
        shown = self.show(CONNECTION, self.ids[end])
        return Told(shown["status"], shown["status_code"], shown["status_reason"] or "")

    def status(self, end: TunnelEnd) -> str:
        """Return the status of an end."""
        return self.told(end).status

    def diagnosis(self, end: TunnelEnd) -> dict[str, Any]:
        """Return the diagnosis of an end."""
        path = f"/v2.0/{CONNECTION.path}/{self.ids[end]}/diagnosis"
        diagnosis: dict[str, Any] = self.user.request("GET", path)["diagnosis"]
        return diagnosis

    # -- the ends --------------------------------------------------------------------------------------------------

    def words(self, case: Case) -> dict[str, str]:
        """Return the texts that placeholders in a fault stand for."""
        far_address = self.sites["far"]["gateway"]["outside_address"] if case.kind == "ours" else plain_gateway.ADDRESS
        return {
            "near": self.sites["near"]["gateway"]["outside_address"],
            "far": far_address,
            "far_network": self._network("far", case),
            "psk": self._psk,
        }

    def _network(self, end: TunnelEnd, case: Case) -> str:
        return plain_gateway.NETWORK if end == "far" and case.kind == "plain" else self._networks[end]

    def host_address(self, end: TunnelEnd, case: Case) -> str:
        """Return the address of the host behind an end."""
        if end == "far" and case.kind == "plain":
            return plain_gateway.INSIDE
        address: str = self.sites[end]["host"]["addresses"][0]
        return address.partition("/")[0]

    def attributes(self, case: Case, end: TunnelEnd) -> dict[str, Any]:
        """The connection of an end: that of a sound tunnel, what both ends have, and the fault."""
        words, fault = self.words(case), case.fault
        peer = words[OTHER[end]]
        sound = {
            "peer_address": peer,
            "peer_id": peer,
            "peer_cidrs": [self._network(OTHER[end], case)],
            "psk": self._psk,
            "initiator": "bi-directional" if case.role_of(end) == "initiator" else "response-only",
        }
        if fault.certificates:
            sound |= {"local_id": {"near": US, "far": THEM}[end], "peer_id": {"near": THEM, "far": US}[end]}
        changed = sound | fault.both.connection | self._change(case, end).connection
        return {key: _filled(value, words) for key, value in changed.items()}

    def _change(self, case: Case, end: TunnelEnd) -> Change:
        return case.fault.near if end == "near" else case.fault.far

    def policies(self, case: Case, end: TunnelEnd) -> tuple[dict[str, Any], dict[str, Any]]:
        change = self._change(case, end)
        ike = {"ike_version": case.version} | case.fault.both.ike | change.ike
        return ike, case.fault.both.ipsec | change.ipsec

    def plain(self) -> PlainGateway:
        """Return the plain charon; it is started at the first use."""
        if self.running_plain is None:
            self.running_plain = PlainGateway(self.instance, self._lab["internet"]["network_id"])
        return self.running_plain

    def plain_message(self, case: Case, made: CaseCredentials | None = None) -> dict[str, Any]:
        """Return the configuration of the plain charon in a case."""
        change, address = self._change(case, "far"), plain_gateway.ADDRESS
        ike, ipsec = self.policies(case, "far")
        message = plain_end.message(
            self.attributes(case, "far"), ike, ipsec, address, [plain_gateway.NETWORK], made.far if made else None
        )
        message["children"]["net"] |= change.child
        return message | change.charon

    # -- the API ---------------------------------------------------------------------------------------------------

    def service_id(self, end: TunnelEnd) -> str:
        """Return the id of the VPN service of an end."""
        id: str = self.sites[end]["service_id"]
        return id

    def router_id(self, end: TunnelEnd) -> str:
        """Return the id of the router of an end."""
        id: str = self.sites[end]["router_id"]
        return id

    def set_admin_state(self, resource: Resource, id: str, up: bool) -> None:
        """Change the admin state of an object until the case is taken away."""
        self.put(resource, id, admin_state_up=up)
        self.undo.callback(self.put, resource, id, admin_state_up=not up)

    def own(self, end: TunnelEnd) -> dict[str, Any]:
        return self.show(CONNECTION, self.sites[end]["connection_id"])

    def show(self, resource: Resource, id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.user.request("GET", f"/v2.0/{resource.path}/{id}")[resource.singular]
        return shown

    def create(self, resource: Resource, **values: Any) -> str:
        id: str = sites.create(self.user, resource, **values)["id"]
        self.undo.callback(self.user.request, "DELETE", f"/v2.0/{resource.path}/{id}")
        return id

    def put(self, resource: Resource, id: str, **values: Any) -> None:
        self.user.request("PUT", f"/v2.0/{resource.path}/{id}", {resource.singular: values})


def _filled(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    return value.format(**words) if isinstance(value, str) and "{" in value else value
