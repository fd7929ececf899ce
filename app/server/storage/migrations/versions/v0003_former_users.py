"""The third schema: names of users who were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table; whom sessions name and nobody is was deleted before there was one."""
    former = op.create_table("former_users", sa.Column("username", sa.Text, primary_key=True))
    desktops, users = sa.table("desktops", sa.column("user")), sa.table("users", sa.column("username"))
    deleted = sa.select(desktops.c.user).distinct().where(desktops.c.user.not_in(sa.select(users.c.username)))
    op.execute(former.insert().from_select(["username"], deleted))
