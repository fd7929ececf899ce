"""A container's log: the engine's frames, cut wherever the network likes, as lines with a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.agent.docker_log import LONGEST, LogLines


def frame(text: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


STAMPED = b"2026-11-22T03:19:04.123456789Z ready\n"


def test_a_line_has_its_time_in_thousandths() -> None:
    assert LogLines().feed(frame(STAMPED)) == ["2026-11-22T03:19:04.123Z ready"]


def test_times_elsewhere_are_told_in_ours() -> None:
    assert LogLines().feed(frame(b"2026-11-22T05:19:04+02:00 x\n")) == ["2026-11-22T03:19:04.000Z x"]
    assert LogLines().feed(frame(b"no time at all\r\n")) == ["no time at all"]
    assert LogLines().feed(frame(b"2026-11-22T03:19:04Z\n")) == ["2026-11-22T03:19:04.000Z "]


def test_both_streams_keep_their_lines() -> None:
    lines = LogLines()
    assert lines.feed(frame(b"2026-11-22T03:19:04Z out ")) == []
    assert lines.feed(frame(b"2026-11-22T03:19:04Z error\n", 2)) == ["2026-11-22T03:19:04.000Z error"]
    assert lines.feed(frame(b"and more\n")) == ["2026-11-22T03:19:04.000Z out and more"]
    lines.feed(frame(b"without an end"))
    assert lines.rest() == ["without an end"]
    assert lines.rest() == []


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines = LogLines()
    for _ in range(64):
        lines.feed(frame(b"x" * 65_536))
    assert [len(line) for line in lines.rest()] == [LONGEST]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.text(st.characters(codec="utf-8", exclude_characters="\r\n")))),
    st.randoms(use_true_random=False),
)
def test_however_it_is_cut_the_lines_are_the_same(said: list[tuple[int, str]], dice: object) -> None:
    whole = b"".join(frame(b"2026-11-22T03:19:04Z " + text.encode() + b"\n", stream) for stream, text in said)
    lines, seen, at = LogLines(), [], 0
    while at < len(whole):
        step = dice.randint(1, 40)  # type: ignore[attr-defined]
        seen += lines.feed(whole[at : at + step])
        at += step
    assert seen == [f"2026-11-22T03:19:04.000Z {text}"[:LONGEST] for _, text in said]
