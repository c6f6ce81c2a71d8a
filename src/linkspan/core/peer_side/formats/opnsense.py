"""OPNsense, whose IKE daemon is strongSwan: a file for its folder of configurations that no form has made."""

from __future__ import annotations

from typing import Final

from linkspan.core.peer_side.formats import swanctl
from linkspan.core.peer_side.formats.format import ConfigFile, PeerFormat, text_of
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "OPNsense, /usr/local/etc/swanctl/conf.d/linkspan.conf"


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The file."""
    return (ConfigFile("linkspan.conf", text_of(swanctl.lines(config, TITLE))),)


FORMAT: Final = PeerFormat(
    name="opnsense",
    title=TITLE,
    mark="syntax-checked",
    evidence="it is the file of `swanctl`, which strongSwan on Linux loads",
    device=swanctl.DEVICE,
    write=write,
)
