"""One HTTP call to a broker: headers, time-outs, and every failure as one ``ApiError`` in the broker's words.

Base of ``api.py`` and carried by ``fleet.py`` and ``login.py``. No Qt; runs under qasync and plain asyncio. httpx is
imported at the first call, in a thread, because the console paints its window before heavy imports. A broker is
reached directly, never through a proxy of the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from app.client.transport import base_url_of, ssl_context_for
from app.errors import CallboardError

if TYPE_CHECKING:
    import httpx

CALL_TIMEOUT = 10.0
"""Seconds for an ordinary call, connection included."""

CODE_HEADER = "x-callboard-code"
"""In which the Maestra dialect, whose bodies say ``{"detail"}`` alone, tells which of several errors a status means."""
CODES = {
    400: "invalid",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    422: "invalid",
    423: "locked",
    429: "rate_limited",
    502: "rejected",
    503: "unavailable",
    504: "no_answer",
}
"""Code of an answer that does not carry one itself."""

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """Status, body and headers (names in lower case) of one answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(CallboardError):
    """A call that did not succeed. ``status`` 0: no answer came at all; ``text`` is a sentence for a person.

    ``detail`` is the broker's list of field errors where it sent one, for forms that show each at its field;
    ``retry_after`` the seconds after which a limit lets the same request through.
    """

    def __init__(
        self, status: int, code: str, text: str, detail: list[Any] | None = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(text, code=code, detail=detail)
        self.status = status
        self.text = text
        self.retry_after = retry_after


def error_text(body: bytes) -> tuple[str, str]:
    """The broker's own words and code, out of an error body of any shape.

    The Streams API and the console's say ``detail``; the envelope of the StreamSpace document says ``message``.
    """
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace").strip()[:500], ""
    if not isinstance(answer, dict):
        return str(answer)[:500], ""
    detail, code = answer.get("detail", answer.get("message", "")), answer.get("code")
    if isinstance(detail, list):
        detail = "; ".join(_field_error(entry) for entry in detail)
    return str(detail), code if isinstance(code, str) else ""


def error_list(body: bytes) -> list[Any] | None:
    """The field errors of a refusal; None where it has none."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    if not isinstance(answer, dict):
        return None
    detail, details = answer.get("detail"), answer.get("details")
    if isinstance(detail, list):
        return detail
    name = details.get("field") if isinstance(details, dict) else None
    return [{"loc": ["body", *name.split(".")], "msg": answer.get("message", "")}] if isinstance(name, str) else None


def _field_error(entry: Any) -> str:
    """One entry of a 422 list as ``field: message``."""
    if not isinstance(entry, dict):
        return str(entry)
    place = ".".join(str(part) for part in entry.get("loc", ())[1:])
    message = str(entry.get("msg", entry))
    return f"{place}: {message}" if place else message


class Calls:
    """Sends requests to one broker. ``token`` opens the console's own API; ``operator`` stands in every audit row.

    ``token`` may be replaced at any time, such as when a login is renewed; the next request carries the new one.
    """

    def __init__(self, base_url: str, token: str | None = None, operator: str = "") -> None:
        self.base_url = base_url_of(base_url)
        self.token = token
        self.operator = operator
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the kept-alive connections; the client may be used again afterwards."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def open(self) -> None:
        """Do the heavy imports now (in a thread) rather than at the first call."""
        async with self._opening:
            if self._http is None:
                self._http = await asyncio.to_thread(self._build)

    def _build(self) -> httpx.AsyncClient:
        """Import httpx and make its client; runs in a thread."""
        import httpx

        headers = {}
        if self.operator:
            headers["X-Callboard-Operator"] = quote(self.operator, safe=" !#$&'()*+,/:;=?@[]")
        try:
            return httpx.AsyncClient(
                base_url=self.base_url,
                headers=headers,
                verify=ssl_context_for(self.base_url),
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=30.0),
            )
        except httpx.InvalidURL as error:
            raise ApiError(0, "unreachable", f"{self.base_url} is not the address of a machine: {error}") from error

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> bytes:
        """Send one request; the body of a 2xx answer, or ``ApiError``."""
        answer = await self.send(method, path, body=body, query=query, headers=headers, timeout=timeout)
        if 200 <= answer.status < 300:
            return answer.body
        raise self.refusal(answer)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> Answer:
        """The answer to one request, whatever its status; ``ApiError`` with status 0 when no answer came."""
        await self.open()
        import httpx

        http = self._http
        if http is None:
            raise ApiError(0, "closed", "The client was closed.")
        sent = {**self._headers(), **(headers or {})}
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        params = {key: value for key, value in (query or {}).items() if value is not None}
        try:
            async with asyncio.timeout(timeout):
                answer = await http.request(method, path, content=content, params=params, headers=sent, timeout=timeout)
        except (TimeoutError, httpx.TimeoutException) as error:
            text = f"The broker at {self.base_url} did not answer within {timeout:g} s."
            raise ApiError(0, "timeout", text) from error
        except httpx.HTTPError as error:
            text = f"No broker answers at {self.base_url}: {str(error) or type(error).__name__}"
            raise ApiError(0, "unreachable", text) from error
        return Answer(answer.status_code, answer.content, {name.lower(): it for name, it in answer.headers.items()})

    def _headers(self) -> dict[str, str]:
        """The token as it is now; one that cannot be a token is not sent."""
        if not self.token:
            return {}
        if not (self.token.isascii() and self.token.isprintable()):
            raise ApiError(0, "unauthorised", "The token has characters that no token has: copy it once more.")
        return {"Authorization": f"Bearer {self.token}"}

    def refusal(self, answer: Answer) -> ApiError:
        """The error that an answer outside 2xx stands for."""
        text, code = error_text(answer.body)
        code = code or answer.headers.get(CODE_HEADER, "") or CODES.get(answer.status, "failed")
        text = text or f"The broker answered {answer.status}."
        return ApiError(answer.status, code, text, error_list(answer.body), retry_after=_seconds(answer))

    def decode(self, body: bytes, shape: type[T]) -> T:
        """A body as its shape; a broker that answers something else is an error, not a traceback."""
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.DecodeError as error:
            text = f"The broker at {self.base_url} answered something else than expected: {error}"
            raise ApiError(0, "bad_answer", text) from error


def part(value: str) -> str:
    """One segment of a path; an id can never become another path."""
    if value in ("", ".", ".."):
        raise ApiError(0, "invalid", f"{value!r} is not an id.")
    return quote(value, safe="")


def _seconds(answer: Answer) -> float | None:
    """``Retry-After`` of an answer, in seconds."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None
