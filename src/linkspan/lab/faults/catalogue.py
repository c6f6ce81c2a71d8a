"""Every fault of the laboratory, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from linkspan.lab.faults.authentication import AUTHENTICATION
from linkspan.lab.faults.certificates import CERTIFICATES
from linkspan.lab.faults.declaration import TunnelFault
from linkspan.lab.faults.negotiation import CHILD, IKE, INTENT
from linkspan.lab.faults.paths import DATA, LIFE, NODES, PATHS

FAULTS: Final[Mapping[str, TunnelFault]] = {
    fault.name: fault for fault in (*INTENT, *IKE, *AUTHENTICATION, *CERTIFICATES, *CHILD, *DATA, *LIFE, *PATHS, *NODES)
}
