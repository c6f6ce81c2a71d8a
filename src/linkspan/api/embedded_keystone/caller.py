"""The callers of the embedded Keystone. Unlike in the rest of the API, a token without a project is accepted.

Each handler decides what its caller may read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from linkspan.api.authentication.tokens import TokenAuth
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.messages import Handler, Request, Response
from linkspan.api.http.operation import Operation
from linkspan.api.http.route import Route
from linkspan.core.errors import ApiError, unauthorized
from linkspan.core.keystone_v3 import ADMIN, Token
from linkspan.store.audit import Actor
from linkspan.store.identity import enablement
from linkspan.store.transaction import Transaction

PREFIXES: Final = ("/identity/v3", "/v3")


class KeystoneCaller(msgspec.Struct, frozen=True):
    """An authenticated user. `project_id` is None for an unscoped token, `token` is None after Basic authentication."""

    user_id: str
    project_id: str | None
    roles: frozenset[str]
    token: Token | None

    @property
    def is_admin(self) -> bool:
        """True if the caller may read all users' objects. Policy files do not apply: they are the network API's."""
        return ADMIN in self.roles

    def require(self, user_id: str) -> None:
        """Raises ApiError PolicyNotAuthorized unless the caller is this user or an admin."""
        if self.user_id != user_id and not self.is_admin:
            raise forbidden()

    def require_admin(self) -> None:
        """Raises ApiError PolicyNotAuthorized unless the caller is an admin."""
        if not self.is_admin:
            raise forbidden("It needs the role admin.")

    def require_free(self) -> None:
        """Raises ApiError PolicyNotAuthorized unless the caller has a token, of an application credential only if that
        is unrestricted. A cached password that was just changed, or the credential of a program, must not make a login
        that outlives it."""
        if self.token is None:
            raise forbidden("It needs a token, which POST /v3/auth/tokens issues for a password.")
        if self.token.credential is not None and not self.token.credential.unrestricted:
            raise forbidden("The application credential is restricted.")

    def actor(self, request: Request) -> Actor:
        """The caller as the audit trail names it."""
        name = self.token.user_name if self.token else ""
        return Actor(self.user_id, name, self.project_id or "", request.request_id, request.source)


def forbidden(why: str = "") -> ApiError:
    """The 403."""
    return ApiError("PolicyNotAuthorized", f"You are not authorized to perform the requested action. {why}".rstrip())


def require_an_admin(tx: Transaction) -> None:
    """Raises ApiError HTTPConflict if a transaction has left no admin who can log in."""
    if not enablement.has_admin(tx):
        message = "No admin could log in after that: grant the role admin to another user with a password first."
        raise ApiError("HTTPConflict", message)


def not_found(what: str, id: str) -> ApiError:
    """The 404."""
    return ApiError("HTTPNotFound", f"Could not find {what}: {id}.")


class Authentication:
    """Makes handlers out of functions that take a caller."""

    def __init__(self, tokens: TokenAuth, others: Authenticator) -> None:
        """`others` authenticates requests without a token."""
        self._tokens = tokens
        self._others = others

    def known(self, answer: Callable[[Request, KeystoneCaller], Response], *, fresh: bool = False) -> Handler:
        """Returns a handler for authenticated callers. `fresh`: the token is looked up without the cache."""
        return lambda request: answer(request, self._caller(request, fresh))

    def admin(self, answer: Callable[[Request, KeystoneCaller], Response]) -> Handler:
        """Returns a handler for admins who change something, with a token that is looked up without the cache."""

        def checked(request: Request, caller: KeystoneCaller) -> Response:
            caller.require_admin()
            caller.require_free()
            return answer(request, caller)

        return self.known(checked, fresh=True)

    def _caller(self, request: Request, fresh: bool) -> KeystoneCaller:
        text = request.header(b"x-auth-token")
        if text is None:
            caller = self._others.identify(request)
            return KeystoneCaller(caller.user_id, caller.project_id, caller.roles, None)
        token = self._tokens.find(text, fresh=fresh)
        if token is None:
            raise unauthorized()
        return KeystoneCaller(token.user_id, token.project_id, token.roles, token)


def routes(method: str, path: str, handler: Handler, operation: Operation) -> list[Route]:
    """Returns the routes of a path below both prefixes. Public to the dispatcher: the handler authenticates."""
    first, second = (Route(method, prefix + path, handler, public=True, keystone=True) for prefix in PREFIXES)
    # The OpenAPI document has one of them, so that no operation is in it twice.
    return [msgspec.structs.replace(first, operation=operation), second]
