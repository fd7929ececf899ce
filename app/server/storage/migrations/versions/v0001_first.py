"""The first schema: stream types, history, presets, audit, settings, API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "stream_types",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("icon", sa.Text),
        sa.Column("default_config", sa.JSON, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    _make_history()
    op.create_table(
        "presets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("consumer_id", sa.Text, nullable=False),
        sa.Column("consumer_address", sa.Text, nullable=False),
        sa.Column("consumer_port", sa.Integer),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("held_by", sa.Text, nullable=False),
        sa.Column("default", sa.Boolean, nullable=False),
    )
    _make_audit()
    op.create_table(
        "settings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key_hash", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.Double, nullable=False),
    )


def _make_history() -> None:
    op.create_table(
        "stream_sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("stream_name", sa.Text, nullable=False),
        sa.Column("stream_type", sa.Text, nullable=False),
        sa.Column("publisher_id", sa.Text, nullable=False),
        sa.Column("publisher_address", sa.Text, nullable=False),
        sa.Column("consumer_id", sa.Text, nullable=False),
        sa.Column("consumer_address", sa.Text, nullable=False),
        sa.Column("protocol", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("duration_seconds", sa.Double),
        sa.Column("bytes_transferred", sa.BigInteger, nullable=False),
        sa.Column("error_message", sa.Text),
    )
    op.create_index("ix_stream_sessions_time", "stream_sessions", ["time", "id"])
    op.create_index("ix_stream_sessions_publisher", "stream_sessions", ["publisher_id", "time", "id"])
    op.create_index("ix_stream_sessions_consumer", "stream_sessions", ["consumer_id", "time", "id"])
    op.create_index("ix_stream_sessions_stream", "stream_sessions", ["stream_id", "time", "id"])


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True)),
        sa.Column("after", sa.JSON(none_as_null=True)),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("milliseconds", sa.Double),
    )
    op.create_index("ix_audit_at", "audit", ["at", "id"])
    op.create_index("ix_audit_operator", "audit", ["operator", "at", "id"])
    op.create_index("ix_audit_object", "audit", ["object_id", "at", "id"])
