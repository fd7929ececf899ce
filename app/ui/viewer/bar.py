"""The bar of a viewer window: whose desktop, what this person may do there, where the keys go, and the few buttons.

Made by ``window.py``, which connects its signals. What it says is set through plain methods; nothing here talks to the
page or to the broker. The light is a word and a shape besides its colour.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QMenu, QPushButton, QSizePolicy, QToolButton, QWidget

from app.contract import ViewerMode
from app.models.wording import plain
from app.ui.keymap_overlay import key_name
from app.ui.theme import Theme, escape_tooltip, plain_label, set_role
from app.ui.viewer.keys import CHORDS, key_of

MODES = {"view": "VIEW ONLY", "control": "CONTROL"}
REMOTE, HERE = "keys go to the desktop", "keys stay here"
NAME_ROOM = 150
"""Pixels that the name keeps; whatever else the bar has no room for gives way."""
WIDEST_TRAFFIC = "99.9 MB/s   9999 ms"


class NameLabel(QLabel):
    """A name that ends in dots where the room does."""

    def __init__(self) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", "heading")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(NAME_ROOM)

    @property
    def shown(self) -> str:
        """As much of it as there is room for."""
        return self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self.shown)
        painter.end()


class KeysLight(QWidget):
    """Whether keys go to the desktop: a filled disc and words, or a ring and words."""

    def __init__(self, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self._theme = theme
        self.remote = False
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(HERE)

    @property
    def text(self) -> str:
        """What it says."""
        return REMOTE if self.remote else HERE

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(22 + max(metrics.horizontalAdvance(REMOTE), metrics.horizontalAdvance(HERE)), 20)

    def set_remote(self, remote: bool) -> None:
        """Say where keys go now."""
        if remote != self.remote:
            self.remote = remote
            self.setAccessibleName(self.text)
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = self._theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = theme.color("held" if self.remote else "text3")
        painter.setPen(QPen(color, 1.4))
        if self.remote:
            painter.setBrush(color)
        painter.drawEllipse(QRectF(3, 5, 10, 10))
        painter.setPen(theme.color("text" if self.remote else "text2"))
        painter.setFont(theme.font("body"))
        painter.drawText(self.rect().adjusted(20, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self.text)
        painter.end()


class ViewerBar(QWidget):
    """See the module's docstring."""

    keys_wanted = Signal()
    scale_wanted = Signal()
    ctrl_alt_del_wanted = Signal()
    paste_wanted = Signal()
    type_wanted = Signal()
    full_screen_wanted = Signal()
    chord_chosen = Signal(str)

    def __init__(self, mode: ViewerMode, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self.setObjectName("viewer-bar")
        self.mode = mode
        self._chord = ""
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.name = NameLabel()
        self.chip = plain_label(MODES[mode], "value")
        self.chip.setProperty("chip", mode)
        self.light = KeysLight(theme)
        self.chord = QToolButton()
        self.chord.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.chord.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.chord.setToolTip(escape_tooltip("Which keys take the keyboard back from the desktop"))
        self.traffic = plain_label("", "hint")
        self.traffic.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.layout_name = plain_label("", "hint")
        self.layout_name.setToolTip("Keyboard layout of this machine; the desktop may have another")
        self.scale_button = _act_button("1:1", "scale")
        self.full_button = _act_button("Full screen", "full_screen")
        self.control_buttons = [
            _act_button("Keys to desktop", "keys"),
            _act_button("Ctrl+Alt+Del", "ctrl_alt_del"),
            _act_button("Paste", "paste"),
            _act_button("Type", "type"),
        ]
        self._lay_out()
        self._connect()
        self._fill_chords()

    def _lay_out(self) -> None:
        row = self._row = QHBoxLayout(self)
        row.setSizeConstraint(QHBoxLayout.SizeConstraint.SetNoConstraint)
        row.setContentsMargins(10, 3, 6, 3)
        row.setSpacing(10)
        row.addWidget(self.name, 1)
        row.addWidget(self.chip)
        if self.mode == "control":
            row.addWidget(self.light)
            row.addWidget(self.chord)
            row.addWidget(self.layout_name)
        row.addWidget(self.traffic)
        for button in self.control_buttons:
            button.setVisible(self.mode == "control")
        for button in (*(self.control_buttons if self.mode == "control" else ()), self.scale_button, self.full_button):
            row.addWidget(button)

    def _kept(self) -> list[QWidget]:
        """What stands beside the name in any window."""
        kept: list[QWidget] = [self.chip, self.scale_button, self.full_button]
        if self.mode == "control":
            kept += [self.light] if self.light.remote else [self.light, self.control_buttons[0]]
        return kept

    def _room_for(self, widget: QWidget) -> int:
        return max(widget.sizeHint().width(), widget.minimumWidth()) + self._row.spacing()

    def minimumSizeHint(self) -> QSize:
        """The name and what always stands beside it."""
        margins = self._row.contentsMargins()
        width = margins.left() + margins.right() + NAME_ROOM + sum(map(self._room_for, self._kept()))
        return QSize(width, super().minimumSizeHint().height())

    def _fit(self) -> None:
        """Show what there is room for beside the name; the rest has keys, or can wait for a wider window."""
        yielding: list[QWidget] = [self.traffic]
        if self.mode == "control":
            keys, *acts = self.control_buttons
            keys.setVisible(not self.light.remote)
            yielding = [self.chord, *acts, self.layout_name, self.traffic]  # the last gives way first
        room = self.width() - self.minimumSizeHint().width()
        for widget in yielding:
            room -= self._room_for(widget)
            widget.setVisible(room >= 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """More or less of it fits."""
        super().resizeEvent(event)
        self._fit()

    def _connect(self) -> None:
        wishes = (self.keys_wanted, self.ctrl_alt_del_wanted, self.paste_wanted, self.type_wanted)
        for button, wish in zip(self.control_buttons, wishes, strict=True):
            button.clicked.connect(wish)
        self.scale_button.clicked.connect(self.scale_wanted)
        self.full_button.clicked.connect(self.full_screen_wanted)

    def _fill_chords(self) -> None:
        menu = QMenu(self)
        for codes, words in CHORDS.items():
            menu.addAction(words).triggered.connect(lambda _=False, codes=codes: self.chord_chosen.emit(codes))
        self.chord.setMenu(menu)

    # -- what it says ------------------------------------------------------------------------------------------

    def set_name(self, name: str) -> None:
        """Whose desktop it is."""
        self.name.setText(plain(name))
        self.name.setToolTip(escape_tooltip(plain(name)))

    def set_chord(self, codes: str) -> None:
        """Which keys take the keyboard back."""
        self._chord = CHORDS.get(codes, codes)
        self.chord.setText(f"{self._chord} takes them back" if self.light.remote else self._chord)
        self._fit()

    def set_remote(self, remote: bool) -> None:
        """Where keys go, and what changes that."""
        self.light.set_remote(remote)
        self.chord.setText(f"{self._chord} takes them back" if remote else self._chord)
        self._fit()

    def set_scaled(self, scaled: bool) -> None:
        """The button offers the other way."""
        self.scale_button.setText("1:1" if scaled else "Fit")
        self._fit()

    def set_traffic(self, text: str) -> None:
        """Throughput and round trip, or nothing."""
        if text and not self.traffic.minimumWidth():  # what stands beside it does not jump each second
            self.traffic.setMinimumWidth(self.traffic.fontMetrics().horizontalAdvance(WIDEST_TRAFFIC))
        if text != self.traffic.text():
            self.traffic.setText(text)
            self._fit()

    def set_layout_name(self, name: str) -> None:
        """This machine's keyboard layout, since the desktop may have another."""
        self.layout_name.setText(name)
        self._fit()

    def set_connected(self, connected: bool) -> None:
        """Buttons that need a connection."""
        for button in self.control_buttons:
            button.setEnabled(connected)


class Banner(QWidget):
    """One sentence over the picture, and a button to try again now."""

    again_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("viewer-banner")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.words = plain_label("", "value", wrap=True)
        self.button = _act_button("Reconnect", "again")
        self.button.clicked.connect(self.again_wanted)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 6, 6, 6)
        row.addWidget(self.words, 1)
        row.addWidget(self.button)
        self.hide()

    @property
    def text(self) -> str:
        """What it says; "" while it is hidden."""
        return self.words.text() if not self.isHidden() else ""

    def say(self, text: str, *, again: bool = False, ended: bool = False) -> None:
        """Show a sentence; "" hides it. ``ended``: nothing more happens by itself."""
        self.words.setText(plain(text))
        self.button.setVisible(again)
        set_role(self, "ended" if ended else "waiting", name="tone")
        self.setVisible(bool(text))


class LoginRow(QWidget):
    """Asks for what the desktop's own VNC server wants; nothing of it is kept."""

    given = Signal(dict)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("viewer-login")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.user = QLineEdit()
        self.password = QLineEdit()
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self._user_label: QLabel = plain_label("User", "hint")
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 6, 6, 6)
        row.addWidget(plain_label("The desktop's VNC server asks for", "value"))
        row.addWidget(self._user_label)
        row.addWidget(self.user)
        row.addWidget(plain_label("Password", "hint"))
        row.addWidget(self.password)
        button = _button("Log in", "Enter")
        button.clicked.connect(self._give)
        row.addWidget(button)
        row.addStretch(1)
        self.password.returnPressed.connect(self._give)
        self.hide()

    def ask(self, types: list[str]) -> None:
        """Show the fields of ``types`` and take the keyboard."""
        with_user = "username" in types
        self.user.setVisible(with_user)
        self._user_label.setVisible(with_user)
        self.show()
        (self.user if with_user else self.password).setFocus()

    def _give(self) -> None:
        given = {"password": self.password.text()}
        if not self.user.isHidden():
            given["username"] = self.user.text()
        self.password.clear()
        self.hide()
        self.given.emit(given)


def _act_button(text: str, name: str) -> QPushButton:
    """A button of an act that has a key too."""
    key = key_of(name)
    return _button(text, f"{key.label} ({key_name(key.keys[0])})")


def _button(text: str, hint: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(escape_tooltip(hint))
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button
