"""How times, addresses and text from strangers are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.wording import (
    LONGEST,
    address_key,
    age_text,
    clock_text,
    counted,
    endpoint,
    format_text,
    natural,
    pairs_text,
    plain,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 m 00"), (3599, "59 m 59"), (3600, "1 h 00"), (90061, "1 d 01")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "streams", "0 streams"),
        (1, "streams", "1 stream"),
        (2, "rows", "2 rows"),
        (1, "sessions of the past", "1 session of the past"),
    ],
)
def test_one_is_no_plural(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [("10.0.0.5", 80, "10.0.0.5:80"), ("fe80::1", 80, "[fe80::1]:80"), ("cam.local", None, "cam.local"), ("", 0, ":0")],
)
def test_endpoints(address: str, port: int | None, text: str) -> None:
    assert endpoint(address, port) == text


def test_a_time_of_another_day_carries_its_date() -> None:
    assert len(clock_text(1_800_000_000, 1_800_000_100)) == 8
    assert len(clock_text(1_800_000_000, 1_800_090_000)) == 19


def test_names_sort_as_people_count() -> None:
    names = ["Cam 10", "cam 2", "Cam 1", "cam", "Äther"]
    assert sorted(names, key=natural) == ["cam", "Cam 1", "cam 2", "Cam 10", "Äther"]


def test_addresses_sort_as_numbers_then_ipv6_then_names() -> None:
    ways = [("cam.local", 1), ("fe80::2", 1), ("10.0.0.10", 1), ("10.0.0.9", 80), ("10.0.0.9", 9), ("10.0.0.9", None)]
    assert sorted(ways, key=lambda way: address_key(*way)) == ways[::-1]
    assert address_key("nul\0", 1)
    assert address_key("\udcff", -1)


@given(st.text(max_size=600))
def test_plain_text_is_one_line_without_tricks(text: str) -> None:
    shown = plain(text)
    assert len(shown) <= LONGEST
    assert not set(shown) & set("\n\r\t\x00\x1b\x7f\u2028\u202e\u2066")


def test_bidirectional_overrides_do_not_turn_a_name_round() -> None:
    assert plain("cam\u202egpj.exe") == "cam\N{MIDDLE DOT}gpj.exe"
    assert plain("two\nlines") == "two lines"
    assert plain("Bühne \N{BLACK CIRCLE} 東") == "Bühne \N{BLACK CIRCLE} 東"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, ""),
        ({"resolution": "1920x1080", "fps": 30}, "1920x1080 30 fps"),
        ({"codec": "h264", "width": 1280, "height": 720}, "h264 1280x720"),
        ({"sample_rate": 48000, "channels": 2}, "48000 Hz 2 ch"),
        ({"path": "/live", "deep": {"a": 1}}, "path=/live deep={\N{HORIZONTAL ELLIPSIS}}"),
    ],
)
def test_formats(config: dict[str, object], text: str) -> None:
    assert format_text(config) == text


def test_metadata_is_written_as_pairs_and_tags_as_words() -> None:
    assert pairs_text({"location": "stage", "tags": ["a", 7], "nothing": None}) == "location=stage a 7"


KEYS = st.sampled_from(["tags", "codec", "resolution", "width", "height", "fps", "channels"]) | st.text(max_size=9)
VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_object_can_be_written(values: dict[str, object]) -> None:
    assert len(pairs_text(values)) <= LONGEST
    assert len(format_text(values)) <= LONGEST
