"""What every implementation of ``FleetStore`` must do. PostgreSQL adds a fixture ``database`` and a subclass."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from app.contract import AgentRow, DesktopRow, DrainRow, TemplateRow
from app.errors import Invalid, Unavailable
from app.server.storage import fleet
from app.server.storage.database import Database
from app.server.storage.fleet import CommandRow, DesktopLog, FleetStore, Put, Remove
from app.server.tasks import TaskTree

HOSTILE = "<b>x</b>'; DROP TABLE desktops; -- =1+1 \u202e\U0001f3a5\x00"


def agent_row(id: str = "docker-host-01", **fields: Any) -> AgentRow:
    values = {"uuid": "550e8400", "platform": "docker", "max_sessions": 50, "created_at": 1.0, "updated_at": 2.0}
    return AgentRow(id=id, **values | fields)


def desktop_row(id: str = "770e8400", **fields: Any) -> DesktopRow:
    values = {
        "name": "john-doe-firefox-browser-abc123",
        "user": "john.doe",
        "template": "firefox-browser",
        "platform": "docker",
        "agent_id": "docker-host-01",
        "state": "running",
        "phase": "Running",
        "created_at": 1.0,
        "updated_at": 2.0,
    }
    return DesktopRow(id=id, **values | fields)


def command_row(id: str = "cmd-abc123", **fields: Any) -> CommandRow:
    values = {
        "agent_id": "docker-host-01",
        "session_id": "770e8400",
        "command_type": "start_session",
        "created_at": 1.0,
        "updated_at": 2.0,
    }
    return CommandRow(id=id, **values | fields)


class FleetStoreSuite:
    """Cases for one database."""

    async def test_what_was_committed_is_loaded(self, database: Database) -> None:
        agent = agent_row(metadata={"docker_version": "24.0.7", "is_leader": True, "deep": [1, None, {"a": 2.5}]})
        desktop = desktop_row(tags=["project-alpha", HOSTILE], resources={"memory": "2Gi"}, name=HOSTILE)
        command = command_row(data={"name": HOSTILE, "vnc": {"port": 3000}}, attempt=2, generation=3)
        template = TemplateRow(
            id="880e8400", name="firefox-browser", display_name="Firefox", command=["firefox", "--kiosk"], vnc={"port": 1},
            created_at=1.0, updated_at=2.0,
        )  # fmt: skip
        drain = DrainRow(id=agent.id, operator="kim", since=3.0, initial=4, left=2, exits=[5.0, 6.0])
        await FleetStore(database).commit(
            Put("agent", agent), Put("desktop", desktop), Put("command", command), Put("template", template),
            Put("drain", drain),
        )  # fmt: skip
        rows = await FleetStore(database).load()
        assert rows == fleet.FleetRows(
            agents=[agent], desktops=[desktop], commands=[command], templates=[template], drains=[drain]
        )

    async def test_a_row_is_replaced_and_removed(self, database: Database) -> None:
        store = FleetStore(database)
        await store.commit(Put("desktop", desktop_row("a")), Put("desktop", desktop_row("b")))
        await store.commit(Put("desktop", desktop_row("a", state="hibernated", phase="Hibernated")))
        await store.commit(Remove("desktop", "b"), Remove("desktop", "was never there"))
        assert [(row.id, row.state) for row in (await store.load()).desktops] == [("a", "hibernated")]

    async def test_of_several_changes_to_one_row_the_last_counts(self, database: Database) -> None:
        store = FleetStore(database)
        await asyncio.gather(
            store.commit(Put("desktop", desktop_row("a")), Remove("desktop", "a"), Put("desktop", desktop_row("b"))),
            store.commit(Put("desktop", desktop_row("c", message="1"))),
            store.commit(Put("desktop", desktop_row("c", message="2"))),
            store.commit(Remove("desktop", "b")),
        )
        assert [(row.id, row.message) for row in (await store.load()).desktops] == [("c", "2")]

    async def test_only_open_commands_are_loaded_oldest_first(self, database: Database) -> None:
        store = FleetStore(database)
        states = ("sent", "completed", "pending", "failed", "acked", "expired", "cancelled")
        rows = [command_row(f"cmd-{n}", status=status, created_at=10.0 - n) for n, status in enumerate(states)]
        await store.commit(*(Put("command", row) for row in rows))
        assert [row.status for row in (await store.load()).commands] == ["acked", "pending", "sent"]

    async def test_old_commands_that_ended_are_deleted_in_slices(self, database: Database) -> None:
        store = FleetStore(database)
        old = [command_row(f"old-{n}", status="completed", updated_at=float(n)) for n in range(5)]
        kept = [command_row("open", status="sent", updated_at=0.0), command_row("new", status="failed", updated_at=9.0)]
        await store.commit(*(Put("command", row) for row in (*old, *kept)))
        assert [await store.purge_commands(5.0, 3) for _ in range(3)] == [3, 2, 0]
        left = await database.read(fleet.select(fleet.tables.commands.c.id))
        assert sorted(row["id"] for row in left) == ["new", "open"]

    async def test_the_log_of_an_ended_session_is_kept_by_its_id(self, database: Database) -> None:
        store = FleetStore(database)
        lines = [f"2025-11-22T10:45:15Z line {n} {HOSTILE}" for n in range(1000)]
        await store.commit(Put("desktop_log", DesktopLog(id="a", lines=lines)))
        assert await store.log("a") == lines
        assert await store.log("b") == []
        await store.commit(Remove("desktop_log", "a"))
        assert await store.log("a") == []

    async def test_a_row_may_change_while_it_waits(self, database: Database) -> None:
        store = FleetStore(database)
        row = desktop_row("a", message="as committed")
        writing = asyncio.ensure_future(store.commit(Put("desktop", row)))
        await asyncio.sleep(0)
        row.message = "later"
        await writing
        assert (await store.load()).desktops[0].message == "as committed"

    async def test_commits_that_wait_share_a_transaction(self, database: Database) -> None:
        store = FleetStore(database)
        written: list[int] = []
        write = database.write

        async def counted(work: Any) -> Any:
            written.append(1)
            return await write(work)

        database.write = counted  # type: ignore[method-assign]
        await asyncio.gather(*(store.commit(Put("desktop", desktop_row(f"d{n:03}"))) for n in range(200)))
        assert len(written) <= 2
        assert len((await store.load()).desktops) == 200

    async def test_changes_are_applied_in_order_even_when_the_caller_has_gone(self, database: Database) -> None:
        store = FleetStore(database)
        applied: list[str] = []
        first = asyncio.ensure_future(store.commit(Put("desktop", desktop_row("a")), apply=lambda: applied.append("a")))
        second = asyncio.ensure_future(
            store.commit(Put("desktop", desktop_row("b")), apply=lambda: applied.append("b"))
        )
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert applied == ["a", "b"]
        assert [row.id for row in (await store.load()).desktops] == ["a", "b"]

    async def test_what_cannot_be_kept_fails_alone(self, database: Database) -> None:
        store = FleetStore(database)
        results = await asyncio.gather(
            store.commit(Put("desktop", desktop_row("a", message="\ud800"))),
            store.commit(Put("agent", agent_row(metadata={"n": object()}))),
            store.commit(Remove("desktop", "\ud800")),
            store.commit(Put("desktop", desktop_row("b"))),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [Invalid, Invalid, Invalid, type(None)]
        assert [row.id for row in (await store.load()).desktops] == ["b"]

    async def test_more_than_the_queue_holds_is_refused_at_once(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fleet, "QUEUE_LIMIT", 3)
        store = FleetStore(database)
        writing = [asyncio.ensure_future(store.commit(Put("desktop", desktop_row(f"d{n}")))) for n in range(5)]
        results = await asyncio.gather(*writing, return_exceptions=True)
        assert [type(result) for result in results] == [type(None)] * 3 + [Unavailable] * 2
        assert len((await store.load()).desktops) == 3

    async def test_a_commit_that_fails_changes_nothing_and_the_next_works(self, database: Database) -> None:
        store = FleetStore(database)
        write = database.write

        async def broken(work: Any) -> Any:
            async def half(connection: Any) -> None:
                await work(connection)
                raise Unavailable("the database cannot be written: disk is full")

            return await write(half)

        database.write = broken  # type: ignore[method-assign]
        applied: list[str] = []
        with pytest.raises(Unavailable, match="disk is full"):
            await store.commit(Put("desktop", desktop_row("a")), apply=lambda: applied.append("a"))
        database.write = write  # type: ignore[method-assign]
        await store.commit(Put("desktop", desktop_row("b")))
        assert applied == []
        assert [row.id for row in (await store.load()).desktops] == ["b"]

    async def test_a_row_of_another_version_is_left_out(self, database: Database) -> None:
        store = FleetStore(database)
        await store.commit(Put("desktop", desktop_row("a")), Put("desktop", desktop_row("b")))
        broken = fleet.tables.desktops.update().where(fleet.tables.desktops.c.id == "a").values(row='{"id": "a"}')
        await database.execute(broken)
        assert [row.id for row in (await store.load()).desktops] == ["b"]

    async def test_closing_waits_for_what_was_committed(self, database: Database) -> None:
        store = FleetStore(database, TaskTree())
        writing = asyncio.ensure_future(store.commit(Put("desktop", desktop_row("a"))))
        await asyncio.sleep(0)
        await store.close()
        await asyncio.sleep(0)
        assert writing.done()
        await writing

    async def test_a_stop_of_the_tasks_fails_who_waits(self, database: Database) -> None:
        tasks = TaskTree()
        store = FleetStore(database, tasks)
        release = asyncio.Event()

        async def stuck(_work: Any) -> None:
            await release.wait()

        database.write = stuck  # type: ignore[assignment]
        writing = asyncio.ensure_future(store.commit(Put("desktop", desktop_row("a"))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await tasks.stop(1.0)
        with pytest.raises(Unavailable):
            await writing

    async def test_it_takes_what_a_venue_reconnecting_at_once_commits(self, database: Database) -> None:
        store = FleetStore(database)
        began = time.monotonic()
        await asyncio.gather(
            *(
                store.commit(
                    Put("agent", agent_row(f"a{n:03}")), *(Put("desktop", desktop_row(f"d{n}-{m}")) for m in range(10))
                )
                for n in range(200)
            )
        )
        rows = await store.load()
        assert (len(rows.agents), len(rows.desktops)) == (200, 2000)
        assert time.monotonic() - began < 10
        assert msgspec.json.encode(rows.desktops[0])
