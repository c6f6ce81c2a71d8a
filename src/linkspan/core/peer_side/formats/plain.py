"""The values in plain words, and the neutral configuration as JSON: for people, and for programs."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from linkspan.core import printable
from linkspan.core.peer_side.device import Device
from linkspan.core.peer_side.formats.format import ConfigFile, PeerFormat, head, text_of
from linkspan.core.peer_side.site_config import SiteConfig
from linkspan.core.peer_side.values import values
from linkspan.core.secret import Secret

_EVERYTHING: Final = Device(protocols=frozenset({"esp", "ah", "ah-esp"}), transport=True, certificates=True)


def write_text(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """One value a line. What does not show as itself is named: `<U+000A>`."""
    rows = [(value.label, printable.harmless(value.value)) for value in values(config)]
    width = max(len(label) for label, _ in rows) + 2
    lines = [*head("Values to enter", "#"), "", *(f"{label:<{width}}{value}" for label, value in rows)]
    return (ConfigFile("peer.txt", text_of(lines)),)


def write_json(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The neutral configuration: algorithms and identities have the API's names, what is not stated is left out."""
    found: dict[str, Any] = msgspec.to_builtins(config, enc_hook=_reveal)
    stated = {name: value for name, value in found.items() if value not in (None, "", [], {}) and name != "lines"}
    text = msgspec.json.format(msgspec.json.encode(stated), indent=2).decode()
    return (ConfigFile("peer.json", printable.harmless_json(text) + "\n"),)


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


TEXT: Final = PeerFormat(
    name="text",
    title="Values in plain words",
    mark="tested",
    evidence="the same values as in `json`, in words",
    device=_EVERYTHING,
    write=write_text,
)
JSON: Final = PeerFormat(
    name="json",
    title="Values as JSON",
    mark="tested",
    evidence="a plain strongSwan that is configured with these values alone brings the tunnel up",
    device=_EVERYTHING,
    write=write_json,
)
