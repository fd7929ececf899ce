"""Migrations: they make the tables that the code knows, at once or not at all, and refuse what is newer."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from app.errors import ConfigError
from app.server.storage import migrations
from app.server.storage.database import Database
from app.server.storage.tables import metadata

ROOT = Path(__file__).parents[4]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "callboard.db"


async def make(path: Path) -> None:
    database = Database(path)
    await database.start()
    await database.stop()


async def test_the_migrations_make_the_tables_of_the_code(path: Path) -> None:
    await make(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == migrations.REVISIONS[-1]
    engine.dispose()


def test_every_migration_is_named_in_order() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migrations.REVISIONS


async def test_names_that_only_sessions_still_bear_are_those_of_deleted_users(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrations.upgrade(connection, "0002")
        people = "INSERT INTO users VALUES (:name, :name, '', 'user', 1, '', 0, 0, NULL)"
        connection.execute(text(people), [{"name": "kim"}, {"name": "zoe"}])
        desktops = "INSERT INTO desktops VALUES (:id, :user, NULL, 'terminated', '{}')"
        named = ("kim", "ada", "ada", "bo")
        connection.execute(text(desktops), [{"id": str(at), "user": user} for at, user in enumerate(named)])
    engine.dispose()
    await make(path)
    with sqlite3.connect(path) as connection:
        assert sorted(connection.execute("SELECT username FROM former_users")) == [("ada",), ("bo",)]
    connection.close()


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    await make(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="schema 9999; this broker knows up to 0003"):
        await Database(path).start()
    assert path.read_bytes() == before


async def test_a_migration_that_breaks_off_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = migrations.upgrade

    def break_off(connection: Any) -> None:
        real(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "upgrade", break_off)
    database = Database(path)
    with pytest.raises(KeyboardInterrupt):
        await database.start()
    await database.stop()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    monkeypatch.undo()
    await make(path)


async def test_alembic_is_imported_only_for_a_schema_that_is_behind(path: Path) -> None:
    code = textwrap.dedent("""
        import asyncio, sys
        from app.server.storage.database import Database
        async def main():
            database = Database(sys.argv[1])
            await database.start()
            await database.stop()
            print("alembic" in sys.modules)
        asyncio.run(main())
    """)
    found = []
    for _ in range(2):
        run = [sys.executable, "-c", code, str(path)]
        done = await asyncio.to_thread(subprocess.run, run, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
    assert found == ["True", "False"]
