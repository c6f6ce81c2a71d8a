"""An HTTP client for the API: one cloud of a clouds.yaml, one request at a time.

It uses the standard library, because importing a larger client takes longer than most commands run. It does not retry
and does not cache. An error of the API becomes one line that keeps the API's own message.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import click
import msgspec

TIMEOUT: Final = 30.0
DEFAULT_CLOUD: Final = "linkspan-demo"


class CliError(click.ClickException):
    """A command failed; the message is one line that names the cause and the remedy."""


class ApiError(CliError):
    """The API refused a request; `status` is the HTTP status code, `type` the error type of OpenStack's clients."""

    def __init__(self, status: int, type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """The URL of an API and the caller's credentials, which are in `headers`."""

    name: str
    url: str
    headers: dict[str, str] = {}
    cacert: str = ""
    verify: bool = True

    def __repr__(self) -> str:
        return f"Cloud({self.name!r}, {self.url!r})"


def clouds_file(state: Path) -> Path:
    """Returns the path of the clouds.yaml: OS_CLIENT_CONFIG_FILE if set, else the one in the state directory."""
    return Path(os.environ.get("OS_CLIENT_CONFIG_FILE") or state / "clouds.yaml")


def load_cloud(name: str | None, file: Path) -> Cloud:
    """Reads one cloud of a clouds.yaml: `name`, else OS_CLOUD, else linkspan-demo. Raises CliError."""
    import yaml

    name = name or os.environ.get("OS_CLOUD") or DEFAULT_CLOUD
    try:
        clouds = yaml.safe_load(file.read_text(encoding="utf-8"))["clouds"]
        known = sorted(clouds)
    except FileNotFoundError:
        raise CliError(
            f"no clouds file {file}: start the service here with 'linkspan run', or name a state directory with "
            "--state or a clouds file with OS_CLIENT_CONFIG_FILE"
        ) from None
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise CliError(f"{file} is not a clouds.yaml: it has no table 'clouds'") from None
    if name not in clouds:
        raise CliError(f"no cloud '{name}' in {file}: it has {', '.join(known)}")
    return parse_cloud(name, clouds[name], file)


def parse_cloud(name: str, entry: Any, file: Path) -> Cloud:
    """Converts an entry of a clouds.yaml. Raises CliError for an auth_type that this client does not implement."""
    entry = entry if isinstance(entry, dict) else {}
    auth = entry.get("auth") or {}
    kind = entry.get("auth_type", "password")
    url = auth.get("endpoint") or entry.get("network_endpoint_override")
    headers = {}
    if kind == "http_basic":
        pair = f"{auth.get('username', '')}:{auth.get('password', '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    elif kind == "admin_token":
        headers["X-Auth-Token"] = str(auth.get("token", ""))
    elif kind != "none":
        raise CliError(
            f"cloud '{name}' in {file} has auth_type '{kind}', which this command does not support: use openstack"
        )
    if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise CliError(f"cloud '{name}' in {file} has no usable auth.endpoint: set it to the API's URL")
    return Cloud(
        name=name,
        url=url.rstrip("/").removesuffix("/v2.0"),
        headers=headers,
        cacert=str(entry.get("cacert") or ""),
        verify=entry.get("verify") is not False,
    )


class Client:
    """Sends requests to one cloud. Paths are relative to the API's root, such as `/v2.0/networks`."""

    def __init__(self, cloud: Cloud, timeout: float = TIMEOUT) -> None:
        self.cloud = cloud
        self._timeout = timeout

    def request(self, method: str, path: str, body: Any = None, query: Any = ()) -> Any:
        """Returns the decoded response, None without a body. Raises ApiError, or CliError if there is no response."""
        target = path + ("?" + urlencode(query, doseq=True) if query else "")
        headers = {"Accept": "application/json", **self.cloud.headers}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = self._connect()
        try:
            connection.request(method, (urlsplit(self.cloud.url).path or "") + target, payload, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CliError(describe_unreachable(self.cloud.url, error)) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise _api_error(response.status, response.reason, content)
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise CliError(f"{self.cloud.url} did not answer with JSON: is it a Linkspan API?") from None

    def lines(self, path: str, query: Any = ()) -> Iterator[str]:
        """Yields the lines of a stream of server-sent events until it ends. Raises ApiError, or CliError if there is no
        response."""
        target = path + ("?" + urlencode(query, doseq=True) if query else "")
        headers = {"Accept": "text/event-stream", **self.cloud.headers}
        connection = self._connect()
        try:
            connection.request("GET", (urlsplit(self.cloud.url).path or "") + target, None, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise _api_error(response.status, response.reason, response.read())
            for line in response:
                yield line.decode(errors="replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise CliError(describe_unreachable(self.cloud.url, error)) from None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.cloud.url)
        host = parts.hostname or ""
        try:
            if parts.scheme == "http":
                return http.client.HTTPConnection(host, parts.port, timeout=self._timeout)
            context = ssl.create_default_context(cafile=self.cloud.cacert or None)
        except (OSError, ssl.SSLError) as error:
            raise CliError(f"cannot read the CA certificates {self.cloud.cacert}: {error}") from None
        except ValueError:
            raise CliError(f"'{self.cloud.url}' is not a usable URL: its port has to be a number") from None
        if not self.cloud.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, parts.port, timeout=self._timeout, context=context)


def describe_unreachable(url: str, error: Exception) -> str:
    """Returns one line for a server that did not answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {url} is not trusted ({error.verify_message}): set cacert in the clouds file"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot reach {url} ({reason.lower()}): start the service with 'linkspan run', or 'linkspan api' alone"


def _api_error(status: int, reason: str, content: bytes) -> ApiError:
    try:
        body = json.loads(content)
        fault = body.get("NeutronError") or body.get("error") or {}
    except (ValueError, AttributeError):
        fault = {}
    if isinstance(fault, str):
        fault = {"message": fault}
    message = " ".join(str(fault.get("message") or f"the API answered {status} {reason}").split())
    if status == 401:
        message = f"{message} (are the user and the password in the clouds file still valid?)"
    return ApiError(status, str(fault.get("type") or fault.get("title") or ""), message)
