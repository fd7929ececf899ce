"""The second schema: the fleet's rows, users, agent keys, tokens that were revoked."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    _make("agents")
    _make(
        "desktops",
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
    )
    _make(
        "commands",
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_index("ix_commands_status", "commands", ["status", "updated_at"])
    for name in ("templates", "drains", "desktop_logs"):
        _make(name)
    _make_access()


def _make(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name, sa.Column("id", sa.Text, primary_key=True), *columns, sa.Column("row", sa.Text, nullable=False)
    )


def _make_access() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("username", sa.Text, nullable=False, unique=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("token_generation", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("last_login", sa.Double),
    )
    op.create_table(
        "agent_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text),
        sa.Column("key_hash", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("rotated_at", sa.Double),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("ix_revoked_tokens_expires", "revoked_tokens", ["expires_at"])
