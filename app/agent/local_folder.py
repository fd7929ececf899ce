"""The state folder of the local platform: where each session's files are, and what ended sessions leave for a day.

Used by ``local.py`` alone. Serves the StreamSpace document (seed 001, "Session Lifecycle").

    <state>/sessions/<id>/   record.json state.json session.log rfb.sock Xauthority run/ home/
    <state>/homes/<user>/<template>/   homes that stay
    <state>/ended/<id>.log   logs of sessions that ended within the last day
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.agent import processes
from app.agent.homes import Homes, private, remove
from app.agent.limits import short
from app.agent.platform import AgentFailure, FailureCode
from app.agent.session import MARKER, Record, Session
from app.agent.session_log import tail
from app.errors import ConfigError

A_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SOCKET_PATH = 100
"""Bytes that a socket's path may have; the system's limit is 107."""
LOG_KEPT = 24 * 3600.0
LOGS_KEPT = 200
LINES_KEPT = 1000


class LocalFolder:
    """Names and files; ``state_id`` marks this folder's processes."""

    def __init__(self, path: Path, state_id: str) -> None:
        self.homes = Homes(path / "homes")
        self._sessions = path / "sessions"
        self._ended = path / "ended"
        self._state_id = state_id

    def prepare(self) -> None:
        """Make what is missing."""
        for folder in (self._sessions, self._ended):
            private(folder)

    def known(self) -> Iterator[Session]:
        """Sessions that an earlier agent left; what makes no sense is removed."""
        for folder in sorted(self._sessions.iterdir()):
            try:
                record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
            except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
                record = None
            except OSError as error:  # it is there: a session must not end because it cannot be read just now
                raise ConfigError(f"{folder / 'record.json'} cannot be read: {error.strerror}.") from error
            if record is None or record.session_id != folder.name:
                processes.kill_all(self.marked().get(folder.name, ()))
                remove(folder)
            else:
                yield Session(folder, record, self._marker(record.session_id))

    def new(self, session_id: str, record: Record) -> Session:
        """A folder for a session that begins. Raises ``AgentFailure``."""
        if not A_SESSION.fullmatch(session_id):
            raise AgentFailure("this is not the id of a session", FailureCode.TEMPLATE)
        folder = self._sessions / session_id
        try:
            for each in (folder, folder / "run"):
                private(each)
            record.socket = str(self._socket(folder))
        except OSError as error:
            raise AgentFailure(f"the session's folder cannot be made: {error}", FailureCode.RESOURCES) from error
        (self._ended / f"{session_id}.log").unlink(missing_ok=True)
        return Session(folder, record, self._marker(session_id))

    def marked(self) -> dict[str, list[int]]:
        """Processes of this folder's sessions, by session, wherever they went."""
        found: dict[str, list[int]] = {}
        for pid, session_id in processes.marked(MARKER, f"{self._state_id}:").items():
            found.setdefault(session_id, []).append(pid)
        return found

    def keep_log(self, session: Session) -> None:
        """The last lines of a session that ended; the folder may go."""
        lines = tail(session.log, LINES_KEPT)
        if lines:
            text = "".join(f"{line}\n" for line in lines)
            path = self._ended / f"{session.id}.log"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)

    def ended_log(self, session_id: str) -> Path:
        """The log of a session that ended. Raises ``AgentFailure``."""
        path = self._ended / f"{session_id}.log"
        if not A_SESSION.fullmatch(session_id) or not path.exists():
            raise AgentFailure("there is no log of this session here", FailureCode.NO_SESSION)
        return path

    def prune_logs(self) -> None:
        """Forget logs that are old, and the oldest of too many."""
        found = sorted(self._ended.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
        old = time.time() - LOG_KEPT
        for number, path in enumerate(found):
            if number >= LOGS_KEPT or path.stat().st_mtime < old:
                path.unlink(missing_ok=True)

    def _socket(self, folder: Path) -> Path:
        """Beside the log, or where paths are short enough for a socket."""
        path = folder / "rfb.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH:
            return path
        base = Path(tempfile.gettempdir()) / f"callboard-{os.geteuid()}"
        private(base)
        if base.stat().st_uid != os.geteuid():
            raise AgentFailure(f"{base} belongs to somebody else")
        return base / f"{self._state_id[:8]}-{short(folder.name)}.sock"

    def _marker(self, session_id: str) -> str:
        return f"{self._state_id}:{session_id}"
