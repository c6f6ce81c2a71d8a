"""Runs the API, agents and the laboratory on one machine for `linkspan run`, and cleans up behind them.

Only an intended stop removes gateways: Ctrl-C, SIGTERM, the end of `--once`, `linkspan sweep`, and a first start that
fails. The agents remove theirs for a signal of their own (`agent.TEARDOWN`), so that SIGTERM from anybody else ends no
tunnel. After any other end the gateways work on, and the next run adopts them.

Imports are inside functions, see `command_line`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from linkspan.admin import preflight
from linkspan.bootstrap import wiring

if TYPE_CHECKING:
    from linkspan.admin.supervisor import ChildProcess, Supervisor
    from linkspan.cli.client import Client
    from linkspan.lab.progress import Progress
    from linkspan.settings import Settings

TEARDOWN_TIMEOUT: Final = 25.0
"""Seconds for the agents to remove their gateways, and `TEARDOWN_PER_GATEWAY` more for each of them."""
TEARDOWN_PER_GATEWAY: Final = 0.5
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
DETACH_TIMEOUT: Final = 25.0
"""Seconds for the processes of an earlier run to end without their gateways."""
START_TIMEOUT: Final = 30.0
"""Seconds for the API and the agents to start."""


def remove_leftovers(settings: Settings) -> None:
    """Removes processes, namespaces, links and rules that an earlier run of this installation left on the machine."""
    from linkspan.admin.supervisor import leftover_processes, terminate
    from linkspan.agent.agent import TEARDOWN
    from linkspan.drivers.local import sweep
    from linkspan.settings import instance_id

    # The agents first: they report to the API what they remove.
    agents = [process for process in leftover_processes(settings.state) if not _is_api(process.name)]
    instance = settings.agent.instance or instance_id(settings.state)
    terminate(agents, teardown_timeout(instance), TEARDOWN)
    terminate(leftover_processes(settings.state), 5.0)
    sweep(instance)
    (settings.state / "lab.json").unlink(missing_ok=True)


def teardown_timeout(instance: str) -> float:
    """Returns the seconds in which the agents must have removed the gateways that are there."""
    from linkspan.drivers.linux import interface_names, netns

    prefix = interface_names.namespace_prefix(instance)
    return TEARDOWN_TIMEOUT + TEARDOWN_PER_GATEWAY * sum(name.startswith(prefix) for name in netns.names())


def _is_api(name: str) -> bool:
    return name == "api"


def run_all(settings: Settings, *, nodes: int, once: bool, lab: bool, clean: bool) -> int:
    """Runs the service until Ctrl-C or SIGTERM, with `once` until the laboratory is checked. Returns the exit code.

    Gateways of an earlier run are adopted, with `clean` removed.
    """
    from linkspan.drivers.linux import process

    process.forbid_core_dumps()
    preflight.require_root("linkspan run")
    preflight.require_tools(tuple(preflight.TOOLS))
    if settings.api.auth == "keystone":
        raise click.ClickException(
            "linkspan run creates its own users, which an external Keystone does not know: "
            "with auth 'keystone' start 'linkspan api' and 'linkspan agent'"
        )
    wiring.check_files(settings)
    wiring.check_authentication(settings)
    preflight.check_certificate(settings.api.tls_cert, settings.api.tls_key)
    wiring.load_policy(settings)
    from linkspan.admin.process_lock import lock_state
    from linkspan.admin.supervisor import Supervisor, leftover_processes
    from linkspan.lab.progress import Progress
    from linkspan.telemetry import configure

    progress = Progress(sys.stderr)
    lock = lock_state(settings.state)
    if not leftover_processes(settings.state):
        preflight.listening_socket(settings.api.host, settings.api.port).close()
    configure(file=settings.state / "logs" / "run.log", terminal="off", level=settings.log.level)
    supervisor = Supervisor(settings.state, progress.say)
    _handle_signals()
    run = _Run(settings, progress, supervisor, nodes)
    try:
        run.take_over(clean)
        code = run.run(once=once, lab=lab)
    except BaseException as error:
        if run.holds_tunnels and not isinstance(error, KeyboardInterrupt):
            progress.say("the gateways work on: 'linkspan run' adopts them, 'linkspan sweep' removes them")
            raise
        run.remove()
        raise
    run.remove()
    lock.release()
    return code


def _command_name() -> str:
    """Returns the command that starts this program from the current directory, ready to be pasted."""
    path = shutil.which(sys.argv[0])
    if path is None or not os.access(path, os.X_OK) or path.endswith(".py"):
        return f"{sys.executable} -m linkspan.bootstrap"
    name = Path(path).name
    return name if shutil.which(name) == path else os.path.relpath(path)


def _handle_signals() -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def ignore(_number: int, _frame: FrameType | None) -> None:
        """A handler and not SIG_IGN, which children would inherit."""

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    # The terminal is gone, as after a broken SSH session: nobody has told the service to stop.
    signal.signal(signal.SIGHUP, ignore)


class _Run:
    """Starts the processes, checks the laboratory, and keeps the processes running."""

    def __init__(self, settings: Settings, progress: Progress, supervisor: Supervisor, nodes: int) -> None:
        from linkspan.settings import instance_id

        self._started_at = time.monotonic()
        self._settings = settings
        self._progress = progress
        self._supervisor = supervisor
        self._nodes = [f"node-{number}" for number in range(1, nodes + 1)]
        self._instance = settings.agent.instance or instance_id(settings.state)
        self._url = settings.api_url
        self.holds_tunnels = False
        """True if an end that nobody intended must leave the gateways: they carried traffic before this run, or its
        start is over."""

    def take_over(self, clean: bool) -> None:
        """Ends the processes that an earlier run left running, and leaves their gateways for this run's agents to
        adopt. With `clean`, or if there are none, removes everything of an earlier run."""
        from linkspan.admin.supervisor import leftover_processes, terminate
        from linkspan.drivers.linux import interface_names, netns

        prefix = interface_names.namespace_prefix(self._instance)
        self.holds_tunnels = not clean and any(name.startswith(prefix) for name in netns.names())
        if not self.holds_tunnels:
            with self._progress.step("clean up after an earlier run"):
                remove_leftovers(self._settings)
            return
        with self._progress.step("adopt what an earlier run left running"):
            terminate(leftover_processes(self._settings.state), DETACH_TIMEOUT)
        preflight.listening_socket(self._settings.api.host, self._settings.api.port).close()

    def remove(self) -> None:
        """Stops everything and removes the gateways, as intended."""
        from linkspan.agent.agent import TEARDOWN

        # A second Ctrl-C must not interrupt the cleanup that the first one started.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        with self._progress.step("stop everything and clean up"):
            self._supervisor.stop(lambda name: not _is_api(name), teardown_timeout(self._instance), TEARDOWN)
            self._supervisor.stop(_is_api, 5.0)
            remove_leftovers(self._settings)

    def run(self, *, once: bool, lab: bool) -> int:
        """Runs everything until a signal, or with `once` until the laboratory is checked. Returns the exit code."""
        from linkspan.lab.fabric import make_fabric

        with self._progress.step("database, users, clouds.yaml"):
            self._prepare_state()
        with self._progress.step(f"API at {self._url}"):
            self._start("api", "api")
            fabric = make_fabric(self._instance)
            for node in self._nodes:
                self._start(node, "agent", node=node, fabric=fabric)
            self._wait_until(self._api_is_healthy)
        with self._progress.step(f"{len(self._nodes)} node{'s' * (len(self._nodes) > 1)}"):
            self._wait_until(self._nodes_are_up)
        code, description = self._check_laboratory() if lab else (0, None)
        if once:
            return code
        from linkspan.lab.report import hints

        self.holds_tunnels = True
        with contextlib.suppress(OSError):  # a full disk, or a terminal that is gone
            click.echo(hints(self._url, self._settings.state, _command_name(), description))
        try:
            while True:
                self._supervisor.restart_exited()
                time.sleep(0.2)
        except KeyboardInterrupt:
            return code

    def _prepare_state(self) -> None:
        from linkspan.admin.initial_state import bootstrap_state, nodes_to_run
        from linkspan.store.migrate import upgrade

        with wiring.open_database(self._settings, exclusive=True) as engine:
            upgrade(engine)
            store = wiring.create_store(engine, self._settings)
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
        """Starts a child process. Its settings are in a file, so that the list of processes does not show them."""
        import msgspec

        from linkspan.admin.account_store import write_private
        from linkspan.admin.supervisor import SETTINGS_OPTION, ChildProcess
        from linkspan.settings import PREFIX, to_toml

        settings, replace = self._settings, msgspec.structs.replace
        agent = replace(settings.agent, api=self._url, instance=self._instance)
        if node:
            agent = replace(agent, name=node, token_file=None, bridge_namespace=fabric)
        file = settings.state.absolute() / "run" / f"{name}.toml"
        log = replace(settings.log, terminal="json", file="")
        text = to_toml(replace(settings, state=settings.state.absolute(), agent=agent, log=log))
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.unlink(missing_ok=True)
            write_private(file, text, 0o600)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        argv = [sys.executable, "-m", "linkspan.bootstrap", *command, SETTINGS_OPTION, str(file)]
        self._supervisor.start(ChildProcess(name, argv, settings.state / "logs" / f"{name}.log", environment))

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        from linkspan.lab.fabric import LabError

        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            self._check_children()
            if time.monotonic() > deadline:
                raise LabError(f"not ready within {START_TIMEOUT:.0f} s: see {self._settings.state / 'logs'}")
            time.sleep(0.05)

    def _check_children(self) -> None:
        from linkspan.lab.fabric import LabError

        child: ChildProcess | None = self._supervisor.exited_child()
        if child is not None:
            raise LabError(f"{child.name} exited: {child.last_log_line() or 'its log is empty'} (see {child.log})")

    def _client(self, user: str) -> Client:
        from linkspan.cli.client import Client, load_cloud

        return Client(load_cloud(f"linkspan-{user}", self._settings.state / "clouds.yaml"))

    def _api_is_healthy(self) -> bool:
        from linkspan.cli.client import CliError

        try:
            self._client("admin").request("GET", "/healthz")
        except CliError:
            return False
        return True

    def _nodes_are_up(self) -> bool:
        nodes = self._client("admin").request("GET", "/v2.0/linkspan/nodes")["nodes"]
        return {node["name"] for node in nodes if node["alive"]} >= set(self._nodes)

    def _check_laboratory(self) -> tuple[int, dict[str, Any]]:
        import json

        from linkspan.lab import demo, report, sites

        admin, user = self._client("admin"), self._client("demo")
        started = time.monotonic()
        with self._progress.step("both sites, created through the API"):
            lab = sites.build(admin, user)
        proof, hosts = demo.prove(
            self._instance, lab, user, self._progress, started, self._check_children, patience=60.0
        )
        description = demo.describe(self._instance, lab, hosts, self._url, self._settings.state)
        (self._settings.state / "lab.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        backends = sorted({n["backend"] for n in admin.request("GET", "/v2.0/linkspan/nodes")["nodes"] if n["alive"]})
        esp = " and ".join("the kernel" if backend == "kernel" else "charon, in user space" for backend in backends)
        click.echo(report.report(description, proof, esp, time.monotonic() - self._started_at))
        return (1 if proof.faults else 0), description
