"""What the details pane says about a stream or a session: plain functions from the store to sections of text.

Called by the pages a few times a second while the pane is open, and by the tests without a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from typing import Any

from app.contract import SESSION_TTL, STREAM_TTL, NegotiationRow, SessionRow, StreamRow
from app.models.ghosts import Ghost
from app.models.states import state_of_session, state_of_stream
from app.models.store import Store
from app.models.wording import age_text, clock_text, endpoint, plain
from app.ui.details import Line, Section

OUTCOMES = {
    "offer": "offered",
    "rejected": "rejected by the publisher",
    "no_answer": "no answer",
    "no_responders": "nobody answers for it: the publisher is not on the bus",
    "bad_reply": "the publisher answered rubbish",
    "bus_away": "NATS is away",
    "gone": "the stream is gone",
    "failed": "failed",
}
"""How a negotiation ended, in words."""


def stream_sections(store: Store, stream_id: str) -> list[Section]:
    """Everything about one stream, live or a ghost; nothing when it is forgotten."""
    now = store.broker_now()
    ghost = store.ghost("stream", stream_id)
    row = store.streams.get(stream_id)
    if row is None and ghost is not None and isinstance(ghost.row, StreamRow):
        row = ghost.row
    elif row is not None:
        ghost = None
    if row is None:
        return []
    state = state_of_stream(row, store, now, ghost)
    sections = [Section(plain(row.name), _life(row, now, ghost, STREAM_TTL), state)]
    sections.append(
        Section(
            "Source",
            [
                Line("Type", plain(row.stream_type)),
                Line("Publisher", plain(row.publisher_id)),
                Line("Protocol", plain(row.protocol)),
                Line("Address", endpoint(row.address, row.port), mono=True),
                *_optional(("Entity", row.entity_id), ("Device", row.device_id)),
                Line("Id", row.id, mono=True),
            ],
        )
    )
    sections.append(Section(*_consumers(store, row, now)))
    ended = [one for one in store.negotiations.values() if one.stream_id == row.id and one.outcome is not None]
    if ended:
        sections.append(Section("Negotiations of the last minute", [_negotiation(one, now) for one in ended[-5:]]))
    sections.extend(_objects(("Config", row.config), ("Metadata", row.metadata)))
    return sections


def session_sections(store: Store, session_id: str) -> list[Section]:
    """Everything about one session, live or a ghost; nothing when it is forgotten."""
    now = store.broker_now()
    ghost = store.ghost("session", session_id)
    row = store.sessions.get(session_id)
    if row is None and ghost is not None and isinstance(ghost.row, SessionRow):
        row = ghost.row
    elif row is not None:
        ghost = None
    if row is None:
        return []
    state = state_of_session(row, store, now, ghost)
    title = f"{plain(row.consumer_id)} ← {plain(row.stream_name)}"
    sections = [Section(title, _session_life(store, row, now, ghost), state)]
    sections.append(
        Section(
            "From",
            [
                Line("Stream", plain(row.stream_name)),
                Line("Type", plain(row.stream_type)),
                Line("Publisher", plain(row.publisher_id)),
                Line("Address", endpoint(row.publisher_address, row.publisher_port), mono=True),
                Line("Stream id", row.stream_id, mono=True),
            ],
        )
    )
    sections.append(
        Section(
            "To",
            [
                Line("Consumer", plain(row.consumer_id)),
                Line("Address", endpoint(row.consumer_address, row.consumer_port), mono=True),
                Line("Protocol", plain(row.protocol)),
                Line("Session id", row.id, mono=True),
            ],
        )
    )
    sections.extend(_objects(("Asked for", row.config), ("Transport", row.transport_config)))
    return sections


def _life(row: StreamRow, now: float, ghost: Ghost | None, ttl: float) -> list[Line]:
    lines = [Line("Advertised", f"{clock_text(row.advertised_at, now)}, {age_text(now - row.advertised_at)} ago")]
    lines.append(Line("Last heard", f"{clock_text(row.last_heartbeat, now)}, {age_text(now - row.last_heartbeat)} ago"))
    if ghost is None:
        lines.append(Line("TTL left", f"{max(0.0, row.expires_at - now):.0f} s of {ttl:.0f} s"))
    else:
        lines.append(ended_line(ghost, now))
    return lines


def _session_life(store: Store, row: SessionRow, now: float, ghost: Ghost | None) -> list[Line]:
    lines = [Line("Since", f"{clock_text(row.started_at, now)}, {age_text(now - row.started_at)} ago")]
    heard = row.last_heartbeat
    told = "never by the consumer itself" if heard is None else f"{clock_text(heard, now)}, {age_text(now - heard)} ago"
    lines.append(Line("Last heard", told))
    if ghost is not None:
        lines.append(ended_line(ghost, now))
        return lines
    lines.append(Line("TTL left", f"{max(0.0, row.expires_at - now):.0f} s of {SESSION_TTL:.0f} s"))
    hold = store.hold_of(row.id)
    if hold is not None:
        lines.append(Line("Held by", f"Callboard for {plain(hold.operator)}, since {clock_text(hold.since, now)}"))
        lines.append(Line("", "Callboard keeps the session alive. It does not know whether the consumer is."))
    else:
        lines.append(Line("Held by", "the consumer itself"))
    presets = ", ".join(plain(preset.name) for preset in store.presets_of(row))
    if presets:
        lines.append(Line("Preset", presets))
    return lines


def ended_line(ghost: Ghost, now: float) -> Line:
    """When and why a ghost went."""
    words = f"{clock_text(ghost.at, now)}, {age_text(now - ghost.at)} ago: {ghost.cause}"
    return Line("Ended", f"{words}. {plain(ghost.text)}" if ghost.text and ghost.text not in words else words)


def _consumers(store: Store, row: StreamRow, now: float) -> tuple[str, list[Line]]:
    sessions = list(store.sessions_of(row.id).values())
    title = f"Consumers ({len(sessions)})" if sessions else "Consumers"
    if not sessions:
        return title, [Line("", "Nobody has it now.")]
    lines = []
    for one in sessions[:50]:
        held = ", held by Callboard" if store.hold_of(one.id) is not None else ""
        where = endpoint(one.consumer_address, one.consumer_port)
        lines.append(Line(plain(one.consumer_id), f"{where}, for {age_text(now - one.started_at)}{held}"))
    if len(sessions) > 50:
        lines.append(Line("", f"and {len(sessions) - 50} more: filter Sessions by what:"))
    return title, lines


def _negotiation(row: NegotiationRow, now: float) -> Line:
    took = f" after {row.milliseconds:.0f} ms" if row.milliseconds is not None else ""
    words = OUTCOMES.get(row.outcome or "", row.outcome or "")
    detail = f": {plain(row.detail)}" if row.detail else ""
    return Line(plain(row.consumer_id), f"{clock_text(row.started_at, now)} {words}{took}{detail}")


def _optional(*pairs: tuple[str, str | None]) -> list[Line]:
    return [Line(label, plain(value), mono=True) for label, value in pairs if value]


def _objects(*pairs: tuple[str, Mapping[str, Any]]) -> list[Section]:
    return [
        Section(title, [Line(plain(key), plain(_value(value)), mono=True) for key, value in values.items()])
        for title, values in pairs
        if values
    ]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False, default=str)
