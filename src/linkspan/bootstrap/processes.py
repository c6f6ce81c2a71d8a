"""Runs one process of the service until a signal ends it: the API server, or a node's agent.

Each process checks its settings before it listens or works, so that a mistake is reported in one line. Imports are
inside functions, see `command_line`.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING

import click

from linkspan.admin import file_checks, preflight
from linkspan.bootstrap import wiring

if TYPE_CHECKING:
    from linkspan.agent.api_client import ApiClient
    from linkspan.settings import Settings


def run_api_server(settings: Settings) -> None:
    """Runs the API server until SIGTERM or Ctrl-C."""
    from linkspan.drivers.linux import process

    process.forbid_core_dumps()
    wiring.check_files(settings)
    wiring.check_authentication(settings)
    preflight.check_certificate(settings.api.tls_cert, settings.api.tls_key)
    wiring.load_policy(settings)
    listener = preflight.listening_socket(settings.api.host, settings.api.port)
    address = settings.node_address
    node_listener = preflight.listening_socket(*address, "api.node_port") if address else None
    _drop_capabilities(settings)
    wiring.configure_logging(settings)
    # The server handles the signal itself, and raises it again after its shutdown: then exit, with cleanup.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    signal.signal(signal.SIGINT, lambda _number, _frame: sys.exit(0))
    with wiring.open_application(settings) as (app, notifier), ExitStack() as stack:
        import structlog

        from linkspan.api.http.server import NodeListener, serve

        structlog.get_logger("api").info("api starts", host=settings.api.host, port=settings.api.port, nodes=address)
        nodes = NodeListener(node_listener, stack.enter_context(app.node_tls).context) if node_listener else None
        serve(
            app,
            notifier,
            listener,
            tls_cert=settings.api.tls_cert,
            tls_key=settings.api.tls_key,
            nodes=nodes,
            per_address=settings.limits.connections_per_address,
        )


def _drop_capabilities(settings: Settings) -> None:
    """Gives up what the API does not need of root's rights, if it has them: the files that it uses may be another
    user's, as those in the home of who called sudo, or PostgreSQL's socket."""
    import sys
    from pathlib import Path
    from urllib.parse import parse_qs, urlsplit

    import msgspec

    from linkspan.drivers.linux import capabilities

    written, database = [settings.state], settings.database_url
    if database.startswith("sqlite:///"):
        written.append(Path(database.removeprefix("sqlite:///")).parent)
    hosts = ",".join(parse_qs(urlsplit(database).query).get("host", ())).split(",")
    sockets = [Path(host) / "socket" for host in hosts if host.startswith("/")]
    sections = [settings, *msgspec.structs.astuple(settings)]
    values = [value for part in sections if isinstance(part, msgspec.Struct) for value in msgspec.structs.astuple(part)]
    files = [value for value in values if isinstance(value, Path)]
    program = [Path(entry) for entry in sys.path if entry]
    capabilities.drop(capabilities.needed_for([settings.key_file, *files, *program, *sockets], written))


def run_agent(settings: Settings, teardown: bool) -> None:
    """Runs this node's agent until SIGTERM or Ctrl-C; until the signal `TEARDOWN`, which also removes the gateways."""
    from linkspan.admin.process_lock import lock_node
    from linkspan.drivers.linux import process
    from linkspan.drivers.linux.place import holder
    from linkspan.settings import instance_id

    process.forbid_core_dumps()
    file_checks.check_state(settings.state)
    directory = settings.state.absolute() / "nodes" / settings.agent.name
    instance = settings.agent.instance or instance_id(settings.state)
    client = _api_client(settings, holder(instance, directory))
    preflight.require_root("linkspan agent")
    preflight.require_tools(("ip", "nft", "charon-systemd", "unshare"))
    lock = lock_node(directory, settings.agent.name)
    wiring.configure_logging(settings)
    from linkspan.agent.agent import TEARDOWN, Agent
    from linkspan.agent.event_queue import EventQueue
    from linkspan.core.state.drift import Intervals
    from linkspan.drivers.local import LocalDrivers

    drivers = LocalDrivers(
        instance,
        settings.agent.name,
        directory,
        settings.agent.bridge_namespace,
        settings.agent.bridges,
    )
    intervals = Intervals(settings.agent.comparison, settings.agent.liveness)
    agent = Agent(drivers, client, settings.agent.children, intervals, EventQueue(directory / "timeline.jsonl"))

    def stop(number: int, _frame: FrameType | None) -> None:
        agent.stop(teardown or number == TEARDOWN)

    for number in (signal.SIGTERM, signal.SIGINT, TEARDOWN):
        signal.signal(number, stop)
    try:
        agent.run()
    finally:
        lock.release()


def _api_client(settings: Settings, holder: str) -> ApiClient:
    """The client of a node that has joined, else of one with a token. Raises ApiUnreachable, ClickException."""
    from linkspan.agent.api_client import ApiClient, check_url
    from linkspan.agent.node_identity import IdentityFile

    if settings.identity_file.exists():
        file_checks.check_secret(settings.identity_file, "key and certificate of the node")
        return ApiClient("", holder=holder, identity=IdentityFile(settings.identity_file))
    check_url(settings.api_url)
    file_checks.check_secret(settings.token_file, "token file")
    file_checks.check_trusted(settings.agent.ca_file, "CA file")
    try:
        token = settings.token_file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise click.ClickException(
            f"neither {settings.identity_file} nor {settings.token_file} is there: make a token with 'linkspan node "
            f"join-token {settings.agent.name}' on the API's machine, and run 'linkspan node join' here"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the token file {settings.token_file}: {error}") from None
    return ApiClient(settings.api_url, token, settings.agent.ca_file, holder)
