"""The audit: durable before it is told, and whole when it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import Unavailable
from app.server import audit as audit_module
from app.server.audit import Audit
from app.server.events import EventLog
from app.server.storage.database import AuditQuery, Database
from app.server.storage.history import HistoryMover
from app.server.storage.journal import Journal
from app.server.tasks import TaskTree

NEWEST = AuditQuery(limit=10)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite", "normal")
    await journal.open()
    yield journal
    await journal.close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "callboard.sqlite")
    await database.start()
    yield database
    await database.stop()


async def test_an_audit_that_would_be_incomplete_is_refused(
    journal: Journal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "CAUGHT_UP_WITHIN", 0.01)
    mover, tasks = HistoryMover(journal, database), TaskTree()
    audit = Audit(journal, mover, database, EventLog())
    assert await audit.query(NEWEST) == []
    async with audit.act("Ada", "kick", "session", "s") as act:
        act.after = {"gone": True}
    with pytest.raises(Unavailable, match="catching up"):
        await audit.query(NEWEST)
    monkeypatch.setattr(audit_module, "CAUGHT_UP_WITHIN", 5.0)
    await mover.start(tasks)
    (row,) = await audit.query(NEWEST)
    assert (row.operator, row.verb, row.object_id, row.after, row.result) == ("Ada", "kick", "s", {"gone": True}, "ok")
    assert row.milliseconds is not None
    assert row.milliseconds > 0
    await mover.stop()
