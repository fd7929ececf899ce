"""Every verb of the console, declared once: name, key, tier, who it applies to, what it does, how it is undone.

Read through ``Actions`` by the pages (buttons, menus, keys), the F1 overlay and the tests. A function here takes the
context and the object's id; it never sees a row number, a widget or a tier. What a broker answers comes back as
``ApiError`` and is shown as the broker said it. The client is imported at the first act, not before the first paint.
Those on streams and their sessions are here, those on agents and desktops in ``verbs_agents`` and ``verbs_desktops``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from app.contract import PresetRow, SessionRow, StreamRow
from app.models.states import STALE, state_of_stream
from app.models.wording import age_text, plain
from app.ui.takeover import replaces_words, standing, undo_refused
from app.ui.verb import Done, Losses, Verb
from app.ui.verbs_agents import AGENT_VERBS
from app.ui.verbs_desktops import DESKTOP_VERBS, VIEWER_VERBS
from app.ui.viewer.desk import ViewerDesk
from app.ui.viewer.verbs import viewer_verbs

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.client.take import TakeResult
    from app.ui.actions import Actions
    from app.ui.context import Context

NO_PRESET = "no preset yet: where should it go?"


def declare(actions: Actions) -> ViewerDesk:
    """Declare all verbs, in the order in which menus show them; the desk of the windows that some of them open."""
    desk = ViewerDesk(actions.context)
    looks = [replace(verb, shows=True) for verb in viewer_verbs(actions.context, desk)]
    for verb in (*STREAM_VERBS, *SESSION_VERBS, *AGENT_VERBS, *looks, *DESKTOP_VERBS, *VIEWER_VERBS):
        actions.add_verb(verb)
    return desk


# -- streams ---------------------------------------------------------------------------------------------------


def stream_name(context: Context, stream_id: str) -> str:
    """What operators call it, also when it is gone."""
    row = _stream(context, stream_id)
    return plain(row.name) if row is not None else stream_id


def stream_applies(context: Context, stream_id: str) -> str:
    """Why a stream cannot be acted on."""
    if stream_id in context.store.streams:
        return ""
    ghost = context.store.ghost("stream", stream_id)
    if ghost is None:
        return "this stream is gone"
    return f"{stream_name(context, stream_id)} is gone: {ghost.cause}"


def take_title(context: Context, ids: Sequence[str]) -> str:
    """The button: where it goes, and what is wrong with the source before it is pressed."""
    preset = context.store.default_preset()
    text = "Take" if preset is None else f"Take → {plain(preset.name)}"
    warning = take_warning(context, ids[0]) if len(ids) == 1 else ""
    return f"{text}   {warning}" if warning else text


def take_warning(context: Context, stream_id: str) -> str:
    """What an operator should know before taking this stream; "" when it looks well."""
    store = context.store
    row = store.streams.get(stream_id)
    if row is None:
        return ""
    if not store.live:
        return ""
    down = store.take_down()
    if down is not None:
        return f"TAKE DOWN: {plain(down.text)}"
    now = store.broker_now()
    if state_of_stream(row, store, now).word is STALE:
        return f"STALE {age_text(now - row.last_heartbeat)}"
    preset = store.default_preset()
    return replaces_words(context, preset, stream_id) if preset is not None else ""


def take_refuses(context: Context, ids: Sequence[str]) -> str:
    """A destination that shows one picture takes one stream."""
    preset = context.store.default_preset()
    if preset is None or preset.mode == "add":
        return ""
    return f"{plain(preset.name)} shows one picture and {len(ids)} streams are marked: unmark all but one"


async def run_take(context: Context, stream_id: str) -> Done:
    """Take to the default preset."""
    preset = context.store.default_preset()
    if preset is None:
        return Done("Take: there is no default preset", tone="error")
    return await take_to(context, stream_id, preset)


async def take_to(context: Context, stream_id: str, preset: PresetRow) -> Done:
    """Take to any preset, by console rule 10."""
    from app.client.take import take

    client = context.connected
    result = await take(client, context.store, stream_id, preset, partial(standing, context.store))
    if result.outcome == "already":
        return Done(result.text, result=result)
    if not result.ok:
        return Done(result.text, tone="error", result=result)
    tone = "error" if result.hold_error or result.not_ended else "good"
    label = f"take {plain(result.offer.stream_name) if result.offer else stream_id} to {plain(preset.name)}"
    return Done(result.text, label, lambda: undo_take(context, result), tone=tone, result=result)


async def undo_take(context: Context, result: TakeResult) -> None:
    """Bring back what the take replaced, and only then end what it started."""
    client, refused = context.connected, undo_refused(context, result)
    if refused is not None:
        raise refused
    for session in result.replaced:
        await retake(client, session, result.preset.id if result.preset.held_by == "console" else None)
    if result.offer is not None:
        await client.stop_session(result.offer.session_id)


async def run_withdraw(context: Context, stream_id: str) -> Done:
    """Take the stream off the board; its sessions end with it."""
    name = stream_name(context, stream_id)
    await context.connected.withdraw(stream_id)
    return Done(f"Withdrew {name}")


def withdraw_tier(context: Context, stream_id: str) -> int:
    """With consumers it costs them, and cannot be undone."""
    return 2 if context.store.sessions_of(stream_id) else 1


def withdraw_losses(context: Context, ids: Sequence[str]) -> Losses:
    """Each consumer with the picture it loses, or the publisher where there is none."""
    losses: Losses = []
    for stream_id in ids:
        row = context.store.streams.get(stream_id)
        if row is None:
            continue
        sessions = context.store.sessions_of(stream_id).values()
        losses.extend((plain(one.consumer_id), plain(row.name)) for one in sessions)
        if not sessions:
            losses.append((plain(row.publisher_id), f"its stream {plain(row.name)}"))
    return losses


def stream_before(context: Context, stream_id: str) -> dict[str, Any] | None:
    """What the audit keeps of a stream."""
    row = _stream(context, stream_id)
    if row is None:
        return None
    return {"name": row.name, "publisher_id": row.publisher_id, "sessions": len(context.store.sessions_of(stream_id))}


# -- sessions --------------------------------------------------------------------------------------------------


def session_name(context: Context, session_id: str) -> str:
    """Who has what."""
    row = _session(context, session_id)
    return f"{plain(row.consumer_id)} ← {plain(row.stream_name)}" if row is not None else session_id


def session_applies(context: Context, session_id: str) -> str:
    """Why a session cannot be acted on."""
    if session_id in context.store.sessions:
        return ""
    ghost = context.store.ghost("session", session_id)
    return "this session is gone" if ghost is None else f"this session has ended: {ghost.cause}"


async def run_kick(context: Context, session_id: str) -> Done:
    """End a session; undo asks the publisher for the same again."""
    row = context.store.sessions.get(session_id)
    name = session_name(context, session_id)
    hold = context.store.hold_of(session_id)
    client = context.connected
    await client.stop_session(session_id)
    text = f"Kicked {name}. The picture stops when the publisher obeys."
    if row is None:
        return Done(text)
    preset_id = hold.preset_id if hold is not None else None
    return Done(text, f"kick {name}", lambda: retake(client, row, preset_id, held=hold is not None))


def kick_losses(context: Context, ids: Sequence[str]) -> Losses:
    """Each consumer with the picture it loses."""
    rows = (context.store.sessions.get(one) for one in ids)
    return [(plain(row.consumer_id), plain(row.stream_name)) for row in rows if row is not None]


def session_before(context: Context, session_id: str) -> dict[str, Any] | None:
    """What the audit keeps of a session."""
    row = _session(context, session_id)
    if row is None:
        return None
    return {"consumer_id": row.consumer_id, "stream_id": row.stream_id, "stream_name": row.stream_name}


def retake_applies(context: Context, session_id: str) -> str:
    """Only what has ended can be taken again, from a stream that lives."""
    row = context.store.sessions.get(session_id)
    if row is not None:
        since = age_text(context.store.broker_now() - row.started_at)
        return f"{session_name(context, session_id)} is there already, for {since}"
    gone = _session(context, session_id)
    if gone is None:
        return "this session is gone"
    if gone.stream_id not in context.store.streams:
        return f"its source {plain(gone.stream_name)} is gone"
    return ""


async def run_retake(context: Context, session_id: str) -> Done:
    """Ask the publisher again for a session just lost, with the same consumer and config."""
    row = _session(context, session_id)
    if row is None:
        return Done("This session is gone", tone="error")
    client = context.connected
    preset = next(iter(context.store.presets_of(row)), None)
    held = preset is not None and preset.held_by == "console"
    new_id = await retake(client, row, preset.id if held and preset is not None else None)
    name = f"{plain(row.consumer_id)} ← {plain(row.stream_name)}"
    return Done(f"Taken again: {name}", f"take {name} again", lambda: client.stop_session(new_id))


async def retake(client: BrokerClient, row: SessionRow, preset_id: str | None, *, held: bool | None = None) -> str:
    """Negotiate a session like ``row`` once more; the new session's id."""
    offer = await client.request(
        row.stream_id,
        consumer_id=row.consumer_id,
        consumer_address=row.consumer_address,
        consumer_port=row.consumer_port,
        config=row.config,
    )
    if held if held is not None else preset_id is not None:
        await client.hold(offer.session_id, preset_id)
    return offer.session_id


