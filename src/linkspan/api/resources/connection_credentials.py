"""Checks of what connections authenticate with: after each change of a connection, and of what it uses.

charon checks almost nothing when it loads certificates, so a connection that could not come up is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from linkspan.api.http.caller import Caller
from linkspan.api.resources.collection import find_live
from linkspan.core.errors import ApiError, invalid
from linkspan.core.ipsec import post_quantum
from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR, Resource
from linkspan.core.state.credentials import PostQuantumKey
from linkspan.core.state.desired import Connection
from linkspan.pki import chains, connection_checks, pem
from linkspan.pki.errors import PkiError
from linkspan.store.nodes import connection_state
from linkspan.store.rows import dependencies
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

REFERENCES: Final[dict[str, Resource]] = {"local_certificate_id": CERTIFICATE, "trust_anchor_id": TRUST_ANCHOR}
_TAKEN_UP: Final = frozenset({"auth_mode", *REFERENCES, "peer_certificates"})
_FITTING: Final = _TAKEN_UP | {"local_id", "peer_id", "peer_address", "ppk_id", "ppk", "ppk_required", "psk"}


def check_values(tx: Transaction, caller: Caller, values: Values, changed: Mapping[str, Any]) -> None:
    """Checks the attributes of a connection that say how it authenticates, before it is written; `values`: all of them.
    Makes the PEM texts of the peer's certificates uniform. Raises ApiError."""
    for attribute, resource in REFERENCES.items():
        if changed.get(attribute) is not None:
            # A renewal or another bundle that is written at the same time waits, and then checks this connection.
            row = find_live(tx, resource, changed[attribute], caller, lock=True)
            if resource is CERTIFICATE:
                _check_issued(row)
    if values["auth_mode"] == "certs":
        for attribute in REFERENCES:
            if values[attribute] is None:
                raise invalid(attribute, "it is required while auth_mode is certs")
    elif values["psk"] is None:
        raise ApiError("HTTPBadRequest", "Failed to parse request. Required attribute 'psk' not specified")
    if changed.get("peer_certificates"):
        values["peer_certificates"] = [_uniform(text) for text in changed["peer_certificates"]]
    _check_ppk(values)


def _check_issued(row: Row) -> None:
    if row["certificate"] is None:
        reason = f"certificate {row['id']} has not been issued yet: give it the answer to its request"
        raise invalid("local_certificate_id", reason)
    if row["revoked_at"] is not None:
        raise invalid("local_certificate_id", f"certificate {row['id']} was revoked on {row['revoked_at']}")


def _uniform(text: str) -> str:
    try:
        certificate = pem.certificate(text)
        chains.check_leaf(certificate)
        chains.check_strength(certificate)
    except PkiError as error:
        raise invalid("peer_certificates", str(error)) from None
    return pem.text_of(certificate)


def _check_ppk(values: Values) -> None:
    if fault := post_quantum.name_fault(values["ppk_id"]):
        raise invalid("ppk_id", fault)
    if values["ppk_id"] and values["ppk"] is None:
        raise invalid("ppk", "it is required with ppk_id")
    if values["ppk"] is not None and not values["ppk_id"]:
        raise invalid("ppk_id", "it is required with ppk: both ends find the key by it")
    if values["ppk_required"] and values["ppk"] is None:
        raise invalid("ppk_required", "there is no ppk that could be required")


def check_connections(tx: Transaction, rows: Iterable[Row], changed: Iterable[str] | None = None) -> None:
    """Checks new connections, or changed ones, after they were written. `changed`: their attributes; None: they are
    new. Raises ApiError."""
    names = _FITTING if changed is None else frozenset(changed)
    if names.isdisjoint(_FITTING):
        return
    ids = [row["id"] for row in rows if needs_check(row)]
    for connection in connection_state.live_connections(tx, ids) if ids else ():
        fault = None
        if connection.certificates is not None and not names.isdisjoint(_TAKEN_UP):
            fault = connection_checks.unusable(connection.certificates, tx.wall)
        fault = fault or connection_checks.misfit(connection)
        if fault is not None:
            raise invalid(fault.attribute, fault.reason)
        if connection.ppk is not None and not names.isdisjoint({"ppk", "ppk_id"}):
            _check_ppk_of_gateway(tx, connection, connection.ppk)


def _check_ppk_of_gateway(tx: Transaction, connection: Connection, ppk: PostQuantumKey) -> None:
    """Raises ApiError if another connection of the gateway has another key of the same name: charon finds a key by its
    name alone, so one of the two would get the wrong one."""
    ids = dependencies.with_ppk(tx, connection.gateway_id, ppk.id)
    for other in connection_state.live_connections(tx, ids) if len(ids) > 1 else ():
        if other.id != connection.id and other.ppk is not None and other.ppk.key != ppk.key:
            message = (
                f"Conflicts with ipsec_site_connection {other.id} on the same gateway: "
                "the same ppk_id with a different ppk; another key needs another ppk_id"
            )
            raise ApiError("IPsecSiteConnectionConflict", message)


def needs_check(row: Row) -> bool:
    """True if a connection has more than a pre-shared key, or identities for which one does not do."""
    return (
        row["auth_mode"] == "certs"
        or row["ppk"] is not None
        or any("=" in row[attribute] for attribute in ("local_id", "peer_id"))
    )


def check_users(tx: Transaction, ids: Iterable[str], bundle: chains.Bundle | None = None) -> None:
    """Checks the connections that use what has just changed. `bundle`: that of the changed trust anchor, if it is one.
    Raises ApiError."""
    _check_all(tx, dependencies.with_credentials(tx, ids), bundle)


def check_policy(tx: Transaction, ike_policy: Row) -> None:
    """Checks the connections that use an IKE policy whose version has changed. Raises ApiError."""
    if ike_policy["ike_version"] == "v1":
        _check_all(tx, dependencies.credentialed_with(tx, ike_policy["id"]), None)


def _check_all(tx: Transaction, ids: list[str], bundle: chains.Bundle | None) -> None:
    for connection in connection_state.live_connections(tx, ids) if ids else ():
        fault = connection_checks.misfit(connection)
        if fault is None and bundle is not None and connection.certificates is not None:
            fault = connection_checks.not_admitted(connection.certificates, bundle, tx.wall)
        if fault is not None:
            message = f"ipsec_site_connection {connection.id} could not go on: {fault.attribute}: {fault.reason}"
            raise ApiError("IPsecSiteConnectionConflict", message)
