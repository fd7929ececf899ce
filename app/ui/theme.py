"""Colours, type scale, metrics and the style sheet of the console; three themes.

``Theme`` is plain data plus ready-made ``QColor``/``QFont`` objects (made once, painting only looks them up).
Use ``theme.color("text2")``, ``theme.font("body")``, ``theme.ROW``; never write a colour or a point size in a
widget. Plain Qt widgets get their look from ``resources/theme.qss`` through dynamic properties:

* ``QLabel``: ``role`` = ``title`` (16 px), ``heading`` (12 px semi-bold), ``caption`` (11 px, grey, column-head
  look), ``hint`` (grey prose), ``value`` (body), ``mono``, ``error``, ``big`` (countdowns)
* ``QPushButton``: ``kind`` = ``primary`` (accent outline), ``danger``, ``plain`` (default), ``link``
* ``QFrame``: ``role`` = ``panel`` (sheet), ``card``, ``line`` (1 px rule)

``set_role(widget, "title")`` sets the property. Network text: use ``plain_label`` (``Qt.PlainText``) and
``escape_tooltip``; the six state colours stand for states only, the accent for focus and selection only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from string import Template

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QSizePolicy, QWidget

from app.models.palettes import PALETTES
from app.paths import resource

SANS = [
    "Inter", "IBM Plex Sans", "Segoe UI", "Noto Sans", "Roboto", "Helvetica Neue", "DejaVu Sans Condensed", "DejaVu Sans",
]  # fmt: skip
MONO = ["JetBrains Mono", "IBM Plex Mono", "Cascadia Mono", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono"]

STATES = ("live", "changing", "held", "stale", "fault", "off")
"""Colour keys of the six states; ``states.py`` of the models uses the same words."""

_DARK = {
    "bg": "#14171B", "panel": "#181C21", "raised": "#1F242A", "hover": "#1B2026", "line": "#272D34", "line2": "#39414A",
    "text": "#DCE1E6", "text2": "#A3ADB7", "text3": "#7A848F", "accent": "#8B93FF", "select": "#262B45", "mark": "#8B93FF",
    "bar": "#2B323A", "strip": "#0F1215",
}  # fmt: skip
_BLACKOUT = {
    "bg": "#080302", "panel": "#0B0503", "raised": "#130805", "hover": "#0E0604", "line": "#241009", "line2": "#43200F",
    "text": "#BC7443", "text2": "#985E38", "text3": "#74482B", "accent": "#C8792A", "select": "#2E1509", "mark": "#C8792A",
    "bar": "#1F0D08", "strip": "#050201",
}  # fmt: skip
_CONTRAST = {
    "bg": "#000000", "panel": "#000000", "raised": "#141414", "hover": "#141414", "line": "#6A6A6A", "line2": "#B4B4B4",
    "text": "#FFFFFF", "text2": "#E2E2E2", "text3": "#BDBDBD", "accent": "#A6ACFF", "select": "#2C3380", "mark": "#A6ACFF",
    "bar": "#3C3C3C", "strip": "#000000",
}  # fmt: skip
_GROUNDS = {"dark": _DARK, "blackout": _BLACKOUT, "contrast": _CONTRAST}
THEMES: dict[str, dict[str, str]] = {
    name: {
        **colors,
        **PALETTES[name].colors,
        "on_air": PALETTES[name].on_air_background,
        "on_air_text": PALETTES[name].on_air_text,
        "danger": PALETTES[name].colors["fault"],
    }
    for name, colors in _GROUNDS.items()
}
"""Every token of every theme; the six state colours and the badge are measured in ``app/models/palettes.py``."""
TITLES = {"dark": "Dark", "blackout": "Blackout", "contrast": "High contrast"}

_SIZES = {"caption": 11, "small": 11, "body": 12, "heading": 12, "title": 16, "big": 24, "mono": 11, "count": 11}


@dataclass(slots=True)
class Theme:
    """One theme, ready to paint with. Build with ``Theme.named`` and give it to the application with ``apply``."""

    name: str
    colors: dict[str, str]
    _colors: dict[str, QColor] = field(default_factory=dict)
    _fonts: dict[str, QFont] = field(default_factory=dict)

    ROW = 22
    STRIP = 24
    SHEET = 400

    @classmethod
    def named(cls, name: str) -> Theme:
        """The theme called ``name``; an unknown name gives the dark one."""
        key = name if name in THEMES else "dark"
        theme = cls(key, THEMES[key])
        theme._colors = {token: QColor(value) for token, value in theme.colors.items()}
        theme._fonts = {role: _font(role, size) for role, size in _SIZES.items()}
        return theme

    def color(self, token: str) -> QColor:
        """The colour of a token or state; shared, do not change it."""
        return self._colors[token]

    def font(self, role: str) -> QFont:
        """The font of a step of the type scale; shared, do not change it."""
        return self._fonts[role]

    def palette(self) -> QPalette:
        """A palette for whatever the style sheet does not reach."""
        palette = QPalette()
        role = QPalette.ColorRole
        pairs = {
            role.Window: "bg", role.Base: "bg", role.AlternateBase: "bg", role.Button: "raised", role.Text: "text",
            role.WindowText: "text", role.ButtonText: "text", role.BrightText: "text", role.PlaceholderText: "text3",
            role.ToolTipBase: "raised", role.ToolTipText: "text", role.Highlight: "select", role.HighlightedText: "text",
            role.Light: "line2", role.Midlight: "line", role.Mid: "line", role.Dark: "bg", role.Shadow: "strip",
            role.Link: "accent", role.LinkVisited: "accent",
        }  # fmt: skip
        for which, token in pairs.items():
            palette.setColor(which, self._colors[token])
        for which in (role.Text, role.WindowText, role.ButtonText):
            palette.setColor(QPalette.ColorGroup.Disabled, which, self._colors["text3"])
        return palette

    def style_sheet(self) -> str:
        """``resources/theme.qss`` with this theme's colours filled in."""
        sheet = Template(resource("theme.qss").read_text(encoding="utf-8"))
        return sheet.substitute(self.colors, tick=resource("tick.png").as_posix())

    def apply(self, app: QApplication) -> None:
        """Dress the whole application; call before the first ``show()`` so that nothing flashes white."""
        app.setStyle("Fusion")
        app.setPalette(self.palette())
        app.setFont(self._fonts["body"])
        app.setStyleSheet(self.style_sheet())


