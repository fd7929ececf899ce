"""What the agent has decided and done, by ``command_id``: the memory that makes a repeated command one command.

Used by ``link.py``, which marks a command here before anything is awaited, and keeps its result until the broker has
it. SQLite with a write-ahead log: every method has returned only when ``kill -9`` cannot undo it. Serves the
StreamSpace document (seed 001, "WebSocket Protocol": command execution).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from app.agent_protocol import Command, CommandResult
from app.errors import ConfigError, Unavailable

KEPT = 24 * 3600.0
"""Seconds that a finished command is remembered after its end."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS command (
    id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    command_type TEXT NOT NULL,
    state TEXT NOT NULL,
    result BLOB,
    delivered INTEGER NOT NULL DEFAULT 0,
    number INTEGER,
    at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS undelivered ON command (number) WHERE state = 'done' AND delivered = 0;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value BLOB);
"""


class Done(msgspec.Struct):
    """A finished command: what to tell the broker."""

    command_id: str
    session_id: str
    command_type: str
    result: CommandResult


class Journal(Protocol):
    """What ``link.py`` needs of a memory. Its methods raise ``Unavailable`` when it cannot be used, as on a full disk."""

    def begin(self, command: Command) -> bool:
        """Mark a command as decided; False when it was before and its end is not known."""

    def finish(self, command: Command, result: CommandResult) -> None:
        """Mark it as done."""

    def done(self, command_id: str) -> Done | None:
        """A finished command; None when it is unknown or under way."""

    def delivered(self, command_id: str) -> None:
        """The broker has the result."""

    def undelivered(self) -> list[Done]:
        """Finished commands whose result the broker may lack, oldest first."""


class SqliteJournal:
    """The journal of one state folder."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        """Without a path: in memory, for as long as this object lives."""
        self._now = now
        try:
            self._database = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(f"The agent's journal {path} cannot be used: {error}.") from error
        if path is not None:
            path.chmod(0o600)
        self.prune()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise Unavailable(f"The agent's journal does not take that: {error}.") from error

    def begin(self, command: Command) -> bool:
        """Mark a command as decided; False when it was before."""
        row = (command.command_id, command.session_id, command.command_type, self._now())
        found = self._run("INSERT OR IGNORE INTO command VALUES (?, ?, ?, 'begun', NULL, 0, NULL, ?)", row)
        return found.rowcount == 1

    def finish(self, command: Command, result: CommandResult) -> None:
        """Mark it as done, with what to tell the broker."""
        self._run(
            "UPDATE command SET state = 'done', result = ?, at = ?,"
            " number = (SELECT COALESCE(MAX(number), 0) + 1 FROM command) WHERE id = ?",
            (msgspec.json.encode(result), self._now(), command.command_id),
        )

    def done(self, command_id: str) -> Done | None:
        """A finished command."""
        row = self._run(
            "SELECT id, session_id, command_type, result FROM command WHERE id = ? AND state = 'done'", (command_id,)
        ).fetchone()
        return None if row is None else _done(row)

    def delivered(self, command_id: str) -> None:
        """The broker has the result."""
        self._run("UPDATE command SET delivered = 1 WHERE id = ? AND state = 'done'", (command_id,))

    def undelivered(self) -> list[Done]:
        """Finished commands whose result the broker may lack, oldest first."""
        rows = self._run(
            "SELECT id, session_id, command_type, result FROM command"
            " WHERE state = 'done' AND delivered = 0 ORDER BY number"
        )
        return [_done(row) for row in rows]

    def prune(self) -> None:
        """Forget what ended long ago; what was begun and never ended goes the same way."""
        self._run("DELETE FROM command WHERE at < ?", (self._now() - KEPT,))

    def fact(self, name: str, otherwise: Callable[[], Any]) -> Any:
        """A value that stays the same for the life of the state folder, made at its first use."""
        row = self._run("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return msgspec.json.decode(row[0])
        value = otherwise()
        self._run("INSERT INTO fact VALUES (?, ?)", (name, msgspec.json.encode(value)))
        return value


def _done(row: tuple[str, str, str, bytes]) -> Done:
    return Done(row[0], row[1], row[2], msgspec.json.decode(row[3], type=CommandResult))
