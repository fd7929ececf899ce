"""The console with a broker that it starts itself: the whole way from a key press to a real publisher and back.

Coroutines run on the console's own loop. Keys are posted, never ``QTest``: a nested loop in a coroutine loses tasks.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QWidget

from app.client.api import BrokerClient
from app.contract import PresetRow
from app.demo.nats_client import connect as connect_nats
from app.ui import connection
from app.ui.console import Console
from app.ui.dialogs.quit_panel import QuitPanel
from app.ui.settings import Settings
from tests.fakes.broker import BrokerProcess

PORTS = ("--port", "0", "--nats-port", "0", "--name", "house", "--local-agent", "off")
STREAM = {
    "name": "Cam 1",
    "stream_type": "srt",
    "publisher_id": "cam-1",
    "protocol": "srt",
    "address": "10.0.40.21",
    "port": 9710,
}
PRESET = PresetRow(
    id="", name="Wall", consumer_id="wall", consumer_address="10.0.40.50", consumer_port=5000, default=True
)
WITHIN = 30.0


async def until(console: Console, condition: Callable[[], Any]) -> Any:
    """Wait for the change of the store, of an act or of the window that makes ``condition`` true."""
    changed = asyncio.Event()
    stop = console.store.listen(lambda _: changed.set())
    console.actions.changed.connect(changed.set)
    try:
        async with asyncio.timeout(WITHIN):
            while not (found := condition()):
                changed.clear()
                await changed.wait()
    finally:
        stop()
        console.actions.changed.disconnect(changed.set)
    return found


def press(widget: QWidget, key: Qt.Key, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """A key, as the system would post it."""
    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        QApplication.postEvent(widget, QKeyEvent(kind, key, modifiers))


@asynccontextmanager
async def a_console(folder: Path, broker: str | None = None, *, demo: bool = False) -> AsyncIterator[Console]:
    """A console on a data folder of its own; it is left, and its broker ended, with the block."""
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    settings = Settings(folder / "console.ini")
    settings.set("hold_back_seconds", 1.0)
    settings.set("window/plots_open", False)
    console = Console(app, settings, folder / "data", PORTS, demo=demo)
    console.show()
    running = asyncio.create_task(console.run(broker))
    try:
        yield console
        assert console.failures == []
    finally:
        embedded = console.context.embedded
        if embedded is not None:
            await embedded.stop()
        console.leave_now()
        async with asyncio.timeout(WITHIN):
            await running
        console.window.deleteLater()


@asynccontextmanager
async def a_publisher(console: Console, answer: dict[str, Any]) -> AsyncIterator[str]:
    """A real publisher: it advertises and answers requests over NATS."""
    client = console.context.client
    assert client is not None
    bus = await connect_nats((await client.broker()).urls["nats"], allow_reconnect=False)
    stream = await client.advertise(STREAM)

    async def reply(message: Any) -> None:
        await message.respond(json.dumps(answer).encode())

    await bus.subscribe(f"maestra.stream.request.{stream.id}", cb=reply)
    await bus.flush()
    try:
        yield stream.id
    finally:
        await bus.close()


async def test_takes_by_key_kicks_by_key_and_undoes(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        await until(console, lambda: console.store.live)
        assert console.strip_state().broker == "house"
        client, page = console.context.client, console.streams
        assert client is not None
        await client.save_preset(PRESET)
        async with a_publisher(console, {"accepted": True, "transport_config": {"latency_ms": 80}}) as stream_id:
            await until(console, lambda: stream_id in console.store.streams and console.store.default_preset())
            page.model.flush()
            page.model.arrange()
            assert page.view.select_id(stream_id)
            press(page.view, Qt.Key.Key_R)
            (session,) = (await until(console, lambda: console.store.sessions)).values()
            assert (session.consumer_id, session.transport_config) == ("wall", {"latency_ms": 80})
            await until(console, lambda: console.store.hold_of(session.id))
            await until(console, lambda: not console.actions.running)
            assert any("Cam 1 is on Wall" in toast.text for toast in console.window.toasts.items)

            console.window.show_page("Sessions")
            sessions = console.window.pages["Sessions"]
            view = sessions.table()
            assert view is not None
            view.table.flush()  # type: ignore[attr-defined]
            view.table.arrange()
            assert view.select_id(session.id)
            press(view, Qt.Key.Key_Delete)
            await until(console, lambda: console.actions.pending)
            assert session.id in console.store.sessions
            await until(console, lambda: not console.store.sessions)
            await until(console, lambda: not console.actions.running)

            console.window.undo()
            again = next(iter((await until(console, lambda: console.store.sessions)).values()))
            assert (again.consumer_id, again.config) == (session.consumer_id, session.config)
            audit = await client.audit()
            assert {"take", "kick"} <= {row.verb for row in audit}
            assert {row.operator for row in audit} == {console.context.operator}


async def test_a_rejection_is_told_in_the_publishers_words(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        await until(console, lambda: console.store.live)
        client = console.context.client
        assert client is not None
        await client.save_preset(PRESET)
        async with a_publisher(console, {"accepted": False, "reason": "lens cap is on"}) as stream_id:
            await until(console, lambda: stream_id in console.store.streams and console.store.default_preset())
            console.actions.press("take", [stream_id])
            await until(console, lambda: not console.actions.running)
            assert any("lens cap is on" in toast.text for toast in console.window.toasts.items)
            assert not console.store.sessions


async def test_a_cancelled_kick_is_in_the_audit(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        await until(console, lambda: console.store.live)
        client = console.context.client
        assert client is not None
        stream = await client.advertise(STREAM)
        await until(console, lambda: stream.id in console.store.streams)
        console.actions.press("withdraw", [stream.id])
        assert console.actions.cancel_all()
        while console.actions.unsent.waiting:
            await asyncio.gather(*console.tasks_named("audit of cancelled acts"))
        (row,) = [row for row in await client.audit() if row.result == "cancelled"]
        assert (row.verb, row.object, row.object_id) == ("withdraw", "Cam 1", stream.id)


async def test_a_killed_broker_is_said_and_comes_back(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        await until(console, lambda: console.store.live)
        client = console.context.client
        assert client is not None
        stream = await client.advertise(STREAM)
        await until(console, lambda: stream.id in console.store.streams)
        pid = (await client.broker()).pid
        os.kill(pid, signal.SIGKILL)
        await until(console, lambda: not console.store.live)
        console.window.refresh()
        assert console.window.strip.state.not_live.startswith("NOT LIVE since")
        assert console.actions.blocked
        assert stream.id in console.store.streams
        await until(console, lambda: console.store.live)
        console.window.refresh()
        assert console.actions.blocked == ""
        assert stream.id in console.store.streams


async def test_closing_with_live_rows_asks_and_leaves_the_broker(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        await until(console, lambda: console.store.live)
        client = console.context.client
        assert client is not None
        stream = await client.advertise(STREAM)
        await until(console, lambda: stream.id in console.store.streams)
        assert not console.window.close()
        panel = console.window.sheet.current
        assert isinstance(panel, QuitPanel)
        panel.cancel()
        assert not console.closed.is_set()
        assert not console.window.close()
        panel = console.window.sheet.current
        assert isinstance(panel, QuitPanel)
        panel.leave_button.click()
        async with asyncio.timeout(WITHIN):
            await console.closed.wait()
        async with BrokerClient(client.base_url, client.token) as another:  # the console closes its own
            assert (await another.healthz())["status"] == "ok"


async def test_a_demo_ends_with_its_window_and_asks_nothing(tmp_path: Path) -> None:
    async with a_console(tmp_path, demo=True) as console:
        await until(console, lambda: console.store.live)
        client = console.context.client
        assert client is not None
        stream = await client.advertise(STREAM)
        await until(console, lambda: stream.id in console.store.streams)
        assert console.may_close()
        assert console.closed.is_set()
        assert console.window.sheet.current is None


async def test_another_broker_shows_nothing_of_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await asyncio.to_thread(BrokerProcess(tmp_path / "remote", ("--name", "rack")).start)
    try:
        monkeypatch.setenv("CALLBOARD_TOKEN", process.token)
        async with a_console(tmp_path) as console:
            await until(console, lambda: console.store.live)
            client = console.context.client
            assert client is not None
            stream = await client.advertise(STREAM)
            other = await client.advertise(STREAM)
            await client.withdraw(other.id)
            await until(console, lambda: console.store.ghost("stream", other.id))
            console.streams.model.flush()
            console.streams.model.arrange()  # which waits for a moment without changes
            assert {item.id for item in console.streams.model.order_items} == {stream.id, other.id}
            console.connect_to(process.url)
            assert not console.store.streams
            assert not console.store.live
            await until(console, lambda: console.store.live)
            assert console.strip_state().broker == "rack"
            assert not console.store.graveyard.of("stream")
            console.streams.model.flush()
            assert console.streams.model.total == 0
    finally:
        await asyncio.to_thread(process.end)


async def test_a_second_console_adopts_the_broker(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console:
        await until(console, lambda: console.store.live)
        client = console.context.client
        assert client is not None
        first = (await client.broker()).pid
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        other = Console(app, Settings(tmp_path / "other.ini"), tmp_path / "data", PORTS)
        other.show()
        running = asyncio.create_task(other.run(None))
        await until(other, lambda: other.store.live)
        assert other.context.client is not None
        assert (await other.context.client.broker()).pid == first
        other.leave_now()
        await running
        other.window.deleteLater()
        assert (await client.healthz())["status"] == "ok"


class SlowKeyring(KeyringBackend):
    """One that asks a person, who takes a while."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.answered = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.answered.wait(WITHIN)
        return "token"

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("nothing is kept here")