def set_role(widget: QWidget, role: str, *, name: str = "role") -> None:
    """Give ``widget`` a look of the style sheet; works again after it is shown."""
    if widget.property(name) == role:
        return
    widget.setProperty(name, role)
    style = widget.style()
    style.unpolish(widget)
    style.polish(widget)


def plain_label(text: str = "", role: str = "value", *, copyable: bool = False, wrap: bool = False) -> QLabel:
    """A label that never takes its text for HTML."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(text)
    label.setProperty("role", role)
    if copyable:
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setCursor(Qt.CursorShape.IBeamCursor)
    if wrap:
        label.setWordWrap(True)
        label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
    return label


def escape_tooltip(text: str) -> str:
    """``text`` for ``setToolTip``: Qt guesses HTML in tooltips, so wrap it as escaped HTML ourselves."""
    if not text:
        return ""
    return "<p style='white-space:pre-wrap'>" + escape(text).replace("\n", "<br>") + "</p>"


def _font(role: str, size: int) -> QFont:
    font = QFont(MONO if role == "mono" else SANS)
    font.setPixelSize(size)
    font.setStyleHint(QFont.StyleHint.Monospace if role == "mono" else QFont.StyleHint.SansSerif)
    font.setFeature(QFont.Tag("tnum"), 1)
    if role in ("heading", "title"):
        font.setWeight(QFont.Weight.DemiBold)
    return font
