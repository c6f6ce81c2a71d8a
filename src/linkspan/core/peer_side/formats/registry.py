"""Every format, by name."""

from __future__ import annotations

from typing import Final

from linkspan.core.peer_side.formats import (
    aws,
    azure,
    cisco_asa,
    cisco_ios_xe,
    fortigate,
    gcp,
    ipsec_conf,
    juniper_srx,
    linkspan,
    mikrotik,
    opnsense,
    palo_alto,
    plain,
    swanctl,
    vyos,
)
from linkspan.core.peer_side.formats.format import PeerFormat

FORMATS: Final[dict[str, PeerFormat]] = {
    each.name: each
    for each in (
        plain.TEXT,
        plain.JSON,
        swanctl.FORMAT,
        ipsec_conf.FORMAT,
        linkspan.FORMAT,
        vyos.FORMAT,
        opnsense.FORMAT,
        cisco_ios_xe.FORMAT,
        cisco_asa.FORMAT,
        fortigate.FORMAT,
        juniper_srx.FORMAT,
        mikrotik.FORMAT,
        palo_alto.FORMAT,
        aws.FORMAT,
        azure.FORMAT,
        gcp.FORMAT,
    )
}
"""Those that are tested first, then the devices, then the clouds."""
DEFAULT: Final = plain.TEXT.name
