"""What the machine and each local session use: CPU since the last look, proportional memory, the last input.

Used by ``local.py``, for heartbeats and for its watchdog. Looks run beside the loop. Serves the StreamSpace document
(seed 001, "Agent Management": capacity).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from app.agent.processes import use_of
from app.agent_protocol import AgentLoad, Capacity, SessionLoad

GIB = 1024**3
FRESH = 1.0
"""Seconds for which a look is good enough for the next asker."""


@dataclass
class Sample:
    """The last look at one session."""

    at: float
    seconds: float
    memory: int
    cpu: float | None = None
    active_at: float | None = None


class Samples:
    """Looks at sessions by the process of their supervisor."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}
        self._taken = 0.0
        self._one = asyncio.Lock()
        self._looking: asyncio.Task[dict[str, tuple[float, int]]] | None = None
        """The look under way; a process stuck in the kernel holds up one thread, not all."""
        psutil.cpu_percent(None)  # the first answer means nothing

    def capacity(self) -> Capacity:
        """The whole machine: CPUs and GiB."""
        return Capacity(max_cpu=float(os.cpu_count() or 1), max_memory=round(psutil.virtual_memory().total / GIB, 1))

    async def take(self, supervisors: dict[str, int]) -> None:
        """Look at every session, unless somebody just did."""
        async with self._one:
            if time.monotonic() - self._taken < FRESH and supervisors.keys() <= self._samples.keys():
                return
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(asyncio.to_thread(use_of, supervisors))
            used = await asyncio.shield(self._looking)
            now = self._taken = time.monotonic()
            for session_id, (seconds, memory) in used.items():
                before = self._samples.get(session_id)
                self._samples[session_id] = Sample(now, seconds, memory, cpu_between(before, now, seconds))
            for session_id in self._samples.keys() - supervisors.keys():
                del self._samples[session_id]

    def memory_of(self, session_id: str) -> int:
        """Bytes at the last look."""
        sample = self._samples.get(session_id)
        return 0 if sample is None else sample.memory

    def load(self, session_ids: Iterable[str], active: dict[str, float]) -> AgentLoad:
        """For a heartbeat: the machine in percent, and each session."""
        sessions = []
        for session_id in session_ids:
            sample = self._samples.get(session_id)
            sessions.append(
                SessionLoad(
                    session_id=session_id,
                    cpu=None if sample is None else sample.cpu,
                    memory=None if sample is None else sample.memory,
                    active_at=active.get(session_id),
                )
            )
        return AgentLoad(cpu=psutil.cpu_percent(None), memory=psutil.virtual_memory().percent, sessions=sessions)


def cpu_between(before: Sample | None, now: float, seconds: float) -> float | None:
    """Percent of one core since the look before; processes that ended in between take their time with them."""
    if before is None or now - before.at < 0.05:
        return None
    return round(max(0.0, seconds - before.seconds) / (now - before.at) * 100, 1)
