"""`/console/session`: logs users of the console in and out, and tells the console what they may do.

The token stays in a cookie (`http.session_cookie`), so that no script has it, and a reload of the page needs no new
login. Nothing is kept here: the session is the token, and ends with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan import __version__
from linkspan.api.console.identity import PROJECTS, TOKENS, IdentityService
from linkspan.api.http import body, session_cookie
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Header, Request, Response, no_content, ok
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.core.authorization.default_rules import RULES
from linkspan.core.authorization.policy import Policy, is_admin
from linkspan.core.errors import ApiError, unauthorized

PATH: Final = "/console/session"
_DEFAULT_DOMAIN: Final = "Default"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a user enters."""

    name: str
    password: str
    domain: str = ""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """The project that a user chooses."""

    project_id: str


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and Keystone's description of it."""

    text: bytes
    body: Mapping[str, Any]


class Sessions:
    """Handlers of `/console/session`."""

    def __init__(
        self, authenticator: Authenticator, identity: IdentityService | None, policy: Policy, *, external: bool
    ) -> None:
        """`identity`: None where everybody is an admin; `external`: users have domains, and are not managed here."""
        self._authenticator = authenticator
        self._identity = identity
        self._policy = policy
        self._external = external

    def routes(self) -> list[Route]:
        """The path; passwords are verified, so its requests have the threads of logins."""
        handlers = {"GET": self.show, "POST": self.log_in, "PUT": self.choose_project, "DELETE": self.log_out}
        return [
            Route(method, PATH, handler, public=True, keystone=True, largest_body=16_384, bodiless=method == "DELETE")
            for method, handler in handlers.items()
        ]

    def show(self, request: Request) -> Response:
        """The session of the caller; without a valid token one of nobody."""
        if self._identity is None:
            return ok(self._described(self._everybody(request), None, [], None))
        text = request.header(b"x-auth-token")
        if text is None:
            return ok(self._nobody())
        headers = [(b"x-auth-token", text), (b"x-subject-token", text)]
        try:
            answer = self._identity.send(_derived(request, "GET", TOKENS, headers))
            if answer.status == 200:
                return ok(self._session(request, _Token(text=text, body=_token_in(answer))))
        except ApiError as problem:
            if problem.status not in (401, 404):
                raise
        response = ok(self._nobody())
        response.headers = (*response.headers, _cookie(request, b""))
        return response

    def log_in(self, request: Request) -> Response:
        """A session for a name and a password. A user with one project gets that one."""
        login = _read(request, Login)
        domain = {"name": login.domain or _DEFAULT_DOMAIN}
        user = {"name": login.name, "password": login.password, "domain": domain}
        token = self._issue(request, {"identity": {"methods": ["password"], "password": {"user": user}}})
        if "project" not in token.body:
            projects = self._projects(request, token.text)
            if len(projects) == 1:
                token = self._rescoped(request, token.text, projects[0]["id"])
        return self._begun(request, token)

    def choose_project(self, request: Request) -> Response:
        """The session in another project of its user."""
        text = request.header(b"x-auth-token")
        if text is None:
            raise unauthorized()
        return self._begun(request, self._rescoped(request, text, _read(request, Scope).project_id))

    def log_out(self, request: Request) -> Response:
        """Revokes the token if it still can be, and removes the cookie."""
        text = request.header(b"x-auth-token")
        if self._identity is not None and text is not None:
            headers = [(b"x-auth-token", text), (b"x-subject-token", text)]
            with contextlib.suppress(ApiError):
                self._identity.send(_derived(request, "DELETE", TOKENS, headers))
        response = no_content()
        response.headers = (_cookie(request, b""),)
        return response

    def _begun(self, request: Request, token: _Token) -> Response:
        response = ok(self._session(request, token))
        response.headers = (*response.headers, _cookie(request, token.text))
        return response

    def _issue(self, request: Request, auth: Mapping[str, Any]) -> _Token:
        if self._identity is None:
            raise ApiError("BadRequest", "This API has no users: everybody who reaches it is an admin")
        answer = self._identity.send(_derived(request, "POST", TOKENS, [], {"auth": auth}))
        text = dict(answer.headers).get(b"x-subject-token")
        if answer.status != 201 or text is None:
            raise unauthorized()
        return _Token(text=text, body=_token_in(answer))

    def _rescoped(self, request: Request, text: bytes, project_id: str) -> _Token:
        identity = {"methods": ["token"], "token": {"id": text.decode("latin-1")}}
        return self._issue(request, {"identity": identity, "scope": {"project": {"id": project_id}}})

    def _projects(self, request: Request, text: bytes) -> list[dict[str, str]]:
        assert self._identity is not None
        answer = self._identity.send(_derived(request, "GET", PROJECTS, [(b"x-auth-token", text)]))
        if answer.status != 200:
            return []
        return [{"id": item["id"], "name": item["name"]} for item in msgspec.json.decode(answer.body)["projects"]]

    def _session(self, request: Request, token: _Token) -> dict[str, Any]:
        user, project = token.body["user"], token.body.get("project")
        roles = keystone_v3.implied(role["name"] for role in token.body.get("roles", ()))
        caller = Caller(user["id"], user["name"], project["id"] if project else "", roles, self._policy)
        return self._described(caller, project, self._projects(request, token.text), token.body["expires_at"])

    def _everybody(self, request: Request) -> Caller:
        return msgspec.structs.replace(self._authenticator.identify(request), policy=self._policy)

    def _nobody(self) -> dict[str, Any]:
        return {"version": __version__, "login": "password", "external": self._external, "user": None}

    def _described(
        self,
        caller: Caller,
        project: Mapping[str, Any] | None,
        projects: list[dict[str, str]],
        expires_at: str | None,
    ) -> dict[str, Any]:
        allowed = [rule.name for rule in RULES if rule.requests and self._policy.scope(caller, rule.name) != "nothing"]
        own = {"id": caller.project_id, "name": project["name"] if project else caller.project_id}
        return {
            "version": __version__,
            "login": "none" if self._identity is None else "password",
            "external": self._external,
            "user": {"id": caller.user_id, "name": caller.name},
            "project": own if caller.project_id else None,
            "projects": projects,
            "roles": sorted(caller.roles),
            "is_admin": is_admin(caller),
            "manages_users": not self._external and self._identity is not None and keystone_v3.ADMIN in caller.roles,
            "allowed": allowed if caller.project_id else [],
            "expires_at": expires_at,
        }


def _read(request: Request, type: type[Any]) -> Any:
    try:
        return msgspec.convert(body.json_object(request.body), type)
    except msgspec.ValidationError as error:
        raise ApiError("BadRequest", f"Malformed request body: {error}") from None


def _token_in(answer: Response) -> Mapping[str, Any]:
    token: Mapping[str, Any] = msgspec.json.decode(answer.body)["token"]
    return token


def _derived(request: Request, method: str, path: str, headers: list[Header], value: Any = None) -> Request:
    """A request to Keystone on behalf of the client of another one."""
    return Request(
        method,
        path,
        query="nocatalog" if path == TOKENS else "",
        body=b"" if value is None else msgspec.json.encode(value),
        headers=[*headers, *(item for item in request.headers if item[0] == b"host")],
        scheme=request.scheme,
        server=request.server,
        request_id=request.request_id,
        source=request.source,
        public_url=request.public_url,
        left=request.left,
    )


def _cookie(request: Request, token: bytes) -> Header:
    return session_cookie.cookie(token, secure=request.base.startswith("https:"))
