"""Alembic's migrations of the durable tables, and the check that decides whether Alembic is needed at all.

Called by ``database.py`` at its start. Alembic costs 39 MiB and 0.2 s, so it is imported only for a schema that
is behind. ``REVISIONS`` names every migration in order; a database at any other revision is of a newer version.
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import ConfigError

REVISIONS = ("0001", "0002", "0003")


async def bring_up_to_date(engine: AsyncEngine, name: str) -> None:
    """Migrate the database to the newest schema. Raises ``ConfigError`` when it is of a newer version."""
    async with engine.connect() as connection:
        found = await connection.run_sync(_revision)
    if found == REVISIONS[-1]:
        return
    if found is not None and found not in REVISIONS:
        raise ConfigError(
            f"{name} has schema {found}; this broker knows up to {REVISIONS[-1]}: "
            "use the version of Callboard that wrote it, or another data folder"
        )
    await asyncio.to_thread(importlib.import_module, "alembic.command")
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run what is missing up to a revision, within the transaction of ``connection``."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, to)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
