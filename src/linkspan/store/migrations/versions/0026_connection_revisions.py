"""Earlier configurations of connections, and which of them were up."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PLAIN: dict[str, Any] = {
    "ikepolicy_id": WORDS,
    "ipsecpolicy_id": WORDS,
    "peer_address": WORDS,
    "peer_id": WORDS,
    "local_id": WORDS,
    "peer_cidrs": sa.Text(),
    "local_ep_group_id": WORDS,
    "peer_ep_group_id": WORDS,
    "mtu": sa.Integer(),
    "initiator": WORDS,
    "dpd": sa.Text(),
    "admin_state_up": sa.Boolean(),
    "auth_mode": WORDS,
    "local_certificate_id": WORDS,
    "trust_anchor_id": WORDS,
    "peer_certificates": sa.Text(),
    "ppk_id": WORDS,
    "ppk_required": sa.Boolean(),
}
ALGORITHMS: dict[str, Any] = {
    "auth_algorithm": WORDS,
    "encryption_algorithm": WORDS,
    "pfs": WORDS,
    "lifetime": sa.Text(),
}
GROUP: dict[str, Any] = {"type": WORDS, "endpoints": sa.Text()}
PARTS = {
    "ikepolicy": ALGORITHMS | {"phase1_negotiation_mode": WORDS, "ike_version": WORDS},
    "ipsecpolicy": ALGORITHMS | {"transform_protocol": WORDS, "encapsulation_mode": WORDS},
    "local_ep_group": GROUP,
    "peer_ep_group": GROUP,
}


def upgrade() -> None:
    """To this version. What connections have now was brought by their newest revision; those that are up as it is are
    known to have been up."""
    op.add_column(
        "connection", sa.Column("configured_revision", sa.Integer(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column("connection", sa.Column("configured_at", sa.Double(), nullable=True))
    op.add_column("connection", sa.Column("configured_by", WORDS, nullable=True))
    op.execute("UPDATE connection SET configured_revision = revision_number, configured_at = updated_at")
    op.add_column("observed", sa.Column("good_revision", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE observed SET good_revision = (SELECT configured_revision FROM connection "
        "WHERE connection.id = observed.object_id) WHERE kind = 'connection' AND EXISTS (SELECT 1 FROM change "
        "WHERE change.object_id = observed.object_id AND change.kind = observed.kind "
        "AND change.node_id = observed.node_id AND change.settled)"
    )
    parts = [
        sa.Column(f"{prefix}_{name}", type_, nullable=True)
        for prefix, values in PARTS.items()
        for name, type_ in ({"name": WORDS} | values).items()
    ]
    op.create_table(
        "connection_revision",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("connection_id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("author", WORDS, nullable=True),
        sa.Column("good", sa.Boolean(), nullable=False),
        *(sa.Column(name, type_, nullable=True) for name, type_ in PLAIN.items()),
        *(column for name in ("psk", "ppk") for column in _envelope(name)),
        *parts,
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connection.id"], name=op.f("fk_connection_revision_connection_id"), ondelete="CASCADE"
        ),
        *(
            sa.ForeignKeyConstraint(
                [f"{name}_key_id"], ["encryption_key.id"], name=op.f(f"fk_connection_revision_{name}_key_id")
            )
            for name in ("psk", "ppk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection_revision")),
    )
    op.create_index(
        "uq_connection_revision_connection_id", "connection_revision", ["connection_id", "number"], unique=True
    )


def _envelope(name: str) -> list[sa.Column[object]]:
    return [
        sa.Column(name, sa.LargeBinary(), nullable=True),
        sa.Column(f"{name}_key_id", WORDS, nullable=True),
        sa.Column(f"{name}_ref", WORDS, nullable=True),
    ]
