"""Where the real parts are put together, and where every error becomes one line: nothing else imports everything.

Imports are late on purpose: a command pays for what it uses, and `linkspan --help` for nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from linkspan.admin import checks

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.applications import Starlette

    from linkspan.admin.children import Child, Children
    from linkspan.api.auth import Auth
    from linkspan.api.keystone_client import Keystone
    from linkspan.api.wake import Hub
    from linkspan.cli.client import Client
    from linkspan.core.access import Policy
    from linkspan.lab.progress import Progress
    from linkspan.settings import Settings
    from linkspan.store.store import Store

EXPECTED: Final = frozenset(
    {
        "linkspan.settings.SettingsError",
        "linkspan.lab.fabric.LabError",
        "linkspan.agent.link.LinkError",
        "linkspan.drivers.ports.DriverError",
        "linkspan.store.engine.DatabaseLocked",
        "linkspan.store.migrate.TooNew",
        "linkspan.store.store.Unavailable",
        "linkspan.store.secrets.KeyProblem",
        "linkspan.core.problem.Problem",
    }
)
"""Errors whose text is meant for a person as it stands."""
LEAVE: Final = 25.0
"""Seconds that agents have to take their gateways down."""
ENDINGS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
START: Final = 30.0
"""Seconds that the API and the agents have to start."""


# -- the command line ------------------------------------------------------------------------------------------------


class _Late(click.Group):
    """A group whose commands are made when one of them is asked for."""

    def __init__(self, name: str, help: str, load: Callable[[], click.Group]) -> None:
        super().__init__(name, help=help)
        self._load = load

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._load().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._load().get_command(ctx, cmd_name)


def root() -> click.Group:
    """The whole command line."""
    import linkspan
    from linkspan.admin import service
    from linkspan.cli import commands, laboratory, status

    version = click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, help="Show the version.", callback=_version
    )
    about = f"Linkspan {linkspan.__version__}: site-to-site IPsec VPN as a service."
    group = click.Group("linkspan", help=about, params=[version])
    for command in service.build(_api, _agent, _run, _sweep):
        group.add_command(command)
    for command in (*commands.build(), status.command(), laboratory.group()):
        group.add_command(command)
    for name, help in (
        ("db", "the database"),
        ("node", "gateway nodes and their tokens"),
        ("user", "users and their roles"),
        ("project", "projects"),
        ("policy", "who may do what"),
        ("token", "static tokens of users"),
    ):
        group.add_command(_Late(name, f"On this machine: {help}.", lambda name=name: _admin(name)))  # type: ignore[misc]
    return group


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        import linkspan

        click.echo(f"linkspan {linkspan.__version__}")
        ctx.exit()


def _settings(config: Path | None, **overrides: Any) -> Settings:
    from linkspan.settings import load

    return load(config, overrides={key.replace("__", "."): value for key, value in overrides.items()})


def _api(config: Path | None, state: Path | None, **given: Any) -> None:
    serve_api(_settings(config, state=state, **{f"api__{key}": value for key, value in given.items()}))


def _agent(config: Path | None, state: Path | None, teardown: bool, **given: Any) -> None:
    serve_agent(_settings(config, state=state, **{f"agent__{key}": value for key, value in given.items()}), teardown)


def _run(config: Path | None, state: Path | None, port: int | None, nodes: int, once: bool, no_lab: bool) -> None:
    sys.exit(run_all(_settings(config, state=state, api__port=port), nodes=nodes, once=once, lab=not no_lab))


def _sweep(config: Path | None, state: Path | None) -> None:
    from linkspan.admin.children import Lock

    settings = _settings(config, state=state)
    checks.root("linkspan sweep")
    _log(settings)
    lock = Lock(settings.state)
    clean(settings)
    lock.release()


def _admin(name: str) -> click.Group:
    from linkspan.admin import commands

    @contextmanager
    def opener(config: Path | None, state: Path | None, database: str | None) -> Iterator[Store]:
        with opened(_settings(config, state=state, api__database=database)) as store:
            yield store

    def upgrade(config: Path | None, state: Path | None, database: str | None) -> str:
        return upgrade_database(_settings(config, state=state, api__database=database))

    found = {command.name: command for command in commands.build(opener, upgrade)}[name]
    assert isinstance(found, click.Group)  # for the type checker
    return found


# -- errors ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """The console script."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Whatever goes wrong is one line on standard error: 1 failed, 2 usage."""
    # Databases, keys, sockets and logs of any command are for their owner, wherever they are made.
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
        # Whoever read our output has enough; the interpreter must not complain about it at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # this is the edge
        if os.environ.get("LINKSPAN_TRACEBACK"):
            raise
        return _fail(explain(error), 1)
    return 0


