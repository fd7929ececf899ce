"""A real desktop for viewers to look at, and the shortest broker that leads to it.

``Desktop`` is an Xvnc on a unix socket with an xterm that paints itself in the colour that is typed into it, so that keys
and pixels are tested by each other. ``Relay`` gives tickets and joins WebSockets with the desktop; it closes viewers
with any code, as a broker would.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from app.client.api import ApiError
from app.client.fleet import Ticket
from app.contract import PROTOCOL, DesktopRow, Diff, Event, Hello, Row, Snapshot, ViewerMode
from app.models.store import Store

WITHIN = 40.0
DIE_WITH_ME = ["setpriv", "--pdeathsig", "KILL", "--"]
"""What a test that is killed has started ends with it."""
SCRIPT = r"""while IFS= read -r line; do
  printf '%s\n' "$line" >> "$1"
  case "$line" in
    clip=*) printf '\033]52;c;%s\007' "${line#clip=}";;
    *) printf '\033]11;%s\007\033[2J' "$line";;
  esac
done"""
"""Each line that is typed is written down, and taken for the colour of the background, or for the clipboard's text."""


class Desktop:
    """See the module's docstring."""

    def __init__(self, *, password: str = "", size: str = "400x300", program: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cb-vnc-"))
        self.socket = self.folder / "rfb.sock"
        self.typed = self.folder / "typed"
        self.typed.touch()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self.display = self._server(password, size)
            if program:
                self._paint()
        except BaseException:
            self.stop()
            raise

    def _paint(self) -> None:
        """Before its window is there, keys go nowhere."""
        self.run("xterm", "-geometry", "200x100+0+0", "-bg", "#202020", "-fg", "#ffffff", "-xrm", "XTerm*allowWindowOps: true",
                 "-xrm", "XTerm*disallowedWindowOps: ", "-e", "sh", "-c", SCRIPT, "sh",
                 str(self.typed))  # fmt: skip
        self.ask("xdotool", "search", "--sync", "--onlyvisible", "--class", "xterm", within=60)

    def _server(self, password: str, size: str) -> str:
        read, write = os.pipe()
        security = ["-SecurityTypes", "None"]
        if password:
            file = self.folder / "passwd"
            file.write_bytes(vnc_password(password))
            security = ["-SecurityTypes", "VncAuth", "-PasswordFile", str(file)]
        command = ["Xvnc", "-displayfd", str(write), "-rfbunixpath", str(self.socket), "-rfbunixmode", "0600", "-rfbport", "-1",
                   "-geometry", size, "-depth", "24", "-AlwaysShared", "-nolisten", "tcp", "-ac", *security]  # fmt: skip
        with open(self.folder / "log", "wb") as log:
            self._processes.append(subprocess.Popen([*DIE_WITH_ME, *command], pass_fds=[write], stdout=log, stderr=log))
        os.close(write)
        with os.fdopen(read) as told:
            number = told.readline().strip()
        if not number:
            raise RuntimeError((self.folder / "log").read_text())
        return f":{number}"

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program on it."""
        environment = {**os.environ, "DISPLAY": self.display}
        self._processes.append(subprocess.Popen([*DIE_WITH_ME, *command], env=environment, stderr=subprocess.DEVNULL))
        return self._processes[-1]

    def ask(self, *command: str, within: float = 10) -> str:
        """What a program on it answers."""
        environment = {**os.environ, "DISPLAY": self.display}
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=within)
        return told.stdout

    @property
    def lines(self) -> list[str]:
        """What was typed, line by line."""
        return self.typed.read_text().splitlines()

    def stop(self) -> None:
        """End everything on it."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        shutil.rmtree(self.folder, ignore_errors=True)


def vnc_password(text: str) -> bytes:
    """A password as ``-PasswordFile`` wants it; Xvnc's own tool is not always installed, and the key is public."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in (23, 82, 107, 6, 35, 78, 88, 7))
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(text.encode().ljust(8, b"\0")[:8]) + encryptor.finalize()


@dataclass
class Guest:
    """One viewer at the relay."""

    connection: ServerConnection
    ticket: str
    mode: str


@dataclass
class Relay:
    """See the module's docstring. ``guests`` in order of arrival; ``refusal`` is raised instead of giving a ticket."""

    desktop: Desktop
    guests: list[Guest] = field(default_factory=list)
    refusal: ApiError | None = None
    closes_at_once: tuple[int, str] | None = None
    tickets: dict[str, tuple[str, ViewerMode]] = field(default_factory=dict)
    asked: list[tuple[str, ViewerMode]] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None
    _server: Server | None = None

    async def start(self) -> None:
        self._server = await serve(self._serve, "127.0.0.1", self.port, ssl=self.tls, process_request=self._check, compression=None,
                                   select_subprotocol=lambda _, offered: "binary" if "binary" in offered else None)  # fmt: skip
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    @property
    def now(self) -> Guest:
        """The viewer that came last."""
        return self.guests[-1]

    # -- what a console asks of it ---------------------------------------------------------------------------------

    base_url = "http://127.0.0.1"

    @property
    def fleet(self) -> Relay:
        return self

    async def ticket(self, session_id: str, mode: ViewerMode) -> Ticket:
        self.asked.append((session_id, mode))
        if self.refusal is not None:
            raise self.refusal
        text = secrets.token_hex(8)
        self.tickets[text] = (session_id, mode)
        return Ticket(text, mode)

    def viewer_url(self, session_id: str, ticket: Ticket) -> str:
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/vnc-viewer/{session_id}?token={ticket.ticket}"

    # -- the way to the desktop ------------------------------------------------------------------------------------

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        session, mode = self.tickets.pop(query.partition("token=")[2], ("", "view"))
        self.origins.append(request.headers.get("Origin", ""))
        if not session or path != f"/vnc-viewer/{session}":
            return connection.respond(401, "no such ticket")
        self.guests.append(Guest(connection, query, mode))
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        if self.closes_at_once is not None:
            await connection.close(*self.closes_at_once)
            return
        reader, writer = await asyncio.open_unix_connection(self.desktop.socket)

        async def down() -> None:
            while data := await reader.read(65536):
                await connection.send(data)

        pump = asyncio.ensure_future(down())
        try:
            async for message in connection:
                writer.write(message if isinstance(message, bytes) else message.encode())
                await writer.drain()
        except (ConnectionClosed, ConnectionError):
            return
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            writer.close()


def desktop_row(session_id: str = "s-1", name: str = "ann-xterm-k3v9qa", **fields: Any) -> DesktopRow:
    """A running session."""
    given: dict[str, Any] = {
        "id": session_id, "name": name, "user": "ann", "template": "xterm", "platform": "local", "agent_id": "rack-1",
        "state": "running", "phase": "Running", "created_at": 1.0, "updated_at": 1.0, **fields,
    }  # fmt: skip
    return DesktopRow(**given)


def show_rows(store: Store, *, at: float | None = None, seq: int = 1, **tables: Sequence[Row]) -> None:
    """Give a store these rows as the broker's first picture, and make it live."""
    moment = time.time() if at is None else at
    rows = {name: [msgspec.Raw(msgspec.json.encode(row)) for row in given] for name, given in tables.items()}
    store.receive(Hello(protocol=PROTOCOL, broker="house", version="0", started_at=1.0, read_only=False))
    store.receive(Snapshot(seq=seq, at=moment, part=1, parts=1, rows=rows))
    store.set_link("live", moment)


def change(store: Store, seq: int, kind: str, row_id: str, what: Any) -> None:
    """One event of the feed."""
    event = Event(seq=seq, at=time.time(), kind=kind, id=row_id, change=msgspec.Raw(msgspec.json.encode(what)))
    store.receive(Diff(at=time.time(), events=[event]))


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something to become true, looking often; the wait's end is a failure that says what did not happen."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WITHIN
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if loop.time() > end:
            raise AssertionError(f"not within {WITHIN:g} s: {what}")
        await asyncio.sleep(0.01)
