"""The journal's SQLite file: its tables, one transaction per batch, and what is read back at the start.

Used by ``journal.py`` on its writer thread alone. ``locking_mode = EXCLUSIVE`` keeps a second process out and
saves the lock calls of each transaction. Rows are keyed by a number that only grows, so that new rows share
pages, order survives a restart and a deadline costs a few bytes in a table of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from app.errors import ConfigError, PortInUse

SCHEMA = 1
"""Version of the tables below; a file with a higher number is refused."""

WIDEST = 64
"""Most rows that one statement writes."""

_SIZES = (64, 32, *range(16, 0, -1))
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE live (n INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL, deadline REAL)",
    "CREATE TABLE deadlines (n INTEGER PRIMARY KEY, deadline REAL NOT NULL, heard REAL)",
    "CREATE TABLE outbox (n INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE alive (id INTEGER PRIMARY KEY CHECK (id = 1), monotonic REAL NOT NULL, wall REAL NOT NULL)",
)


class Change:
    """What one commit writes. All of it becomes durable, or none.

    A row's number is never used twice, and a row is put before it is touched and touched before it is
    dropped; so a batch can write all puts first and all drops last.
    """

    __slots__ = ("acked", "alive", "drops", "probe", "puts", "records", "touches")

    def __init__(self) -> None:
        self.puts: list[Any] = []
        self.drops: list[int] = []
        self.records: list[tuple[str, bytes]] = []
        self.touches: list[Any] = []
        self.alive: tuple[float, float] | None = None
        self.acked = 0
        self.probe: bool | None = None

    def put(self, n: int, kind: str, body: bytes, deadline: float | None) -> Change:
        """Add live row ``n``; ``deadline`` is monotonic, None for a row without a TTL."""
        self.puts += (n, kind, body, deadline)
        return self

    def touch(self, n: int, deadline: float, heard: float | None) -> Change:
        """Move the deadline of row ``n``; ``heard`` is its last heartbeat on the wall clock."""
        self.touches += (n, deadline, heard)
        return self

    def drop(self, n: int) -> Change:
        """Remove live row ``n``."""
        self.drops.append(n)
        return self

    def record(self, kind: str, body: bytes) -> Change:
        """Add a record to the outbox."""
        self.records.append((kind, body))
        return self

    def absorb(self, other: Change) -> None:
        """Take over the drops and records of ``other``, which could not be written in its own time."""
        self.drops += other.drops
        self.records += other.records


class LiveRecord(NamedTuple):
    """A live row as the journal kept it."""

    n: int
    kind: str
    body: bytes
    deadline: float | None
    heard: float | None


class OutboxRecord(NamedTuple):
    """A record that waits for the database."""

    n: int
    kind: str
    body: bytes


class Recovered(NamedTuple):
    """What the journal held when it was opened, oldest first, and when the broker was last known alive.

    Deadlines and ``alive`` are monotonic values of the process that wrote them; compare them with each other
    only. ``alive_wall`` is the same moment on the wall clock.
    """

    rows: list[LiveRecord]
    alive: float
    alive_wall: float
    last_n: int
    last_record: int


def _wide(head: str, row: str) -> dict[int, str]:
    return {size: f"{head} {', '.join([row] * size)}" for size in _SIZES}


def _in_list(head: str) -> dict[int, str]:
    return {size: f"{head} ({', '.join('?' * size)})" for size in _SIZES}


_PUT = _wide("INSERT OR REPLACE INTO live (n, kind, body, deadline) VALUES", "(?, ?, ?, ?)")
_TOUCH = _wide("INSERT OR REPLACE INTO deadlines (n, deadline, heard) VALUES", "(?, ?, ?)")
_RECORD = _wide("INSERT INTO outbox (n, kind, body) VALUES", "(?, ?, ?)")
_DROP = _in_list("DELETE FROM live WHERE n IN")
_DROP_DEADLINE = _in_list("DELETE FROM deadlines WHERE n IN")
_ALIVE = "INSERT OR REPLACE INTO alive (id, monotonic, wall) VALUES (1, ?, ?)"
_ACK = "DELETE FROM outbox WHERE n <= ?"
_PROBE = "INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', zeroblob(65536))"
_UNPROBE = "DELETE FROM meta WHERE key = 'probe'"

Statement = tuple[str, Any]


def _statements(texts: dict[int, str], width: int, values: list[Any]) -> Iterable[Statement]:
    """Few statements that together write all of ``values``, ``width`` values to a row."""
    left = len(values) // width
    if left <= 16:
        if left:
            yield texts[left], values
        return
    at = 0
    while left:
        size = next(size for size in _SIZES if size <= left)
        yield texts[size], values[at * width : (at + size) * width]
        at += size
        left -= size


def error_name(error: Exception) -> str:
    """SQLite's name of an error; errors of Python's module itself have none."""
    return getattr(error, "sqlite_errorname", "")


class JournalFile:
    """One connection to the journal; every method runs on the writer thread."""

    def __init__(self, path: Path, *, full_sync: bool) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self._full_sync = full_sync
        self._last_record = 0

    def open(self) -> Recovered:
        """Open or create the file. Raises ``PortInUse`` when another process has it, ``ConfigError`` when it is
        damaged or of a newer version."""
        try:
            self._connect()
            return self._read()
        except sqlite3.Error as error:
            self.close()
            if error_name(error) in ("SQLITE_BUSY", "SQLITE_LOCKED"):
                raise PortInUse(f"{self.path} is in use by another process") from error
            raise ConfigError(
                f"{self.path} cannot be opened: {error}; move it away to start with an empty board"
            ) from error
        except ConfigError:
            self.close()
            raise

    def reopen(self) -> None:
        """Replace a connection that an I/O error may have spoilt."""
        self.close()
        self._connect()

    def close(self) -> None:
        """Close the connection; SQLite folds the write-ahead log into the file."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def write(self, changes: Iterable[Change]) -> int:
        """Write all changes in one transaction and return the number of the last record in the outbox."""
        if self.connection is None:
            self._connect()
        statements, last_record = self._plan(changes)
        execute = self._open_connection().execute
        if len(statements) == 1:
            execute(*statements[0])
        elif statements:
            execute("BEGIN")
            try:
                for text, values in statements:
                    execute(text, values)
                execute("COMMIT")
            except Exception:
                self._roll_back()
                raise
        self._last_record = last_record
        return last_record

    def outbox(self, limit: int) -> list[OutboxRecord]:
        """The oldest records of the outbox."""
        if self.connection is None:
            self._connect()
        rows = self._open_connection().execute("SELECT n, kind, body FROM outbox ORDER BY n LIMIT ?", (limit,))
        return [OutboxRecord(*row) for row in rows]

    def _plan(self, changes: Iterable[Change]) -> tuple[list[Statement], int]:
        puts: list[Any] = []
        touches: list[Any] = []
        drops: list[int] = []
        records: list[Any] = []
        rest: list[Statement] = []
        last_record = self._last_record
        for change in changes:
            puts += change.puts
            touches += change.touches
            drops += change.drops
            for kind, body in change.records:
                last_record += 1
                records += (last_record, kind, body)
            if change.alive is not None:
                rest.append((_ALIVE, change.alive))
            if change.acked:
                rest.append((_ACK, (change.acked,)))
            if change.probe is not None:
                rest.append((_PROBE if change.probe else _UNPROBE, ()))
        return [
            *_statements(_PUT, 4, puts),
            *_statements(_TOUCH, 3, touches),
            *_statements(_DROP, 1, drops),
            *_statements(_DROP_DEADLINE, 1, drops),
            *_statements(_RECORD, 3, records),
            *rest,
        ], last_record

    def _roll_back(self) -> None:
        connection = self._open_connection()
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _open_connection(self) -> sqlite3.Connection:
        if self.connection is None:
            raise sqlite3.ProgrammingError("the journal is closed")
        return self.connection

    def _connect(self) -> None:
        connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, cached_statements=256)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._full_sync else 'NORMAL'}")
            connection.execute(f"PRAGMA fullfsync = {int(self._full_sync)}")
            connection.execute("BEGIN IMMEDIATE")
            self._check_schema(connection)
            connection.execute("COMMIT")
            newest = connection.execute("SELECT coalesce(max(n), 0) FROM outbox").fetchone()[0]
        except Exception:
            connection.close()
            raise
        self.connection = connection
        self._last_record = max(self._last_record, newest)  # a commit that failed may be there after all

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
        if not known:
            for text in _TABLES:
                connection.execute(text)
            connection.execute("INSERT INTO meta (key, value) VALUES ('schema', ?)", (SCHEMA,))
            return
        found = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if found is None or found[0] != SCHEMA:
            version = found[0] if found else "no"
            raise ConfigError(
                f"{self.path} has schema version {version}; this broker knows {SCHEMA}: "
                "use the version of Callboard that wrote it, or another data folder"
            )

    def _read(self) -> Recovered:
        execute = self._open_connection().execute
        rows = execute(
            "SELECT live.n, kind, body, coalesce(deadlines.deadline, live.deadline), heard"
            " FROM live LEFT JOIN deadlines ON deadlines.n = live.n ORDER BY live.n"
        )
        found = [LiveRecord(*row) for row in rows]
        execute("DELETE FROM deadlines WHERE n NOT IN (SELECT n FROM live)")
        alive, wall = execute("SELECT monotonic, wall FROM alive").fetchone() or (float("-inf"), 0.0)
        return Recovered(found, alive, wall, found[-1].n if found else 0, self._last_record)