def _fail(message: str, code: int) -> int:
    click.echo(f"linkspan: {' '.join(message.split())}", err=True)
    return code


def explain(error: Exception) -> str:
    """One line for a person: what is wrong and, as far as it is known, what to do."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if kinds & EXPECTED:
        return str(error)
    if kinds & {"sqlalchemy.exc.OperationalError", "sqlite3.OperationalError"}:
        words = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        if "no such table" in words:
            return "the database has no tables yet: run 'linkspan db upgrade'"
        return f"the database cannot be used: {words}: see --database, or whether another program holds it"
    if "sqlalchemy.exc.ArgumentError" in kinds:
        return "that is no database URL: give sqlite:///FILE or postgresql://HOST/NAME"
    if "sqlalchemy.exc.SQLAlchemyError" in kinds:
        return f"the database does not fit ({str(error).partition(chr(10))[0]}): run 'linkspan db upgrade'"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {error} (a defect of ours; LINKSPAN_TRACEBACK=1 shows where)"


# -- parts -----------------------------------------------------------------------------------------------------------


@contextmanager
def database(settings: Settings, *, exclusive: bool = False) -> Iterator[Engine]:
    """The database; `exclusive` refuses to share a SQLite file with another process that does the same."""
    from linkspan.store import engine as engines

    try:
        engine = engines.connect(settings.database_url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    lock = engines.lock(engine) if exclusive else None
    try:
        yield engine
    finally:
        engine.dispose()
        if lock:
            lock.release()


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The store, for a command on this machine; a running API may use the same database."""
    with database(settings) as engine:
        yield store_on(engine, settings)


def store_on(engine: Engine, settings: Settings, **more: Any) -> Store:
    """The store on a database whose schema is up to date."""
    from linkspan.store import secrets
    from linkspan.store.store import Store

    return Store(engine, secrets.load(settings.key_file), lease=settings.api.lease, **more)


def upgrade_database(settings: Settings) -> str:
    """Bring the schema up to date; what was done, in words."""
    from linkspan.store.migrate import upgrade

    with database(settings, exclusive=True) as engine:
        done = upgrade(engine)
    return "the database is at the newest version now" if done else "the database was at the newest version already"


def check_auth(settings: Settings) -> None:
    """Refuse to let everybody on the network be admin, or to ask nobody. Raises ClickException."""
    if settings.api.auth == "keystone":
        _keystone(settings)
    if settings.api.auth == "none":
        from linkspan.api import auth

        try:
            auth.check_bind(settings.api.host)
        except ValueError as error:
            raise click.ClickException(str(error)) from None


def _policy(settings: Settings) -> Policy:
    """Who may do what. Raises ClickException if the policy file cannot be used."""
    from linkspan.admin.policy import load

    return load(settings.api.policy_file)


def _keystone(settings: Settings) -> Keystone:
    """The real Keystone of the settings, which is not asked anything yet. Raises ClickException."""
    from linkspan.api.keystone_client import Keystone, Missing

    given = settings.keystone
    password = checks.keystone(given.auth_url, given.username, given.password_file, given.ca_file)
    try:
        return Keystone(
            given.auth_url,
            given.username,
            password,
            given.project,
            user_domain=given.user_domain,
            project_domain=given.project_domain,
            ca_file=given.ca_file,
            timeout=given.timeout,
        )
    except Missing as error:
        raise click.ClickException(str(error)) from None


