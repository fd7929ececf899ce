"""From a key or a menu to the verb that is meant, for the rows of one page.

Used by ``board_page.py``. Two verbs that take each other back share a key: whichever applies to what is selected is
meant, and the first of them where both or neither do. Rows of several kinds are acted on one kind at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QMenu

from app.ui.keymap_overlay import key_name

if TYPE_CHECKING:
    from app.ui.actions import Actions
    from app.ui.verb import Verb

MIXED = "rows of different kinds are marked; a key acts on one kind at a time"


def pressed_text(event: QKeyEvent) -> str:
    """A key with its modifiers as verbs name it; the keypad is no modifier."""
    modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    return QKeySequence(event.key() | modifiers.value).toString(QKeySequence.SequenceFormat.PortableText)


def meant(actions: Actions, verbs: Sequence[Verb], ids: Sequence[str]) -> Verb:
    """Of verbs that share a key or a button, the one that a press would do now."""
    return next((verb for verb in verbs if not actions.why_not(verb.name, ids)), verbs[0])


def of_key(actions: Actions, kinds: Sequence[str], pressed: str) -> list[Verb]:
    """Verbs on that key, over all kinds of a page."""
    every = [verb for kind in kinds for verb in actions.of_kind(kind)]
    return [verb for verb in every if pressed and pressed in (verb.key, verb.panel_key)]


def fill_menu(
    menu: QMenu, actions: Actions, kind: str, ids: Sequence[str], press: Callable[[str, list[str]], None]
) -> None:
    """Every verb of these objects with its key, and the reason where it cannot be done."""
    if not kind:
        menu.addAction(MIXED[0].upper() + MIXED[1:]).setEnabled(False)
        return
    for verb in actions.of_kind(kind):
        reason = actions.why_not(verb.name, ids)
        if reason and verb.pair and not actions.why_not(verb.pair, ids):
            continue  # what takes it back stands there
        words = verb.label if not reason else f"{verb.label}: {reason}"
        action = QAction(words.replace("&", "&&"), menu)
        action.setEnabled(not reason)
        if verb.key:
            action.setText(f"{action.text()}\t{key_name(verb.key)}")
        action.triggered.connect(lambda _=False, name=verb.name, bound=list(ids): press(name, bound))
        menu.addAction(action)
