"""Small pictures of desktops, asked for one at a time and only where somebody sees them.

Used by ``pages/wall.py``. ``wanted`` names the tiles that are seen now; each running one gets a new picture every 5 s, the
longest unserved first. Pictures are kept for a bounded number of sessions; where large ones of all that is seen would not
fit, small ones are asked for. A picture that could not be had keeps the old one and says why.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize
from PySide6.QtGui import QImage

from app.errors import CallboardError

if TYPE_CHECKING:
    from app.ui.context import Context

EVERY = 5.0
KEPT = 200
KEPT_BYTES = 48 * 2**20
"""Pictures in memory, and what they may come to: 320 by 180 pixels are 230 kB each, 640 by 360 four times that."""
SMALL, LARGE = 320, 640
"""The two widths that are asked for, so that consoles share what the broker keeps."""
ENOUGH = 1.15
"""By how much the small one may be blown up."""
USUAL = 9 / 16
"""Height to width of a desktop whose picture nobody has seen yet."""


@dataclass(slots=True)
class Shot:
    """The last picture of a desktop. ``trouble`` says why the last try gave none."""

    image: QImage
    at: float = 0.0
    trouble: str = ""


class Thumbnails:
    """See the module's docstring. ``changed`` is told the session whose picture is new."""

    def __init__(
        self,
        context: Context,
        wanted: Callable[[], Sequence[str]],
        changed: Callable[[str], None],
        width: Callable[[], int] = lambda: SMALL,
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._changed = changed
        self._width = width
        self._bytes = 0
        self._shots: OrderedDict[str, Shot] = OrderedDict()
        self._due: dict[str, float] = {}
        """When the next is asked for, also of those whose picture had to go."""
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def of(self, session_id: str) -> Shot | None:
        """The last picture of a session."""
        return self._shots.get(session_id)

    def start(self) -> None:
        """Somebody looks."""
        if self._task is None or self._task.done():
            self._task = self._context.spawn(self.run(), "thumbnails")

    def stop(self) -> None:
        """Nobody looks any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def look_again(self) -> None:
        """Other tiles are seen now."""
        self._wake.set()

    def keep(self, session_id: str, image: QImage) -> Shot:
        """Show this picture from now on."""
        old = self._shots.get(session_id)
        self._bytes += image.sizeInBytes() - (old.image.sizeInBytes() if old is not None else 0)
        shot = self._shots[session_id] = Shot(image, at=time.monotonic())
        self._shots.move_to_end(session_id)
        while len(self._shots) > KEPT or (self._bytes > KEPT_BYTES and len(self._shots) > 1):
            self._bytes -= self._shots.popitem(last=False)[1].image.sizeInBytes()
        return shot

    async def run(self) -> None:
        """Ask for pictures until cancelled."""
        while True:
            self._wake.clear()
            wanted, now = self._wanted(), time.monotonic()
            due = sorted((self._due.get(one, 0.0), one) for one in wanted)
            if due and due[0][0] <= now:
                self._due = {one: at for one, at in self._due.items() if at > now or one in wanted}
                await self._fetch(due[0][1], self._width_for(wanted))
                continue
            try:
                async with asyncio.timeout(due[0][0] - now if due else EVERY):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _width_for(self, wanted: Sequence[str]) -> int:
        """The width that the tiles need, as long as all of them fit the memory."""
        if self._width() <= SMALL * ENOUGH:
            return SMALL
        shapes = [self._shots[one].image.size() if one in self._shots else QSize() for one in wanted]
        heights = sum(size.height() / size.width() if size.width() > 0 else USUAL for size in shapes)
        return LARGE if heights * LARGE * LARGE * 4 <= KEPT_BYTES else SMALL

    async def _fetch(self, session_id: str, width: int) -> None:
        client = self._context.client
        shot = self._shots.setdefault(session_id, Shot(QImage()))
        try:
            if client is None:
                raise CallboardError("no broker is connected")
            image = jpeg(await client.fleet.thumbnail(session_id, width))
            if image.isNull():
                raise CallboardError("the picture could not be read")
        except CallboardError as error:
            shot.trouble = error.message
        else:
            self.keep(session_id, image)
        self._due[session_id] = time.monotonic() + EVERY
        self._changed(session_id)


def jpeg(data: bytes) -> QImage:
    """A picture from the network, by the one decoder that it may be for."""
    return QImage.fromData(data, "JPEG")  # type: ignore[arg-type]  # the stub says bytes, which PySide refuses
