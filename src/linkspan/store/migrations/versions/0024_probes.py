"""Questions that have a node probe."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. The questions that are there are diagnoses."""
    op.add_column("node_question", sa.Column("probe", sa.Text(), nullable=True))
