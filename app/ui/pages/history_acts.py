"""What can be done from a row of the past: take again what it tells of, where its stream still lives.

Declared as a verb like any other (``app/ui/verb.py``), so keys, bounce, undo and audit come from ``Actions``. Of an act
that ended a session the broker kept the whole session, and it is taken as it was; a history row knows neither port nor
config, so the preset of its consumer stands in, and where there is none the words say what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.client.api import ApiError, BrokerClient
from app.contract import AuditRow, HistoryRow, PresetRow
from app.models.wording import plain
from app.ui.pages.history_text import kept_session, object_text, session_of
from app.ui.verb import Command, Done, Verb
from app.ui.verbs import retake, take_to

if TYPE_CHECKING:
    from app.ui.actions import Actions
    from app.ui.context import Context

PastRow = AuditRow | HistoryRow
OTHER_LIST = "A"
RowOf = Callable[[str], PastRow | None]


def declare(actions: Actions, row_of: RowOf) -> None:
    """Declare the verb over the rows that ``row_of`` finds, and the key between the lists."""

    async def run(context: Context, row_id: str) -> Done:
        row, client = row_of(row_id), context.client
        if row is None or client is None:
            raise ApiError(0, "unreachable", "No broker is connected, so nothing was sent.")
        if isinstance(row, HistoryRow):
            return await take_history(context, client, row)
        return await take_kept(context, client, row)

    actions.add_verb(
        Verb(
            name="take_again",
            label="Take again",
            kind="history",
            key="R",
            run=run,
            applies=lambda context, row_id: why_not(context, row_of(row_id)),
            object=lambda context, row_id: name_of(context, row_of(row_id)) or row_id,
            many=False,
            help="Take what this row tells of again, from a stream that still lives",
        )
    )
    actions.add_command(Command("history_list", "Sessions or audit, on the History page", (OTHER_LIST,), "Table"))


def name_of(context: Context, row: PastRow | None) -> str:
    """Who had what."""
    if isinstance(row, HistoryRow):
        return f"{plain(row.consumer_id)} ← {plain(row.stream_name)}"
    return object_text(row, context.store) if row is not None else ""


def why_not(context: Context, row: PastRow | None) -> str:
    """Why a row cannot be taken again; "" when it can."""
    if row is None:
        return "this row is gone"
    if isinstance(row, AuditRow):
        kept = kept_session(row)
        if kept is None:
            return "this act ended no session that could be taken again"
        stream_id, name = kept.stream_id, plain(kept.stream_name)
    else:
        stream_id, name = row.stream_id, plain(row.stream_name)
    if session_of(row) in context.store.sessions:
        return "this session still runs"
    return "" if stream_id in context.store.streams else f"its source {name} is gone"


async def take_kept(context: Context, client: BrokerClient, row: AuditRow) -> Done:
    """The session as the broker kept it with the act, config and port included."""
    kept, name = kept_session(row), name_of(context, row)
    if kept is None:
        return Done("This act ended no session", tone="error")
    preset = preset_for(context, kept.consumer_id, kept.consumer_address)
    held = preset.id if preset is not None and preset.held_by == "console" else None
    new_id = await retake(client, kept, held)
    return Done(f"Taken again: {name}", f"take {name} again", lambda: client.stop_session(new_id))


async def take_history(context: Context, client: BrokerClient, row: HistoryRow) -> Done:
    """By the preset of its consumer, else with consumer and address alone."""
    preset = preset_for(context, row.consumer_id, row.consumer_address)
    if preset is not None:
        return await take_to(context, row.stream_id, preset)
    name = name_of(context, row)
    offer = await client.request(row.stream_id, consumer_id=row.consumer_id, consumer_address=row.consumer_address)
    told = f"Taken again: {name}, without port and config, which history does not keep"
    return Done(told, f"take {name} again", lambda: client.stop_session(offer.session_id))


def preset_for(context: Context, consumer_id: str, address: str) -> PresetRow | None:
    """The preset that stands for this consumer, if one does."""
    for preset in context.store.presets.values():
        if (preset.consumer_id, preset.consumer_address) == (consumer_id, address):
            return preset
    return None
