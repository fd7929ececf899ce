"""Settings, "Appearance": the three themes, each shown as what it does to the six states before it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup

from app.models.states import WORDS
from app.ui.pages.settings.section import Section
from app.ui.theme import STATES, THEMES, TITLES, Theme

if TYPE_CHECKING:
    from app.ui.context import Context

ABOUT = {
    "dark": "For a dark control room.",
    "blackout": "Dim red and amber, for backstage during a show: nothing lights up a face.",
    "contrast": "Black and white, strong edges, for bright rooms and tired eyes.",
}


class ThemeCard(QAbstractButton):
    """One theme painted with its own colours; chosen with click, Space or the arrow keys."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__()
        self.context = context
        self.name = name
        self.shown = Theme.named(name)
        self.setText(TITLES[name])
        self.setCheckable(True)
        self.setAccessibleName(TITLES[name])
        self.setAccessibleDescription(ABOUT[name])
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumHeight(self.sizeHint().height())

    def sizeHint(self) -> QSize:
        """A strip of three lines."""
        return QSize(560, 92)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Title, words, the six states, and an edge that says which one is in use."""
        theme = self.shown
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.color("bg"))
        edge = self.context.theme.color("accent" if self.isChecked() or self.hasFocus() else "line2")
        painter.setPen(QPen(edge, 2 if self.isChecked() else 1))
        painter.drawRect(QRectF(self.rect()).adjusted(1, 1, -1, -1))
        painter.setFont(theme.font("heading"))
        painter.setPen(theme.color("text"))
        painter.drawText(QRectF(16, 10, 300, 18), Qt.AlignmentFlag.AlignVCenter, self.text())
        if self.isChecked():
            painter.setFont(theme.font("body"))
            painter.setPen(theme.color("accent"))
            painter.drawText(
                QRectF(self.width() - 116, 10, 100, 18),
                Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight,
                "✓ in use",
            )
        painter.setFont(theme.font("body"))
        painter.setPen(theme.color("text2"))
        painter.drawText(QRectF(16, 30, self.width() - 32, 18), Qt.AlignmentFlag.AlignVCenter, ABOUT[self.name])
        self._paint_states(painter, theme)
        painter.end()

    def _paint_states(self, painter: QPainter, theme: Theme) -> None:
        painter.setFont(theme.font("body"))
        metrics = QFontMetrics(theme.font("body"))
        x = 16.0
        for key in STATES:
            word = WORDS[key]
            text = f"{word.glyph} {word.text}"
            painter.setPen(theme.color(key))
            painter.drawText(QRectF(x, 58, 140, 22), Qt.AlignmentFlag.AlignVCenter, text)
            x += metrics.horizontalAdvance(text) + 18


class AppearanceSection(Section):
    """Chooses the theme; it applies at once to every window."""

    title: ClassVar[str] = "Appearance"
    intro: ClassVar[str] = "Applies at once. State is always a word and a sign as well as a colour."
    theme_chosen = Signal(str)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        group = self.group("Theme")
        group.setSpacing(10)
        self.cards: dict[str, ThemeCard] = {}
        buttons = QButtonGroup(self)
        for name in THEMES:
            card = ThemeCard(context, name)
            card.setChecked(name == context.theme.name)
            card.clicked.connect(lambda _checked, name=name: self.choose(name))
            buttons.addButton(card)
            group.addWidget(card)
            self.cards[name] = card
        self.finish()

    def choose(self, name: str) -> None:
        """Use the theme called ``name``."""
        if name != self.context.theme.name:
            self.context.switch_theme(name)
            self.theme_chosen.emit(name)

    def activate(self) -> None:
        """The theme may have been switched elsewhere."""
        self.cards[self.context.theme.name].setChecked(True)
