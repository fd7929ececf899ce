"""Taking a destination that another operator uses: what a take waits for, and what is said before and after it.

Used by ``verbs.py`` and the lists of presets. Two consoles know nothing of each other's presses, so a take waits until
the board shows its own session, and with it whatever began before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.errors import Conflict
from app.models.wording import plain

if TYPE_CHECKING:
    from app.client.take import Standing, TakeResult
    from app.contract import PresetRow
    from app.models.store import Store
    from app.ui.context import Context

PATIENCE = 3.0
"""Seconds in which a feed that lives shows a session that the broker has just opened; it takes a twentieth of one."""


async def standing(store: Store, session_id: str) -> Standing:
    """Wait until the board shows that session."""
    changed = asyncio.Event()
    stop = store.listen(lambda _: changed.set())
    try:
        async with asyncio.timeout(PATIENCE):
            while session_id not in store.sessions:
                if store.ghost("session", session_id) is not None:
                    return "gone"
                changed.clear()
                await changed.wait()
    except TimeoutError:
        return "late"
    finally:
        stop()
    return "shown"


def replaces_words(context: Context, preset: PresetRow, stream_id: str) -> str:
    """Whose picture a take of that stream would replace, when it is another operator's; else ""."""
    if preset.mode != "replace":
        return ""
    store = context.store
    sessions = store.carried_by(preset.id)
    if any(session.stream_id == stream_id for session in sessions):
        return ""
    words = []
    for session in sessions:
        hold = store.hold_of(session.id)
        if hold is not None and hold.operator not in ("", context.operator):
            words.append(f"{plain(session.stream_name)} of {plain(hold.operator)}")
    return f"replaces {', '.join(words)}" if words else ""


def undo_refused(context: Context, result: TakeResult) -> Conflict | None:
    """Why a take cannot be undone any more: somebody has put another picture there since."""
    store, offer = context.store, result.offer
    if offer is None or not result.replaced or offer.session_id in store.sessions:
        return None
    ghost = store.ghost("session", offer.session_id)
    ended = {session.id for session in result.replaced}
    if ghost is None and all(session.id in ended for session in store.carried_by(result.preset.id)):
        return None
    why = f": {ghost.cause}" if ghost is not None else ""
    return Conflict(f"it is not on {plain(result.preset.name)} any more{why}. What it replaced was not brought back.")
