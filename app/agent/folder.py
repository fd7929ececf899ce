"""The agent's state folder: one agent at a time, and an id that marks what belongs to it.

Used by ``main.py`` and tests. The lock is the operating system's, so that ``kill -9`` leaves nothing stuck. Serves the
StreamSpace document (seed 001, "Agent Management").
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from app.agent.journal import SqliteJournal
from app.errors import ConfigError, PortInUse

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # beyond the text, which others must be able to read
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class StateFolder:
    """A locked folder with its journal; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        self._journal: SqliteJournal | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    @property
    def journal(self) -> SqliteJournal:
        """The journal of the folder, which must be ours."""
        if self._journal is None:
            raise ConfigError(f"The agent's folder {self.path} is not open.")
        return self._journal

    @property
    def id(self) -> str:
        """Random, and the same for the life of the folder: what its processes carry."""
        return str(self.journal.fact("state_id", lambda: secrets.token_hex(8)))

    def acquire(self) -> None:
        """Become the folder's agent. Raises ``PortInUse`` while there is another, ``ConfigError``."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self._lock = os.open(self.path / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The agent's folder {self.path} cannot be used: {error.strerror}.") from error
        try:
            _lock(self._lock)
        except OSError:
            pid = os.read(self._lock, 20).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise PortInUse(f"The agent's folder {self.path} is in use by another agent (process {pid}).") from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())
        try:
            self._journal = SqliteJournal(self.path / "journal.sqlite")
        except ConfigError:
            self.release()
            raise

    def release(self) -> None:
        """Give the folder up; safe to call twice."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
