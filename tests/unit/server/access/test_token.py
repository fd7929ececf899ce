from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from app.errors import ConfigError
from app.paths import DataFolder
from app.server.access import Access, token
from app.server.access.requests import operator_name, request_id

TOKEN = "t" * 32


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


def scope(*headers: tuple[str, str], query: str = "") -> dict[str, Any]:
    raw = [(name.encode(), value.encode("utf-8")) for name, value in headers]
    return {"type": "http", "headers": raw, "query_string": query.encode()}


def test_a_token_is_made_once_and_kept_for_its_owner_alone(folder: DataFolder) -> None:
    made = token.establish_token(folder, {})
    assert len(made) >= 32
    assert token.establish_token(folder, {}) == made
    assert stat.S_IMODE(folder.token.stat().st_mode) == 0o600
    assert folder.token.read_text() == made + "\n"


def test_a_token_file_that_is_no_token_is_replaced(folder: DataFolder) -> None:
    folder.token.write_bytes(b"\xff\xfe short")
    assert token.TOKEN_SHAPE.fullmatch(token.establish_token(folder, {}))


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[bytes]]]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as parent:
        yield reading, parent
    os.close(reading)


def test_a_token_on_standard_input_replaces_the_kept_one(folder: DataFolder, pipe: tuple[int, IO[bytes]]) -> None:
    token.establish_token(folder, {})
    pipe[1].write(f"{TOKEN}\nmore".encode())
    assert token.establish_token(folder, {"CALLBOARD_TOKEN_STDIN": "1"}, pipe[0]) == TOKEN
    assert folder.token.read_text().strip() == TOKEN


@pytest.mark.parametrize("line", [b"", b"short\n", b"x" * 2000, b"sixteen letters with spaces\n", b"\xff" * 20 + b"\n"])
def test_what_is_no_token_on_standard_input_is_refused(
    folder: DataFolder, pipe: tuple[int, IO[bytes]], line: bytes
) -> None:
    pipe[1].write(line)
    pipe[1].close()
    with pytest.raises(ConfigError, match="is not a token"):
        token.establish_token(folder, {"CALLBOARD_TOKEN_STDIN": "1"}, pipe[0])
    assert not folder.token.exists()


def test_a_parent_that_never_writes_is_not_waited_for_ever(
    folder: DataFolder, pipe: tuple[int, IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token, "STDIN_WITHIN", 0.05)
    with pytest.raises(ConfigError, match="no token came"):
        token.establish_token(folder, {"CALLBOARD_TOKEN_STDIN": "1"}, pipe[0])


def test_only_the_token_is_accepted() -> None:
    access = Access(TOKEN)
    assert access.has_console_token(scope(("authorization", f"Bearer {TOKEN}")))
    assert access.has_console_token(scope(("authorization", f"bearer {TOKEN} ")))
    assert access.has_console_token({**scope(query=f"a=1&token={TOKEN}"), "type": "websocket"})
    for headers, query in [
        ((), ""),
        ((("authorization", f"Basic {TOKEN}"),), ""),
        ((("authorization", "Bearer"),), ""),
        ((("authorization", f"Bearer {TOKEN}x"),), ""),
        ((("authorization", f"Bearer {TOKEN[:-1]}"),), ""),
        ((("authorization", "Bearer \u00e9"),), ""),
        ((), "token="),
        ((), "token=%ff"),
        ((), f"mytoken={TOKEN}"),
    ]:
        assert not access.has_console_token(scope(*headers, query=query))
        assert not access.has_console_token({**scope(*headers, query=query), "type": "websocket"})


def test_a_token_in_an_address_opens_the_feed_alone() -> None:
    """Addresses end up in histories and in logs of proxies; only a browser's WebSocket has no other place for it."""
    assert not Access(TOKEN).has_console_token(scope(query=f"token={TOKEN}"))


def test_an_operator_is_one_only_with_the_token() -> None:
    access = Access(TOKEN)
    name = ("x-callboard-operator", "Ada")
    assert access.operator(scope(name, ("authorization", f"Bearer {TOKEN}"))) == "Ada"
    assert access.operator(scope(name)) is None
    assert access.operator(scope(name, ("authorization", "Bearer wrong"))) is None
    assert access.operator(scope(name, query=f"token={TOKEN}")) is None
    assert access.operator(scope(("authorization", f"Bearer {TOKEN}"))) is None


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("Zo%C3%AB", "Zoë"),
        ("Zoë", "Zoë"),
        ("a%0d%0ab%00", "ab"),
        ("%ff", "\ufffd"),
        ("x" * 200, "x" * 100),
        ("<b>Ada</b>", "<b>Ada</b>"),
        ("  ", ""),
    ],
)
def test_names_are_one_short_plain_line(sent: str, read: str) -> None:
    assert operator_name(scope(("x-callboard-operator", sent))) == read


def test_a_request_has_one_id() -> None:
    first, second = scope(), scope()
    assert request_id(first) == request_id(first)
    assert request_id(first) != request_id(second)
