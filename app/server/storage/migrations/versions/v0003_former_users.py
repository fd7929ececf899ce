"""The third schema: names of users who were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table("former_users", sa.Column("username", sa.Text, primary_key=True))
