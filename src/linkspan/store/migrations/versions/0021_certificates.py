"""Certificates and trust anchors, the connections that use them, and post-quantum preshared keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


REFERENCES = {
    "local_certificate_id": "certificate",
    "trust_anchor_id": "trust_anchor",
    "ppk_key_id": "encryption_key",
}
INDEXED = ("local_certificate_id", "trust_anchor_id")


def _added() -> list[sa.Column[object]]:
    return [
        sa.Column("local_certificate_id", WORDS, nullable=True),
        sa.Column("trust_anchor_id", WORDS, nullable=True),
        sa.Column("peer_certificates", sa.Text(), nullable=True),
        sa.Column("ppk_id", WORDS, nullable=True),
        sa.Column("ppk_required", sa.Boolean(), nullable=True),
        sa.Column("ppk", sa.LargeBinary(), nullable=True),
        sa.Column("ppk_key_id", WORDS, nullable=True),
        sa.Column("ppk_ref", WORDS, nullable=True),
        sa.Column("ppk_written_at", sa.Double(), nullable=True),
    ]


def _described() -> list[sa.Column[object]]:
    return [sa.Column(name, WORDS, nullable=False) for name in ("id", "project_id", "name", "description", "source")]


def _private_key() -> list[sa.Column[object]]:
    return [
        sa.Column("private_key", sa.LargeBinary(), nullable=True),
        sa.Column("private_key_key_id", WORDS, nullable=True),
        sa.Column("private_key_ref", WORDS, nullable=True),
        sa.Column("private_key_written_at", sa.Double(), nullable=True),
    ]


def _standard() -> list[sa.Column[object]]:
    return [
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
    ]


def upgrade() -> None:
    """To this version. The connections that are there have pre-shared keys, and go on with them."""
    op.create_table(
        "trust_anchor",
        *_described(),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("ca_bundle", WORDS, nullable=True),
        sa.Column("revocation", WORDS, nullable=False),
        sa.Column("crl_urls", sa.Text(), nullable=False),
        sa.Column("crl", WORDS, nullable=True),
        *_private_key(),
        sa.Column("expires_at", WORDS, nullable=True),
        *_standard(),
        sa.ForeignKeyConstraint(
            ["private_key_key_id"], ["encryption_key.id"], name=op.f("fk_trust_anchor_private_key_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trust_anchor")),
    )
    op.create_table(
        "certificate",
        *_described(),
        sa.Column("key_algorithm", WORDS, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("subject_alt_names", sa.Text(), nullable=False),
        sa.Column("issuer_id", WORDS, nullable=True),
        sa.Column("csr", WORDS, nullable=True),
        sa.Column("certificate", WORDS, nullable=True),
        *_private_key(),
        sa.Column("not_before", WORDS, nullable=True),
        sa.Column("not_after", WORDS, nullable=True),
        sa.Column("fingerprint", WORDS, nullable=True),
        sa.Column("key_identifier", WORDS, nullable=True),
        sa.Column("revoked_at", WORDS, nullable=True),
        *_standard(),
        sa.ForeignKeyConstraint(["issuer_id"], ["trust_anchor.id"], name=op.f("fk_certificate_issuer_id")),
        sa.ForeignKeyConstraint(
            ["private_key_key_id"], ["encryption_key.id"], name=op.f("fk_certificate_private_key_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
    )
    op.create_index(op.f("ix_certificate_issuer_id"), "certificate", ["issuer_id"], unique=False)
    for table in ("certificate", "trust_anchor"):
        op.create_index(f"ix_{table}_project_id", table, ["project_id", "name", "id"], unique=False)
        op.create_index(f"ix_{table}_name", table, ["name", "id"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        _copy_connections()
    else:
        for column in _added():
            op.add_column("connection", column)
        for name, target in REFERENCES.items():
            op.create_foreign_key(op.f(f"fk_connection_{name}"), "connection", target, [name], ["id"])
    for name in INDEXED:
        op.create_index(op.f(f"ix_connection_{name}"), "connection", [name], unique=False)
    columns: list[sa.ColumnClause[object]] = [
        sa.column(name) for name in ("peer_certificates", "ppk_id", "ppk_required")
    ]
    connection = sa.table("connection", *columns)
    values = {"peer_certificates": "[]", "ppk_id": "", "ppk_required": sa.false()}
    op.get_bind().execute(connection.update().values(values))


def _copy_connections() -> None:
    """The table with the new columns. SQLite adds a foreign key to a table only with a new table, and Alembic's batches
    cannot copy one with generated columns."""
    bind = op.get_bind()
    before = sa.Table("connection", sa.MetaData(), autoload_with=bind)
    after = sa.MetaData()
    columns: list[sa.Column[object]] = [column._copy() for column in before.columns]  # noqa: SLF001 # as Alembic does
    keys = [_foreign_key(constraint) for constraint in before.foreign_key_constraints]
    for target in {element.column.table.name for key in before.foreign_key_constraints for element in key.elements}:
        sa.Table(target, after, sa.Column("id", WORDS, primary_key=True))
    for target in REFERENCES.values():
        if target not in after.tables:
            sa.Table(target, after, sa.Column("id", WORDS, primary_key=True))
    keys.sort(key=lambda key: [column.name for column in before.columns].index(key.column_keys[0]))
    new = sa.Table(
        "connection_copy",
        after,
        *columns,
        *_added(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection")),
        *keys,
        *(
            sa.ForeignKeyConstraint([name], [f"{target}.id"], name=op.f(f"fk_connection_{name}"))
            for name, target in REFERENCES.items()
        ),
    )
    new.create(bind)
    kept = [column.name for column in before.columns if column.computed is None]
    bind.execute(new.insert().from_select(kept, sa.select(*(before.c[name] for name in kept))))
    indexes = bind.execute(
        sa.text("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'connection' AND sql IS NOT NULL")
    ).all()
    op.drop_table("connection")
    op.rename_table("connection_copy", "connection")
    for (statement,) in indexes:
        op.execute(statement)


def _foreign_key(constraint: sa.ForeignKeyConstraint) -> sa.ForeignKeyConstraint:
    (column,), (element,) = constraint.column_keys, constraint.elements
    target = element.target_fullname
    return sa.ForeignKeyConstraint([column], [target], name=constraint.name, ondelete=constraint.ondelete)
