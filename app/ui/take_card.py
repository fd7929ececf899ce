"""What became of the last take of the shown stream: the countdown while it negotiates, then the offer or the reason.

Stands on top of the details pane. The offer's connection string and "open with…" are ``dialogs/offer_panel.py``;
the reason is what the broker said, under words for the kind of failure (502, 504, 404).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QVBoxLayout

from app.contract import NEGOTIATION_TIMEOUT
from app.errors import CallboardError
from app.models.wording import clean, plain
from app.ui.theme import plain_label, set_role
from app.ui.verb import Done

if TYPE_CHECKING:
    from app.client.take import TakeResult
    from app.ui.context import Context
    from app.ui.dialogs.offer_panel import OfferView

KEPT = 50
FEED_LAG = 3.0
"""Seconds in which the feed brings the session of an offer that has just come."""
FAILURE_SECONDS = 300.0
TITLES = {
    "taken": "Taken to",
    "already": "Already on",
    "rejected": "Rejected (502)",
    "no_answer": "No answer (504)",
    "gone": "Gone (404)",
    "failed": "Could not be taken",
}
CODES = {"no_responders": "Nobody answers (502)", "bus_away": "TAKE DOWN (502)", "bad_reply": "Bad answer (502)"}


class TakeCard(QFrame):
    """See the module's docstring; hidden while there is nothing to say."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.results: dict[str, tuple[TakeResult | CallboardError, float]] = {}
        """How the last take of a stream ended, and when (monotonic)."""
        self._shown: object = None
        self._fraction = 0.0
        self.offer: OfferView | None = None
        self.setProperty("role", "card")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(12, 10, 12, 12)
        self._column.setSpacing(6)
        self.title = plain_label("", "heading")
        self.big = plain_label("", "big")
        self.text = plain_label("", "value", wrap=True, copyable=True)
        for widget in (self.title, self.big, self.text):
            self._column.addWidget(widget)
        self.hide()

    def keep(self, stream_id: str, result: object) -> None:
        """A take of ``stream_id`` has ended."""
        from app.client.take import TakeResult

        if isinstance(result, Done):
            result = result.result
        if isinstance(result, TakeResult | CallboardError):
            self.results.pop(stream_id, None)
            self.results[stream_id] = (result, time.monotonic())
            while len(self.results) > KEPT:
                self.results.pop(next(iter(self.results)))

    def refresh(self, stream_id: str) -> None:
        """Show what there is to say about that stream."""
        store = self.context.store
        running = store.running_for(stream_id)
        if running is not None:
            left = max(0.0, running.deadline - store.broker_now())
            self._say("Negotiating", f"{left:.1f} s", f"{plain(running.consumer_id)} asks the publisher", "")
            self._fraction = min(1.0, left / NEGOTIATION_TIMEOUT)
            self._shown = running.id
            self._hide_offer()
            self.show()
            self.update()
            return
        self._fraction = 0.0
        result = self._still_told(stream_id)
        if result is None:
            self._shown = None
            self.hide()
        elif result is not self._shown:
            self._shown = result
            self._show_result(result)
            self.show()

    def _still_told(self, stream_id: str) -> TakeResult | CallboardError | None:
        """The result, as long as it says something true: while its session lives, a failure for five minutes."""
        result, at = self.results.get(stream_id, (None, 0.0))
        age = time.monotonic() - at
        session = _session_of(result)
        if session is not None:
            told = session in self.context.store.sessions or age < FEED_LAG
        else:
            told = age < FAILURE_SECONDS
        if not told:
            self.results.pop(stream_id, None)
            return None
        return result

    def paintEvent(self, event: QPaintEvent) -> None:
        """The card, with the time that is left along its foot."""
        super().paintEvent(event)
        if self._fraction > 0:
            painter = QPainter(self)
            bar = QRectF(1, self.height() - 4, (self.width() - 2) * self._fraction, 3)
            painter.fillRect(bar, self.context.theme.color("changing"))
            painter.end()

    def _show_result(self, result: TakeResult | CallboardError) -> None:
        if isinstance(result, CallboardError):
            self._say("Could not be taken", "", clean(result.message), "error")
            self._hide_offer()
            return
        good = result.ok and not result.hold_error and not result.not_ended
        title = CODES.get(result.code, TITLES[result.outcome])
        if result.ok:
            title = f"{title} {plain(result.preset.name)}"
        self._say(title, "", clean(result.text), "" if good else "error")
        shown = result.offer or result.already
        if shown is None:
            self._hide_offer()
            return
        if self.offer is None:
            from app.ui.dialogs.offer_panel import OfferView

            self.offer = OfferView(self.context)
            self._column.addWidget(self.offer)
        self.offer.show_offer(shown, self.context.store.sessions.get(_session_of(result) or ""))

    def _say(self, title: str, big: str, text: str, tone: str) -> None:
        for label, words in ((self.title, title), (self.big, big), (self.text, text)):
            if label.text() != words:
                label.setText(words)
            label.setVisible(bool(words))
        set_role(self.title, "error" if tone else "heading")

    def _hide_offer(self) -> None:
        if self.offer is not None:
            self.offer.forget()


def _session_of(result: TakeResult | CallboardError | None) -> str | None:
    """The session that a take brought, or found there."""
    if result is None or isinstance(result, CallboardError):
        return None
    if result.offer is not None:
        return result.offer.session_id
    return result.already.id if result.already is not None else None
