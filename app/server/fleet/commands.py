"""Commands that have not ended: who has them, what they will make of a session, who waits for them.

Kept in memory beside the database, which has each before it is sent and after it has ended; a restarted broker sends
what is open again under the same id. Called by everything in the domain that makes or ends commands. Serves the
StreamSpace document (seed 001, "Command Execution").
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from app.agent_protocol import CommandType
from app.contract import DesktopState
from app.server.storage.fleet import OPEN_COMMANDS, CommandRow

EXPIRED_KEPT = 1000
"""Commands without a result that are remembered, so that a late result still counts."""

_LEADS_TO: dict[str, DesktopState] = {
    "hibernate_session": "hibernated",
    "wake_session": "running",
    "start_session": "running",
    "stop_session": "terminating",
}


class Commands:
    """The open ones, by id, agent and session, each in the order in which they were made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0.0
        self._open: dict[str, CommandRow] = {}
        self._of_agent: dict[str, dict[str, CommandRow]] = {}
        self._of_session: dict[str, dict[str, CommandRow]] = {}
        self._sent: set[str] = set()
        self._expired: OrderedDict[str, CommandRow] = OrderedDict()
        self._waiters: dict[str, list[asyncio.Future[CommandRow]]] = {}
        self.on_opened: Callable[[CommandRow], None] = lambda _row: None
        self.on_closed: Callable[[CommandRow], None] = lambda _row: None

    def __len__(self) -> int:
        return len(self._open)

    def make(
        self, agent_id: str, session_id: str, command_type: CommandType, data: dict[str, Any], generation: int
    ) -> CommandRow:
        """A new command; it counts once it is durable and ``apply`` was called."""
        self._last = now = max(self._clock(), self._last + 1e-6)
        return CommandRow(
            id=f"cmd-{secrets.token_hex(8)}",
            agent_id=agent_id,
            session_id=session_id,
            command_type=command_type,
            data=data,
            generation=generation,
            created_at=now,
            updated_at=now,
        )

    def ended(self, row: CommandRow, status: str, *, error: str = "", code: str = "", result: Any = None) -> CommandRow:
        """The row of a command that has ended so."""
        row = self._open.get(row.id, row)
        fields: dict[str, Any] = {"status": status, "error": error, "error_code": code, "result": result or {}}
        return msgspec.structs.replace(row, updated_at=self._clock(), **fields)

    def apply(self, rows: Iterable[CommandRow]) -> None:
        """Take over what has become durable: new commands, and ends of known ones."""
        for row in rows:
            if row.status in OPEN_COMMANDS:
                self._add(row)
                self.on_opened(row)
            elif self._open.pop(row.id, None) is not None:
                self._remove(row)

    def load(self, rows: Iterable[CommandRow]) -> None:
        """What an earlier broker left open; each may have been sent."""
        for row in rows:
            self._last = max(self._last, row.created_at)
            self._add(row)
            self._sent.add(row.id)

    def sent(self, command_id: str, attempt: int) -> None:
        """It went out; the database learns that with its end."""
        row = self._open.get(command_id)
        if row is not None:
            self._sent.add(command_id)
            self._replace(msgspec.structs.replace(row, status="sent", attempt=attempt))

    def acked(self, command_id: str) -> None:
        """The agent has it."""
        row = self._open.get(command_id)
        if row is not None:
            self._replace(msgspec.structs.replace(row, status="acked"))

    def get(self, command_id: str) -> CommandRow | None:
        """An open command."""
        return self._open.get(command_id)

    def expired(self, command_id: str) -> CommandRow | None:
        """A command that ended because no result came, taken out."""
        return self._expired.pop(command_id, None)

    def of_agent(self, agent_id: str) -> list[CommandRow]:
        """Open commands of an agent, oldest first."""
        return list(self._of_agent.get(agent_id, {}).values())

    def of_session(self, session_id: str, agent_id: str | None = None) -> list[CommandRow]:
        """Open commands of a session, oldest first; with ``agent_id`` without those that end it where it was before."""
        rows = self._of_session.get(session_id, {}).values()
        return [row for row in rows if agent_id is None or row.agent_id == agent_id]

    def unsent(self, session_id: str, agent_id: str | None) -> list[CommandRow]:
        """Open commands of a session that its agent has not seen."""
        return [row for row in self.of_session(session_id, agent_id) if row.id not in self._sent]

    def target(self, session_id: str, agent_id: str | None, state: DesktopState) -> DesktopState:
        """The state a session will have when what is open has succeeded; a session that has not begun stays pending."""
        if state not in ("running", "hibernated"):
            return state
        for row in self.of_session(session_id, agent_id):
            state = _LEADS_TO[row.command_type]
        return state

    def wakes(self, session_id: str, agent_id: str | None) -> bool:
        """Whether a session is on its way up on this agent, by a wake or a start, and so has a slot whatever its state."""
        opened = self.of_session(session_id, agent_id)
        return any(row.command_type in ("wake_session", "start_session") for row in opened)

    async def wait(self, command_id: str, timeout: float) -> CommandRow | None:
        """The end of a command; None when it has not ended within ``timeout``."""
        if command_id not in self._open:
            return None
        future: asyncio.Future[CommandRow] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(command_id, []).append(future)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return None
        finally:
            waiters = self._waiters.get(command_id)
            if waiters is not None and future in waiters:
                waiters.remove(future)
                if not waiters:
                    del self._waiters[command_id]

    def _add(self, row: CommandRow) -> None:
        self._open[row.id] = row
        self._of_agent.setdefault(row.agent_id, {})[row.id] = row
        self._of_session.setdefault(row.session_id, {})[row.id] = row

    def _replace(self, row: CommandRow) -> None:
        self._open[row.id] = self._of_agent[row.agent_id][row.id] = self._of_session[row.session_id][row.id] = row

    def _remove(self, row: CommandRow) -> None:
        for table, key in ((self._of_agent, row.agent_id), (self._of_session, row.session_id)):
            rows = table[key]
            del rows[row.id]
            if not rows:
                del table[key]
        self._sent.discard(row.id)
        if row.status == "expired":
            self._expired[row.id] = row
            while len(self._expired) > EXPIRED_KEPT:
                self._expired.popitem(last=False)
        for waiter in self._waiters.pop(row.id, []):
            if not waiter.done():
                waiter.set_result(row)
        self.on_closed(row)
