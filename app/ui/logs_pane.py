"""The log of one session below the table (F4): follows it, wraps, filters, copies, and keeps a bounded number of lines.

Bound to the session's id when it is opened; it stays on that session whatever row is selected. New lines are put in ten
times a second, so that a program that shouts does not hold the window up. A log that breaks off says so and tries again
while it is followed; one that ended stays to be read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QFont, QGuiApplication, QTextCursor
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QPlainTextEdit, QPushButton, QToolButton, QVBoxLayout

from app.errors import CallboardError
from app.models.filter import QueryError
from app.models.log_lines import MOST_LINES, LogLines
from app.models.wording import plain
from app.ui.theme import escape_tooltip, plain_label, set_role
from app.ui.verbs_desktops import desktop_applies, desktop_name, desktop_row

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent

    from app.ui.context import Context

TAIL = 500
"""Lines that are asked for at first."""
FLUSH_MILLISECONDS = 100
MOST_AT_ONCE = 400
"""Lines that go into the view in one turn of the loop; the rest waits for the next."""
AGAIN_AFTER = 3.0


class _Text(QPlainTextEdit):
    """Read only; Esc is left to the window."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc and the window's keys go on."""
        if event.key() == Qt.Key.Key_Escape:
            event.ignore()
            return
        super().keyPressEvent(event)


class LogsPane(QFrame):
    """See the module's docstring."""

    close_wanted = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.session_id = ""
        self.lines = LogLines()
        self._waiting: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._seen = 0
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 6, 12, 6)
        column.setSpacing(6)
        column.addLayout(self._head())
        self.text = _Text()
        self.text.setReadOnly(True)
        self.text.setUndoRedoEnabled(False)
        self.text.setMaximumBlockCount(MOST_LINES)
        self.text.setProperty("role", "mono")
        self.text.setFrameShape(QFrame.Shape.NoFrame)
        self.text.setAccessibleName("Log")
        column.addWidget(self.text, 1)
        self._timer = QTimer(self)
        self._timer.setInterval(FLUSH_MILLISECONDS)
        self._timer.timeout.connect(self.flush)
        self.theme_changed()
        self._wrap(bool(context.settings.get("logs/wrap")))
        self.hide()

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.title = plain_label("", "heading")
        self.state = plain_label("", "caption")
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Lines with   word  -word  re:expression")
        self.filter.setClearButtonEnabled(True)
        self.filter.setMaximumWidth(360)
        self.filter.setAccessibleName("Filter of the log")
        self.filter.textChanged.connect(self.apply_filter)
        self.follow_button = self._toggle("Follow", "New lines as they come", self._set_follow)
        self.wrap_button = self._toggle("Wrap", "Long lines on several rows", self._wrap)
        self.follow_button.setChecked(True)
        self.copy_button = QPushButton("Copy")
        self.copy_button.setToolTip("What is selected, or every line that is shown")
        self.copy_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.copy_button.clicked.connect(self.copy)
        close = QToolButton()
        close.setText("✕")
        close.setToolTip("Close (F4)")
        close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        close.clicked.connect(self.close_wanted)
        row.addWidget(self.title)
        row.addWidget(self.state, 1)
        row.addWidget(self.filter, 1)
        for widget in (self.follow_button, self.wrap_button, self.copy_button, close):
            row.addWidget(widget)
        return row

    def _toggle(self, words: str, tip: str, toggled: object) -> QPushButton:
        button = QPushButton(words)
        button.setCheckable(True)
        button.setToolTip(tip)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.toggled.connect(toggled)
        return button

    # -- which log ---------------------------------------------------------------------------------------------

    def open_for(self, session_id: str) -> None:
        """Show the log of that session from now on."""
        self.stop()
        self.session_id = session_id
        self.lines.clear()
        self._waiting.clear()
        self.text.clear()
        row = desktop_row(self.context, session_id)
        name = f"   {plain(row.name)}" if row is not None else ""
        self.title.setText(f"Log   {desktop_name(self.context, session_id)}{name}")
        self.show()
        self.follow_button.setChecked(True)
        self._begin()

    def stop(self) -> None:
        """Follow nothing any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._timer.stop()

    def _begin(self) -> None:
        self.stop()
        self._say("asking…")
        self._timer.start()
        self._task = self.context.spawn(self._read(), f"the log of {self.session_id}")

    async def _read(self) -> None:
        """Follow, and try again after a break while the session is there."""
        while True:
            try:
                await self._follow()
            except CallboardError as error:
                again = not desktop_applies(self.context, self.session_id)
                self._say(f"{error.message}{' Trying again.' if again else ''}", wrong=True)
                if not again:
                    return
            else:
                self._say("the log has ended")
                return
            await asyncio.sleep(AGAIN_AFTER)

    async def _follow(self) -> None:
        fresh = True
        async for line in self.context.connected.fleet.follow_logs(self.session_id, TAIL):
            self._took([line], fresh=fresh)
            if fresh:
                self._say("following")
            fresh = False

    def _took(self, lines: list[str], *, fresh: bool) -> None:
        """``fresh``: the broker begins with its last lines, which replace what was shown."""
        if fresh:
            self.lines.clear()
            self._waiting.clear()
            self.text.clear()
        self._waiting.extend(lines)
        del self._waiting[:-MOST_LINES]

    # -- what is shown -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Put what has come into the view; it stays at the end if it was there."""
        if not self._waiting:
            return
        some, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        shown = self.lines.add(some)
        if shown:
            self._append(shown)

    def _append(self, shown: list[str]) -> None:
        bar = self.text.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 2
        self.text.appendPlainText("\n".join(shown))
        if at_end:
            bar.setValue(bar.maximum())

    def apply_filter(self, text: str) -> None:
        """Show only the lines that pass; a filter that cannot be read changes nothing and says why."""
        error = self.lines.set_filter(text)
        wrong = isinstance(error, QueryError)
        set_role(self.filter, "true" if wrong else "false", name="invalid")
        self.filter.setToolTip(escape_tooltip(error.message if isinstance(error, QueryError) else ""))
        if not wrong:
            self.text.setPlainText("\n".join(self.lines.shown()))
            self.text.moveCursor(QTextCursor.MoveOperation.End)

    def copy(self) -> None:
        """What is selected, else everything that is shown."""
        chosen = self.text.textCursor().selectedText().replace("\N{PARAGRAPH SEPARATOR}", "\n")
        text = chosen or "\n".join(self.lines.shown())
        QGuiApplication.clipboard().setText(text)
        count = text.count("\n") + 1 if text else 0
        self.context.toast(f"Copied {count} line{'' if count == 1 else 's'} of the log")

    def theme_changed(self) -> None:
        """Another font or colour."""
        self.text.setFont(QFont(self.context.theme.font("mono")))

    def _wrap(self, on: bool) -> None:
        mode = QPlainTextEdit.LineWrapMode.WidgetWidth if on else QPlainTextEdit.LineWrapMode.NoWrap
        self.context.settings.set("logs/wrap", on)
        self.wrap_button.setChecked(on)
        self.text.setLineWrapMode(mode)

    def _set_follow(self, on: bool) -> None:
        if not self.session_id or self.isHidden():
            return
        if on:
            self._begin()
        else:
            self.stop()
            while self._waiting:
                self.flush()
            self._say("not followed")

    def _say(self, words: str, *, wrong: bool = False) -> None:
        dropped = f"   {self.lines.dropped} older lines dropped" if self.lines.dropped else ""
        self.state.setText(f"{words}{dropped}")
        set_role(self.state, "error" if wrong else "caption")
