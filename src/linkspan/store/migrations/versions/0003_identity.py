"""Tokens of the embedded Keystone, which may have no project, and application credentials."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "application_credential",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("user_id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("unrestricted", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_application_credential_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["account.id"], name=op.f("fk_application_credential_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_credential")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_application_credential_user_id")),
        sqlite_with_rowid=False,
    )
    # SQLite cannot change a column; the few rows are carried over by hand, the same way on both.
    database = op.get_bind()
    kept = database.execute(sa.text("SELECT token_hash, user_id, project_id, name, expires_at FROM token")).all()
    op.drop_table("token")
    table = op.create_table(
        "token",
        sa.Column("token_hash", WORDS, nullable=False),
        sa.Column("id", WORDS, nullable=False),
        sa.Column("user_id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=True),
        sa.Column("credential_id", WORDS, nullable=True),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("methods", WORDS, nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["application_credential.id"],
            name=op.f("fk_token_credential_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_token_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["account.id"], name=op.f("fk_token_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_token")),
        sa.UniqueConstraint("id", name=op.f("uq_token_id")),
        sqlite_with_rowid=False,
    )
    for name in ("credential_id", "expires_at", "user_id"):
        op.create_index(op.f(f"ix_token_{name}"), "token", [name], unique=False)
    rows = [row._asdict() | {"id": str(uuid.uuid4()), "methods": "", "issued_at": 0.0} for row in kept]
    if rows:
        op.bulk_insert(table, rows)
