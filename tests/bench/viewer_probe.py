"""The console's viewer with a stopwatch: ``python -m tests.bench.viewer_probe URL TOKEN FOLDER PRESSES OPENINGS``.

Starts a session with an xterm on the broker's own agent, looks at it, and measures in the page itself: from the press
of a key (an event posted to the web engine's widget) to the first animation frame in which the picture differs, and
from the wish for a window to its first picture. One line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt

from app.client.api import BrokerClient
from app.client.feed import FeedClient
from app.ui.loop import run
from app.ui.main import application
from app.ui.viewer.window import ViewerWindow
from tests.ui.viewer_seat import Seat, take_keyboard
from tests.ui.vnc_house import until

CLEARED = r"while read -r line; do printf '\033[2J\033[H'; done"
"""The terminal itself shows each letter; Return wipes them away."""
WATCH = """(() => {
  const canvas = viewer.canvas, pencil = canvas.getContext("2d", {willReadFrequently: true});
  const look = () => { const d = pencil.getImageData(0, 0, 600, 60).data; let sum = 0; for (let i = 0; i < d.length; i += 4) sum = (sum * 31 + d[i]) | 0; return sum; };
  let before = look(); window.changes = [];
  const step = () => { const now = look(); if (now !== before) { before = now; changes.push(performance.timeOrigin + performance.now()); } requestAnimationFrame(step); };
  requestAnimationFrame(step); return 1;
})()"""


async def main(url: str, token: str, folder: Path, presses: int, openings: int) -> dict[str, Any]:
    client = BrokerClient(url, token, "bench")
    seat = Seat(folder, client)
    feed = FeedClient(url, token, seat.hear,
                      lambda link: seat.store.set_link(link.state, link.since, link.text))  # fmt: skip
    seat.spawn(feed.run(), "feed")
    await until(lambda: any(one.status == "online" for one in seat.store.agents.values()), "the agent is there")
    command = ["xterm", "-geometry", "200x100+0+0", "-e", "sh", "-c", CLEARED]
    vnc = {"resolution": "1024x640"}
    await client.fleet.create_template({"name": "bench", "display_name": "Bench", "command": command, "vnc": vnc})
    made = await client.fleet.create_session("admin", "bench", platform="local", persistent_home=False)
    await until(lambda: getattr(seat.store.desktops.get(made.id), "state", "") == "running", "the session runs")
    try:
        cold = await opened(seat, made.id)
        latencies = await typed(seat, seat.desk.windows[made.id, "control"], presses)
        warm = [await opened(seat, made.id, again=True) for _ in range(openings)]
    finally:
        await client.fleet.delete_session(made.id, force=True)
        await seat.close()
        await client.close()
    return {"key_ms": latencies, "cold_ms": cold, "warm_ms": warm}


async def opened(seat: Seat, session_id: str, *, again: bool = False) -> float:
    """Milliseconds from the press of V to the first picture."""
    mode = "view" if again else "control"
    began = time.perf_counter()
    window = await seat.look(mode, session_id)  # type: ignore[arg-type]
    took = (time.perf_counter() - began) * 1e3
    if again:
        window.close()
        await until(lambda: (session_id, mode) not in seat.desk.windows, "closed")
    return took


async def typed(seat: Seat, window: ViewerWindow, presses: int) -> list[float]:
    """Milliseconds from key to frame, one letter at a time."""
    view = window.link.view
    if view is None:
        raise RuntimeError("there is no picture")
    await take_keyboard(window)
    await view.ask(WATCH)
    found = []
    for number in range(presses):
        await asyncio.sleep(0.05 + 0.013 * (number % 5))
        await view.ask("(changes = [], 1)")
        pressed = time.time() * 1e3
        seat.key(window, Qt.Key.Key_M, "m")
        await until(lambda: _changed(window), "the letter is there")
        found.append((await view.ask("changes"))[0] - pressed)
        if number % 40 == 39:
            seat.key(window, Qt.Key.Key_Return, "\r")
            await asyncio.sleep(0.3)
    return found


async def _changed(window: ViewerWindow) -> bool:
    return window.link.view is not None and bool(await window.link.view.ask("changes.length"))


if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    url, token, folder, presses, openings = sys.argv[1:6]
    answer = run(main(url, token, Path(folder), int(presses), int(openings)), application())
    answer["key_p50"] = statistics.median(answer["key_ms"])
    print(json.dumps(answer), flush=True)
