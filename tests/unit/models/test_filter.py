"""The filter language: what it finds, what it refuses and where, and that it can be written down again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.filter import SLOWEST, Field, Query, QueryError, parse
from app.models.states import WORDS


@dataclass
class Cam:
    """A row with one of each kind of field."""

    name: str = "Cam 1"
    address: str = "10.0.0.5"
    port: int | None = 5960
    state: str = "live"
    age: float = 3.0
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.text = f"{self.name}\n{self.address}:{self.port}".lower()


FIELDS = {
    "name": Field("text", lambda row, _moment: row.name),
    "address": Field(
        "address", lambda row, _moment: f"{row.address}:{row.port}", hosts=lambda row, _moment: (row.address,)
    ),
    "port": Field("number", lambda row, _moment: row.port),
    "state": Field("state", lambda row, _moment: row.state, dynamic=True),
    "age": Field("number", lambda row, moment: row.age + (moment or 0), dynamic=True),
}


def query(text: str) -> Query:
    found = parse(text, FIELDS)
    assert isinstance(found, Query), found
    return found


def error(text: str) -> QueryError:
    found = parse(text, FIELDS)
    assert isinstance(found, QueryError), found.terms
    return found


@pytest.mark.parametrize(
    ("text", "row", "found"),
    [
        ("", Cam(), True),
        ("cam", Cam("CAM 7"), True),
        ("cam stage", Cam("Stage cam"), True),
        ("cam stage", Cam("Cam"), False),
        ('"cam 1"', Cam("1 cam"), False),
        ('"cam 1', Cam("Cam 12"), True),  # still typing
        ("-ndi", Cam(), True),
        ("-cam", Cam(), False),
        ("--cam", Cam(), True),
        ("-", Cam(), True),
        ('"-cam"', Cam("x-cam"), True),
        ("name:cam", Cam("Stage cam"), True),
        ("name=cam", Cam("Stage cam"), False),
        ('name="stage CAM"', Cam("Stage cam"), True),
        ('name:""', Cam(""), True),
        ('name:""', Cam("x"), False),
        ("NAME:cam", Cam(), True),
        ("name:-cam", Cam("x-cam"), True),
        ("port<6000", Cam(), True),
        ("port>5960", Cam(), False),
        ("port>=5960", Cam(), True),
        ("port<=5959", Cam(), False),
        ("port=5960", Cam(), True),
        ("port:5960", Cam(), True),
        ("port<6000", Cam(port=None), False),
        ("-port<6000", Cam(port=None), True),
        ("age>2m", Cam(age=121), True),
        ("age>1h", Cam(age=121), False),
        ("age<0.5", Cam(age=0.4), True),
        ("state:stale", Cam(state="stale"), True),
        ("state:st", Cam(state="stale"), True),
        ("state:STALE", Cam(state="live"), False),
        ("-state:live", Cam(state="fault"), True),
        ("stale", Cam(state="stale"), True),
        ("stale", Cam("stale bread"), True),
        ('"stale"', Cam(state="stale"), True),
        ("10.0.0.0/24", Cam(), True),
        ("10.0.1.0/24", Cam(), False),
        ("10.0.0.77/24", Cam(), True),
        ("-10.0.0.0/8", Cam(), False),
        ("address:10.0.0.0/8", Cam(), True),
        ("fe80::/10", Cam(address="fe80::1"), True),
        ("10.0.0.0/24", Cam(address="camera.local"), False),
        ('"10.0.0.0/24"', Cam(), False),
        ("10.0.0.5:5960", Cam(), True),
        ("srt://x", Cam("srt://x:1"), True),
        ("location=stage", Cam("location=stage"), True),
        ("re:^cam.\\d$", Cam(), True),
        ('re:"cam \\\\d"', Cam(), True),
        ("name:re:^1", Cam(), False),
        ("-re:cam", Cam(), False),
        ('a"b', Cam('a"b'), True),
        ('"a\\"b"', Cam('a"b'), True),
    ],
)
def test_what_is_found(text: str, row: Cam, found: bool) -> None:
    assert query(text).matches(row) is found
    assert (query(text).select([row]) == [row]) is found


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("cam nme:x", 4, "did you mean name?"),
        ("zzz:x", 0, 'quote it to search the text: "zzz:"'),
        ("zzz>5", 0, "no column is called zzz"),
        ("age>", 0, "needs a value"),
        ("cam age>x", 4, "age> needs a number"),
        ("name>5", 0, "name is not a number"),
        ("state:gone", 0, "states are live, changing, held, stale, fault, off"),
        ("10.0.0.0/99", 0, "10.0.0.0/99 is not a network"),
        ("  300.1.1.1/8", 2, "is not a network"),
        ("re:", 0, "needs an expression"),
        ("cam re:(", 7, "a closing bracket is missing"),
        ("re:(a+)+", 7, "could take for ever"),
        ('-re:"(a+)+"', 9, "could take for ever"),
        ("name:re:[", 8, "] is missing"),
        ("x" * 600, 500, "longer than 500"),
    ],
)
def test_what_is_refused_says_why_and_where(text: str, at: int, words: str) -> None:
    found = error(text)
    assert words in found.message
    assert found.at == at
    assert found.length >= 1


def test_a_query_says_whether_time_alone_can_change_its_answer() -> None:
    assert not query("cam port<6000 10.0.0.0/8 name:x").dynamic
    for text in ("age>20", "state:live", "-state:live", "stale"):
        assert query(text).dynamic, text


def test_numbers_may_depend_on_the_moment() -> None:
    assert not query("age>20").matches(Cam(age=15), 0)
    assert query("age>20").matches(Cam(age=15), 10)


def test_an_expression_that_takes_too_long_over_all_rows_is_given_up() -> None:
    row = Cam("a" * 190)
    began = time.monotonic()
    with pytest.raises(QueryError, match="takes too long"):
        query("re:[^b]*a*b").select([row] * 100_000)
    assert time.monotonic() - began < 5


def test_a_machine_that_stands_still_is_no_slow_expression() -> None:
    """The rows are read while the expression runs."""

    class Late(Cam):
        def __getattribute__(self, name: str) -> object:
            if name == "text":
                time.sleep(SLOWEST + 0.05)
            return super().__getattribute__(name)

    rows = [Late(), Cam()]
    assert query("re:cam").select(rows) == rows


WORD = st.text(alphabet='abz019.:/-"\\ =><\tßİ', max_size=8)
PLAIN = st.builds(lambda sign, word: f'{sign}"{word}"', st.sampled_from(["", "-", "--"]), WORD)
NAMED = st.builds(
    lambda sign, name, operator, word: f"{sign}{name}{operator}{word}",
    st.sampled_from(["", "-"]),
    st.sampled_from(["name", "address", "port", "state", "age", "re", "nope", ""]),
    st.sampled_from([":", "=", ">", "<", ">=", "<=", ":re:"]),
    WORD | st.sampled_from(["live", "5", "2m", "10.0.0.0/8", "^a.*b$", '"a b"', '"re:x"', '"10.0.0.0/8"']),
)
QUERIES = st.lists(PLAIN | NAMED | WORD | st.text(max_size=12), max_size=6).map(" ".join)
ROWS = st.builds(
    Cam,
    name=st.text(alphabet='abz019 \\-"=:', max_size=10),
    address=st.sampled_from(["10.0.0.5", "fe80::1", "camera"]),
    port=st.none() | st.integers(0, 9),
    state=st.sampled_from(sorted(WORDS)),
    age=st.floats(0, 200),
)


@given(QUERIES, ROWS)
def test_whatever_is_typed_is_answered_and_never_raised(text: str, row: Cam) -> None:
    found = parse(text, FIELDS)
    if isinstance(found, QueryError):
        assert found.message
        assert found.at >= 0
    else:
        assert found.select([row]) == ([row] if found.matches(row) else [])


@given(QUERIES, ROWS)
def test_a_query_that_is_written_down_reads_the_same_again(text: str, row: Cam) -> None:
    first = parse(text, FIELDS)
    if isinstance(first, Query):
        again = query(first.format())
        assert again.terms == first.terms
        assert again.format() == first.format()
        assert again.matches(row) == first.matches(row)


@given(QUERIES, ROWS)
def test_twice_not_is_nothing_and_once_not_is_the_opposite(text: str, row: Cam) -> None:
    found = parse(text, FIELDS)
    if isinstance(found, Query) and len(found.terms) == 1 and not found.terms[0].negated:
        term = found.format()
        assert query(f"-{term}").matches(row) is not found.matches(row)
        assert query(f"--{term}").matches(row) is found.matches(row)


@given(QUERIES, QUERIES, ROWS)
def test_two_queries_side_by_side_are_both(one: str, other: str, row: Cam) -> None:
    first, second = parse(one, FIELDS), parse(other, FIELDS)
    if isinstance(first, Query) and isinstance(second, Query):
        both = query(f"{first.format()} {second.format()}"[:500])
        if len(both.terms) == len(first.terms) + len(second.terms):
            assert both.matches(row) is (first.matches(row) and second.matches(row))
