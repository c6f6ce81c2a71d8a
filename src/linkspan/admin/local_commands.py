"""The commands on the machine itself: `linkspan db|node|audit|user|project|token|policy`.

They use the database directly, so they need its settings but no running API. A user who can read the state directory
may run all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from linkspan.admin import account_commands, node_commands, policy
from linkspan.admin.shared_options import Opener, command, database_options
from linkspan.store import audit
from linkspan.store.store import Store


def build(opener: Opener, upgrade: Callable[..., str], join: node_commands.JoinNode) -> list[click.Command]:
    """Builds the groups; `upgrade` brings the schema up to date and returns a sentence about it, `join` joins a
    node."""
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
        node_commands.build(opener, join),
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
