"""Verbs on desktop sessions and on those who look at them: hibernate, wake, terminate, kick, tags.

Declared through ``verbs.declare``. Ending a session is ``Delete`` with its hold-back; by force is ``Shift+Delete``, which
asks first. A viewer is kicked without ending the session. Looking (``V``, ``Shift+V``) is declared by ``viewer/verbs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from app.contract import DesktopRow, ViewerRow
from app.models.fleet_words import viewer_text
from app.models.wording import plain
from app.ui.verb import Done, Losses, Verb

if TYPE_CHECKING:
    from app.ui.context import Context

CANNOT_HIBERNATE = "not offered by {platform} agents - terminate it instead"


def desktop_row(context: Context, desktop_id: str) -> DesktopRow | None:
    """A session, also when it has just ended."""
    row = context.store.desktops.get(desktop_id)
    if row is None and (ghost := context.store.ghost("desktop", desktop_id)) is not None:
        return ghost.row if isinstance(ghost.row, DesktopRow) else None
    return row


def desktop_name(context: Context, desktop_id: str) -> str:
    """Whose what."""
    row = desktop_row(context, desktop_id)
    return f"{plain(row.user)} ← {plain(row.template)}" if row is not None else desktop_id


def desktop_applies(context: Context, desktop_id: str) -> str:
    """Why a session cannot be acted on."""
    if desktop_id in context.store.desktops:
        return ""
    ghost = context.store.ghost("desktop", desktop_id)
    return "this session is gone" if ghost is None else f"this session has ended: {ghost.cause}"


def desktop_before(context: Context, desktop_id: str) -> dict[str, Any] | None:
    """What the audit keeps of a session."""
    row = desktop_row(context, desktop_id)
    if row is None:
        return None
    return {"user": row.user, "template": row.template, "agent_id": row.agent_id, "state": row.state}


def hibernate_applies(context: Context, desktop_id: str) -> str:
    """Only what runs, on an agent that is there and can do it."""
    row = context.store.desktops.get(desktop_id)
    if row is None:
        return desktop_applies(context, desktop_id)
    if row.state != "running":
        return f"it is {row.state}"
    agent = context.store.agents.get(row.agent_id or "")
    if agent is not None and agent.capabilities and "hibernate" not in agent.capabilities:
        return CANNOT_HIBERNATE.format(platform=plain(agent.platform))
    return _agent_away(context, row)


def wake_applies(context: Context, desktop_id: str) -> str:
    """Only what hibernates."""
    row = context.store.desktops.get(desktop_id)
    if row is None:
        return desktop_applies(context, desktop_id)
    return f"it is {row.state}" if row.state != "hibernated" else _agent_away(context, row)


async def run_hibernate(context: Context, desktop_id: str) -> Done:
    """Freeze it; the broker's answer says how far that is."""
    return await _change_state(context, desktop_id, "hibernated", "running", "Hibernated", "hibernate")


async def run_wake(context: Context, desktop_id: str) -> Done:
    """Bring it back."""
    return await _change_state(context, desktop_id, "running", "hibernated", "Woke", "wake")


async def _change_state(context: Context, desktop_id: str, to: str, back: str, told: str, verb: str) -> Done:
    name, fleet = desktop_name(context, desktop_id), context.connected.fleet
    change = await fleet.set_state(desktop_id, to)
    phase = plain(str(change.status.get("phase") or change.state))
    text = f"{told} {name}" if change.state == to else f"{name}: {phase}, the agent has not finished"
    return Done(text, f"{verb} {name}", partial(fleet.set_state, desktop_id, back))


def terminate_applies(context: Context, desktop_id: str) -> str:
    """What ends already is ended by force, if at all."""
    row = context.store.desktops.get(desktop_id)
    if row is not None and row.state == "terminating":
        back = f"it ends when {plain(row.agent_id or '')} is back"
        return f"{back if _agent_away(context, row) else 'it is ending already'}; Shift+Delete ends it by force"
    return desktop_applies(context, desktop_id)


async def run_terminate(context: Context, desktop_id: str) -> Done:
    """End it: its programs are asked to stop and get 30 s for it, once its agent is there to ask them."""
    name, row = desktop_name(context, desktop_id), desktop_row(context, desktop_id)
    await context.connected.fleet.delete_session(desktop_id)
    begun = row is not None and (row.state == "pending" or row.started_at is not None)
    if row is not None and begun and _agent_away(context, row):
        return Done(f"{name} ends when {plain(row.agent_id or '')} is back; Shift+Delete ends it now")
    return Done(f"{name} is ending; its programs have 30 s to stop")


async def run_force(context: Context, desktop_id: str) -> Done:
    """End it now, whatever its agent says."""
    name = desktop_name(context, desktop_id)
    await context.connected.fleet.delete_session(desktop_id, force=True)
    return Done(f"{name} was ended by force")


def terminate_losses(context: Context, ids: Sequence[str]) -> Losses:
    """Each user with the desktop that ends, and who else looks at it."""
    losses: Losses = []
    for desktop_id in ids:
        row = desktop_row(context, desktop_id)
        if row is None:
            continue
        losses.append((plain(row.user), plain(row.template)))
        others = [one for one in context.store.viewers_of(desktop_id).values() if one.user != row.user]
        losses.extend((plain(one.user), f"the view of {plain(row.user)}'s {plain(row.template)}") for one in others)
    return losses


# -- viewers ---------------------------------------------------------------------------------------------------


def viewer_name(context: Context, viewer_id: str) -> str:
    """Who looks at what."""
    row = context.store.viewers.get(viewer_id)
    return viewer_id if row is None else f"{plain(row.user)} from {desktop_name(context, row.session_id)}"


