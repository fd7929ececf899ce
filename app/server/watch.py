"""Watches what nobody else does: room on the disk, and the wall clock being stepped.

Spawned by ``main.py`` as two nodes; they set the health parts ``disk`` and ``clock``. Both warn (``ok`` with a
text) before anything breaks; a full disk is reported broken.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from app.logs import get_logger
from app.server.health import Health

log = get_logger("watch")

DISK_EVERY = 5.0
DISK_WARNS = 2 * 1024**3
DISK_BREAKS = 64 * 1024**2
CLOCK_EVERY = 1.0
STEP = 2.0
SHOWN_FOR = 60.0


def disk_state(free: int) -> tuple[bool, str]:
    """Whether the data folder has room enough, and the sentence for the strip."""
    if free < DISK_BREAKS:
        return False, f"The disk of the data folder is full: {free / 1024**2:.0f} MiB free"
    if free < DISK_WARNS:
        return True, f"The disk of the data folder has {free / 1024**3:.1f} GiB left"
    return True, ""


async def watch_disk(health: Health, folder: Path) -> None:
    """Look at the free space for ever."""
    while True:
        try:
            async with asyncio.timeout(DISK_EVERY):
                usage = await asyncio.to_thread(shutil.disk_usage, folder)
        except TimeoutError:
            health.set("disk", False, "The disk of the data folder does not answer")
        except OSError as error:
            health.set("disk", False, f"The data folder cannot be looked at: {error.strerror}")
        else:
            health.set("disk", *disk_state(usage.free))
        await asyncio.sleep(DISK_EVERY)


class ClockWatch:
    """Compares the wall clock with the one that cannot be set."""

    def __init__(
        self,
        health: Health,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._clock = clock
        self._monotonic = monotonic
        self._offset = clock() - monotonic()
        self._shown_until = 0.0

    def look(self) -> None:
        """One comparison; a slow drift is followed, a step is told."""
        offset = self._clock() - self._monotonic()
        step, self._offset = offset - self._offset, offset
        now = self._monotonic()
        if abs(step) > STEP:
            direction = "forward" if step > 0 else "back"
            self._shown_until = now + SHOWN_FOR
            self._health.set("clock", True, f"The clock was stepped {direction} by {_span(abs(step))}")
            log.warning("clock stepped", seconds=round(step, 3))
        elif self._shown_until and now >= self._shown_until:
            self._shown_until = 0.0
            self._health.set("clock", True)

    async def run(self) -> None:
        """Look once a second for ever."""
        while True:
            await asyncio.sleep(CLOCK_EVERY)
            self.look()


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
