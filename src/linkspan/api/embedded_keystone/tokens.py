"""Tokens of the embedded Keystone: issued for a password, another token or an application credential; shown, revoked.

Whatever is wrong with an authentication, the answer is the same 401. A token is sent once, in its header; the database
has its SHA-256.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from linkspan.api.authentication.passwords import Passwords
from linkspan.api.authentication.tokens import TokenAuth, effective
from linkspan.api.embedded_keystone import operations
from linkspan.api.embedded_keystone.caller import Authentication, KeystoneCaller, forbidden, routes
from linkspan.api.http import body
from linkspan.api.http.messages import JSON, Header, Request, Response, encode, no_content, ok
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.core.errors import ApiError, unauthorized
from linkspan.core.keystone_v3 import Token, TokenRequest
from linkspan.core.secret import hash_token
from linkspan.store.identity import credentials, users
from linkspan.store.identity import tokens as stored_tokens
from linkspan.store.identity.credentials import CredentialRow
from linkspan.store.identity.users import UserRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

SWEEP_EVERY: Final = 60.0
"""Seconds between two removals of expired tokens."""


class _Proof(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated user. `credential_id`, `project_id` and `ends` limit the tokens that are issued for it."""

    user: UserRow
    methods: tuple[str, ...]
    credential_id: str | None = None
    project_id: str | None = None
    ends: float | None = None


class Tokens:
    """Handlers of /v3/auth/tokens and /v3/auth/catalog."""

    def __init__(
        self,
        store: Store,
        tokens: TokenAuth,
        passwords: Passwords,
        guard: Authentication,
        *,
        region: str,
        lifetime: float,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._passwords = passwords
        self._guard = guard
        self._region = region
        self._lifetime = lifetime
        self._swept = 0.0
        self._sweeping = threading.Lock()

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            *routes("POST", "/auth/tokens", self.issue, operations.ISSUE_TOKEN),
            *routes("GET", "/auth/tokens", self._guard.known(self.show), operations.SHOW_TOKEN),
            *routes("DELETE", "/auth/tokens", self._guard.known(self.revoke), operations.REVOKE_TOKEN),
            *routes("GET", "/auth/catalog", self._guard.known(self.catalog), operations.SHOW_CATALOG),
        ]

    def issue(self, request: Request) -> Response:
        """A new token."""
        token_request = keystone_v3.parse_token_request(body.json_object(request.body))
        proof = self._prove(token_request, request.left)
        text = secrets.token_urlsafe(32).encode()
        token_hash = hash_token(text)
        with self._store.write() as tx:
            self._sweep(tx)
            user = users.user(tx, proof.user["id"])
            if user is None or user["password_hash"] != proof.user["password_hash"]:
                raise unauthorized()
            project_id = _scope(tx, token_request, proof, user)
            ends = tx.wall + self._lifetime
            stored_tokens.add_token(
                tx,
                token_hash,
                user["id"],
                project_id,
                expires_at=ends if proof.ends is None else min(ends, proof.ends),
                methods=proof.methods,
                credential_id=proof.credential_id,
            )
            row = stored_tokens.find_token(tx, token_hash)
            token = None if row is None else effective(row)
            if token is None:
                raise unauthorized()
        return self._response(request, token, text, 201)

    def _prove(self, request: TokenRequest, left: Callable[[], bool]) -> _Proof:
        match request.method:
            case "password":
                return self._by_password(request, left)
            case "token":
                return self._by_token(request)
            case "application_credential":
                return self._by_credential(request, left)

    def _by_password(self, request: TokenRequest, left: Callable[[], bool]) -> _Proof:
        with self._store.read() as tx:
            user = _user(tx, request.user)
        password_hash = None if user is None else user["password_hash"]
        if not self._passwords.check(password_hash, request.secret.reveal(), left) or user is None:
            raise unauthorized()
        return _Proof(user=user, methods=("password",))

    def _by_token(self, request: TokenRequest) -> _Proof:
        token = self._tokens.find(request.secret.reveal().encode(), fresh=True)
        if token is None:
            raise unauthorized()
        with self._store.read() as tx:
            user = users.user(tx, token.user_id)
        if user is None:
            raise unauthorized()
        return _Proof(
            user=user,
            methods=("token", *(method for method in token.methods if method != "token")),
            credential_id=None if token.credential is None else token.credential.id,
            # A static token and a token of an application credential stay in their project.
            project_id=token.project_id if token.credential or not token.methods else None,
            ends=token.expires_at,
        )

    def _by_credential(self, request: TokenRequest, left: Callable[[], bool]) -> _Proof:
        with self._store.read() as tx:
            credential = _credential(tx, request)
            user = credential and users.user(tx, credential["user_id"])
            now = tx.wall
        secret_hash = None if credential is None else credential["secret_hash"]
        good = self._passwords.check(secret_hash, request.secret.reveal(), left)
        if not good or credential is None or user is None:
            raise unauthorized()
        ends = credential["expires_at"]
        if ends is not None and ends <= now:
            raise unauthorized()
        return _Proof(
            user=user,
            methods=("application_credential",),
            credential_id=credential["id"],
            project_id=credential["project_id"],
            ends=ends,
        )

    def show(self, request: Request, caller: KeystoneCaller) -> Response:
        """Shows a token, to its user and to admins."""
        text, token = self._subject(request, caller)
        return self._response(request, token, text, 200)

    def revoke(self, request: Request, caller: KeystoneCaller) -> Response:
        """Revokes a token, for its user and for admins."""
        text, _ = self._subject(request, caller)
        self._tokens.revoke(text)
        return no_content()

    def catalog(self, request: Request, caller: KeystoneCaller) -> Response:
        """The services there are, for a project."""
        if caller.project_id is None:
            raise forbidden()
        path = f"{request.base}/identity/v3/auth/catalog"
        return ok({"catalog": keystone_v3.catalog(request.base, self._region), "links": {"self": path}})

    def _subject(self, request: Request, caller: KeystoneCaller) -> tuple[bytes, Token]:
        text = request.header(b"x-subject-token")
        if text is None:
            raise ApiError("BadRequest", "The header X-Subject-Token has to name the token.")
        token = self._tokens.find(text)
        if token is None:
            raise ApiError("HTTPNotFound", "Could not find that token.")
        caller.require(token.user_id)
        return text, token

    def _response(self, request: Request, token: Token, text: bytes, status: int) -> Response:
        with_catalog = all(name != "nocatalog" for name, _ in request.parameters())
        catalog = keystone_v3.catalog(request.base, self._region) if with_catalog else None
        headers: tuple[Header, ...] = (JSON, (b"x-subject-token", text), (b"vary", b"X-Auth-Token"))
        return Response(status, encode(keystone_v3.token_body(token, catalog)), headers)

    def _sweep(self, tx: Transaction) -> None:
        with self._sweeping:
            now = time.monotonic()
            due = now - self._swept >= SWEEP_EVERY
            if due:
                self._swept = now
        if due:
            stored_tokens.remove_expired(tx)


