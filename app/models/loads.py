"""The last ten minutes of each agent: sessions, CPU and memory, one sample for each heartbeat.

Kept by the store, drawn by the Agents table (sparkline) and the Agents page (plots). Plain ``array``s, because numpy
is not imported before the first paint. A sample carries its time, so that minutes without a heartbeat stay a hole.
"""

from __future__ import annotations

from array import array
from collections.abc import Container
from math import nan

from app.contract import AGENT_HEARTBEAT_EVERY, AgentRow

SPAN = 600.0
"""Seconds that are kept."""
MOST = int(SPAN / AGENT_HEARTBEAT_EVERY) + 8
HOLE = 3.5 * AGENT_HEARTBEAT_EVERY
"""Two samples further apart than this are not joined by a line."""


class Load:
    """Samples of one agent, oldest first; NaN where the agent did not say."""

    __slots__ = ("at", "cpu", "memory", "sessions")

    def __init__(self) -> None:
        self.at = array("d")
        self.sessions = array("d")
        self.cpu = array("d")
        self.memory = array("d")

    def add(self, at: float, sessions: float, cpu: float | None, memory: float | None) -> None:
        """Append a sample, and drop what is too old."""
        for ring, value in zip(
            (self.at, self.sessions, self.cpu, self.memory), (at, sessions, cpu, memory), strict=True
        ):
            ring.append(nan if value is None else value)
        old = sum(1 for one in self.at if one < at - SPAN)
        over = max(old, len(self.at) - 2 * MOST)
        if over > 0:
            for ring in (self.at, self.sessions, self.cpu, self.memory):
                del ring[:over]


class Loads:
    """Samples by agent."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}

    def heard(self, row: AgentRow) -> None:
        """Take what the row says, if it is of a heartbeat that is newer than the last."""
        at = row.last_heartbeat
        if at is None:
            return
        load = self._loads.get(row.id)
        if load is None:
            load = self._loads[row.id] = Load()
        elif at <= load.at[-1]:
            return
        load.add(at, row.sessions, row.cpu, row.memory)

    def of(self, agent_id: str) -> Load | None:
        """The samples of an agent; None while nothing was heard."""
        return self._loads.get(agent_id)

    def spark(self, agent_id: str, most_sessions: int) -> array[float]:
        """The load in percent, a value for each heartbeat: CPU, or taken places where the agent does not tell it."""
        load = self._loads.get(agent_id)
        if load is None:
            return array("d")
        if any(value == value for value in load.cpu):  # only NaN differs from itself
            return load.cpu
        return array("d", (100.0 * value / max(1, most_sessions) for value in load.sessions))

    def forget(self, agent_id: str) -> None:
        """Drop an agent that is gone."""
        self._loads.pop(agent_id, None)

    def keep_only(self, alive: Container[str]) -> None:
        """Drop every agent that is not in ``alive``."""
        for agent_id in [one for one in self._loads if one not in alive]:
            del self._loads[agent_id]
