"""Tables of the durable rows, in portable SQL: SQLite now, PostgreSQL for the scaled-out set-up.

Used by ``database.py`` and, as the target of every migration, by ``migrations/``; a test compares the two.
Times are seconds since the epoch; a row's columns have the names of its struct in ``app/contract``. The
built-in stream types are no rows: ``app/server/streams/types.py`` knows them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text

metadata = MetaData()

stream_types = Table(
    "stream_types",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text),
    Column("icon", Text),
    Column("default_config", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

stream_sessions = Table(
    "stream_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("time", Double, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("stream_name", Text, nullable=False),
    Column("stream_type", Text, nullable=False),
    Column("publisher_id", Text, nullable=False),
    Column("publisher_address", Text, nullable=False),
    Column("consumer_id", Text, nullable=False),
    Column("consumer_address", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("ended_at", Double),
    Column("duration_seconds", Double),
    Column("bytes_transferred", BigInteger, nullable=False),
    Column("error_message", Text),
    Index("ix_stream_sessions_time", "time", "id"),
    Index("ix_stream_sessions_publisher", "publisher_id", "time", "id"),
    Index("ix_stream_sessions_consumer", "consumer_id", "time", "id"),
    Index("ix_stream_sessions_stream", "stream_id", "time", "id"),
)
"""History. Each index ends in ``time, id``, the order of every page, and is read backwards."""

presets = Table(
    "presets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("consumer_id", Text, nullable=False),
    Column("consumer_address", Text, nullable=False),
    Column("consumer_port", Integer),
    Column("config", JSON, nullable=False),
    Column("mode", Text, nullable=False),
    Column("held_by", Text, nullable=False),
    Column("default", Boolean, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("operator", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("result", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("milliseconds", Double),
    Index("ix_audit_at", "at", "id"),
    Index("ix_audit_operator", "operator", "at", "id"),
    Index("ix_audit_object", "object_id", "at", "id"),
)

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
)


def _fleet_table(name: str, *columns: Column[Any] | Index) -> Table:
    """A table of the fleet: the whole row as JSON in ``row``, beside it what is looked for in SQL."""
    return Table(name, metadata, Column("id", Text, primary_key=True), *columns, Column("row", Text, nullable=False))


agents = _fleet_table("agents")
desktops = _fleet_table(
    "desktops",
    Column("user", Text, nullable=False),
    Column("agent_id", Text),
    Column("state", Text, nullable=False),
)
commands = _fleet_table(
    "commands",
    Column("agent_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("ix_commands_status", "status", "updated_at"),
)
templates = _fleet_table("templates")
drains = _fleet_table("drains")
desktop_logs = _fleet_table("desktop_logs")

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("username", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("token_generation", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_login", Double),
)

former_users = Table("former_users", metadata, Column("username", Text, primary_key=True))

agent_keys = Table(
    "agent_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("agent_id", Text),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("rotated_at", Double),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("expires_at", Double, nullable=False),
    Index("ix_revoked_tokens_expires", "expires_at"),
)
