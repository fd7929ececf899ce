"""Alembic's environment: migrations run on the connection, and in the transaction, that ``upgrade`` passes in."""

from __future__ import annotations

from alembic import context

from app.server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