def _user(tx: Transaction, user: keystone_v3.User) -> UserRow | None:
    if user.id:
        return users.user(tx, user.id)
    return users.user_by_name(tx, user.name) if user.name else None


def _credential(tx: Transaction, request: TokenRequest) -> CredentialRow | None:
    if request.credential_id:
        return credentials.credential(tx, request.credential_id)
    user = _user(tx, request.user)
    rows = [] if user is None else credentials.credentials_of(tx, user["id"])
    return next((row for row in rows if row["name"] == request.credential_name), None)


def _scope(tx: Transaction, request: TokenRequest, proof: _Proof, user: UserRow) -> str | None:
    """The project of the new token. Raises ApiError Unauthorized where the user has no role."""
    scope = request.scope
    if scope.project_name:
        project = users.project(tx, name=scope.project_name)
        if project is None:
            raise unauthorized()
        project_id: str | None = project["id"]
    else:
        project_id = scope.project_id or None
    if proof.project_id is not None:
        if scope.unscoped or project_id not in (None, proof.project_id):
            raise unauthorized()
        return proof.project_id
    if project_id is None:
        # No scope means the default project, if it is enabled and the user has a role there.
        if scope.unscoped or not user["project_enabled"] or not user["grants"].get(user["project_id"] or ""):
            return None
        return user["project_id"]
    if not user["grants"].get(project_id):
        raise unauthorized()
    return project_id
