"""The place where an agent's gateways are, in words that differ between any two places.

Cloned machines have the same host name, machine id and files, so the place includes the boot and the network namespace.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/net")


def holder(instance: str, directory: Path) -> str:
    """Return the name of the agent with this instance and directory, the same after a restart of the agent."""
    place = (_BOOT.read_text().strip(), str(_NAMESPACE.stat().st_ino), instance, str(directory))
    return f"{os.uname().nodename}/{hashlib.sha256(' '.join(place).encode()).hexdigest()[:32]}"
