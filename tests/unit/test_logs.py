from __future__ import annotations

import io
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    root = logging.getLogger()
    before = root.level
    logs.configure("info", text)
    yield text
    structlog.reset_defaults()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs.LibraryHandler)]
    root.setLevel(before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_area_level_and_time(stream: io.StringIO) -> None:
    logs.get_logger("bus").info("connected", port=1)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"area": "bus", "event": "connected", "level": "info", "port": 1}


def test_levels_below_the_configured_one_are_silent(stream: io.StringIO) -> None:
    logs.get_logger("bus").debug("detail")
    assert stream.getvalue() == ""


def test_secrets_are_taken_out_of_what_is_nested(stream: io.StringIO) -> None:
    logs.get_logger("bus").info(
        "x", about={"password": "one", "urls": ["ws://x?token=two", ("three", {"key": "four"})]}
    )
    (line,) = lines(stream)
    assert line["about"] == {
        "password": "[hidden]",
        "urls": ["ws://x?token=[hidden]", ["three", {"key": "[hidden]"}]],
    }


def test_exceptions_carry_their_traceback_and_stay_on_one_line(stream: io.StringIO) -> None:
    try:
        raise KeyError("x")
    except KeyError:
        logs.get_logger("bus").exception("failed")
    (line,) = lines(stream)
    assert "KeyError" in line["exception"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("GET /console/v1/feed?token=abc.def-1 101", "GET /console/v1/feed?token=[hidden] 101"),
        ("Authorization: Bearer abc~1/=", "Authorization: Bearer [hidden]"),
        ("nats://internal:s3cr%40t@127.0.0.1:4222", "nats://internal:[hidden]@127.0.0.1:4222"),
        ("x-api-key=cbk_123&limit=5", "x-api-key=[hidden]&limit=5"),
        ("nothing to hide in 10.0.0.1:80", "nothing to hide in 10.0.0.1:80"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, cleaned: str) -> None:
    assert logs.clean(text) == cleaned


def test_secrets_are_taken_out_of_fields(stream: io.StringIO) -> None:
    logs.get_logger("access").warning("odd", token="t0k", url="ws://x/feed?token=t0k", count=3)
    assert "t0k" not in stream.getvalue()
    assert lines(stream)[0]["count"] == 3


def test_what_json_cannot_take_is_still_logged(stream: io.StringIO) -> None:
    logs.get_logger("access").info("odd", thing=object(), bad="\ud800")
    assert len(stream.getvalue().splitlines()) == 1


def test_libraries_log_through_us(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("broken at %s", "ws://x?token=abc")
    logging.getLogger("noisy").info("not shown")
    logs.LibraryHandler().emit(logging.LogRecord("clumsy", logging.WARNING, "", 0, "%d", ("text",), None))
    first, second = lines(stream)
    assert (first["area"], first["logger"], first["event"]) == (
        "library",
        "uvicorn.error",
        "broken at ws://x?token=[hidden]",
    )
    assert first["level"] == "error"
    assert second["event"] == "%d"


def test_configuring_again_does_not_double_lines(stream: io.StringIO) -> None:
    logs.configure("warning", stream)
    logging.getLogger("x").error("once")
    assert len(lines(stream)) == 1


def test_a_log_that_nobody_reads_any_more_harms_nobody(stream: io.StringIO) -> None:
    logs.configure("info", stream)
    stream.close()
    logs.get_logger("bus").info("into the void")
    closed = logs.Lasting(stream)
    closed.write("x")
    closed.flush()


JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI1NTBlODQwMCJ9.c2lnbmF0dXJlLW9mLWl0"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"GET /vnc-viewer/770e8400?token={JWT}&mode=view", "GET /vnc-viewer/770e8400?token=[hidden]&mode=view"),
        (f"opened with {JWT}, then closed", "opened with [hidden], then closed"),
        ("/agent/ws?agent_id=a&key=cba_0123456789abcdefghij&region=x", "/agent/ws?agent_id=a&key=[hidden]&region=x"),
        ("next=/vnc-viewer/1%3Ftoken%3Dabcdef", "next=/vnc-viewer/1%3Ftoken%3D[hidden]"),
        ("ticket=abcdef", "ticket=[hidden]"),
        ("made cbt_0123456789abcdefghij", "made [hidden]"),
        ("made cbk_0123456789abcdefghij.", "made [hidden]."),
        ("X-Agent-API-Key given as Bearer abc", "X-Agent-API-Key given as Bearer [hidden]"),
        ("the session cb_test and the token of a user", "the session cb_test and the token of a user"),
    ],
)
def test_tokens_keys_and_tickets_are_taken_out_of_any_text(stream: io.StringIO, text: str, left: str) -> None:
    logs.get_logger("access").info(text, ticket="secret", jwt="secret", tunnel_token="secret", about=[text])
    (line,) = lines(stream)
    assert (line["event"], line["about"]) == (left, [left])
    assert [line[name] for name in ("ticket", "jwt", "tunnel_token")] == ["[hidden]"] * 3


