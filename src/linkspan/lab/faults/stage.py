"""The stage of the fault laboratory: sets a case up for real, reads what each end tells, and takes it away again.

The near end is the laboratory's left gateway, the far end its right one or a plain charon. Connections are made through
the API, as any user makes them, and are named `fault-near` and `fault-far`; the laboratory's own are down meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from linkspan.core.schema.certificate_resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY
from linkspan.lab import sites
from linkspan.lab.fabric import LabError
from linkspan.lab.faults import credentials as certificates
from linkspan.lab.faults.acts import ACTS, block_path, remove_leftovers
from linkspan.lab.faults.certificates import THEM, US
from linkspan.lab.faults.credentials import CaseCredentials
from linkspan.lab.faults.declaration import ENDS, OTHER, Case, TunnelEnd
from linkspan.lab.faults.scene import Scene

SIDES: Final = {"near": "left", "far": "right"}
PREFIX: Final = "fault-"
_NOBODY: Final = "198.51.100.252"
_POLL: Final = 0.1
_APPLIED: Final = 10.0
_UP: Final = 30.0
_AGAIN: Final = 3.0
"""Seconds between the attempts of a plain charon, which makes one when told to."""


class Stage(Scene):
    """The laboratory as the stage of one fault after another. Use it as a context manager. Raises LabError."""

    _begun = 0.0
    """The time when the second end of the current case was made: from then on its cause can be told (monotonic)."""

    def __enter__(self) -> Stage:
        self._remove_leftovers()
        try:
            # With another peer, so that nothing takes one for the other end of a fault.
            self._put_own(lambda _: _NOBODY, admin_state_up=False)
            _wait(self._is_own_down, _APPLIED, "the laboratory's tunnel does not go down")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        if self.running_plain is not None:
            self.running_plain.close()
        self._put_own(lambda end: str(self.sites[OTHER[end]]["gateway"]["outside_address"]), admin_state_up=True)

    def _put_own(self, peer: Callable[[TunnelEnd], str], *, admin_state_up: bool) -> None:
        """Change the laboratory's own connections."""
        for end in ENDS:
            values = {"peer_address": peer(end), "peer_id": peer(end), "admin_state_up": admin_state_up}
            self.put(CONNECTION, self.sites[end]["connection_id"], **values)

    def _is_own_down(self) -> bool:
        return all(self.own(end)["status"] == "DOWN" for end in ENDS)

    # -- a case ----------------------------------------------------------------------------------------------------

    def set_up(self, case: Case) -> float:
        """Set a case up; return the moment from which on its cause can be told (monotonic)."""
        fault = case.fault
        made = certificates.make(fault.certificates) if fault.certificates else None
        if not fault.late:
            self._disturb(case)
        order: tuple[TunnelEnd, ...] = ("far", "near") if case.role == "initiator" else ("near", "far")
        for end in order:
            if end == "far" and case.kind == "plain":
                self._load_plain(case, made)
            else:
                self._connect(case, end, made)
            if end == order[0] and end in case.ends():
                # The responder has to be there before the other one calls.
                _wait(lambda end=end: bool(self.told(end).sentence), _APPLIED, "", is_fatal=False)  # type: ignore[misc]
        if fault.late:
            self._wait_up(case)
            self._begun = time.monotonic()
            self._disturb(case)
        return self._begun

    def _disturb(self, case: Case) -> None:
        if case.fault.path:
            block_path(self, case)
        for act in case.fault.acts:
            ACTS[act](self, case)

    def _wait_up(self, case: Case) -> None:
        """Wait until the tunnel is up, and its first rekey is over, which the agent does at once."""
        _wait(lambda: all(self.status(end) == "ACTIVE" for end in case.ends()), _UP, "the tunnel is not up")
        if case.version == "v2":
            _wait(self._is_rekeyed, _UP, "the tunnel is not rekeyed", is_fatal=False)

    def _is_rekeyed(self) -> bool:
        live = self.diagnosis("near")["live"] or {"ike_sas": ()}
        children = [child for sa in live["ike_sas"] for child in sa["children"] if child["state"] != "DELETED"]
        return bool(children) and all(child["key_exchange"] and child["state"] == "INSTALLED" for child in children)

    def clear(self) -> None:
        """Take the current case away."""
        self.repeated.clear()
        self.ids.clear()
        self.undo.close()
        if self.running_plain is not None:
            self.running_plain.clear()

    # -- the ends --------------------------------------------------------------------------------------------------

    def _connect(self, case: Case, end: TunnelEnd, made: CaseCredentials | None) -> None:
        """Create the connection of an end of ours."""
        ike, ipsec = self.policies(case, end)
        name = f"{PREFIX}{end}"
        references = {
            "vpnservice_id": self.service_id(end),
            "ikepolicy_id": self.create(IKE_POLICY, name=name, **ike),
            "ipsecpolicy_id": self.create(IPSEC_POLICY, name=name, **ipsec),
        }
        values = self.attributes(case, end)
        if made and (made.near if end == "near" else made.far):
            values |= self._certify(end, made)
        self._begun = time.monotonic()
        self.ids[end] = self.create(CONNECTION, name=name, **references, **values)

    def _certify(self, end: TunnelEnd, made: CaseCredentials) -> dict[str, Any]:
        """Make the certificate and trust anchor of an end of ours; return the attributes of its connection."""
        name, own = f"{PREFIX}{end}", {"near": US, "far": THEM}[end]
        if end == "near":
            assert made.near
            anchor, pins = made.near.anchor, made.near.pins
        else:
            assert made.far
            anchor, pins = {"ca_bundle": "".join(made.far.trusted), "revocation": "none"}, ()
        anchor_id = self.create(TRUST_ANCHOR, name=name, **anchor)
        id = self.create(CERTIFICATE, name=name, subject_alt_names=[own])
        self.put(CERTIFICATE, id, certificate=made.answer(self.show(CERTIFICATE, id)["csr"], own))
        time.sleep(made.wait.total_seconds())
        return {
            "auth_mode": "certs",
            "local_certificate_id": id,
            "trust_anchor_id": anchor_id,
            "peer_certificates": list(pins),
        }

    def _load_plain(self, case: Case, made: CaseCredentials | None) -> None:
        values = self.attributes(case, "far")
        if not values.get("admin_state_up", True):
            return
        psk, key = values["psk"], made.far.key if made and made.far else ""
        ppk = values.get("ppk")
        secrets = [{"id": "ppk", "type": "ppk", "data": ppk, "owners": [values["ppk_id"]]}] if ppk else []
        if "kill-charon" in case.fault.acts or ("freeze-charon" in case.fault.acts and case.fault.at == "far"):
            return
        gateway, message = self.plain(), self.plain_message(case, made)
        self._begun = time.monotonic()
        gateway.load(message, psk, key, secrets)
        if case.role_of("far") == "initiator":
            self.repeat(gateway.initiate, _AGAIN)

    def _remove_leftovers(self) -> None:
        """Remove what a stage that was killed has left."""
        remove_leftovers(self)
        for resource in (CONNECTION, IKE_POLICY, IPSEC_POLICY, CERTIFICATE, TRUST_ANCHOR):
            for end in ENDS:
                while found := sites.find(self.user, resource, name=f"{PREFIX}{end}"):
                    self.user.request("DELETE", f"/v2.0/{resource.path}/{found['id']}")


def _wait(condition: Callable[[], bool], seconds: float, failure: str, is_fatal: bool = True) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            if is_fatal:
                raise LabError(f"{failure} within {seconds:.0f} s")
            return
        time.sleep(_POLL)
