"""Exports that are pasted back: what is written for the peer fits the connection, and a changed export does not."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.peer_side.differences import fits
from linkspan.core.peer_side.export import peer_config
from linkspan.core.peer_side.formats.registry import FORMATS
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection
from tests.core.peer_side.fitting import CONNECTIONS
from tests.core.peer_side.test_comparison import compared
from tests.core.peer_side.test_formats import with_suite
from tests.harness.exports import combinations

READ = ("swanctl", "libreswan", "vyos", "cisco-ios-xe")
"""The formats that are written and read."""
KEY = "aPlainKey0123456789"
"""A key that every device takes."""


def exported(ours: Connection, form: str) -> str:
    """The files for the peer; empty if its device cannot do with the connection."""
    return "\n".join(file.text for file in peer_config(ours, FORMATS[form], secret=True, judge_key=True).files)


def plain(ours: Connection) -> Connection:
    return msgspec.structs.replace(ours, psk=Secret(KEY)) if ours.auth_mode == "psk" else ours


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("name", CONNECTIONS)
def test_what_is_exported_fits_when_it_is_pasted_back(name: str, form: str) -> None:
    for ours in (CONNECTIONS[name], plain(CONNECTIONS[name])):
        text = exported(ours, form)
        assert text or form in ("vyos", "cisco-ios-xe")
        assert not text or compared(ours, text) == ()


@pytest.mark.parametrize("form", READ)
def test_so_does_every_suite_of_the_device(form: str) -> None:
    found = combinations(FORMATS[form].device)
    assert len(found) > 10
    for combination in found:
        version, _, mode = combination.mode.partition(" ")
        ours = with_suite(plain(CONNECTIONS["v2"]), combination.ike, combination.esp, version)
        if mode:
            ours = msgspec.structs.replace(ours, ike=msgspec.structs.replace(ours.ike, phase1_negotiation_mode=mode))
        text = exported(ours, form)
        assert text
        assert compared(ours, text) == (), combination


@pytest.mark.parametrize("form", READ)
def test_an_export_of_another_connection_does_not_fit(form: str) -> None:
    ours = plain(CONNECTIONS["v2"])
    text = exported(ours, form)
    for changes in ({"psk": Secret("anotherKey0123456789")}, {"peer_cidrs": ("10.99.0.0/24",)}):
        assert not fits(compared(msgspec.structs.replace(ours, **changes), text))
