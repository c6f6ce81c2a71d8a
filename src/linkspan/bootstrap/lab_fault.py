"""`linkspan lab fault NAME`: sets a fault up in the laboratory, and shows what each end tells of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from linkspan.admin import preflight
from linkspan.cli import laboratory, render
from linkspan.cli.client import Client, load_cloud
from linkspan.cli.commands import cloud_options, format_option
from linkspan.core.suggestions import nearest
from linkspan.lab.faults.catalogue import FAULTS
from linkspan.lab.faults.declaration import Case, TunnelFault, cases
from linkspan.lab.faults.stage import PREFIX, Stage
from linkspan.lab.faults.watch import POLL, Watch, watch


def command() -> click.Command:
    """Builds the command `lab fault`."""
    state = next(option for option in cloud_options() if option.name == "state")
    parameters = [
        click.Argument(["name"], required=False, metavar="[NAME]"),
        click.Option(["--ike"], type=click.Choice(("v1", "v2")), help="the version of IKE"),
        click.Option(["--initiator"], type=click.Choice(("near", "far")), help="the end that initiates"),
        click.Option(
            ["--peer"],
            type=click.Choice(("ours", "plain")),
            help="the far end: the other gateway of the laboratory, or a plain charon",
        ),
        click.Option(["--once"], is_flag=True, help="leave when each end has named the cause, or its time is over"),
        format_option(),
        state,
    ]
    return click.Command(
        "fault",
        callback=_run,
        params=parameters,
        help="Set up a fault of a tunnel, and show what each end tells of it until Ctrl-C; without NAME: list the "
        "faults. The laboratory's own tunnel is down meanwhile. Exit code 1: an end has not named the cause.",
        short_help="a fault of a tunnel, and what each end tells of it",
    )


def _run(
    name: str | None, ike: str | None, initiator: str | None, peer: str | None, once: bool, format_: str, state: Path
) -> None:
    if name is None:
        _list(format_)
        return
    case = choose(_fault(name), ike, initiator, peer)
    preflight.require_root("linkspan lab fault")
    lab = laboratory.load(state)
    user = Client(load_cloud("linkspan-demo", state / "clouds.yaml"))
    with _terminated_as_interrupted(), Stage(lab, user) as stage:
        right = _show(stage, case, once)
    if not right:
        raise click.exceptions.Exit(1)


def _list(format_: str) -> None:
    rows = [(fault.name, " ".join(fault.versions), " ".join(fault.kinds), fault.title) for fault in FAULTS.values()]
    columns = ("name", "ike", "peer", "fault")
    if format_ == "json":
        render.print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        render.print_table(columns, rows)


def _fault(name: str) -> TunnelFault:
    if name not in FAULTS:
        raise click.UsageError(f"there is no fault '{name}'{nearest(name, FAULTS)}; 'linkspan lab fault' lists them")
    return FAULTS[name]


def choose(fault: TunnelFault, ike: str | None, initiator: str | None, peer: str | None) -> Case:
    """Returns the first arrangement of a fault that has what was asked for. Raises click.UsageError if none has."""
    role = {None: None, "near": "initiator", "far": "responder"}[initiator]
    for case in cases([fault]):
        if ike in (None, case.version) and role in (None, case.role) and peer in (None, case.kind):
            return case
    arrangements = ", ".join(
        f"--ike {case.version} --initiator {'near' if case.role == 'initiator' else 'far'} --peer {case.kind}"
        for case in cases([fault])
    )
    raise click.UsageError(f"the fault '{fault.name}' has these arrangements only: {arrangements}")


def _show(stage: Stage, case: Case, once: bool) -> bool:
    """Sets the case up and shows what the ends tell; returns whether all that can name the cause have done so."""
    initiator = "near" if case.role == "initiator" else "far"
    far = "the right gateway" if case.kind == "ours" else "a plain charon"
    click.echo(f"{case.fault.name}: {case.fault.title}")
    click.echo(f"IKE{case.version}; near is the left gateway, far is {far}; {initiator} initiates")
    watches: list[Watch] = []
    try:
        begun = stage.set_up(case)
        watches = watch(stage, case, begun, case.fault.seconds, _line)
        for end in watches:
            right = case.right(end.end)
            wanted = f" (right: {' or '.join(code or 'nothing' for code in right)})" if right else ""
            click.echo(f"  {end.end:<5}{end.judgement}{wanted}")
        if not once:
            names = " and ".join(f"linkspan diagnose {PREFIX}{end}" for end in case.ends())
            click.echo(f"In another terminal: {names}. Ctrl-C takes the fault away.")
            _wait(stage, watches)
    except KeyboardInterrupt:
        click.echo("")
    finally:
        stage.clear()
    return bool(watches) and all(end.is_settled for end in watches)


def _wait(stage: Stage, watches: list[Watch]) -> None:
    while True:
        for end in watches:
            if end.look():
                _line(end)
        stage.tick()
        time.sleep(POLL)


def _line(end: Watch) -> None:
    told = end.told
    click.echo(f"  {end.end:<5}{end.seconds:5.1f} s  {told.status}  {told.code}  {told.sentence}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that the fault is taken away."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Any = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
