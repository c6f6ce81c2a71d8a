"""`linkspan diagnose CONNECTION`: why a connection is as it is, layer by layer, and what its node sees now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli import layout, render
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.layout import Part, Screen
from linkspan.cli.resolve import find_id, member_path
from linkspan.core.printable import one_line
from linkspan.core.schema.resources import CONNECTION

SEVERITIES: Final = {"error": "red", "warning": "yellow"}
"""Colours of causes."""
_WHO: Final = {"us": "do here", "peer": "do at the peer"}
_USED: Final = frozenset({"INSTALLED", "REKEYING", "REKEYED"})


def diagnosis_lines(diagnosis: dict[str, Any], on: Screen) -> Iterator[str]:
    """A diagnosis for people: the verdict, the layers, and the SAs."""
    yield from head(diagnosis, diagnosis["status"], on)
    verdict, cause = diagnosis["verdict"], diagnosis.get("cause")
    if cause:
        yield from _cause(cause, on)
    elif verdict:
        yield from _reason(verdict["name"], layout.STYLES[verdict["state"]], verdict["text"], on)
    else:
        yield "  every layer is ok"
    live = diagnosis["live"]
    if live and not live["ike_sas"] and live["retry_in"] >= 0:
        yield f"  next attempt in {layout.duration(live['retry_in'])}, after {live['failures']} that failed"
    yield ""
    yield from layout.parts([Part(layer["state"], layer["name"], layer["text"]) for layer in diagnosis["layers"]], on)
    for sa in (live or {}).get("ike_sas", ()):
        yield from _ike_sa(sa, on)


def _reason(layer: str, style: str, text: str, on: Screen) -> Iterator[str]:
    yield from layout.hanging(f"  {on.paint(layer, style, bold=True)}: ", len(layer) + 4, text, on)


def _cause(cause: dict[str, Any], on: Screen) -> Iterator[str]:
    """A cause: its code, its sentence, the values that differ, what shows it, and what to do on which side."""
    style = SEVERITIES.get(cause["severity"], "")
    yield from _reason(cause["layer"], style, f"{cause['title']} ({cause['code']})", on)
    yield from layout.hanging("  ", 2, cause["sentence"], on)
    lines = [(name, cause[key]) for name, key in (("here", "ours"), ("the peer", "peer")) if cause[key]]
    lines += [("shown by", f"{entry['source']}: {entry['text']}") for entry in cause["evidence"]]
    lines += [(_WHO[fix["who"]], fix["text"]) for fix in cause["fix"]]
    for name, text in lines:
        label = on.paint(f"{name:<14}", "cyan" if name in _WHO.values() else "")
        yield from layout.hanging(f"  {label}  ", 18, text, on)


def head(shown: dict[str, Any], status: str, on: Screen) -> Iterator[str]:
    """The first line: name, status and node of a connection."""
    name = one_line(shown["name"] or shown["connection_id"])
    node = f"  on {one_line(shown['node'])}" if shown["node"] else ""
    yield f"{on.paint(name, '', bold=True)}  {on.paint(status, render.status_colour(status), bold=True)}{node}"


def _ike_sa(sa: dict[str, Any], on: Screen) -> Iterator[str]:
    local, remote = (f"{sa[f'{end}_address']}:{sa[f'{end}_port']}" for end in ("local", "remote"))
    translated = [name for name, key in (("us", "local_nat"), ("the peer", "remote_nat")) if sa[key]]
    facts = [f"{sa['state'].lower()} for {layout.duration(sa['age'])}" if sa["age"] >= 0 else sa["state"].lower()]
    facts += [f"rekey in {layout.duration(sa['rekey_in'])}"] if sa["rekey_in"] >= 0 else []
    facts += [f"NAT before {' and '.join(translated)}, or feigned"] if translated else []
    yield ""
    yield from layout.hanging("  IKE SA    ", 12, f"{local} === {remote}: {', '.join(facts)}", on)
    for child in sa["children"]:
        yield from _child(child, on)


def _child(child: dict[str, Any], on: Screen) -> Iterator[str]:
    selectors = f"{' '.join(child['local_selectors'])} === {' '.join(child['remote_selectors'])}"
    if child["state"] not in _USED:
        yield from layout.hanging("  child SA  ", 12, f"{selectors}: {child['state'].lower()}", on)
        return
    facts = [f"SPI {child['spi_in']} in, {child['spi_out']} out"]
    facts += [f"rekey in {layout.duration(child['rekey_in'])}"] if child["rekey_in"] >= 0 else []
    facts += [f"expires in {layout.duration(child['expires_in'])}"] if child["expires_in"] >= 0 else []
    yield from layout.hanging("  child SA  ", 12, f"{selectors}: {', '.join(facts)}", on)
    traffic = (
        f"{way}: {layout.amount(child[f'bytes_{way}'])} in {child[f'packets_{way}']} packets"
        + (f", the last {layout.duration(child[f'idle_{way}'])} ago" if child[f"idle_{way}"] >= 0 else "")
        for way in ("in", "out")
    )
    yield from layout.hanging(" " * 12, 12, "; ".join(traffic), on)


def command() -> click.Command:
    """Builds the command `diagnose`."""

    def run(cloud: str | None, state: Path, wanted: str, format_: str) -> None:
        client = create_client(cloud, state)
        path = f"{member_path(CONNECTION, find_id(client, CONNECTION, wanted))}/diagnosis"
        diagnosis: dict[str, Any] = client.request("GET", path)["diagnosis"]
        if format_ == "json":
            render.print_json(diagnosis)
        else:
            click.echo("\n".join(diagnosis_lines(diagnosis, layout.screen())))

    parameters = [click.Argument(["wanted"], metavar="CONNECTION"), format_option(), *cloud_options()]
    return click.Command(
        "diagnose",
        callback=run,
        params=parameters,
        help="Show why a connection is as it is: the state of each layer, and what its node sees at this moment.",
        short_help="why a connection is as it is, layer by layer",
    )
