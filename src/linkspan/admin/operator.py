"""Whoever runs a command on the API's machine, for the audit trail."""

from __future__ import annotations

import os
import pwd

from linkspan.store.audit import Actor


def operator() -> Actor:
    """Returns whoever runs a command of this machine, under the name of its user here."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return Actor(f"uid:{uid}", name)
