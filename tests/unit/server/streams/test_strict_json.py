"""Strict reading of JSON: what is taken is what ``json`` would give, what is not is said in words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server.streams.strict_json import MAX_DEPTH, BadJson, decode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


def read(data: bytes) -> Any:
    """The value, or why there is none."""
    try:
        return decode(data)
    except BadJson as exc:
        return exc


@given(DOCUMENTS)
def test_proper_documents_are_read_as_they_are(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value
    assert decode(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_comes_it_is_a_value_or_bad_json(data: bytes) -> None:
    value = read(data)
    if isinstance(value, BadJson):
        assert value.reason
        assert 0 <= value.position <= len(data)
    else:
        assert decode(msgspec.json.encode(value)) == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_the_limit_of_nesting(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"

    def nested(depth: int) -> bytes:
        return opening * depth + b"1" + closing * depth

    decode(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500, 200_000):
        with pytest.raises(BadJson, match=f"Nested deeper than {MAX_DEPTH}"):
            decode(nested(depth))


def test_many_brackets_are_not_depth() -> None:
    assert decode(b"[" + b",".join([b"[]"] * 1000) + b"]") == [[]] * 1000
    assert decode(b'"' + b"[{" * 1000 + b'"') == "[{" * 1000


def test_nul_is_refused_as_a_character_and_not_as_its_name() -> None:
    for data in (b'"\\u0000"', b'{"a": ["\\u0000"]}', b'{"\\u0000": 1}'):
        with pytest.raises(BadJson, match="NUL"):
            decode(data)
    assert decode(b'"\\\\u0000"') == "\\u0000"


def test_a_byte_order_mark_is_allowed_once() -> None:
    assert decode(b"\xef\xbb\xbf[1]") == [1]
    for data in (b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf[1]", b"\xef\xbb\xbf" * 300_000):
        with pytest.raises(BadJson, match=r"Expecting value|BOM"):
            decode(data)
