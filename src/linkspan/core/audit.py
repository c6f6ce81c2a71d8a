"""The audit trail: what an entry says, and how entries are chained. Pure.

Each entry has the hash of the one before it, so that nobody can change, remove or insert one without changing every
later hash. The newest hash is sealed with a key that is not in the database (`store.audit`).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

AuditAction = Literal[
    "create",
    "update",
    "delete",
    "add_router_interface",
    "remove_router_interface",
    "grant",
    "issue",
    "revoke",
    "probe",
    "export_secret",
    "join",
    "rotate",
    "renew",
    "restore",
    "rollback",
    "login_failed",
]
START: Final = "0" * 64
"""The hash before the first entry."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit trail. It names attributes and never has a value of one."""

    id: Annotated[str, Meta(description="unique identifier")]
    number: Annotated[int | None, Meta(description="place in the chain; null until the entry is sealed")] = None
    at: Annotated[float, Meta(description="time, seconds since 1970")]
    action: Annotated[AuditAction, Meta(description="what was done")]
    resource: Annotated[str, Meta(description="resource that it was done to")]
    object_id: Annotated[str, Meta(description="id of the object")]
    project_id: Annotated[str, Meta(description="project of the object; empty: none")]
    user_id: Annotated[str, Meta(description="who did it")]
    user_name: Annotated[str, Meta(description="name of that user; of a failed login: the one that was claimed")]
    user_project_id: Annotated[str, Meta(description="project in which the user acted")]
    request_id: Annotated[str, Meta(description="id of the request; empty: a command on the API's machine")]
    source: Annotated[str, Meta(description="address of the client; only shown to admins")]
    fields: Annotated[tuple[str, ...], Meta(description="names of the attributes that were set")]
    count: Annotated[int, Meta(description="how often, for failed logins")] = 1
    hash: Annotated[str | None, Meta(description="hash over this entry and the one before it")] = None


class Head(msgspec.Struct, frozen=True):
    """The ends of the chain: number and hash of the last entry that retention removed, and of the newest one."""

    base: int = 0
    base_hash: str = START
    number: int = 0
    hash: str = START

    def text(self) -> bytes:
        """The text that the seal covers."""
        return f"{self.base} {self.base_hash} {self.number} {self.hash}".encode()


def chained(entry: AuditEntry, number: int, previous: str) -> AuditEntry:
    """The entry at a place of the chain, behind the entry with the hash `previous`."""
    placed = msgspec.structs.replace(entry, number=number, hash=None)
    digest = hashlib.sha256(previous.encode() + b"\n" + msgspec.json.encode(placed)).hexdigest()
    return msgspec.structs.replace(placed, hash=digest)


def chain_fault(entry: AuditEntry, number: int, previous: str) -> str:
    """The reason why an entry is not the one that was chained at this place; empty if it is."""
    if entry.number != number:
        return f"entry {number} is missing" if (entry.number or 0) > number else f"entry {entry.number} is there twice"
    if chained(entry, number, previous).hash != entry.hash:
        return f"entry {number} ({entry.id}) was changed, or one before it"
    return ""