async def test_a_keyring_that_asks_a_person_is_waited_for_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALLBOARD_TOKEN", raising=False)
    monkeypatch.setattr(connection, "KEYRING_SLOW", 0.0)
    before, slow = keyring.get_keyring(), SlowKeyring()
    keyring.set_keyring(slow)
    try:
        async with a_console(tmp_path, "http://127.0.0.1:9") as console:
            strip = console.window.strip
            async with asyncio.timeout(WITHIN):
                while "Waiting for the keyring" not in console.strip_state().not_live:
                    await asyncio.sleep(0.01)
            console.window.refresh()
            assert "Waiting for the keyring with the token of http://127.0.0.1:9" in strip.accessibleName()
            slow.answered.set()
            await until(console, lambda: console.store.link.state == "down")
            assert "No broker answers" in console.strip_state().not_live
    finally:
        slow.answered.set()
        keyring.set_keyring(before)


async def test_a_remote_broker_by_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await asyncio.to_thread(BrokerProcess(tmp_path / "remote", ("--name", "rack")).start)
    try:
        monkeypatch.setenv("CALLBOARD_TOKEN", process.token)
        async with a_console(tmp_path, process.url) as console:
            await until(console, lambda: console.store.live)
            assert console.strip_state().broker == "rack"
            assert console.context.embedded is None
            assert console.may_close()
    finally:
        await asyncio.to_thread(process.end)


