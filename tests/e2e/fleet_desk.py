"""What the end-to-end tests of desktops share: a program whose pixels move by themselves and show what was typed.

``PROGRAM`` is an X client (an xterm) that changes its colour several times a second until a line is typed, and then
shows that line as its colour. What was typed and how often it painted stand in files of the session's own, so keys,
pixels and freezing are told by each other; another file lets it end by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from PySide6.QtWidgets import QApplication

from app.contract import DesktopRow, ViewerMode
from app.ui.viewer.window import ViewerWindow
from tests.e2e.house import House
from tests.ui.viewer_seat import pixel

MARK = "CALLBOARD_SESSION"
TEMPLATE = "typed-colour"
SCRIPT = r"""colour= n=0 mine="$1/${CALLBOARD_SESSION##*:}"
while :; do
  if IFS= read -r -t 0.15 line; then
    printf '%s\n' "$line" >> "$mine.typed"
    colour="$line"
  fi
  test -e "$mine.leave" && exit 0
  n=$((n + 1))
  printf . >> "$mine.painted"
  case "$colour:$((n % 2))" in :0) shown='#400000';; :1) shown='#004000';; *) shown="$colour";; esac
  printf '\033]11;%s\007\033[2J' "$shown"
done"""


def template(folder: Path) -> dict[str, Any]:
    """The template of the program, which writes below ``folder``."""
    look = ["-geometry", "250x100+0+0", "-bg", "#202020", "-fg", "#ffffff"]
    command = ["xterm", *look, "-e", "bash", "-c", SCRIPT, "bash", str(folder)]
    return {"name": TEMPLATE, "display_name": "Colours", "command": command, "vnc": {"resolution": "800x600"}}


class Desks:
    """Desktops of a house and the windows on them. ``folder`` is where their programs write."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.folder = folder
        self.store = house.console.store

    async def publish(self) -> None:
        """The template; it is on the board when this returns."""
        answer = await self.house.desk.post("/api/v1/templates", json=template(self.folder))
        assert answer.status_code == 201, answer.text
        await self.house.until(lambda: self.store.template_named(TEMPLATE))

    async def begin(self, user: str = "admin") -> str:
        """A session by the API; it runs when this returns."""
        body = {"user": user, "template": TEMPLATE, "persistent_home": False}
        answer = await self.house.desk.post("/api/v1/sessions", json=body)
        assert answer.status_code == 202, answer.text
        return await self.state(str(answer.json()["id"]), "running")

    def row(self, session_id: str) -> DesktopRow | None:
        """A session as the feed tells it."""
        return self.store.desktops.get(session_id)

    async def state(self, session_id: str, state: str) -> str:
        """Wait until the board has it in that state."""

        def there() -> bool:
            row = self.row(session_id)
            return row is not None and row.state == state

        await self.house.until(there)
        return session_id

    def typed(self, session_id: str) -> list[str]:
        """Lines that arrived in the desktop."""
        file = self.folder / f"{session_id}.typed"
        return file.read_text().splitlines() if file.exists() else []

    def painted(self, session_id: str) -> int:
        """How often its program has painted."""
        file = self.folder / f"{session_id}.painted"
        return file.stat().st_size if file.exists() else 0

    async def paints(self, session_id: str) -> None:
        """Wait until its program paints again."""
        before = self.painted(session_id)
        await until(lambda: self.painted(session_id) > before, f"{session_id} paints")

    def leave(self, session_id: str) -> None:
        """Its program ends, as when its user closes it."""
        (self.folder / f"{session_id}.leave").touch()

    async def window(self, session_id: str, mode: ViewerMode) -> ViewerWindow:
        """The window that an operator has just opened, with its first picture."""

        def found() -> ViewerWindow | None:
            for widget in QApplication.topLevelWidgets():
                if isinstance(widget, ViewerWindow) and (widget.session_id, widget.mode) == (session_id, mode):
                    return widget
            return None

        window = await self.house.until(found)
        await until(lambda: window.is_connected and window.link.view is not None, f"{mode} of {session_id}: a picture")
        return window

    async def clear(self) -> None:
        """No session stays behind, whatever the test did: their processes outlive the broker and its agent."""
        try:
            for row in list(self.store.desktops.values()):
                await self.house.desk.delete(f"/api/v1/sessions/{row.id}", params={"force": "true"})
            await until(lambda: not marked(self.folder), "every process of a session has ended")
        finally:
            kill_marked(self.folder)


async def changes(window: ViewerWindow) -> None:
    """Wait until the picture in a window has two colours, one after the other."""
    seen: set[tuple[int, ...]] = set()

    async def two() -> bool:
        seen.add(tuple(await pixel(window)))
        return len(seen & {(0x40, 0, 0), (0, 0x40, 0)}) == 2

    await until(two, f"the picture changes, not only {seen}")


async def until(condition: Callable[[], Any], what: str, within: float = 40.0) -> Any:
    """Wait for what no signal tells: pixels of a page and files of another process."""
    try:
        async with asyncio.timeout(within):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None


def marked(folder: Path) -> list[psutil.Process]:
    """Every process of a session of an agent below ``folder``, by the mark that agents give them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            variables = process.environ()
            places = variables.get("HOME", "") + variables.get("XAUTHORITY", "")
            if MARK in variables and str(folder) in places:
                found.append(process)
    return found


def kill_marked(folder: Path) -> None:
    """End what is left of them."""
    for process in marked(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
