"""What the pictures' pages are answered when they ask about the fleet: a stand-in for ``BrokerClient.fleet``.

Only for ``shots.py``: the methods that pages call, with their signatures, answered at once. It keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from app.client.api import ApiError
from app.client.fleet import AgentKey, Desktop, User
from app.client.pace import Pace
from app.ui.shot_venue import Venue

USERS = (
    User(
        "user-1", "admin", "admin@grand-theatre.example", "admin", True, "2025-11-02T09:00:00Z", "2026-03-14T18:02:11Z"
    ),
    User(
        "user-2",
        "ann.lee",
        "ann.lee@grand-theatre.example",
        "user",
        True,
        "2025-11-02T09:04:00Z",
        "2026-03-14T17:31:40Z",
    ),
    User(
        "user-3",
        "john.doe",
        "john.doe@grand-theatre.example",
        "user",
        True,
        "2025-12-11T14:20:00Z",
        "2026-03-13T22:58:03Z",
    ),
    User("user-4", "kim", "kim@grand-theatre.example", "admin", True, "2025-11-02T09:05:00Z", "2026-03-14T16:44:59Z"),
    User(
        "user-5", "guest.2025", "guest@touring.example", "user", False, "2025-05-20T08:00:00Z", "2025-06-02T23:10:00Z"
    ),
    User("user-6", "video-1", "video@grand-theatre.example", "user", True, "2026-01-30T10:00:00Z"),
)
KEYS = (
    AgentKey("key-1", "rack 1 and 2", None, "2025-11-02T09:10:00Z", "2026-03-14T20:14:04Z"),
    AgentKey("key-2", "front of house Mac", "foh-mac", "2026-02-11T15:00:00Z", "2026-03-14T20:14:02Z"),
    AgentKey("key-3", "spare, in the safe", None, "2025-11-02T09:11:00Z"),
)
LOG = (
    "2026-03-14T17:40:47.112Z supervisor: Xvnc :31 is up, RFB on a unix socket",
    "2026-03-14T17:40:47.391Z supervisor: window manager runs, pid 48120",
    "2026-03-14T17:40:47.402Z supervisor: starting cueplayer --full",
    "2026-03-14T17:40:48.020Z cueplayer: workspace 'Act 2 - final' has 214 cues, 3 of them are disarmed",
    "2026-03-14T17:40:48.771Z cueplayer: audio patch 'FOH main' on 8 outputs at 48000 Hz",
    "2026-03-14T18:59:58.904Z cueplayer: GO 41 'House to half'",
    "2026-03-14T19:00:12.240Z cueplayer: GO 42 'Overture'",
    "2026-03-14T19:31:05.663Z cueplayer: WARNING cue 58: media file was changed on disk since it was loaded; reloading 182 MB",
    "2026-03-14T19:31:06.104Z cueplayer: cue 58 reloaded in 441 ms",
    "2026-03-14T20:13:51.870Z cueplayer: GO 97 'Storm'",
    "2026-03-14T20:13:52.002Z cueplayer: OSC /cue/97/start from 10.0.40.5:53000",
    "2026-03-14T20:14:02.417Z cueplayer: standby 98 'Storm, thunder 2'",
)


class StillFleet:
    """A fleet's API that answers and does not move."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.pace = Pace()
        self.refusal: ApiError | None = None
        self.keys = list(KEYS)

    async def users(self) -> list[User]:
        """Everybody of the house."""
        return list(USERS)

    async def agent_keys(self) -> list[AgentKey]:
        """Keys of agents."""
        return list(self.keys)

    async def add_agent_key(self, name: str, agent_id: str | None = None) -> AgentKey:
        """A key as it is shown once."""
        self.keys.append(AgentKey("key-4", name, agent_id, "2026-03-14T20:14:07Z"))
        return AgentKey("key-4", name, agent_id, key="cba_p3Vt9c0Zr2yJmE6sWqLd8xTb4nUhA1fKQe7")

    async def follow_logs(self, _session_id: str, _tail: int = 100, *, timestamps: bool = True) -> AsyncIterator[str]:
        """Lines of an evening."""
        for line in LOG:
            yield line

    async def create_session(self, _user: str, _template: str, **_more: Any) -> Desktop:
        """Only refused on a picture."""
        raise self.refusal or ApiError(503, "unavailable", "Not on a picture")