def _auth(settings: Settings, store: Store) -> Auth:
    """Who finds out who asks."""
    match settings.api.auth:
        case "none":
            from linkspan.api.auth import NoAuth

            return NoAuth()
        case "keystone":
            from linkspan.api.auth_keystone import KeystoneAuth

            given = settings.keystone
            return KeystoneAuth(_keystone(settings), given.public_url or given.auth_url, ttl=given.ttl)
        case "http_basic":
            from linkspan.api.identity.embedded import Embedded

            return Embedded(store, region=settings.api.region, lifetime=settings.api.token_lifetime)


def _log(settings: Settings) -> None:
    from linkspan import telemetry

    file = settings.state / "logs" / settings.log.file if settings.log.file else None
    telemetry.configure(file=file, terminal=settings.log.terminal, level=settings.log.level)


@contextmanager
def application(settings: Settings) -> Iterator[tuple[Starlette, Hub]]:
    """The API over its database, whose schema is brought up to date first."""
    import msgspec

    from linkspan.api.app import create_app
    from linkspan.api.limits import Rates
    from linkspan.api.wake import Hub
    from linkspan.core.rate import Rate
    from linkspan.core.strength import Choices
    from linkspan.core.validate import Limits
    from linkspan.store.migrate import upgrade

    with database(settings, exclusive=True) as engine:
        upgrade(engine)
        hub = Hub()
        store = store_on(engine, settings, on_commit=hub.publish)
        limits = settings.limits
        app = create_app(
            store,
            _auth(settings, store),
            hub,
            grace=settings.api.grace,
            policy=_policy(settings),
            public_url=settings.api.public_url,
            limits=Limits(cidrs=limits.cidrs, connections=limits.connections),
            choices=Choices(settings.api.policy_defaults, settings.api.weak_choices),
            quotas=msgspec.structs.asdict(settings.quota),
            rates=Rates(
                project=Rate(limits.project_rate, limits.project_burst),
                failures=Rate(limits.failure_rate, limits.failure_burst),
            ),
            page=limits.page,
            bulk=limits.bulk,
            largest_body=limits.body,
        )
        yield app, hub


def serve_api(settings: Settings) -> None:
    """Run the API server until SIGTERM or Ctrl-C."""
    check_auth(settings)
    checks.certificate(settings.api.tls_cert, settings.api.tls_key)
    _policy(settings)
    listener = checks.listen(settings.api.host, settings.api.port)
    _log(settings)
    # The server repeats the signal that ended it, once it is down: then it is time to leave, in order.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    signal.signal(signal.SIGINT, lambda _number, _frame: sys.exit(0))
    with application(settings) as (app, hub):
        import structlog

        from linkspan.api.server import serve

        structlog.get_logger("api").info("api starts", host=settings.api.host, port=settings.api.port)
        serve(app, hub, listener, tls_cert=settings.api.tls_cert, tls_key=settings.api.tls_key)


