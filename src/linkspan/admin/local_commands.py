"""The commands on the machine itself: `linkspan db|node|audit|user|project|token|policy`.

They use the database directly, so they need its settings but no running API. A user who can read the state directory
may run all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from linkspan.admin import account_commands, account_store, policy
from linkspan.admin.shared_options import Opener, command, database_options, format_option, name_argument, print_rows
from linkspan.core.ipsec import capabilities
from linkspan.store import audit
from linkspan.store.nodes import registry
from linkspan.store.store import Store


def build(opener: Opener, upgrade: Callable[..., str]) -> list[click.Command]:
    """Builds the groups; `upgrade` brings the schema up to date and returns a sentence about it."""
    return [
        click.Group(
            "db",
            help="The database.",
            commands=[
                click.Command(
                    "upgrade",
                    callback=lambda **options: click.echo(upgrade(**options)),
                    params=database_options(),
                    help="Bring the database's schema up to date; does nothing if it is already.",
                )
            ],
        ),
        click.Group("node", help="Gateway nodes.", commands=[_node_create(opener), _node_list(opener)]),
        click.Group("audit", help="The audit trail.", commands=[_audit_verify(opener)]),
        *account_commands.build(opener),
        policy.group(),
    ]


def _audit_verify(opener: Opener) -> click.Command:
    def handler(store: Store) -> None:
        store.seal_audit()
        with store.read() as tx:
            verdict = audit.verify(tx)
        head = verdict.head
        if verdict.fault:
            raise click.ClickException(f"the audit trail is not whole: {verdict.fault}")
        # To keep elsewhere: a trail that was set back to an earlier state has a smaller number.
        click.echo(
            f"entries {head.base + 1} to {head.number} are whole; {verdict.unsealed} wait for their place; "
            f"newest hash: {head.hash}"
        )

    about = "Check that no entry of the audit trail was changed, removed or inserted; fails if one was."
    return command(opener, "verify", about, handler, [])


def _node_create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, token_file: Path | None) -> None:
        file = token_file or Path(f"{name}.token")
        account_store.create_node(store, name, file)
        click.echo(f"created node {name}; its token is in {file}: copy that file to the node over a secure channel")

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="file for the node's token, mode 0400 (default NAME.token in the current directory)",
        ),
    ]
    return command(opener, "create", "Create a node and the file with its token.", handler, parameters)


def _node_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            nodes = [
                account_store.select_fields(node, ("id", "name", "backend", "charon_version", "gateways"))
                | {
                    "alive": (node["lease_until"] or 0) > tx.now,
                    "lacks": ", ".join(capabilities.lacks(node["capabilities"]) if node["capabilities"] else ()),
                }
                for node in registry.all_nodes(tx)
            ]
        print_rows(nodes, format_)

    return command(opener, "list", "List all nodes.", handler, [format_option()])
