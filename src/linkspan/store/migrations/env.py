"""Alembic's environment: runs the migrations on the connection that `store.migrate` hands over, in one transaction."""

from __future__ import annotations

from alembic import context

from linkspan.store.database.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite's DDL is transactional where nobody commits behind our back (see store.database.engine).
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
