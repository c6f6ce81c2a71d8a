"""Which ESP this machine can do: the kernel's, or strongSwan's in user space (dataplane: two backends).

The kernel itself is asked, for an ESP state in a namespace without a name that is gone a moment later. The presence
of a module or of a line in its configuration is not asked: it does not say what works. A kernel with ESP always wins,
since it can do everything that user space can.
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
_STATE: Final = (
    "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101 mode tunnel "
    f"auth hmac(sha256) {1:#066x} enc cbc(aes) {1:#034x}"
)


def detect() -> Backend:
    """What this machine can do; takes some milliseconds, leaves nothing. Raises DriverError if it is neither."""
    try:
        answer = netns.run_in_throwaway(
            lambda: subprocess.run(_STATE.split(), capture_output=True, timeout=_DEADLINE, check=False)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"cannot find out what IPsec this machine can do: {error}") from error
    if answer.returncode == 0:
        return "kernel"
    if _TUN.exists():
        return "user-space"
    words = answer.stderr.decode(errors="replace").strip()
    raise DriverError(f"this machine can do no IPsec: the kernel says '{words}', and there is no {_TUN}")
