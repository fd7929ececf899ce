"""What may be asked of the live picture: rows by id, what belongs to what, the broker's clock, whether it is live.

Base of ``store.Store``, which fills it. Everything here reads; a mapping is asked for again each time, because a
snapshot replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.contract import (
    FEED_STALE_AFTER,
    AgentRow,
    DesktopRow,
    DrainRow,
    HealthRow,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Row,
    SessionRow,
    StreamRow,
    TemplateRow,
    TypeRow,
    ViewerRow,
)
from app.models.changes import Link
from app.models.clock import BrokerClock
from app.models.ghosts import Ghost, Graveyard
from app.models.rows import Rows


class Picture:
    """See the module's docstring. ``monotonic`` is this machine's clock, ``now`` what its wall says."""

    def __init__(self, monotonic: Callable[[], float], now: float) -> None:
        self._monotonic = monotonic
        self._clock = BrokerClock(monotonic)
        self._rows = Rows()
        self._last_heard: float | None = None
        self.graveyard = Graveyard(monotonic)
        self.link = Link("connecting", now)
        self.in_step = False
        """False from a gap, or a new connection, to the next whole snapshot."""

    # Streams and the shared floor --------------------------------------------------------------------

    @property
    def streams(self) -> Mapping[str, StreamRow]:
        """Live streams by id, oldest first. Ask again each time: a snapshot replaces the mapping."""
        return self._rows.streams

    @property
    def sessions(self) -> Mapping[str, SessionRow]:
        """Live sessions by id, oldest first."""
        return self._rows.sessions

    @property
    def holds(self) -> Mapping[str, HoldRow]:
        """Holds by id."""
        return self._rows.holds

    @property
    def presets(self) -> Mapping[str, PresetRow]:
        """Presets by id."""
        return self._rows.presets

    @property
    def types(self) -> Mapping[str, TypeRow]:
        """Stream types by id."""
        return self._rows.types

    @property
    def negotiations(self) -> Mapping[str, NegotiationRow]:
        """Running and lately ended negotiations by id."""
        return self._rows.negotiations

    @property
    def health(self) -> Mapping[str, HealthRow]:
        """Parts of the broker by name."""
        return self._rows.health

    def row(self, table: str, row_id: str) -> Row | None:
        """A live row of any table."""
        row: Row | None = self._rows.tables[table].get(row_id)
        return row

    def ghost(self, table: str, row_id: str) -> Ghost | None:
        """The ghost of a row that has gone within the last minute."""
        return self.graveyard.of(table).get(row_id)

    def sessions_of(self, stream_id: str) -> Mapping[str, SessionRow]:
        """Live sessions of one stream by id, oldest first."""
        return self._rows.sessions_by_stream.get(stream_id, {})

    def hold_of(self, session_id: str) -> HoldRow | None:
        """The hold of a session."""
        return self._rows.hold_by_session.get(session_id)

    def running_for(self, stream_id: str) -> NegotiationRow | None:
        """The negotiation of a stream that has run longest, of those that run now."""
        running = self._rows.running_by_stream.get(stream_id)
        return next(iter(running.values())) if running else None

    def carried_by(self, preset_id: str) -> list[SessionRow]:
        """Live sessions that a preset carries now; the same rule as ``app/client/take.py``."""
        preset = self._rows.presets.get(preset_id)
        return list(self._rows.carried_by(preset)) if preset is not None else []

    def presets_of(self, session: SessionRow) -> list[PresetRow]:
        """Presets that carry a session now."""
        return list(self._rows.presets_of(session))

    def presets_on(self, stream_id: str) -> list[PresetRow]:
        """Presets that carry any session of a stream now, each once."""
        if not self._rows.presets:
            return []
        found = {preset.id: preset for one in self.sessions_of(stream_id).values() for preset in self.presets_of(one)}
        return list(found.values())

    def default_preset(self) -> PresetRow | None:
        """The preset that ``R`` takes to."""
        return next((preset for preset in self._rows.presets.values() if preset.default), None)

    # The fleet ---------------------------------------------------------------------------------------

    @property
    def agents(self) -> Mapping[str, AgentRow]:
        """Agents by id, connected or not."""
        return self._rows.agents

    @property
    def desktops(self) -> Mapping[str, DesktopRow]:
        """Desktop sessions by id that have not ended, oldest first."""
        return self._rows.desktops

    @property
    def viewers(self) -> Mapping[str, ViewerRow]:
        """Viewers by id, over all desktops."""
        return self._rows.viewers

    @property
    def drains(self) -> Mapping[str, DrainRow]:
        """Drains by the agent's id."""
        return self._rows.drains

    @property
    def templates(self) -> Mapping[str, TemplateRow]:
        """Templates by id."""
        return self._rows.templates

    def desktops_on(self, agent_id: str) -> Mapping[str, DesktopRow]:
        """Desktop sessions of one agent that have not ended, oldest first."""
        return self._rows.desktops_by_agent.get(agent_id, {})

    def viewers_of(self, desktop_id: str) -> Mapping[str, ViewerRow]:
        """Viewers of one desktop, oldest first."""
        return self._rows.viewers_by_desktop.get(desktop_id, {})

    def template_named(self, name: str) -> TemplateRow | None:
        """A template by the name that sessions give."""
        return next((row for row in self._rows.templates.values() if row.name == name), None)

    # Health and time ---------------------------------------------------------------------------------

    def broken_parts(self) -> list[HealthRow]:
        """Parts of the broker that do not work, those that stop every take first."""
        return sorted((part for part in self.health.values() if not part.ok), key=lambda part: not part.take_down)

    def take_down(self) -> HealthRow | None:
        """The broken part because of which no stream can be taken."""
        return next((part for part in self.health.values() if not part.ok and part.take_down), None)

    def broker_now(self) -> float:
        """The broker's clock, seconds since the epoch."""
        return self._clock.now()

    def feed_age(self) -> float | None:
        """Seconds since the last message of the feed; None when there was none yet."""
        return None if self._last_heard is None else self._monotonic() - self._last_heard

    @property
    def live(self) -> bool:
        """The board may be believed: linked, in step with the broker's numbers, heard within 3 s."""
        if not self.in_step or self._last_heard is None:
            return False
        return self.link.state == "live" and self._monotonic() - self._last_heard <= FEED_STALE_AFTER
