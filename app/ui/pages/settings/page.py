"""The Settings page itself: the list of sections, and the one that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.ui.page import Page
from app.ui.pages.settings.access import AccessSection
from app.ui.pages.settings.agent_keys import AgentKeysSection
from app.ui.pages.settings.appearance import AppearanceSection
from app.ui.pages.settings.brokers import BrokersSection
from app.ui.pages.settings.one_file import OneFileSection
from app.ui.pages.settings.open_with import OpenWithSection
from app.ui.pages.settings.operator import OperatorSection
from app.ui.pages.settings.presets import PresetsSection
from app.ui.pages.settings.section import Section
from app.ui.pages.settings.templates import TemplatesSection
from app.ui.pages.settings.types import TypesSection
from app.ui.pages.settings.users import UsersSection

if TYPE_CHECKING:
    from app.ui.context import Context

SECTIONS: tuple[type[Section], ...] = (
    BrokersSection,
    AccessSection,
    UsersSection,
    AgentKeysSection,
    TemplatesSection,
    PresetsSection,
    TypesSection,
    OpenWithSection,
    OperatorSection,
    AppearanceSection,
    OneFileSection,
)


ROW = 30
"""Height of a section's name in the list."""


class SettingsPage(Page):
    """Sections are built when first shown; only the one in front listens and asks."""

    title: ClassVar[str] = "Settings"
    key: ClassVar[str] = "Ctrl+9"
    glyph: ClassVar[str] = "⚙"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sections: dict[int, Section] = {}
        self._active: Section | None = None
        self._in_front = False
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.list = QListWidget()
        self.list.setFixedWidth(190)
        self.list.setProperty("role", "sections")
        self.list.setAccessibleName("Sections of the settings")
        for section in SECTIONS:
            item = QListWidgetItem(section.title)
            item.setSizeHint(QSize(0, ROW))
            self.list.addItem(item)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.NoFrame)
        line.setProperty("role", "line")
        line.setFixedWidth(1)
        self.stack = QStackedWidget()
        for _ in SECTIONS:
            self.stack.addWidget(_scroll())
        column = QVBoxLayout()
        column.setContentsMargins(0, 12, 0, 0)
        column.addWidget(self.list)
        layout.addLayout(column)
        layout.addWidget(line)
        layout.addWidget(self.stack, 1)
        self.list.currentRowChanged.connect(self.show_section)
        self.list.setCurrentRow(0)

    def activate(self) -> None:
        """Catch up; the keyboard starts in the list of sections."""
        self._in_front = True
        self.show_section(self.list.currentRow())
        self.list.setFocus()

    def deactivate(self) -> None:
        """Stop listening."""
        self._in_front = False
        if self._active is not None:
            self._active.deactivate()
            self._active = None

    def show_section(self, index: int) -> None:
        """Bring one section to the front, building it at the first time."""
        if not 0 <= index < len(SECTIONS):
            return
        self.stack.setCurrentIndex(index)
        if not self._in_front:
            return
        section = self._sections.get(index)
        if section is None:
            section = self._sections[index] = SECTIONS[index](self.context)
            scroll = self.stack.widget(index)
            if isinstance(scroll, QScrollArea):
                scroll.setWidget(_framed(section))
        if self._active is not None and self._active is not section:
            self._active.deactivate()
        self._active = section
        section.activate()

    def open(self, kind: type[Section]) -> Section:
        """Show the section of that kind; for tests and for links from elsewhere."""
        index = SECTIONS.index(kind)
        self.list.setCurrentRow(index)
        self.show_section(index)
        return self._sections[index]

    def scroll_to(self, widget: QWidget) -> None:
        """Bring a widget of the shown section into view."""
        area = self.stack.currentWidget()
        if isinstance(area, QScrollArea):
            area.ensureWidgetVisible(widget, 0, 60)

    def theme_changed(self) -> None:
        """Painted previews look again."""
        for section in self._sections.values():
            section.theme_changed()

    def status_text(self) -> str:
        """What the keyboard does here."""
        return "Up and Down choose a section, Tab goes into it"


def _scroll() -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return scroll


def _framed(section: Section) -> QWidget:
    frame = QWidget()
    layout = QHBoxLayout(frame)
    layout.setContentsMargins(28, 20, 28, 12)
    layout.addWidget(section, 1)
    layout.addStretch(0)
    return frame
