"""A client of an external Keystone that validates tokens, with keystoneauth1, as a service user.

keystoneauth1 is an extra and slow to import, so it is imported when a `Keystone` is made. Only the
service user's token is cached. Tokens and the password are in no log: keystoneauth1's logging is off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from linkspan.core.secret import Secret

DEFAULT_DOMAIN: Final = "Default"
TIMEOUT: Final = 5.0
"""Seconds that Keystone has to answer."""


class KeystoneUnreachable(Exception):
    """Keystone is unreachable or refuses the service user. The text gives the reason, in one line."""


class OddAnswer(Exception):
    """Keystone's answer about one token cannot be used. The text gives the reason, in one line."""


class KeystoneauthMissing(Exception):
    """keystoneauth1 is not installed; the text says how to get it."""


class Keystone:
    """A client of one Keystone. Thread-safe. It connects when the first token is validated."""

    def __init__(
        self,
        auth_url: str,
        username: str,
        password: Secret,
        project: str,
        *,
        user_domain: str = DEFAULT_DOMAIN,
        project_domain: str = DEFAULT_DOMAIN,
        ca_file: Path | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """`auth_url` with or without /v3. Raises KeystoneauthMissing."""
        try:
            from keystoneauth1 import exceptions, session
            from keystoneauth1.identity import v3
        except ImportError:
            raise KeystoneauthMissing("auth 'keystone' needs keystoneauth1: install linkspan[keystone]") from None
        self._exceptions = exceptions
        # What concerns every token: no connection, or a Keystone that is overloaded.
        self._away = (
            exceptions.ConnectionError,
            exceptions.BadGateway,
            exceptions.ServiceUnavailable,
            exceptions.GatewayTimeout,
        )
        self._url = f"{auth_url.rstrip('/').removesuffix('/v3')}/v3"
        auth = v3.Password(
            auth_url=self._url,
            username=username,
            password=password.reveal(),
            user_domain_name=user_domain,
            project_name=project,
            project_domain_name=project_domain,
            include_catalog=False,
        )
        self._session = session.Session(auth=auth, verify=str(ca_file) if ca_file else True, timeout=timeout)

    def validate(self, token: str) -> Any:
        """Returns Keystone's description of a token, None if it is not valid. Raises KeystoneUnreachable, OddAnswer."""
        self._login()
        try:
            answer = self._session.get(
                f"{self._url}/auth/tokens?nocatalog", headers={"X-Subject-Token": token}, log=False, redirect=False
            )
            return answer.json()
        except self._exceptions.NotFound:
            return None
        except self._exceptions.Unauthorized:
            raise KeystoneUnreachable("it does not accept our own user: see the settings keystone.*") from None
        except self._exceptions.Forbidden:
            raise KeystoneUnreachable(
                "our own user may not validate tokens there: give it the role service or admin"
            ) from None
        except self._away as error:
            raise KeystoneUnreachable(_line(error)) from None
        except (self._exceptions.ClientException, ValueError) as error:
            raise OddAnswer(_line(error)) from None

    def _login(self) -> None:
        """Gets the service user's token if there is none. Here, unlike in `validate`, a 404 means a wrong URL."""
        try:
            self._session.get_token()
        except self._exceptions.NotFound:
            raise KeystoneUnreachable(f"there is no Keystone v3 at {self._url}") from None
        except self._exceptions.Unauthorized:
            raise KeystoneUnreachable("it does not accept our own user: see the settings keystone.*") from None
        except (self._exceptions.ClientException, ValueError) as error:
            raise KeystoneUnreachable(_line(error)) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
