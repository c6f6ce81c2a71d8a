"""`linkspan doctor`: examines this machine, and says of each subject how it is and what to do. Changes nothing.

`core.checks.machine_health` judges what is collected here.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec

from linkspan.admin import file_checks, preflight
from linkspan.bootstrap import wiring
from linkspan.core.checks import machine_health
from linkspan.core.checks.machine_health import Finding, MachineFacts
from linkspan.settings import Settings

if TYPE_CHECKING:
    import httpx

INSTANCE: Final = "d0c700"
"""The instance of the namespace in which charon is started for a moment."""
PACKAGE: Final = "charon-systemd"
DEADLINE: Final = 5.0
_UNSYNCHRONISED: Final = 0x40
_MARKS: Final = {"ok": "ok", "warning": "look", "error": "FAULT"}


class _Timex(ctypes.Structure):
    """The beginning of struct timex, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def examine(settings: Settings) -> list[Finding]:
    """Returns the findings about this machine."""
    is_root = os.geteuid() == 0
    missing = preflight.missing_tools(tuple(preflight.TOOLS))
    facts = MachineFacts(
        is_root=is_root,
        missing=tuple(dict.fromkeys(preflight.TOOLS[name] for name in missing)),
        strongswan=_package_version(),
        synchronised=_synchronised(),
        exposed=tuple(_refusals(settings)),
    )
    if is_root and not missing:
        facts = _with_gateways(facts)
    return list(machine_health.findings(_with_api(facts, settings), _is_older))


def run(settings: Settings) -> int:
    """Prints the findings; returns the exit code: 1 if something is at fault."""
    findings = examine(settings)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        click.echo(f"{_MARKS[finding.level]:5}  {finding.subject:{width}}  {finding.text}{remedy}")
    return int(any(finding.level == "error" for finding in findings))


def _with_gateways(facts: MachineFacts) -> MachineFacts:
    import tempfile
    from pathlib import Path

    from linkspan.core.ipsec import capabilities
    from linkspan.core.state import machine_limits
    from linkspan.drivers.linux.machine_limits import KernelMachineLimits
    from linkspan.drivers.local import LocalDrivers
    from linkspan.drivers.ports import DriverError

    limits = KernelMachineLimits().refusals(machine_limits.needs(1, 1))
    try:
        with tempfile.TemporaryDirectory(prefix="linkspan-doctor-") as folder:
            drivers = LocalDrivers(INSTANCE, "doctor", Path(folder))
    except DriverError as error:
        return msgspec.structs.replace(facts, backend_error=str(error), limits=limits)
    return msgspec.structs.replace(
        facts,
        backend={"kernel": "ESP in the kernel", "user-space": "ESP in user space"}[drivers.backend],
        lacks=capabilities.lacks(drivers.capabilities),
        isolation=drivers.capabilities.isolation,
        limits=limits,
    )


def _with_api(facts: MachineFacts, settings: Settings) -> MachineFacts:
    """With whether the API answers, and how its clock differs (RFC 9110, Date)."""
    import httpx

    from linkspan.agent.node_identity import IdentityError

    before = time.time()
    try:
        date = _answer(settings).headers.get("Date")
    except IdentityError as error:
        return msgspec.structs.replace(facts, api_error=str(error))
    except (httpx.HTTPError, OSError) as error:
        reason = f"{settings.api_url}: {error}; start it with 'linkspan api', or set agent.api"
        return msgspec.structs.replace(facts, api_error=reason)
    offset = parsedate_to_datetime(date).timestamp() - (before + time.time()) / 2 if date else None
    return msgspec.structs.replace(facts, offset=offset)


def _answer(settings: Settings) -> httpx.Response:
    """Asks the API; as the node, if this is one that has joined. Raises httpx.HTTPError, OSError, IdentityError."""
    import httpx

    from linkspan.agent.node_identity import IdentityError, IdentityFile
    from linkspan.core.node_join import SERVER_NAME
    from linkspan.core.state.observed import AGENT_PATH

    if not settings.identity_file.exists():
        verify: bool | str = str(settings.agent.ca_file) if settings.agent.ca_file else True
        return httpx.get(settings.api_url, timeout=DEADLINE, verify=verify, trust_env=False)
    file = IdentityFile(settings.identity_file)
    identity = file.read()
    if fault := identity.fault(time.time()):
        raise IdentityError(fault)
    with httpx.Client(verify=file.context(identity), timeout=DEADLINE, trust_env=False) as client:
        try:
            return client.get(f"{identity.url}{AGENT_PATH}/authorities", extensions={"sni_hostname": SERVER_NAME})
        except httpx.HTTPError as error:
            raise IdentityError(f"{identity.url}, where the node has joined: {error}") from None


def _refusals(settings: Settings) -> list[str]:
    checks: list[Callable[[], None]] = [
        lambda: file_checks.check_state(settings.state),
        lambda: file_checks.check_secret(settings.token_file, "token file"),
        lambda: file_checks.check_secret(settings.identity_file, "key and certificate of the node"),
        *wiring.checks_of_files(settings),
        lambda: wiring.check_key_file(settings),
        lambda: wiring.check_authentication(settings),
    ]
    refusals = []
    for check in checks:
        try:
            check()
        except click.ClickException as error:
            refusals.append(error.message)
    return refusals


def _package_version() -> str:
    try:
        command = ["dpkg-query", "-Wf", "${db:Status-Status} ${Version}", PACKAGE]
        state, _, version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition(" ")
    except (OSError, subprocess.SubprocessError):
        return ""
    return version if state == "installed" else ""


def _is_older(version: str, other: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", version, "lt", other], check=False).returncode == 0


def _synchronised() -> bool | None:
    """Returns whether the kernel says that the clock is synchronised (adjtimex(2), STA_UNSYNC)."""
    timex = _Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _UNSYNCHRONISED
