"""A button for a verb: its words, whether it can be pressed and why not, all from the declaration in ``verbs.py``.

Two verbs that take each other back share a button, which is whichever of them applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from app.ui.keymap_overlay import key_name
from app.ui.theme import escape_tooltip, set_role
from app.ui.verb_keys import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.ui.context import Context
    from app.ui.verb import Verb


class VerbButton(QPushButton):
    """Presses its verb for what ``targets`` names at that moment; never takes the keyboard from the table."""

    def __init__(self, context: Context, verb: Verb, targets: Callable[[], Sequence[str]]) -> None:
        super().__init__(verb.label)
        self.context = context
        self.verb = verb
        self._verbs = [verb]
        self._targets = targets
        self._words = self._key = ""
        self._short = False
        self.setProperty("kind", verb.button)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.clicked.connect(self.press_verb)

    def add(self, verb: Verb) -> None:
        """Be this verb too, where it applies and the first does not."""
        self._verbs.append(verb)

    def press_verb(self) -> None:
        """The button was pressed."""
        ids = list(self._targets())
        self.context.actions.press(meant(self.context.actions, self._verbs, ids).name, ids)

    def refresh(self, hidden: int) -> None:
        """Say what a press would do now; ``hidden`` marks are counted and never acted on."""
        ids = list(self._targets())
        self.verb = meant(self.context.actions, self._verbs, ids)
        title = self.verb.title(self.context, ids) if self.verb.title else self.verb.label
        if len(ids) > 1 and self.verb.many:
            title += f"  {len(ids)} marked"
        if hidden:
            title += f"  ({hidden} hidden not)"
        reason = self.context.actions.why_not(self.verb.name, ids)
        self._words = title.replace("&", "&&")  # a name's own, not the mark of a mnemonic
        self._key = f"   {key_name(self.verb.key)}" if self.verb.key else ""
        self._write()
        if self.isEnabled() == bool(reason):
            self.setEnabled(not reason)
        tip = escape_tooltip(reason or self.verb.help)
        if self.toolTip() != tip:
            self.setToolTip(tip)
        warned = bool(self.verb.warning and len(ids) == 1 and self.verb.warning(self.context, ids[0]))
        set_role(self, "true" if warned else "false", name="warned")

    def set_short(self, short: bool) -> None:
        """Leave the key out, where there is no room for all."""
        self._short = short
        self._write()

    @property
    def whole_width(self) -> int:
        """Pixels that it wants with its key."""
        return self.sizeHint().width() + (self.fontMetrics().horizontalAdvance(self._key) if self._short else 0)

    def _write(self) -> None:
        text = self._words if self._short else self._words + self._key
        if self.text() != text:
            self.setText(text)
