"""Every format, by name."""

from __future__ import annotations

from typing import Final

from linkspan.core.peer_side.formats import ipsec_conf, linkspan, plain, swanctl
from linkspan.core.peer_side.formats.format import PeerFormat

FORMATS: Final[dict[str, PeerFormat]] = {
    each.name: each
    for each in (
        plain.TEXT,
        plain.JSON,
        swanctl.FORMAT,
        ipsec_conf.FORMAT,
        linkspan.FORMAT,
    )
}
DEFAULT: Final = plain.TEXT.name
