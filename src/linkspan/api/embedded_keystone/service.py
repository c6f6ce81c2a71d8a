"""The embedded Keystone v3, and authentication of the database's users by Basic, a static token or an issued token.

All methods share one limit of concurrent password verifications. The first users are created by `linkspan user`.
"""

from __future__ import annotations

from linkspan.api.authentication.basic import BasicAuth
from linkspan.api.authentication.passwords import Passwords
from linkspan.api.authentication.tokens import TokenAuth
from linkspan.api.embedded_keystone import operations
from linkspan.api.embedded_keystone.assignments import Assignments
from linkspan.api.embedded_keystone.caller import Authentication
from linkspan.api.embedded_keystone.caller import routes as both
from linkspan.api.embedded_keystone.changes import Changes
from linkspan.api.embedded_keystone.credentials import Credentials
from linkspan.api.embedded_keystone.tokens import Tokens
from linkspan.api.embedded_keystone.users import Users
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.store.store import Store


class EmbeddedKeystone:
    """An `Authenticator` with routes of its own."""

    def __init__(
        self, store: Store, *, region: str = keystone_v3.REGION, lifetime: float = keystone_v3.TOKEN_LIFETIME
    ) -> None:
        """`lifetime` of issued tokens in seconds."""
        passwords = Passwords()
        self._basic = BasicAuth(store, passwords)
        self._tokens = TokenAuth(store)
        guard = Authentication(self._tokens, self._basic)
        self._parts = (
            Tokens(store, self._tokens, passwords, guard, region=region, lifetime=lifetime),
            Users(store, guard),
            Changes(store, passwords, guard),
            Assignments(store, guard),
            Credentials(store, passwords, guard),
        )

    def cached(self, request: Request) -> Caller | None:
        """Returns the caller of a cached credential. Raises ApiError Unauthorized."""
        return self._backend(request).cached(request)

    def identify(self, request: Request) -> Caller:
        """Returns the caller of a token, else of a name and a password. Raises ApiError Unauthorized."""
        return self._backend(request).identify(request)

    def _backend(self, request: Request) -> Authenticator:
        return self._basic if request.header(b"x-auth-token") is None else self._tokens

    def routes(self) -> list[Route]:
        """All paths of the embedded Keystone."""
        routes = [route for part in self._parts for route in part.routes()]
        return [
            Route("GET", "/identity", _versions, public=True, keystone=True, operation=operations.VERSIONS),
            *both("GET", "", _version, operations.VERSION),
            *routes,
        ]


def _versions(request: Request) -> Response:
    """Returns the one version."""
    return ok({"versions": {"values": [keystone_v3.version_body(request.base)]}})


def _version(request: Request) -> Response:
    """Version 3."""
    return ok({"version": keystone_v3.version_body(request.base)})
