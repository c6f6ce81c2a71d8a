"""The installed strongSwan, where tests have to know what it has before a charon runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest


def has_ikev1() -> bool:
    """True unless its libcharon was built without IKEv1, as Debian's 6.1: then it has no words about main mode."""
    library = Path("/usr/lib/ipsec/libcharon.so.0")
    return not library.exists() or b"Main Mode" in library.read_bytes()


IKE_VERSIONS: Final = ("2", "1") if has_ikev1() else ("2",)
needs_ikev1 = pytest.mark.skipif("1" not in IKE_VERSIONS, reason="the installed strongSwan has no IKEv1")
