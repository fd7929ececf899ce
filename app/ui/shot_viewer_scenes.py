"""The scenes of what desktops look like: the wall, and the window on one desktop in its moods.

Each scene is a function of the ``Studio``; ``VIEWER_SCENES`` names them. Called by ``shots.py`` through ``shot_scenes``. The
desktops are painted here: the web engine is not started for a picture.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter, QPixmap
from PySide6.QtWidgets import QLabel, QSizePolicy

from app.contract import ViewerMode
from app.errors import Unavailable
from app.ui.shot_fleet import desktop_rows, fleet_rows
from app.ui.viewer.window import ViewerWindow

if TYPE_CHECKING:
    from app.ui.shots import Studio
    from app.ui.viewer.web import Engine

WINDOWS = ("#16324F", "#3B1F2B", "#1E3A2F", "#3A331A", "#2B2740", "#23353A")
LINES = (
    "cue 41  house to half",
    "cue 42  look 3, 4.5 s",
    "cue 43  video A roll",
    "cue 44  blackout",
    "$ tail -f show.log",
)


def desktop_picture(number: int, size: QSize) -> QImage:
    """A desktop with a window on it, another for each number."""
    image = QImage(size, QImage.Format.Format_RGB32)
    image.fill(QColor("#0D1117"))
    painter = QPainter(image)
    unit = size.width() / 64
    frame = QRect(int(unit * (4 + number % 3 * 3)), int(unit * 3), int(unit * 46), int(unit * 26))
    painter.fillRect(frame, QColor(WINDOWS[number % len(WINDOWS)]))
    painter.fillRect(QRect(frame.left(), frame.top(), frame.width(), int(unit * 2)), QColor("#39414A"))
    font = QFont("DejaVu Sans Mono")
    font.setPixelSize(max(6, int(unit * 1.5)))
    painter.setFont(font)
    painter.setPen(QColor("#C9D4DE"))
    for line in range(8):
        text = LINES[(number + line) % len(LINES)]
        painter.drawText(frame.left() + int(unit), frame.top() + int(unit * (4.5 + 2.4 * line)), text)
    painter.end()
    return image


def wall(studio: Studio) -> None:
    """Every desktop of the house; two are frozen, one has no picture yet."""
    studio.venue.open(fleet=fleet_rows())
    thumbnails = studio.wall.thumbnails
    thumbnails.start = lambda: None  # type: ignore[method-assign]  # nothing answers here
    for number, row in enumerate(desktop_rows()):
        if number % 11 != 5:
            thumbnails.keep(row.id, desktop_picture(number, QSize(320, 180)))
    studio.start("Wall")


def viewer(mode: ViewerMode, banner: str = "", *, ended: bool = False) -> Callable[[Studio], None]:
    """The window on one desktop; with a banner it has lost its connection."""

    def play(studio: Studio) -> None:
        studio.venue.open(fleet=fleet_rows())
        studio.start()
        row = next(row for row in desktop_rows() if row.state == "running")
        window = ViewerWindow(studio.context, row.id, mode, _no_engine)
        window.resize(studio.window.size())
        picture = QLabel()
        picture.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        shown = desktop_picture(4, QSize(1600, 900))
        if banner:
            shown = shown.convertToFormat(QImage.Format.Format_Grayscale8)
        picture.setPixmap(QPixmap.fromImage(shown))
        layout = window.stage.layout()
        if layout is not None:
            layout.addWidget(picture)
        window.show()
        if banner:
            window.link.said.emit(f"{window.link.name}: {banner}", True, ended)
        else:
            window.link.connected_changed.emit(True)
            window.link.keys_changed.emit(mode == "control")
            window.link.layout_told.emit("QWERTZ")
            window.bar.set_traffic("1.4 MB/s   3 ms")
        studio.front = window

    return play


def _no_engine() -> Awaitable[Engine]:
    raise Unavailable("no picture needs the web engine")


VIEWER_SCENES: dict[str, tuple[Callable[[Studio], None], str]] = {
    "wall": (wall, ""),
    "viewer-control": (viewer("control"), ""),
    "viewer-view": (viewer("view"), ""),
    "viewer-reconnecting": (viewer("view", "Agent rack-1 is offline. Trying again in 4 s (3 of 10)."), ""),
    "viewer-kicked": (viewer("control", "Closed by ann: show starts.", ended=True), ""),
}
