"""V and Shift+V: look into a desktop, or take part in it.

``viewer_verbs(context)`` gives the two verbs of kind ``desktop`` for ``Actions``; the console hooks them in where it
declares its verbs. View-only is enforced by the broker; where it cannot be, the window says so and stays dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.contract import ViewerMode
from app.models.wording import plain
from app.ui.verb import Done, Verb
from app.ui.viewer.desk import ViewerDesk

if TYPE_CHECKING:
    from app.ui.context import Context

KIND = "desktop"


def viewer_verbs(context: Context, desk: ViewerDesk | None = None) -> list[Verb]:
    """The verbs of V and Shift+V, on one desk of windows."""
    windows = desk or ViewerDesk(context)

    def verb(name: str, label: str, key: str, mode: ViewerMode, words: str) -> Verb:
        async def run(context: Context, session_id: str) -> Done:
            windows.open(session_id, mode)
            return Done()

        return Verb(
            name=name,
            label=label,
            kind=KIND,
            key=key,
            run=run,
            applies=desktop_shows,
            object=desktop_name,
            help=words,
            many=False,
            button="plain",
        )

    return [
        verb("view", "View", "V", "view", "Look into the desktop; nothing that you press reaches it"),
        verb("control", "Control", "Shift+V", "control", "Look into the desktop with keyboard and pointer"),
    ]


def desktop_name(context: Context, session_id: str) -> str:
    """What people call it, also when it is gone."""
    row = context.store.desktops.get(session_id)
    return plain(row.name) if row is not None else session_id


def desktop_shows(context: Context, session_id: str) -> str:
    """Why a desktop has no picture now."""
    row = context.store.desktops.get(session_id)
    if row is None:
        return "this session is gone"
    if row.state == "running":
        agent = context.store.agents.get(row.agent_id or "")
        hidden = agent is not None and bool(agent.capabilities) and "vnc" not in agent.capabilities
        return f"agent {plain(row.agent_id or '')} does not show its desktops" if hidden else ""
    words = {"hibernated": "hibernated: wake it first", "pending": "still starting"}
    return f"{plain(row.name)} is {words.get(row.state, row.state)}"
