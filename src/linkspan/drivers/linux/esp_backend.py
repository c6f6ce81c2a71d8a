"""Detection of the ESP backend: the kernel's ESP, or strongSwan's in user space (kernel-libipsec).

The test adds an ESP state in a temporary namespace. The presence of a module or a configuration option would not show
that ESP works. Kernel ESP is preferred, since it supports everything that user-space ESP does.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from linkspan.core.state.observed import Backend
from linkspan.drivers.linux import netns
from linkspan.drivers.ports import DriverError

_DEADLINE: Final = 10.0
_TUN: Final = Path("/dev/net/tun")
_ENDS: Final = "ip xfrm state add src 192.0.2.1 dst 192.0.2.2"
_AUTH: Final = f"auth hmac(sha256) {1:#066x}"
_ENC: Final = f"enc cbc(aes) {1:#034x}"
_STATE: Final = f"{_ENDS} proto esp spi 0x101 mode tunnel {_AUTH} {_ENC}"
MODES: Final = ("ah", "transport")
"""What a kernel with ESP may lack."""
_MODE_STATES: Final = {
    "ah": f"{_ENDS} proto ah spi 0x101 mode tunnel {_AUTH}",
    "transport": f"{_ENDS} proto esp spi 0x101 mode transport {_AUTH} {_ENC}",
}


def detect() -> Backend:
    """Return the ESP backend of this machine. Takes milliseconds, leaves nothing. Raises DriverError without any."""
    answer = _add(_STATE)
    if answer.returncode == 0:
        return "kernel"
    if _TUN.exists():
        return "user-space"
    message = answer.stderr.decode(errors="replace").strip()
    raise DriverError(f"this machine has no IPsec: the kernel reports '{message}', and there is no {_TUN}")


def has_mode(mode: str) -> bool:
    """Return whether the kernel has a mode of `MODES`. Raises DriverError."""
    return _add(_MODE_STATES[mode]).returncode == 0


def _add(state: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return netns.run_in_throwaway(
            lambda: subprocess.run(state.split(), capture_output=True, timeout=_DEADLINE, check=False)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"the ESP backend of this machine cannot be detected: {error}") from error
