"""The panel of a closing window while rows live: leave the broker running (default), or stop it and lose them.

A closing console never ends the broker by itself. Stopping costs everybody, so it lists who loses
what and wants the button held; leaving is the default and Enter does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.models.wording import plain
from app.ui.dialogs.add_stream import BEATEN_BY, beaten_by
from app.ui.dialogs.confirm import Losses, LossTable
from app.ui.panel import HoldButton, Panel
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.ui.context import Context


class QuitPanel(Panel):
    """Calls exactly one of its three callables, once."""

    def __init__(
        self, context: Context, on_leave: Callable[[], None], on_stop: Callable[[], None], on_cancel: Callable[[], None]
    ) -> None:
        super().__init__(
            context,
            "Close the console?",
            subtitle="The board has live rows. The broker is a program of its own and goes on without this window.",
        )
        self._on_cancel = on_cancel
        store = context.store
        self.summary = plain_label(live_text(context), "heading", wrap=True)
        self.body.addWidget(self.summary)
        held = len(store.holds)
        if held:
            text = (
                f"{held} of them {'is' if held == 1 else 'are'} held by Callboard and stay alive while the broker runs."
            )
            self.body.addWidget(plain_label(text, "hint", wrap=True))
        beaten = beaten_here(context)
        if beaten:
            text = f"{', '.join(beaten)}: this console sends the heartbeats, which end with it; gone 30 s later."
            self.body.addWidget(plain_label(text, "hint", wrap=True))
        seconds = context.settings.get("hold_seconds")
        self.body.addSpacing(8)
        self.body.addWidget(plain_label("Stopping the broker would end:", "hint"))
        losses = what_ends(context)
        self.table = LossTable(losses, ("Who", "Loses"))
        self.body.addWidget(self.table, 1)
        note = f"To stop it, hold the button for {seconds:g} s. Publishers and consumers must come back by themselves afterwards."
        self.body.addWidget(plain_label(note, "hint", wrap=True))
        self.stop_button = HoldButton("Hold to stop the broker", context.theme.color("danger"), seconds=seconds)
        self.leave_button = self.add_button("Close, leave it running", "primary")
        self.buttons.insertWidget(0, self.stop_button)
        self.stop_button.fired.connect(lambda: self._finish(on_stop))
        self.leave_button.clicked.connect(lambda: self._finish(on_leave))
        self.leave_button.setAutoDefault(True)
        self.first_focus = self.leave_button

    def cancelled(self) -> None:
        """Esc: the window stays."""
        self._on_cancel()

    def _finish(self, act: Callable[[], None]) -> None:
        if not self._finished:
            self.done()
            act()


def live_text(context: Context) -> str:
    """What lives now, in one line."""
    streams, sessions = len(context.store.streams), len(context.store.sessions)
    text = f"{streams} live stream{'' if streams == 1 else 's'}, {sessions} session{'' if sessions == 1 else 's'}"
    desktops, agents = len(context.store.desktops), len(context.store.agents)
    if desktops or agents:
        text += f", {desktops} desktop{'' if desktops == 1 else 's'}, {agents} agent{'' if agents == 1 else 's'}"
    return text


def beaten_here(context: Context) -> list[str]:
    """Names of streams that live on the heartbeats of a console of this operator."""
    mark = beaten_by(context)
    return [plain(row.name) for row in context.store.streams.values() if row.metadata.get(BEATEN_BY) == mark]


def what_ends(context: Context) -> Losses:
    """Each session's consumer with its picture, each stream without one with its publisher, and who looks at desktops.

    Desktops themselves go on: their agents keep them until a broker is there again.
    """
    store = context.store
    losses = [(plain(row.consumer_id), plain(row.stream_name)) for row in store.sessions.values()]
    alone = (row for row in store.streams.values() if not store.sessions_of(row.id))
    losses.extend((plain(row.publisher_id), f"its stream {plain(row.name)}") for row in alone)
    losses.extend((plain(row.user), f"the view of {plain(row.session_name)}") for row in store.viewers.values())
    return losses
