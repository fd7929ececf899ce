"""What the local platform does without being asked: the watchdog on memory, and the sweep of orphans.

Run by ``local.py`` for as long as the agent lives. Serves the StreamSpace document (seed 001, "Session Lifecycle":
resources).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from app.agent import processes
from app.agent.local_folder import LocalFolder
from app.agent.session import Session
from app.logs import get_logger

log = get_logger("agent.local")

WATCH_EVERY = 5.0
SWEEP_EVERY = 60.0
OOM_GRACE = 5.0
OUT_OF_MEMORY = "OUT_OF_MEMORY"

Tell = Callable[[Session, Literal["exited", "oom"], str, str], None]


class Keeper:
    """Looks at the sessions of one platform; ``look`` measures them, ``memory_of`` is what it found."""

    def __init__(
        self,
        folder: LocalFolder,
        sessions: dict[str, Session],
        look: Callable[[], Awaitable[None]],
        memory_of: Callable[[str], int],
        tell: Tell,
    ) -> None:
        self._folder = folder
        self._sessions = sessions
        self._look = look
        self._memory_of = memory_of
        self._tell = tell

    async def run(self) -> None:
        """The watchdog every few seconds, the sweep every minute; until cancelled."""
        swept = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_EVERY)
            try:
                if any(one.confinement is not None and one.confinement.memory for one in self._sessions.values()):
                    await self._look()  # where the kernel watches, a look with each heartbeat is enough
                self.watch_memory()
                if time.monotonic() - swept >= SWEEP_EVERY:
                    swept = time.monotonic()
                    self.sweep(await asyncio.to_thread(self._folder.marked))
                    await asyncio.to_thread(self._folder.prune_logs)
            except OSError as error:
                log.warning("housekeeping failed", error=str(error))

    def watch_memory(self) -> None:
        """Say it when the kernel ended something for want of memory; be the kernel where limits are soft."""
        for session in list(self._sessions.values()):
            confinement = session.confinement
            if confinement is None or not session.pid or session.record.state == "hibernated":
                continue  # of what is frozen, only the share in what others let go of grows
            ooms = confinement.count_oom()
            if ooms > session.ooms:
                session.ooms, session.oom_at = ooms, time.monotonic()
                self._tell(session, "oom", "a program was ended for want of memory", OUT_OF_MEMORY)
            if confinement.memory is not None and self._memory_of(session.id) > confinement.memory:
                if not session.out_of_memory:
                    self._tell(session, "oom", "the session uses more memory than it may", OUT_OF_MEMORY)
                session.out_of_memory = True
                session.ask_to_end(OOM_GRACE)

    def sweep(self, marked: dict[str, list[int]]) -> None:
        """End marked processes whose session has no supervisor any more; others are not ours to touch."""
        for session_id, pids in marked.items():
            session = self._sessions.get(session_id)
            if session is None or not session.pid:
                log.warning("orphans ended", session=session_id, processes=processes.kill_all(pids))