async def test_a_broker_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "token")
    async with a_console(tmp_path, "http://127.0.0.1:9") as console:
        await until(console, lambda: console.store.link.state == "down")
        state = console.strip_state()
        assert "No broker answers at http://127.0.0.1:9" in state.not_live
        assert state.blocked


@pytest.mark.parametrize("where", ["coroutine", "callback", "slot"])
async def test_a_mistake_of_ours_stands_on_the_strip(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "token")
    async with a_console(tmp_path, "http://127.0.0.1:9") as console:
        await until(console, lambda: console.store.link.state == "down")

        def breaks() -> None:
            raise ValueError("a mistake of ours")

        async def breaks_later() -> None:
            breaks()

        failed = asyncio.Event()
        monkeypatch.setattr(console, "_failed", noting(console._failed, failed))
        if where == "coroutine":
            console.spawn(breaks_later(), "the breaking part")
        elif where == "callback":
            asyncio.get_running_loop().call_soon(breaks)
        else:
            QTimer.singleShot(0, breaks)
        async with asyncio.timeout(WITHIN):
            await failed.wait()
        (problem,) = console.window.strip.state.problems
        assert "ValueError; see the log, F1 says where" in problem
        log = tmp_path / "data" / "logs" / "console.log"
        assert str(log) in console.context.log_words
        assert any("ValueError" in json.loads(line).get("exception", "") for line in log.read_text().splitlines())
        console.failures = []


def noting(act: Callable[..., None], done: asyncio.Event) -> Callable[..., None]:
    def noted(*arguments: Any) -> None:
        act(*arguments)
        done.set()

    return noted


async def test_a_broker_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys.modules[__name__], "PORTS", ("--port", str(port), "--nats-port", "0"))
        async with a_console(tmp_path) as console:
            changed = asyncio.Event()
            monkeypatch.setattr(
                console.connection, "_embedded_changed", noting(console.connection._embedded_changed, changed)
            )
            async with asyncio.timeout(WITHIN):
                while console.context.embedded is None or console.context.embedded.state.state != "failed":
                    changed.clear()
                    await changed.wait()
            state = console.strip_state()
            assert str(port) in state.not_live
            assert state.blocked