def serve_agent(settings: Settings, teardown: bool) -> None:
    """Run this node's agent until SIGTERM or Ctrl-C."""
    from linkspan.agent.link import Link, check_url
    from linkspan.settings import instance_of

    check_url(settings.api_url)
    try:
        token = settings.token_file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise click.ClickException(
            f"no token file {settings.token_file}: make one where the API is, with 'linkspan node create "
            f"{settings.agent.name} --token-file FILE', and bring it here"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the token file {settings.token_file}: {error}") from None
    link = Link(settings.api_url, token, settings.agent.ca_file)
    checks.root("linkspan agent")
    checks.tools(("ip", "nft", "charon-systemd"))
    _log(settings)
    from linkspan.agent.run import Agent
    from linkspan.drivers.local import LocalDrivers

    drivers = LocalDrivers(
        settings.agent.instance or instance_of(settings.state),
        settings.agent.name,
        settings.state / "nodes" / settings.agent.name,
        settings.agent.bridge_namespace,
        settings.agent.bridges,
    )
    agent = Agent(drivers, link)

    def stop(_number: int, _frame: FrameType | None) -> None:
        agent.stop(teardown)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    agent.run()


# -- everything on one machine ---------------------------------------------------------------------------------------


def clean(settings: Settings) -> None:
    """Remove what an earlier run of this installation left on the machine."""
    from linkspan.admin.children import end, left_behind
    from linkspan.drivers.local import sweep
    from linkspan.settings import instance_of

    end(left_behind(settings.state), LEAVE)
    sweep(settings.agent.instance or instance_of(settings.state))
    (settings.state / "lab.json").unlink(missing_ok=True)


def run_all(settings: Settings, *, nodes: int, once: bool, lab: bool) -> int:
    """The API, agents and the laboratory, until Ctrl-C or SIGTERM, or with `once` until the proof. The exit code."""
    checks.root("linkspan run")
    checks.tools(tuple(checks.TOOLS))
    if settings.api.auth == "keystone":
        raise click.ClickException(
            "linkspan run makes users of its own, and Keystone would not know them: "
            "with auth 'keystone' start 'linkspan api' and 'linkspan agent'"
        )
    check_auth(settings)
    checks.certificate(settings.api.tls_cert, settings.api.tls_key)
    _policy(settings)
    from linkspan.admin.children import Children, Lock
    from linkspan.lab.progress import Progress
    from linkspan.telemetry import configure

    progress = Progress(sys.stderr)
    lock = Lock(settings.state)
    checks.listen(settings.api.host, settings.api.port).close()
    configure(file=settings.state / "logs" / "run.log", terminal="off", level=settings.log.level)
    children = Children(settings.state, progress.say)
    _interruptible()
    try:
        with progress.step("clean up what an earlier run left"):
            clean(settings)
        return _Run(settings, progress, children, nodes).go(once=once, lab=lab)
    finally:
        # A second Ctrl-C would leave behind what the first one began to clean up.
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        with progress.step("take everything down"):
            children.stop(lambda name: name != "api", LEAVE)
            children.stop(lambda name: name == "api", 5.0)
            clean(settings)
            lock.release()


def _own_name() -> str:
    """How this program is called from here, to be pasted."""
    path = shutil.which(sys.argv[0])
    if path is None or not os.access(path, os.X_OK) or path.endswith(".py"):
        return f"{sys.executable} -m linkspan.bootstrap"
    name = Path(path).name
    return name if shutil.which(name) == path else os.path.relpath(path)


def _interruptible() -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in ENDINGS:
        signal.signal(number, interrupt)


class _Run:
    """One run of everything, from the first process to the last line of the report."""

    def __init__(self, settings: Settings, progress: Progress, children: Children, nodes: int) -> None:
        from linkspan.settings import instance_of

        self._began = time.monotonic()
        self._settings = settings
        self._progress = progress
        self._children = children
        self._nodes = [f"node-{number}" for number in range(1, nodes + 1)]
        self._instance = settings.agent.instance or instance_of(settings.state)
        self._url = settings.api_url

    def go(self, *, once: bool, lab: bool) -> int:
        """Start everything, prove that it works, stay. The exit code."""
        from linkspan.lab.fabric import make_fabric

        with self._progress.step("database, users, clouds.yaml"):
            self._prepare_state()
        with self._progress.step(f"API at {self._url}"):
            self._start("api", "api")
            fabric = make_fabric(self._instance)
            for node in self._nodes:
                self._start(node, "agent", "--teardown", node=node, fabric=fabric)
            self._wait(self._healthy)
        with self._progress.step(f"{len(self._nodes)} node{'s' * (len(self._nodes) > 1)}"):
            self._wait(self._joined)
        code, described = self._laboratory() if lab else (0, None)
        if once:
            return code
        from linkspan.lab.report import hints

        click.echo(hints(self._url, self._settings.state, _own_name(), described))
        try:
            while True:
                self._children.revive()
                time.sleep(0.2)
        except KeyboardInterrupt:
            return code

    def _prepare_state(self) -> None:
        from linkspan.admin.first import bootstrap_state, nodes_to_run
        from linkspan.store.migrate import upgrade

        with database(self._settings, exclusive=True) as engine:
            upgrade(engine)
            store = store_on(engine, self._settings)
            nodes = nodes_to_run(store, self._settings.state, self._nodes)
            self._nodes = list(nodes)
            bootstrap_state(
                store,
                self._settings.state,
                self._url,
                nodes,
                authenticated=self._settings.api.auth != "none",
                cacert=self._settings.agent.ca_file,
                region=self._settings.api.region,
            )

    def _start(self, name: str, *command: str, node: str = "", fabric: str = "") -> None:
        """Start a child of ours. All its settings are in a file: nothing of them shows among the processes."""
        import msgspec

        from linkspan.admin.children import Child
        from linkspan.settings import PREFIX, to_toml

        settings, replace = self._settings, msgspec.structs.replace
        agent = replace(settings.agent, api=self._url, instance=self._instance)
        if node:
            agent = replace(agent, name=node, token_file=None, bridge_namespace=fabric)
        file = settings.state / "run" / f"{name}.toml"
        file.unlink(missing_ok=True)
        from linkspan.admin.people import write_private

        log = replace(settings.log, terminal="json", file="")
        write_private(file, to_toml(replace(settings, state=settings.state.absolute(), agent=agent, log=log)), 0o600)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        argv = [sys.executable, "-m", "linkspan.bootstrap", *command, "--config", str(file)]
        self._children.start(Child(name, argv, settings.state / "logs" / f"{name}.log", environment))

    def _wait(self, ready: Callable[[], bool]) -> None:
        from linkspan.lab.fabric import LabError

        deadline = time.monotonic() + START
        while not ready():
            self._alive()
            if time.monotonic() > deadline:
                raise LabError(f"not ready within {START:.0f} s: see {self._settings.state / 'logs'}")
            time.sleep(0.05)

    def _alive(self) -> None:
        from linkspan.lab.fabric import LabError

        dead: Child | None = self._children.dead()
        if dead is not None:
            raise LabError(f"{dead.name} did not stay up: {dead.last_words() or 'it said nothing'} (see {dead.log})")

    def _client(self, user: str) -> Client:
        from linkspan.cli.client import Client, load_cloud

        return Client(load_cloud(f"linkspan-{user}", self._settings.state / "clouds.yaml"))

    def _healthy(self) -> bool:
        from linkspan.cli.client import CliError

        try:
            self._client("admin").request("GET", "/healthz")
        except CliError:
            return False
        return True

    def _joined(self) -> bool:
        nodes = self._client("admin").request("GET", "/v2.0/linkspan/nodes")["nodes"]
        return {node["name"] for node in nodes if node["alive"]} >= set(self._nodes)

    def _laboratory(self) -> tuple[int, dict[str, Any]]:
        import json

        from linkspan.lab import demo, report, sites

        admin, user = self._client("admin"), self._client("demo")
        started = time.monotonic()
        with self._progress.step("both sites, made through the API"):
            lab = sites.build(admin, user)
        proof, hosts = demo.prove(self._instance, lab, user, self._progress, started, self._alive, patience=60.0)
        described = demo.describe(self._instance, lab, hosts, self._url, self._settings.state)
        (self._settings.state / "lab.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        backends = sorted({n["backend"] for n in admin.request("GET", "/v2.0/linkspan/nodes")["nodes"] if n["alive"]})
        esp = " and ".join("the kernel" if backend == "kernel" else "charon, in user space" for backend in backends)
        click.echo(report.report(described, proof, esp, time.monotonic() - self._began))
        return (1 if proof.faults else 0), described


if __name__ == "__main__":
    main()
