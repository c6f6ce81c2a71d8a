"""The users of the database and every way in which they may say who they are: Basic, a static token, or a token of
the small Keystone v3 that answers beside the API.

One password, one place: all ways take turns at comparing passwords. It makes no users; `linkspan user` does.
"""

from __future__ import annotations

from typing import Final

from linkspan.api.auth import Auth, BasicAuth
from linkspan.api.auth_tokens import TokenAuth
from linkspan.api.call import Call, Identity, Reply, ok
from linkspan.api.edge import Route
from linkspan.api.identity import operations
from linkspan.api.identity.asking import Guard
from linkspan.api.identity.asking import routes as both
from linkspan.api.identity.credentials import Credentials
from linkspan.api.identity.people import People
from linkspan.api.identity.tokens import Tokens
from linkspan.api.passwords import Passwords
from linkspan.core import keystone_v3
from linkspan.store.store import Store

LIFETIME: Final = 3600.0
"""Seconds that a token holds; Keystone's default."""
REGION: Final = "RegionOne"


class Embedded:
    """An `Auth` with paths of its own."""

    def __init__(self, store: Store, *, region: str = REGION, lifetime: float = LIFETIME) -> None:
        """`lifetime` of issued tokens in seconds."""
        passwords = Passwords()
        self._basic = BasicAuth(store, passwords)
        self._tokens = TokenAuth(store)
        guard = Guard(self._tokens, self._basic)
        self._parts = (
            Tokens(store, self._tokens, passwords, guard, region=region, lifetime=lifetime),
            People(store, guard),
            Credentials(store, passwords, guard),
        )

    def remembered(self, call: Call) -> Identity | None:
        """The user behind what was right a moment ago. Raises Problem Unauthorized."""
        return self._way(call).remembered(call)

    def identify(self, call: Call) -> Identity:
        """The user behind a token, else behind a name and a password. Raises Problem Unauthorized."""
        return self._way(call).identify(call)

    def _way(self, call: Call) -> Auth:
        return self._basic if call.header(b"x-auth-token") is None else self._tokens

    def routes(self) -> list[Route]:
        """All paths of the identity."""
        found = [route for part in self._parts for route in part.routes()]
        return [
            Route("GET", "/identity", _versions, public=True, keystone=True, operation=operations.VERSIONS),
            *both("GET", "", _version, operations.VERSION),
            *found,
        ]


def _versions(call: Call) -> Reply:
    """The versions there are: one."""
    return ok({"versions": {"values": [keystone_v3.version_body(call.base)]}})


def _version(call: Call) -> Reply:
    """Version 3."""
    return ok({"version": keystone_v3.version_body(call.base)})
