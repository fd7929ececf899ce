"""A console with viewers on an X server with real keys, which is ended while they are open.

Run by ``test_viewer.py`` in a process of its own, under Xvfb: what the web engine makes of physical keys depends on the
platform, and a crash at exit shows in the status only. Says one word for each thing that went well.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.ui.loop import run
from app.ui.main import application
from tests.ui.viewer_seat import Seat, shows, take_keyboard
from tests.ui.vnc_house import Desktop, Relay, until


async def xdotool(*words: str) -> None:
    """Real keys and focus, on the X server that the console is on."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    await asyncio.to_thread(subprocess.run, ["xdotool", *words], env=environment, check=True, timeout=10)


async def main(folder: Path) -> None:
    desktop = Desktop()
    relay = Relay(desktop)
    await relay.start()
    seat = Seat(folder, relay)
    view = await seat.look("view")
    other = await seat.look("view", "s-2")
    print("framed", flush=True)
    control = await seat.look("control")
    await xdotool("search", "--sync", "--onlyvisible", "--name", "control: Callboard", "windowfocus", "--sync")
    await take_keyboard(control)
    await xdotool("type", "red")
    await xdotool("key", "Return")
    await shows(view, 255, 0, 0)
    print("typed", flush=True)
    await xdotool("keydown", "Control_R", "key", "Escape", "keyup", "Control_R")
    await until(lambda: not control.bar.light.remote, "the chord takes the keyboard back")
    await until(lambda: seat.app.focusWidget() is control, "which this window has now")
    await xdotool("type", "blue")
    await xdotool("key", "Return")
    await until(lambda: control.bar.light.remote, "Enter, which stayed here, gives the keyboard again")
    await xdotool("type", "lime")
    await xdotool("key", "Return")
    await shows(view, 0, 255, 0)
    assert desktop.lines == ["red", "lime"], desktop.lines
    print("released", flush=True)
    other.close()
    await seat.close()
    await relay.stop()
    desktop.stop()
    print("closed", flush=True)


if __name__ == "__main__":
    app = application()
    run(main(Path(sys.argv[1])), app)
