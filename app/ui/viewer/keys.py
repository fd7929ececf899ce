"""The keys of a viewer window, in one table: what ``window.py`` obeys, ``bar.py`` shows on its buttons and F1 lists.

These are the keys that stay here: they act while the keyboard is not the desktop's, and always in a window that only
looks. While keys go to the desktop, one chord alone stays here; which one is a setting. Plain values, nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.ui.settings import Settings
    from app.ui.viewer.window import ViewerWindow

GROUP, CONTROL_GROUP = "In a viewer window", "In a viewer window with control"
CHORDS = {
    "ControlRight+Escape": "Right-Ctrl+Escape",
    "ControlRight+F12": "Right-Ctrl+F12",
    "ShiftRight+Escape": "Right-Shift+Escape",
    "Pause": "Pause",
}
"""What may take the keys back, by the codes of the physical keys, and how people call it."""
CHORD_DOES = "Take the keyboard back, while all other keys go there"

When = Literal["always", "control", "lost", "full screen"]


@dataclass(frozen=True, slots=True)
class ViewerKey:
    """One act of a viewer window. ``keys`` as Qt writes them; the first is the one that is told."""

    name: str
    keys: tuple[str, ...]
    label: str
    act: Callable[[ViewerWindow], object]
    when: When = "always"

    def acts_in(self, window: ViewerWindow) -> bool:
        """Whether it does anything in that window now."""
        if self.when == "control":
            return window.mode == "control" and window.is_connected
        if self.when == "lost":
            return not window.is_connected
        return self.when == "always" or window.isFullScreen()


KEYS = (
    ViewerKey(
        "keys",
        ("Return", "Enter"),
        "All keys go to the desktop, as by a click into the picture",
        lambda window: window.give_keys(),
        "control",
    ),
    ViewerKey(
        "scale",
        ("1",),
        "Fit the desktop into the window, or show it pixel for pixel",
        lambda window: window.set_scaled(not window.scaled),
    ),
    ViewerKey("full_screen", ("F11",), "Full screen", lambda window: window.full_screen()),
    ViewerKey("leave", ("Esc",), "Leave full screen", lambda window: window.full_screen(), "full screen"),
    ViewerKey(
        "ctrl_alt_del",
        ("Ctrl+Alt+End",),
        "Send Ctrl+Alt+Delete to the desktop",
        lambda window: window.ctrl_alt_del(),
        "control",
    ),
    ViewerKey(
        "paste",
        ("Ctrl+V",),
        "Put this machine's clipboard on the desktop's",
        lambda window: window.paste(),
        "control",
    ),
    ViewerKey(
        "type",
        ("Ctrl+Shift+V",),
        "Type this machine's clipboard as key presses",
        lambda window: window.type_clipboard(),
        "control",
    ),
    ViewerKey(
        "again", ("R",), "Try again now, while there is no picture", lambda window: window.link.reconnect(), "lost"
    ),
    ViewerKey("close", ("Ctrl+W",), "Close the window; the desktop goes on", lambda window: window.close()),
)
_BY_KEY = {key: one for one in KEYS for key in one.keys}
_BY_NAME = {one.name: one for one in KEYS}


def of_press(pressed: str, window: ViewerWindow) -> ViewerKey | None:
    """What that key does in that window now."""
    one = _BY_KEY.get(pressed)
    return one if one is not None and one.acts_in(window) else None


def key_of(name: str) -> ViewerKey:
    """An act by its name, for the button that does the same."""
    return _BY_NAME[name]


def chord_of(settings: Settings) -> str:
    """The codes of the keys that take the keyboard back."""
    chord = str(settings.get("viewer/release"))
    return chord if chord in CHORDS else next(iter(CHORDS))


def help_lines(settings: Settings) -> dict[str, list[tuple[str, str]]]:
    """Groups of (key, what it does) for F1; the keys still as Qt writes them."""
    control = [(one.keys[0], one.label) for one in KEYS if one.when == "control"]
    return {
        GROUP: [(one.keys[0], one.label) for one in KEYS if one.when != "control"],
        CONTROL_GROUP: [*control, (CHORDS[chord_of(settings)], CHORD_DOES)],
    }
