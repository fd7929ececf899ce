"""What the cases of a live state need around it; each implementation has its own."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from typing import Any

from app.contract import HistoryRow, HoldRow, SessionRow, StreamRow
from app.server.events import Published
from app.server.storage.state import LiveState


class Venue(ABC):
    """A live state and its surroundings."""

    state: LiveState
    events: list[Published]

    @property
    @abstractmethod
    def now(self) -> float:
        """The wall clock."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Let time pass, with everything that happens by itself in it."""

    @abstractmethod
    def step_wall_clock(self, seconds: float) -> None:
        """Move the wall clock alone."""

    @abstractmethod
    async def kill_and_restart(self, *, away: float = 0.0) -> None:
        """End the broker as ``kill -9`` does and start another on what is left, ``away`` seconds later."""

    @abstractmethod
    async def stop_and_restart(self, *, away: float = 0.0) -> None:
        """The same with a clean stop."""

    @abstractmethod
    async def break_storage(self) -> None:
        """Nothing can be made durable from now on."""

    @abstractmethod
    async def mend_storage(self) -> None:
        """It can again."""

    @abstractmethod
    async def history(self) -> dict[str, HistoryRow]:
        """Every session that history knows, by id."""

    def stream(self, **fields: Any) -> StreamRow:
        """A stream that could be advertised."""
        values = {
            "id": str(uuid.uuid4()),
            "name": "Main Stage Camera A",
            "stream_type": "ndi",
            "publisher_id": "td-workstation-01",
            "protocol": "ndi",
            "address": "192.168.1.50",
            "port": 5960,
            "config": {"resolution": "1920x1080", "fps": 30},
            "metadata": {"location": "stage-left"},
            "advertised_at": self.now,
            "last_heartbeat": self.now,
            "expires_at": 0.0,
        }
        return StreamRow(**values | fields)

    def session(self, stream: StreamRow, **fields: Any) -> SessionRow:
        """A session of ``stream`` that could be opened."""
        values = {
            "id": str(uuid.uuid4()),
            "stream_id": stream.id,
            "stream_name": stream.name,
            "stream_type": stream.stream_type,
            "publisher_id": stream.publisher_id,
            "publisher_address": stream.address,
            "publisher_port": stream.port,
            "consumer_id": "max-workstation-02",
            "consumer_address": "192.168.1.60",
            "protocol": stream.protocol,
            "started_at": self.now,
            "expires_at": 0.0,
        }
        return SessionRow(**values | fields)

    def hold(self, session: SessionRow, **fields: Any) -> HoldRow:
        """A hold of ``session`` that could be put."""
        values = {
            "id": str(uuid.uuid4()),
            "session_id": session.id,
            "stream_id": session.stream_id,
            "operator": "kim",
            "since": self.now,
        }
        return HoldRow(**values | fields)

    def told(self, kind: str) -> list[str]:
        """Ids of the events of one kind, in order."""
        return [event.id for event in self.events if event.kind == kind]

    def last(self, kind: str) -> Any:
        """The change of the newest event of one kind."""
        return [event.change for event in self.events if event.kind == kind][-1]

    async def beat_for(self, seconds: float, *streams: StreamRow, sessions: tuple[SessionRow, ...] = ()) -> None:
        """Let time pass in which these rows are beaten every 10 s."""
        while seconds > 0:
            step = min(10.0, seconds)
            await self.advance(step)
            seconds -= step
            for stream in streams:
                assert await self.state.heartbeat_stream(stream.id)
            for session in sessions:
                assert await self.state.heartbeat_session(session.id)
