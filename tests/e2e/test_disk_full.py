"""The disk is full, then it is not: nothing answered with 2xx is lost, nothing is half done, the strip says what is wrong.

``ENOSPC`` needs a file system of our own, so that case is tried where a tmpfs may be mounted (root). Everywhere the
kernel refuses the broker's writes through its file size limit, which SQLite reports as a failing disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PySide6.QtCore import Qt

from tests.e2e.house import CAMERA, YES, House, a_house

SIZE = 80 * 1024 * 1024
TAKE_DOWN = re.compile(r"TAKE DOWN since \d\d:\d\d:\d\d: ")
BIG = {"metadata": {"note": "x" * 200_000}}

Fill = Callable[[House], contextlib.AbstractContextManager[None]]


def libc() -> ctypes.CDLL:
    """The C library, for what Python does not offer."""
    return ctypes.CDLL(None, use_errno=True)


def mount(folder: Path) -> bool:
    """Put a small file system there; False where we may not."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={SIZE},mode=0700".encode()
    return sys.platform == "linux" and libc().mount(b"none", os.fsencode(folder), b"tmpfs", 0, options) == 0


def unmount(folder: Path) -> None:
    """Take it away; processes that just ended may still hold it for a moment."""
    libc().umount2(os.fsencode(folder), 2)


def may_mount() -> bool:
    """Whether this machine lets us try a disk that is really full."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "try"
        if not mount(folder):
            return False
        unmount(folder)
        return True


@contextlib.contextmanager
def ballast(house: House) -> Iterator[None]:
    """Every block of the data folder's file system is taken."""
    path = house.process.data_dir / "ballast"
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        with contextlib.suppress(OSError):
            while True:
                file.write(b"\0")
    yield
    path.unlink()


@contextlib.contextmanager
def refused_writes(house: House) -> Iterator[None]:
    """The kernel lets no file of the broker grow or change beyond its first byte."""
    soft, hard = resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    yield
    resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


WAYS: dict[str, tuple[Fill, str]] = {"no_write": (refused_writes, "the disk reports an error")}
if may_mount():
    WAYS["no_space"] = (ballast, "the disk is full")


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_disk_refuses_with_503_keeps_what_was_answered_and_heals(way: str, tmp_path: Path) -> None:
    fill, words = WAYS[way]
    data = tmp_path / "data"
    mounted = way == "no_space" and mount(data)
    try:
        async with a_house(tmp_path) as house:
            await full_and_not(house, fill, words)
    finally:
        if mounted:
            unmount(data)


async def full_and_not(house: House, fill: Fill, words: str) -> None:
    """The whole story, for one kind of full."""
    store = house.console.store
    await house.preset()
    camera = await house.publisher(YES)
    kicked = (await camera.request(consumer_id="booth")).json()["session_id"]
    held = (await camera.request(consumer_id="truck")).json()["session_id"]
    assert (await house.desk.post("/console/v1/holds", json={"session_id": held})).status_code == 201
    base = await house.calm()
    told = {"detail": f"the journal cannot be written: {words}"}
    answered: dict[str, str] = {}

    with fill(house):
        refusal = await until_refused(house.http, answered)
        assert (refusal.status_code, refusal.json()) == (503, told)
        strip = await house.strip_says("TAKE DOWN")
        assert TAKE_DOWN.search(strip), strip
        assert f"the journal cannot be written: {words}" in strip
        report = await house.http.get("/healthz")
        assert report.status_code == 503
        assert "journal" in report.json()["broken"]

        rows = await house.state()
        for method, path, body in changes(camera.id, kicked):
            answer = await house.desk.request(method, path, json=body)
            assert (answer.status_code, answer.json()["detail"]) == (503, told["detail"]), path
        assert await house.state() == rows, "what was refused has changed nothing"

        await house.show("Sessions", kicked)
        house.press(Qt.Key.Key_Delete)
        await house.until(lambda: house.console.actions.pending)
        house.console.actions.send_now(next(iter(house.console.actions.pending.values())))
        await house.until(lambda: any("Kick booth" in toast and words in toast for toast in house.toasts))
        assert kicked in store.sessions

        assert await camera.beat() == 200, "what lives, lives on"
        assert set(await house.sessions()) == {kicked, held}

    await house.strip_is_quiet()
    await house.back_at(base)
    assert (await house.http.delete(f"/streams/sessions/{kicked}")).status_code == 200
    after = await house.advertise(name="after")
    answered[after["id"]] = "after"
    past = (await house.http.get("/streams/sessions/history")).json()
    assert {row["session_id"]: row["status"] for row in past} == {kicked: "stopped", held: "active"}

    await house.kill_the_broker()
    await house.strip_is_quiet()
    assert {row.id: row.name for row in store.streams.values()} == {camera.id: "Cam 1", **answered}
    assert set(store.sessions) == {held}
    assert store.hold_of(held)


async def until_refused(http: httpx.AsyncClient, answered: dict[str, str]) -> httpx.Response:
    """Advertise until the disk is felt: what SQLite has reserved before may still take a few. Each 201 is kept."""
    for number in range(200):
        answer = await http.post("/streams/advertise", json=CAMERA | BIG | {"name": f"late {number}"})
        if answer.status_code != 201:
            return answer
        answered[answer.json()["id"]] = f"late {number}"
    raise AssertionError("the disk takes everything")


def changes(stream_id: str, session_id: str) -> list[tuple[str, str, Any]]:
    """Everything that has to be durable before it is answered."""
    return [
        ("POST", "/streams/advertise", CAMERA | BIG),
        ("POST", f"/streams/{stream_id}/request", {"consumer_id": "x", "consumer_address": "y"} | {"config": BIG}),
        ("DELETE", f"/streams/sessions/{session_id}", None),
        ("DELETE", f"/streams/{stream_id}", None),
        ("POST", "/console/v1/holds", {"session_id": session_id}),
    ]