class TestLogFile:
    """The file that consoles share."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "data" / "logs" / "console.log"

    def test_the_same_lines_as_elsewhere_with_secrets_taken_out(self, stream: io.StringIO, path: Path) -> None:
        file = logs.LogFile(path)
        logs.configure("info", stream, file)
        logs.get_logger("console").info("asked", url="http://h/x?token=abcdef", password="one")
        file.close()
        assert path.read_text() == stream.getvalue()
        assert json.loads(path.read_text())["url"] == "http://h/x?token=[hidden]"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_broken_file_does_not_silence_the_terminal(self, stream: io.StringIO, path: Path) -> None:
        file = logs.LogFile(path)
        file.close()
        logs.configure("info", stream, file)
        logs.get_logger("console").info("said")
        assert lines(stream)[0]["event"] == "said"

    def test_no_standard_error_at_all(self, path: Path, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
        monkeypatch.setattr("sys.stderr", None)
        file = logs.LogFile(path)
        logs.configure("info", None, file)
        logs.get_logger("console").info("said")
        file.close()
        assert json.loads(path.read_text())["event"] == "said"

    def test_one_older_file_is_kept(self, path: Path) -> None:
        file = logs.LogFile(path, limit=100)
        handle = file.fileno()
        for number in range(50):
            file.write(f"{number:019}\n")
        assert file.fileno() == handle
        file.close()
        assert sorted(one.name for one in path.parent.iterdir()) == ["console.log", "console.log.1"]
        kept = [path.with_name("console.log.1"), path]
        assert all(0 < one.stat().st_size <= 100 for one in kept)
        assert [int(line) for one in kept for line in one.read_text().splitlines()] == list(range(40, 50))

    def test_a_file_that_somebody_removed_comes_back(self, path: Path) -> None:
        file = logs.LogFile(path)
        file.write("one\n")
        path.unlink()
        file.write("two\n")
        file.close()
        assert path.read_text() == "two\n"

    def test_a_line_that_a_full_disk_cut_spoils_no_other(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = logs.LogFile(path)
        write = os.write
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:4]))
        file.write("12345678\n")
        monkeypatch.setattr(os, "write", write)
        file.write("whole\n")
        file.close()
        assert path.read_text() == "1234\nwhole\n"

    def test_processes_share_it_and_lose_no_line(self, path: Path) -> None:
        """Three writers past the limit once: every line is there once and whole, in one of the two files."""
        writers, count = 3, 700
        limit = writers * count * LINE * 2 // 3
        command = [sys.executable, "-c", WRITER, str(path), str(limit), str(count)]
        running = [
            subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, cwd=ROOT) for number in range(writers)
        ]
        for one in running:
            assert one.stdin is not None
            one.stdin.write(b"go\n")
            one.stdin.close()
        assert [one.wait(60) for one in running] == [0] * writers
        old = path.with_name("console.log.1")
        told = [line.strip() for one in (old, path) for line in one.read_text().splitlines()]
        assert sorted(told) == sorted(f"{number} {line}" for number in range(writers) for line in range(count))
        assert limit - LINE < old.stat().st_size, "it was put aside once it was too long, and not before"

    def test_whoever_finds_it_too_long_puts_it_aside_for_all(self, path: Path) -> None:
        both = [logs.LogFile(path, 10 * LINE) for _ in range(2)]
        for line in range(15):
            both[line % 2].write(f"{line}".ljust(LINE - 1) + "\n")
        for file in both:
            file.close()
        assert [int(line) for line in path.with_name("console.log.1").read_text().splitlines()] == list(range(10))
        assert [int(line) for line in path.read_text().splitlines()] == list(range(10, 15))


ROOT = Path(__file__).resolve().parents[2]
LINE = 64
WRITER = f"""
import sys
from pathlib import Path
from app.logs import LogFile
file = LogFile(Path(sys.argv[1]), int(sys.argv[2]))
sys.stdin.readline()
for line in range(int(sys.argv[3])):
    file.write(f"{{sys.argv[4]}} {{line}}".ljust({LINE - 1}) + "\\n")
file.close()
"""
