"""Pictures of desktops for the board's tiles: one frame over RFB, scaled and compressed beside the loop.

Used by ``questions.py``. One at a time, so that a wall of tiles costs a steady trickle; one second each, since a frozen
server answers nothing. Serves the console's tile wall; the StreamSpace document knows no pictures.
"""

from __future__ import annotations

import asyncio
import io

from app.agent.platform import AgentFailure, FailureCode, Platform
from app.agent.rfb import Frame, grab

WITHIN = 1.0
QUALITY = 70
SMALLEST, LARGEST = 32, 1920
WAITING = 64


class Thumbnails:
    """Takes pictures of the sessions of one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._one = asyncio.Lock()
        self._waiting = 0

    async def take(self, session_id: str, width: int) -> tuple[bytes, int, int]:
        """JPEG, width and height. Raises ``AgentFailure``, for a hibernated session too."""
        if self._waiting >= WAITING:
            raise AgentFailure("too many pictures are waited for", FailureCode.CAPACITY)
        self._waiting += 1
        try:
            async with self._one:
                address = await self._platform.rfb_address(session_id)
                refused = self._platform.picture_refused(session_id)
                if refused:
                    raise AgentFailure(refused, FailureCode.UNSUPPORTED)
                async with asyncio.timeout(WITHIN):
                    frame = await grab(address)
                return await asyncio.to_thread(compress, frame, width)
        except TimeoutError as error:
            raise AgentFailure("the desktop gave no picture in time", FailureCode.TIMEOUT) from error
        finally:
            self._waiting -= 1


def compress(frame: Frame, width: int) -> tuple[bytes, int, int]:
    """A frame as JPEG at most ``width`` wide, never enlarged."""
    from PIL import Image

    wide = max(SMALLEST, min(width, LARGEST, frame.width))
    high = max(1, round(frame.height * wide / frame.width))
    image = Image.frombuffer("RGB", (frame.width, frame.height), frame.pixels, "raw", "BGRX", 0, 1)
    if (wide, high) != image.size:
        image = image.resize((wide, high), Image.Resampling.BILINEAR, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue(), wide, high