def hold_applies(context: Context, session_id: str) -> str:
    """A session is held once."""
    hold = context.store.hold_of(session_id)
    if hold is not None:
        return f"Callboard holds it already, for {plain(hold.operator) or 'an operator'}"
    return session_applies(context, session_id)


async def run_hold(context: Context, session_id: str) -> Done:
    """Let the broker beat the session."""
    client = context.connected
    hold = await client.hold(session_id)
    name = session_name(context, session_id)
    return Done(f"Callboard holds {name}", f"hold {name}", lambda: client.release(hold.id))


def release_applies(context: Context, session_id: str) -> str:
    """Only what is held can be released."""
    if context.store.hold_of(session_id) is None:
        return session_applies(context, session_id) or "Callboard does not hold it"
    return ""


async def run_release(context: Context, session_id: str) -> Done:
    """Stop beating it; it lives on if its consumer beats it."""
    hold = context.store.hold_of(session_id)
    name = session_name(context, session_id)
    if hold is None:
        return Done(f"Callboard does not hold {name}", tone="error")
    client, preset_id = context.connected, hold.preset_id
    await client.release(hold.id)
    text = f"Released {name}: it ends within 30 s unless its consumer beats it"
    return Done(text, f"release {name}", lambda: client.hold(session_id, preset_id))