def viewer_applies(context: Context, viewer_id: str) -> str:
    """Why a viewer cannot be kicked."""
    return "" if viewer_id in context.store.viewers else "this viewer has left"


def viewer_before(context: Context, viewer_id: str) -> dict[str, Any] | None:
    """What the audit keeps of a viewer."""
    row = context.store.viewers.get(viewer_id)
    return None if row is None else {"user": row.user, "mode": row.mode, "session_id": row.session_id}


async def run_kick_viewer(context: Context, viewer_id: str) -> Done:
    """Close one viewer; the session goes on."""
    name = viewer_name(context, viewer_id)
    await context.connected.fleet.kick_viewer(viewer_id)
    return Done(f"Kicked {name}; the session goes on")


def kick_viewers_applies(context: Context, desktop_id: str) -> str:
    """Somebody must be looking."""
    reason = desktop_applies(context, desktop_id)
    return reason or ("" if context.store.viewers_of(desktop_id) else "nobody looks at it")


def kick_viewers_tier(context: Context, desktop_id: str) -> int:
    """More than one is many."""
    return 2 if len(context.store.viewers_of(desktop_id)) > 1 else 1


async def run_kick_viewers(context: Context, desktop_id: str) -> Done:
    """Close every viewer of a session, which goes on."""
    name = desktop_name(context, desktop_id)
    viewers = list(context.store.viewers_of(desktop_id))
    if len(viewers) == 1:
        return await run_kick_viewer(context, viewers[0])
    await context.connected.fleet.kick_viewers(desktop_id)
    return Done(f"Kicked {len(viewers)} viewers from {name}; the session goes on")


def viewer_losses(context: Context, ids: Sequence[str]) -> Losses:
    """Each viewer with the desktop that it no longer sees."""
    rows: list[ViewerRow] = [row for one in ids for row in context.store.viewers_of(one).values()]
    return [(viewer_text(row), desktop_name(context, row.session_id)) for row in rows]


# -- tags ------------------------------------------------------------------------------------------------------


def _open_tags(context: Context, ids: Sequence[str]) -> bool:
    """Which tags is asked in place."""
    from app.ui.dialogs.edit_tags import EditTags

    context.panels.show(EditTags(context, list(ids)))
    return True


async def set_tags(context: Context, desktop_id: str, tags: Sequence[str]) -> Done:
    """Replace the tags of a session; undo puts the old ones back."""
    row = context.store.desktops.get(desktop_id)
    before = list(row.tags) if row is not None else []
    name, fleet = desktop_name(context, desktop_id), context.connected.fleet
    await fleet.set_tags(desktop_id, tags)
    told = ", ".join(plain(tag) for tag in tags) or "none"
    return Done(f"Tags of {name}: {told}", f"tags of {name}", partial(fleet.set_tags, desktop_id, before))


async def run_tags(context: Context, desktop_id: str) -> Done:
    """Without the panel there is nothing to change."""
    return Done(f"No tags were given for {desktop_name(context, desktop_id)}", tone="error")


def _agent_away(context: Context, row: DesktopRow) -> str:
    agent = context.store.agents.get(row.agent_id or "")
    away = row.agent_id is not None and (agent is None or agent.status == "offline")
    return f"its agent {plain(row.agent_id or '')} is offline" if away else ""


DESKTOP_VERBS = (
    Verb(
        name="hibernate",
        label="Hibernate",
        kind="desktop",
        key="H",
        run=run_hibernate,
        applies=hibernate_applies,
        object=desktop_name,
        before=desktop_before,
        help="Freeze the session, which frees its place; H again wakes it",
        button="plain",
        pair="wake",
        paced=True,
    ),
    Verb(
        name="wake",
        label="Wake",
        kind="desktop",
        key="H",
        run=run_wake,
        applies=wake_applies,
        object=desktop_name,
        before=desktop_before,
        help="Bring a hibernated session back",
        button="plain",
        pair="hibernate",
        paced=True,
    ),
    Verb(
        name="terminate",
        label="Terminate",
        kind="desktop",
        key="Del",
        tier=1,
        run=run_terminate,
        applies=terminate_applies,
        object=desktop_name,
        before=desktop_before,
        losses=terminate_losses,
        help="End the session; its programs get 30 s to stop",
        button="plain",
        paced=True,
    ),
    Verb(
        name="force_terminate",
        label="Force-terminate",
        kind="desktop",
        key="Shift+Del",
        tier=2,
        run=run_force,
        applies=desktop_applies,
        object=desktop_name,
        before=desktop_before,
        losses=terminate_losses,
        help="End the session now, whatever its agent says",
        paced=True,
    ),
    Verb(
        name="kick_viewers",
        label="Kick viewers",
        kind="desktop",
        key="K",
        tier=1,
        tier_of=kick_viewers_tier,
        run=run_kick_viewers,
        applies=kick_viewers_applies,
        object=desktop_name,
        before=desktop_before,
        losses=viewer_losses,
        help="Close who looks at it; the session goes on",
    ),
    Verb(
        name="tags",
        label="Tags…",
        kind="desktop",
        key="T",
        run=run_tags,
        applies=desktop_applies,
        object=desktop_name,
        before=desktop_before,
        instead=_open_tags,
        help="Change the tags of the session",
        paced=True,
    ),
)
VIEWER_VERBS = (
    Verb(
        name="kick_viewer",
        label="Kick",
        kind="viewer",
        tier=1,
        run=run_kick_viewer,
        applies=viewer_applies,
        object=viewer_name,
        before=viewer_before,
        help="Close this viewer; the session goes on",
    ),
)
