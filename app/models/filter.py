"""The filter language of the one box: text in, a test of table rows out. No Qt, no I/O.

    cam stage           both words somewhere in the row        "cam 1"           with the blank
    -ndi                not                                    name:cam          in that column
    name=cam1           the column is exactly that             on:""             the column is empty
    age>20 port<6000    numbers: > < >= <= =, also 2m, 1h      state:stale       one of the six words
    10.0.0.0/24         any address within                     address:10.0.0.0/24
    re:^cam.*left$      expression over each cell              name:re:^cam\\d+$

Terms are joined by AND. A bare word that is a state's word (``stale``) finds the state as well as the text.
``parse`` never raises: what cannot be understood comes back as a ``QueryError`` with its position, and the
caller keeps the filter it had. ``Query.format`` writes a query so that ``parse`` reads the same again.
"""

from __future__ import annotations

import difflib
import ipaddress
import operator
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from app.models.patterns import PatternError, compile_pattern
from app.models.states import WORDS

LONGEST_QUERY = 500
SLOWEST = 0.25
"""Seconds that expressions may work over all rows before the filter is given up."""
_OPERATORS = (">=", "<=", ":", "=", ">", "<")
_NAMED = re.compile(r"([a-z][a-z_]*)(>=|<=|:|=|>|<)", re.IGNORECASE)
_NETWORK = re.compile(r"(\d{1,3}(\.\d{1,3}){3}|[0-9a-f:]*:[0-9a-f:.]*)/\d{1,3}", re.IGNORECASE)
_NUMBER = re.compile(r"(-?\d{1,15}(?:\.\d{1,9})?)(s|m|h|d)?", re.IGNORECASE)
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ":": operator.eq,
}
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Searchable(Protocol):
    """What the filter needs of a row: its cells as one lower-case text, a line for each."""

    @property
    def text(self) -> str:
        """What bare terms look at."""


Found = TypeVar("Found", bound=Searchable)
Test = Callable[[Any, Any], bool]


class Field(NamedTuple):
    """A name that may stand before an operator. ``get(row, moment)`` gives text, a number or None, or a state's key.

    ``dynamic``: the value changes with time, without an event. ``hosts``: the bare addresses, for CIDR.
    """

    kind: Literal["text", "number", "state", "address"]
    get: Callable[[Any, Any], Any]
    dynamic: bool = False
    hosts: Callable[[Any, Any], Iterable[str]] | None = None


Fields = Mapping[str, Field]