# -- shared ----------------------------------------------------------------------------------------------------


def _stream(context: Context, stream_id: str) -> StreamRow | None:
    row = context.store.streams.get(stream_id)
    if row is None and (ghost := context.store.ghost("stream", stream_id)) is not None:
        return ghost.row if isinstance(ghost.row, StreamRow) else None
    return row


def _session(context: Context, session_id: str) -> SessionRow | None:
    row = context.store.sessions.get(session_id)
    if row is None and (ghost := context.store.ghost("session", session_id)) is not None:
        return ghost.row if isinstance(ghost.row, SessionRow) else None
    return row


def _open_preset_editor(context: Context, ids: Sequence[str]) -> bool:
    """Without a preset a take has nowhere to go: ask for one in place, then take."""
    if context.store.default_preset() is not None:
        return False
    from app.ui.dialogs.preset_editor import PresetEditor

    panel = PresetEditor(context)
    name = stream_name(context, ids[0])
    panel.saved.connect(lambda _: context.toast(f"R takes {name} there"))
    context.panels.show(panel)
    context.toast(f"Take {name}: {NO_PRESET}")
    return True


def _open_choose_preset(context: Context, ids: Sequence[str]) -> bool:
    """Shift+R: the preset is chosen in place, and the choice takes."""
    if not context.store.presets:
        return _open_preset_editor(context, ids)
    from app.ui.dialogs.choose_preset import ChoosePreset

    stream_id = ids[0]
    panel = ChoosePreset(context, stream_id)

    def chosen(preset_id: str) -> None:
        preset = context.store.presets.get(preset_id)
        if preset is not None:
            context.actions.start("take_to", stream_id, lambda: take_to(context, stream_id, preset))

    panel.chosen.connect(chosen)
    context.panels.show(panel)
    return True


STREAM_VERBS = (
    Verb(
        name="take",
        label="Take",
        kind="stream",
        key="R",
        run=run_take,
        applies=stream_applies,
        object=stream_name,
        before=stream_before,
        title=take_title,
        warning=take_warning,
        refuses=take_refuses,
        instead=_open_preset_editor,
        help="Take the stream to the default preset",
        button="primary",
    ),
    Verb(
        name="take_to",
        label="Take to…",
        kind="stream",
        key="Shift+R",
        run=run_take,
        applies=stream_applies,
        object=stream_name,
        before=stream_before,
        instead=_open_choose_preset,
        help="Take the stream to a preset of your choice",
        many=False,
    ),
    Verb(
        name="withdraw",
        label="Withdraw",
        kind="stream",
        key="Del",
        panel_key="Shift+Del",
        tier=1,
        tier_of=withdraw_tier,
        run=run_withdraw,
        applies=stream_applies,
        object=stream_name,
        before=stream_before,
        losses=withdraw_losses,
        help="Withdraw the stream; with consumers it asks first",
        button="plain",
    ),
)
SESSION_VERBS = (
    Verb(
        name="kick",
        label="Kick",
        kind="session",
        key="Del",
        panel_key="Shift+Del",
        tier=1,
        run=run_kick,
        applies=session_applies,
        object=session_name,
        before=session_before,
        losses=kick_losses,
        help="Kick the session; several at once ask first",
        button="plain",
    ),
    Verb(
        name="retake",
        label="Take again",
        kind="session",
        key="R",
        run=run_retake,
        applies=retake_applies,
        object=session_name,
        before=session_before,
        help="Take a session just lost again, with the same config",
        button="plain",
    ),
    Verb(
        name="hold",
        label="Hold",
        kind="session",
        run=run_hold,
        applies=hold_applies,
        object=session_name,
        help="Let Callboard keep the session alive",
    ),
    Verb(
        name="release",
        label="Release",
        kind="session",
        run=run_release,
        applies=release_applies,
        object=session_name,
        help="Let the consumer keep the session alive by itself",
    ),
)
