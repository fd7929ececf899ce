"""What the History page says: acts as an operator reads them, details of a row, and what lies between two rows.

The broker keeps whole rows before and after an act; here they become names and the few words that changed. Plain
functions; called by ``history.py`` and by the tests without a window.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.contract import AuditRow, HistoryRow, SessionRow
from app.models.store import Store
from app.models.tables.audit import changes_of
from app.models.wording import age_text, date_text, endpoint, pairs_text, plain
from app.ui.details import Line, Section

ARROW = "\N{RIGHTWARDS ARROW}"
NOTHING = "\N{EN DASH}"
KINDS = ("stream", "session", "preset", "type", "hold", "access", "key", "broker")
"""Words that the broker writes as an act's object: the kind of thing, not its name."""
NOISE = ("id", "expires_at", "last_heartbeat", "confirmed", "advertised_at", "started_at", "created_at", "updated_at")
"""Keys of whole rows that change with time and not by an act."""
ENDED = {"stopped": "stopped", "withdrawn": "its stream was withdrawn", "expired": "its TTL ran out"}


def object_text(row: AuditRow, store: Store) -> str:
    """What the act was done to, by name: of the rows it kept, else of the row that still lives."""
    values = row.after or row.before or {}
    if row.object not in KINDS:
        return plain(row.object)
    if "stream_name" in values and "consumer_id" in values:
        return plain(f"{values['consumer_id']} \N{LEFTWARDS ARROW} {values['stream_name']}")
    session = store.sessions.get(str(values.get("session_id", "")))
    if session is not None:
        return plain(f"{session.consumer_id} \N{LEFTWARDS ARROW} {session.stream_name}")
    name = values.get("display_name") or values.get("name")
    if not name and (stream := store.streams.get(row.object_id)) is not None:
        name = stream.name
    if name:
        return plain(str(name))
    return plain(f"{row.object} {row.object_id[:8]}" if row.object_id else row.object)


def change_text(row: AuditRow) -> str:
    """What the act changed: only what differs, and of rows that came or went what matters of them."""
    if row.before and row.after:
        pairs = [(key, old, new) for key, (old, new) in changes_of(row).items() if key not in NOISE]
        return plain("  ".join(f"{key} {_value(old)} {ARROW} {_value(new)}" for key, old, new in pairs))
    if row.after:
        return f"{NOTHING} {ARROW} {summary(row.after)}"
    if row.before:
        return f"{summary(row.before)} {ARROW} {NOTHING}"
    return ""


def summary(values: Mapping[str, Any]) -> str:
    """A row that came or went, in a few words."""
    if "consumer_id" in values and "stream_name" in values:
        where = _place(values, "consumer_address", "consumer_port")
        return plain(f"session for {values['consumer_id']}{where}")
    if "publisher_id" in values and "name" in values:
        return plain(f"stream from {values['publisher_id']}{_place(values, 'address', 'port')}")
    if "consumer_id" in values and "mode" in values:
        where = _place(values, "consumer_address", "consumer_port")
        return plain(f"preset for {values['consumer_id']}{where}, {values['mode']}")
    if "session_id" in values and "operator" in values:
        return plain(f"held by Callboard for {values['operator']}")
    return pairs_text({key: value for key, value in values.items() if key not in NOISE})


def result_text(row: AuditRow) -> str:
    """How it ended; the broker's words where it did not end well."""
    word = row.result.replace("_", " ")
    detail = row.detail.removeprefix(f"{row.result}: ")
    return plain(f"{word}: {detail}" if detail else word)


def session_of(row: AuditRow | HistoryRow) -> str:
    """The id of the session that a row is about; "" where it is about something else."""
    if isinstance(row, HistoryRow):
        return row.id
    values = row.after or row.before or {}
    if "consumer_id" in values and "stream_id" in values and row.result == "ok":
        return str(values.get("id") or row.object_id)
    return ""


def kept_session(row: AuditRow) -> SessionRow | None:
    """The whole session that an act started or ended, with its config, where the broker kept it."""
    values = row.before or row.after
    if not values or "consumer_id" not in values or row.result != "ok":
        return None
    try:
        return msgspec.convert(values, SessionRow)
    except msgspec.ValidationError:
        return None


# -- details ---------------------------------------------------------------------------------------------------


