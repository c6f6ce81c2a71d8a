"""The database's versions, for Alembic. A released version never changes; a change is another file."""

from __future__ import annotations

from typing import Final

HEAD: Final = "0028"
"""The newest version. A test compares it with the files, so that start-up need not read them."""
