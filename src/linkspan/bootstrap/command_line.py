"""The command line: its commands, and the conversion of every error to one line.

`wiring` creates the parts, `processes` and `run_all` run them. Imports are inside functions on purpose, so that each
command imports only what it uses and `linkspan --help` next to nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from linkspan.admin import preflight
from linkspan.bootstrap import wiring

if TYPE_CHECKING:
    from linkspan.admin.key_rotation import Administration
    from linkspan.settings import Settings
    from linkspan.store.store import Store

EXPECTED: Final = frozenset(
    {
        "linkspan.settings.SettingsError",
        "linkspan.lab.fabric.LabError",
        "linkspan.agent.api_client.ApiUnreachable",
        "linkspan.drivers.ports.DriverError",
        "linkspan.store.database.engine.DatabaseLocked",
        "linkspan.store.migrate.TooNew",
        "linkspan.store.database.errors.Unavailable",
        "linkspan.store.key_file.KeyFileError",
        "linkspan.store.key_file.KeysUnavailable",
        "linkspan.store.backup_file.BackupError",
        "linkspan.core.errors.ApiError",
    }
)
"""Names of the errors whose text is shown to users unchanged."""

# -- the command line ------------------------------------------------------------------------------------------------


class _LazyGroup(click.Group):
    """A group whose commands are built at their first use."""

    def __init__(self, name: str, help: str, load: Callable[[], click.Group]) -> None:
        super().__init__(name, help=help)
        self._load = load

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._load().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._load().get_command(ctx, cmd_name)


def root() -> click.Group:
    """Builds the command line."""
    import linkspan
    from linkspan.admin import installation, service_commands
    from linkspan.cli import commands, compare, diagnose, peer_config, probe, rollback, status, timeline, traffic

    version = click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, help="Show the version.", callback=_version
    )
    about = f"Linkspan {linkspan.__version__}: site-to-site IPsec VPN as a service."
    group = click.Group("linkspan", help=about, params=[version])
    for command in service_commands.build(_api, _agent, _run, _sweep, _doctor):
        group.add_command(command)
    for command in (
        installation.command(),
        *commands.build(
            timeline.command(), traffic.command(), compare.command(), peer_config.command(), *rollback.commands()
        ),
        status.command(),
        diagnose.command(),
        probe.command(),
    ):
        group.add_command(command)
    group.add_command(_LazyGroup("lab", "The laboratory of 'linkspan run': two sites on this machine.", _lab))
    trail = "The audit trail: who changed what, and failed logins; verify works on this machine."
    group.add_command(_LazyGroup("audit", trail, _audit))
    authority = "The CA of a project: make it, issue certificates, revoke them."
    group.add_command(_LazyGroup("ca", authority, _ca))
    group.add_command(_LazyGroup("key", "On this machine: keys that seal secrets.", _key))
    for name, help in (
        ("db", "the database"),
        ("node", "gateway nodes and their credentials; join works on the node"),
        ("user", "users and their roles"),
        ("project", "projects"),
        ("policy", "the API's policy rules"),
        ("token", "static tokens of users"),
    ):
        load = _db if name == "db" else lambda name=name: _admin(name)  # type: ignore[misc]
        group.add_command(_LazyGroup(name, f"On this machine: {help}.", load))
    return group


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        import linkspan

        click.echo(f"linkspan {linkspan.__version__}")
        ctx.exit()


def _settings(config: Path | None, **overrides: Any) -> Settings:
    from linkspan.admin import file_checks
    from linkspan.settings import load

    file_checks.check_trusted(config, "settings file")
    return load(config, overrides={key.replace("__", "."): value for key, value in overrides.items()})


def _api(config: Path | None, state: Path | None, **options: Any) -> None:
    from linkspan.bootstrap.processes import run_api_server

    run_api_server(_settings(config, state=state, **{f"api__{key}": value for key, value in options.items()}))


def _agent(config: Path | None, state: Path | None, teardown: bool, **options: Any) -> None:
    from linkspan.bootstrap.processes import run_agent

    run_agent(_settings(config, state=state, **{f"agent__{key}": value for key, value in options.items()}), teardown)


def _run(
    config: Path | None, state: Path | None, port: int | None, nodes: int, once: bool, no_lab: bool, clean: bool
) -> None:
    from linkspan.bootstrap.run_all import run_all

    settings = _settings(config, state=state, api__port=port)
    sys.exit(run_all(settings, nodes=nodes, once=once, lab=not no_lab, clean=clean))


def _sweep(config: Path | None, state: Path | None) -> None:
    from linkspan.admin.process_lock import lock_state
    from linkspan.bootstrap.run_all import remove_leftovers

    settings = _settings(config, state=state)
    preflight.require_root("linkspan sweep")
    wiring.configure_logging(settings)
    lock = lock_state(settings.state)
    remove_leftovers(settings)
    lock.release()


def _doctor(config: Path | None, state: Path | None) -> None:
    from linkspan.bootstrap import doctor

    sys.exit(doctor.run(_settings(config, state=state)))


def _join(url: str, token: str, config: Path | None, state: Path | None) -> str:
    from linkspan.admin import file_checks
    from linkspan.agent import joining

    settings = _settings(config, state=state)
    file_checks.check_state(settings.state)
    return joining.join(url, token, settings.state).name


def _lab() -> click.Group:
    from linkspan.bootstrap import lab_fault
    from linkspan.cli import laboratory

    group = laboratory.group()
    group.add_command(lab_fault.command())
    return group


def _audit() -> click.Group:
    from linkspan.cli import audit

    group = _admin("audit")
    group.add_command(audit.list_command())
    return group


def _ca() -> click.Group:
    from linkspan.cli import ca

    group = click.Group("ca")
    for command in ca.group_commands():
        group.add_command(command)
    return group


def _db() -> click.Group:
    from linkspan.admin import backup_commands
    from linkspan.admin.backups import BackupSummary
    from linkspan.admin.owner import act_as_owner

    @contextmanager
    def opener(config: Path | None, state: Path | None, database: str | None) -> Iterator[tuple[Administration, Path]]:
        settings = _settings(config, state=state, api__database=database)
        with act_as_owner(settings.state), wiring.open_keys(settings) as keys:
            yield keys, settings.state

    def restore(config: Path | None, state: Path | None, database: str | None, **more: Any) -> BackupSummary:
        settings = _settings(config, state=state, api__database=database)
        with act_as_owner(settings.state):
            return wiring.restore_backup(settings, **more)

    group = _admin("db")
    for command in backup_commands.build(opener, restore):
        group.add_command(command)
    return group


def _key() -> click.Group:
    from linkspan.admin import key_commands
    from linkspan.admin.owner import act_as_owner

    @contextmanager
    def opener(config: Path | None, state: Path | None, database: str | None) -> Iterator[Administration]:
        settings = _settings(config, state=state, api__database=database)
        with act_as_owner(settings.state), wiring.open_keys(settings) as keys:
            yield keys

    return key_commands.group(opener)


def _admin(name: str) -> click.Group:
    from linkspan.admin import local_commands
    from linkspan.admin.owner import act_as_owner

    @contextmanager
    def opener(config: Path | None, state: Path | None, database: str | None) -> Iterator[Store]:
        settings = _settings(config, state=state, api__database=database)
        with act_as_owner(settings.state), wiring.open_store(settings) as store:
            yield store

    def upgrade(config: Path | None, state: Path | None, database: str | None) -> str:
        settings = _settings(config, state=state, api__database=database)
        with act_as_owner(settings.state):
            return wiring.upgrade_database(settings)

    group = {command.name: command for command in local_commands.build(opener, upgrade, _join)}[name]
    assert isinstance(group, click.Group)  # for the type checker
    return group


# -- errors ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """The console script."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code. An error is one line on standard error: 1 for a failure, 2 for usage."""
    # Databases, keys, sockets and logs of all commands are readable by their owner only.
    os.umask(0o077)
    try:
        root().main(list(arguments), prog_name="linkspan", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "linkspan"
        return _fail(f"{error.format_message()} (see '{where} --help')", 2)
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of our output has closed the pipe. Without this the interpreter reports the same error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # the last handler: no traceback reaches the user
        from linkspan.settings import TRACEBACK

        if os.environ.get(TRACEBACK):
            raise
        return _fail(explain(error), 1)
    return 0


def _fail(message: str, code: int) -> int:
    from linkspan.core.printable import one_line

    # Some of it may be a server's words.
    click.echo(f"linkspan: {one_line(' '.join(message.split()))}", err=True)
    return code


def explain(error: Exception) -> str:
    """Returns one line for the user: the cause and, if known, the remedy."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if kinds & EXPECTED:
        return str(error)
    if kinds & {"sqlalchemy.exc.OperationalError", "sqlite3.OperationalError"}:
        message = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        if "no such table" in message:
            return "the database has no tables yet: run 'linkspan db upgrade'"
        return f"the database cannot be used: {message}: check --database, and whether another program has locked it"
    if "sqlalchemy.exc.ArgumentError" in kinds:
        return "invalid database URL: use sqlite:///FILE or postgresql://HOST/NAME"
    if "sqlalchemy.exc.SQLAlchemyError" in kinds:
        return f"the database has another schema ({str(error).partition(chr(10))[0]}): run 'linkspan db upgrade'"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {error} (a bug in linkspan; LINKSPAN_TRACEBACK=1 shows the traceback)"