def history_sections(row: HistoryRow, store: Store) -> list[Section]:
    """Everything about one session of the past."""
    now = store.broker_now()
    runs = row.status == "active"
    seconds = now - row.time if runs else row.duration_seconds
    life = [
        Line("Began", date_text(row.time)),
        Line("Ended", "still running" if runs else date_text(row.ended_at) if row.ended_at else ""),
        Line("Lasted", "" if seconds is None else age_text(seconds)),
        Line("Ended by", "" if runs else ENDED.get(row.status, plain(row.status))),
    ]
    source = [
        Line("Stream", plain(row.stream_name)),
        Line("Type", plain(row.stream_type)),
        Line("Publisher", plain(row.publisher_id)),
        Line("Protocol", plain(row.protocol)),
        Line("From", plain(row.publisher_address), mono=True),
        Line("Stream id", row.stream_id, mono=True),
        Line("Lives", "yes" if row.stream_id in store.streams else "no, it is gone"),
    ]
    to = [
        Line("Consumer", plain(row.consumer_id)),
        Line("Address", plain(row.consumer_address), mono=True),
        Line("Session id", row.id, mono=True),
    ]
    if row.error_message:
        life.append(Line("Error", plain(row.error_message)))
    title = f"{plain(row.consumer_id)} \N{LEFTWARDS ARROW} {plain(row.stream_name)}"
    return [Section(title, life), Section("Source", source), Section("Consumer", to)]


def audit_sections(row: AuditRow, store: Store) -> list[Section]:
    """Everything about one act; the rows before and after whole."""
    lines = [
        Line("At", date_text(row.at)),
        Line("Operator", plain(row.operator)),
        Line("Verb", plain(row.verb)),
        Line("Object", object_text(row, store)),
        Line("Result", result_text(row)),
        Line("Took", "" if row.milliseconds is None else f"{row.milliseconds:.0f} ms"),
        Line("Through", plain(row.dialect)),
        Line("Object id", plain(row.object_id), mono=True),
    ]
    sections = [Section(f"{plain(row.verb)} {object_text(row, store)}", lines)]
    for title, values in (("Before", row.before), ("After", row.after)):
        if values:
            sections.append(Section(title, value_lines(values)))
    return sections


def value_lines(values: Mapping[str, Any]) -> list[Line]:
    """A kept row, a line for each value; times as times."""
    return [Line(plain(key), _whole(key, value), mono=isinstance(value, dict)) for key, value in values.items()]


# -- between two rows ------------------------------------------------------------------------------------------


def between_acts(rows: Sequence[AuditRow], store: Store) -> list[Section]:
    """What acts changed from the first to the last of ``rows``, both included; ``rows`` in any order."""
    ordered = sorted(rows, key=lambda row: row.at)
    if not ordered:
        return []
    first, last = ordered[0].at, ordered[-1].at
    done = [row for row in ordered if row.result == "ok"]
    people = sorted({plain(row.operator) for row in ordered})
    sections = [
        Section(
            "What changed between",
            [
                Line("From", date_text(first)),
                Line("To", f"{date_text(last)}, {age_text(last - first)} later"),
                Line("Acts", f"{len(ordered)}, of which {len(ordered) - len(done)} had no effect"),
                Line("By", ", ".join(people)),
            ],
        )
    ]
    by_object: dict[str, list[AuditRow]] = {}
    for row in done:
        by_object.setdefault(session_of(row) or row.object_id or row.object, []).append(row)
    return [*sections, *(Section(_latest_name(acts, store), _net_change(acts)) for acts in by_object.values())]


def between_sessions(rows: Sequence[HistoryRow], start: float, end: float) -> list[Section]:
    """Sessions that began and ended from ``start`` to ``end``."""
    begun = [row for row in rows if start <= row.time <= end]
    over = [row for row in rows if row.ended_at is not None and start <= row.ended_at <= end]
    head = [
        Line("From", date_text(start)),
        Line("To", f"{date_text(end)}, {age_text(end - start)} later"),
        Line("Began", str(len(begun))),
        Line("Ended", str(len(over))),
    ]
    sections = [Section("What changed between", head)]
    if begun:
        sections.append(Section("Began", [_session_line(row.time, row) for row in begun]))
    if over:
        sections.append(Section("Ended", [_session_line(row.ended_at or 0.0, row) for row in over]))
    return sections


def _latest_name(acts: Sequence[AuditRow], store: Store) -> str:
    names = [name for name in (object_text(row, store) for row in acts) if name]
    return names[-1] if names else ""


def _net_change(acts: Sequence[AuditRow]) -> list[Line]:
    """Each act in a line; of several the sum in one more."""
    lines = [Line(date_text(row.at)[11:], plain(f"{row.verb} by {row.operator}  {change_text(row)}")) for row in acts]
    if len(acts) == 1:
        return lines
    before, after = acts[0].before, acts[-1].after
    net = AuditRow(id="", at=0.0, operator="", verb="", object="", result="ok", before=before, after=after)
    return [*lines, Line("In all", change_text(net) or "as before")]


def _session_line(at: float, row: HistoryRow) -> Line:
    return Line(date_text(at)[11:], plain(f"{row.consumer_id} \N{LEFTWARDS ARROW} {row.stream_name}"))


def _place(values: Mapping[str, Any], address: str, port: str) -> str:
    where = values.get(address)
    number = values.get(port)
    return f" at {endpoint(str(where), number if isinstance(number, int) else None)}" if where else ""


def _value(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _whole(key: str, value: Any) -> str:
    if isinstance(value, float) and key.endswith(("_at", "heartbeat", "since", "deadline")):
        return date_text(value)
    return plain(_value(value))
