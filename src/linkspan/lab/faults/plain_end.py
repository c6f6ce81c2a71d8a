"""The far end of a fault as a plain charon: what an end's attributes mean, in the words of swanctl.conf(5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.core.ipsec import algorithms, identities
from linkspan.lab.faults.credentials import FarCredentials

IKE_DEFAULTS: Final = {"encryption_algorithm": "aes-128", "auth_algorithm": "sha256", "pfs": "group14"}
IPSEC_DEFAULTS: Final = IKE_DEFAULTS


def message(
    attributes: Mapping[str, Any],
    ike: Mapping[str, Any],
    ipsec: Mapping[str, Any],
    address: str,
    local_cidrs: list[str],
    credentials: FarCredentials | None,
) -> dict[str, Any]:
    """The connection of a plain charon at `address` with these attributes of the API."""
    ike, ipsec = {**IKE_DEFAULTS, "ike_version": "v2"} | dict(ike), IPSEC_DEFAULTS | dict(ipsec)
    local, remote = attributes.get("local_id") or address, attributes["peer_id"]
    names = ("encryption_algorithm", "auth_algorithm", "pfs")
    found: dict[str, Any] = {
        "version": str(ike["ike_version"]).removeprefix("v"),
        "aggressive": "yes" if ike.get("phase1_negotiation_mode") == "aggressive" else "no",
        "local_addrs": [address],
        "remote_addrs": [attributes["peer_address"]],
        "proposals": [algorithms.ike_proposal(*(ike[name] for name in names))],
        "mobike": "no",
        "unique": "never",
        "local": {"auth": "psk", "id": identities.stored(local).charon()},
        "remote": {"auth": "psk", "id": identities.stored(remote).charon()},
        "children": {
            "net": {
                "local_ts": local_cidrs,
                "remote_ts": attributes["peer_cidrs"],
                "esp_proposals": [algorithms.esp_proposal(*(ipsec[name] for name in names))],
                "start_action": "none",
            }
        },
    }
    if dpd := attributes.get("dpd"):
        found |= {"dpd_delay": f"{dpd['interval']}s", "dpd_timeout": f"{dpd['timeout']}s"}
    if ppk := attributes.get("ppk_id"):
        found |= {"ppk_id": ppk, "ppk_required": "yes" if attributes.get("ppk_required") else "no"}
    if credentials:
        found["local"] |= {"auth": "pubkey", "certs": list(credentials.chain)}
        found["remote"] |= {"auth": "pubkey", "cacerts": list(credentials.trusted)}
    return found