class QueryError(Exception):
    """What is wrong with a query, in words, and where: ``at`` counts characters from 0."""

    def __init__(self, message: str, at: int = 0, length: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.length = max(1, length)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. ``field`` is "" for a bare term; ``value`` is lower case but for expressions."""

    kind: Literal["text", "field", "pattern", "network"]
    value: str
    field: str = ""
    operator: str = ":"
    negated: bool = False

    def format(self) -> str:
        """The term as ``parse`` reads it."""
        sign = "-" if self.negated else ""
        if self.kind == "text":
            return f"{sign}{_quoted(self.value, bare=True)}"
        if self.kind == "pattern":
            prefix = f"{self.field}:re:" if self.field else "re:"
            return f"{sign}{prefix}{_quoted(self.value)}"
        if self.kind == "network":
            return f"{sign}{self.field}{':' if self.field else ''}{self.value}"
        return f"{sign}{self.field}{self.operator}{_quoted(self.value)}"


class Query:
    """A filter that was understood."""

    def __init__(
        self, terms: tuple[Term, ...] = (), tests: tuple[tuple[int, Test], ...] = (), *, dynamic: bool = False
    ):
        self.terms = terms
        self.dynamic = dynamic
        """Rows may begin or cease to match without any event."""
        self._tests = [test for _cost, test in sorted(tests, key=lambda pair: pair[0])]
        self._timed = any(term.kind == "pattern" for term in terms)
        plain = all(term.kind == "text" and not term.negated and term.value not in WORDS for term in terms)
        self._words = [term.value for term in terms] if plain else None

    def format(self) -> str:
        """The query as text; ``parse`` of it gives the same terms."""
        return " ".join(term.format() for term in self.terms)

    def matches(self, row: Searchable, moment: Any = None) -> bool:
        """Whether one row passes."""
        return all(test(row, moment) for test in self._tests)

    def select(self, rows: list[Found], moment: Any = None) -> list[Found]:
        """Rows that pass, in order. Raises ``QueryError`` when an expression takes too long."""
        if self._words is not None:
            for word in self._words:
                rows = [row for row in rows if word in row.text]
            return rows
        if self._timed:
            return list(self._select_timed(rows, moment))
        for test in self._tests:
            rows = [row for row in rows if test(row, moment)]
        return rows

    def _select_timed(self, rows: list[Found], moment: Any) -> Iterator[Found]:
        end, enough = time.perf_counter() + SLOWEST, time.thread_time() + SLOWEST
        for row in rows:
            if self.matches(row, moment):
                yield row
            # What counts is thread time: a machine that stood still is not slow. It never runs ahead of the wall clock,
            # which is asked first only because reading it costs less.
            if time.perf_counter() > end and time.thread_time() > enough:
                raise QueryError("re: takes too long over these rows")


def parse(text: str, fields: Fields) -> Query | QueryError:
    """Understand a query; an error is returned, not raised."""
    try:
        if len(text) > LONGEST_QUERY:
            raise QueryError(f"the filter is longer than {LONGEST_QUERY} characters", LONGEST_QUERY)
        terms, tests, dynamic = [], [], False
        for token in _tokens(text):
            term = _term(token, fields)
            terms.append(term)
            tests.append(_test(term, fields, token))
            dynamic = dynamic or _is_dynamic(term, fields)
        return Query(tuple(terms), tuple(tests), dynamic=dynamic)
    except QueryError as error:
        return error


class _Token(NamedTuple):
    """A stretch of the query: ``head`` up to the first quote, ``body`` what stood in quotes (None: no quotes).

    ``at`` is where it begins, ``head_at`` where it begins behind its signs.
    """

    head: str
    body: str | None
    negated: bool
    at: int
    head_at: int


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text)
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        start, negated = at, False
        while at < end and text[at] == "-":
            negated, at = not negated, at + 1
        head_from = at
        while at < end and not text[at].isspace() and not _opens_quote(text, head_from, at):
            at += 1
        head, body = text[head_from:at], None
        if at < end and text[at] == '"':
            body, at = _read_quoted(text, at + 1)
        if head or body is not None:
            yield _Token(head, body, negated, start, head_from)


def _opens_quote(text: str, head_from: int, at: int) -> bool:
    """A quote counts at the start of a term and after an operator; elsewhere it is a character."""
    return text[at] == '"' and (at == head_from or text[head_from:at].endswith(_OPERATORS))


def _read_quoted(text: str, at: int) -> tuple[str, int]:
    """Text up to the closing quote, or to the end when it is not closed yet; backslash escapes quote and itself."""
    read: list[str] = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        read.append(text[at])
        at += 1
    return "".join(read), at + 1


def _term(token: _Token, fields: Fields) -> Term:
    head, body, negated = token.head, token.body, token.negated
    named = _NAMED.match(head)
    if named is None:
        return _bare(head if body is None else body, token, quoted=body is not None)
    name, sign, rest = named[1].lower(), named[2], head[named.end() :]
    value = rest if body is None else rest + body
    if name == "re" and sign == ":":
        return _pattern("", value, token)
    if name not in fields:
        if sign == "=" or rest.startswith("//"):
            return _bare(head + (body or ""), token)
        raise QueryError(_unknown(name, fields), token.at, len(name))
    if sign == ":" and rest.startswith("re:"):
        return _pattern(name, value[3:], token)
    if not value and body is None:
        raise QueryError(f"{name}{sign} needs a value", token.at, len(head))
    if sign == ":" and fields[name].hosts is not None and body is None and _NETWORK.fullmatch(value):
        return Term("network", value.lower(), name, ":", negated)
    return Term("field", value.lower(), name, sign, negated)


def _bare(value: str, token: _Token, *, quoted: bool = False) -> Term:
    kind: Literal["network", "text"] = "network" if not quoted and _NETWORK.fullmatch(value) else "text"
    return Term(kind, value.lower(), negated=token.negated)


def _pattern(field: str, source: str, token: _Token) -> Term:
    if not source:
        raise QueryError("re: needs an expression", token.at, 3)
    return Term("pattern", source, field, negated=token.negated)


def _unknown(name: str, fields: Fields) -> str:
    near = difflib.get_close_matches(name, fields, 1)
    hint = f"; did you mean {near[0]}?" if near else f'; quote it to search the text: "{name}:"'
    return f"no column is called {name}{hint}"


def _is_dynamic(term: Term, fields: Fields) -> bool:
    if term.field:
        return fields[term.field].dynamic
    return term.kind == "text" and term.value in WORDS and "state" in fields


def _test(term: Term, fields: Fields, token: _Token) -> tuple[int, Test]:
    """The term's test with a cost by which tests are ordered: cheap ones first."""
    if term.kind == "text":
        cost, test = _text_test(term.value, fields)
    elif term.kind == "network":
        cost, test = 3, _network_test(term, fields, token.at)
    elif term.kind == "pattern":
        cost, test = 4, _pattern_test(term, fields, token)
    else:
        cost, test = 2, _field_test(term, fields[term.field], token.at)
    return (cost, _unless(test)) if term.negated else (cost, test)


def _unless(test: Test) -> Test:
    return lambda row, moment: not test(row, moment)


def _text_test(value: str, fields: Fields) -> tuple[int, Test]:
    if value in WORDS and "state" in fields:
        get = fields["state"].get
        return 2, lambda row, moment: value in row.text or get(row, moment) == value
    return 0, lambda row, _moment: value in row.text


def _pattern_test(term: Term, fields: Fields, token: _Token) -> Test:
    try:
        found = compile_pattern(term.value)
    except PatternError as error:
        before = len(f"{term.field}:re:" if term.field else "re:") + (token.body is not None)
        raise QueryError(f"re: {error.message}", token.head_at + before + error.at) from error
    if not term.field:
        return lambda row, _moment: found(row.text)
    get = fields[term.field].get
    return lambda row, moment: found(_as_text(get(row, moment)))


def _network_test(term: Term, fields: Fields, at: int) -> Test:
    try:
        network = ipaddress.ip_network(term.value, strict=False)
    except ValueError as error:
        raise QueryError(f"{term.value} is not a network", at, len(term.value)) from error
    getters = [field.hosts for name, field in fields.items() if field.hosts and term.field in ("", name)]
    known: dict[str, bool] = {}

    def within(host: str) -> bool:
        answer = known.get(host)
        if answer is None:
            if len(known) > 20_000:
                known.clear()
            answer = known[host] = _inside(host, network)
        return answer

    return lambda row, moment: any(within(host) for hosts in getters for host in hosts(row, moment))


def _inside(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _field_test(term: Term, field: Field, at: int) -> Test:
    if field.kind == "number":
        return _number_test(term, field, at)
    if term.operator not in (":", "="):
        raise QueryError(f"{term.field} is not a number", at, len(term.field))
    get, value = field.get, term.value
    if field.kind == "state":
        keys = {key for key in WORDS if key.startswith(value)}
        if not keys:
            raise QueryError(f"states are {', '.join(WORDS)}", at, len(term.field) + 1 + len(value))
        return lambda row, moment: get(row, moment) in keys
    if term.operator == "=" or not value:
        return lambda row, moment: _as_text(get(row, moment)) == value
    return lambda row, moment: value in _as_text(get(row, moment))


def _number_test(term: Term, field: Field, at: int) -> Test:
    found = _NUMBER.fullmatch(term.value)
    if found is None:
        raise QueryError(f"{term.field}{term.operator} needs a number", at, len(term.field) + 1 + len(term.value))
    limit = float(found[1]) * _UNITS.get((found[2] or "s").lower(), 1.0)
    get = field.get
    compare = _COMPARISONS[term.operator]

    def test(row: Any, moment: Any) -> bool:
        number = get(row, moment)
        return number is not None and compare(number, limit)

    return test


def _as_text(value: object) -> str:
    return "" if value is None else str(value).lower()


def _quoted(value: str, *, bare: bool = False) -> str:
    """``value`` in quotes where it would be read otherwise without them."""
    special = value.startswith(("-", "re:")) or _NETWORK.fullmatch(value) or (bare and _NAMED.match(value))
    if value and not special and '"' not in value and not any(character.isspace() for character in value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
