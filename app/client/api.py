"""The broker's API as typed coroutines: one method per verb, for the console, the one-line verbs and the demo.

Called by ``app/ui``, ``app/cli.py``, ``take.py`` and ``app/demo``; serves the seed's Streams API (000) and the
console's own API. No Qt; runs under qasync and plain asyncio. httpx is imported at the first call,
in a thread, because the console paints its window before heavy imports. A broker is reached directly, never
through a proxy of the environment.

Every failure is one ``ApiError`` whose ``text`` is what the broker said, or what went wrong on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from app.client.destination import Destinations
from app.client.shapes import (
    AccessView,
    ApiKey,
    BrokerView,
    NewApiKey,
    Offer,
    Page,
    Session,
    Stream,
    StreamType,
)
from app.client.transport import base_url_of, ssl_context_for
from app.contract import NEGOTIATION_TIMEOUT, AuditRow, HistoryRow, HoldRow, PresetRow
from app.errors import CallboardError

if TYPE_CHECKING:
    import httpx

CALL_TIMEOUT = 10.0
"""Seconds for an ordinary call, connection included."""
TAKE_TIMEOUT = NEGOTIATION_TIMEOUT + 4.0
"""A negotiation may wait its whole time-out in the broker before the answer starts."""

CODE_HEADER = "X-Callboard-Code"
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


class ApiError(CallboardError):
    """A call that did not succeed. ``status`` 0: no answer came at all; ``text`` is a sentence for a person.

    ``detail`` is the broker's list of field errors where it sent one (422), for forms that show each at its field.
    """

    def __init__(self, status: int, code: str, text: str, detail: list[Any] | None = None) -> None:
        super().__init__(text, code=code, detail=detail)
        self.status = status
        self.text = text


def error_text(body: bytes) -> tuple[str, str]:
    """The broker's own words and code, out of an error body of any shape."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace").strip()[:500], ""
    if not isinstance(answer, dict):
        return str(answer)[:500], ""
    detail, code = answer.get("detail", ""), answer.get("code")
    if isinstance(detail, list):
        detail = "; ".join(_field_error(entry) for entry in detail)
    return str(detail), code if isinstance(code, str) else ""


def error_list(body: bytes) -> list[Any] | None:
    """The entries of a 422 body; None where it has none."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return detail if isinstance(detail, list) else None


def _field_error(entry: Any) -> str:
    """One entry of a 422 list as ``field: message``."""
    if not isinstance(entry, dict):
        return str(entry)
    place = ".".join(str(part) for part in entry.get("loc", ())[1:])
    message = str(entry.get("msg", entry))
    return f"{place}: {message}" if place else message


class BrokerClient:
    """A client of one broker. ``token`` opens the console's own API; ``operator`` stands in every audit row."""

    def __init__(self, base_url: str, token: str | None = None, operator: str = "") -> None:
        self.base_url = base_url_of(base_url)
        self.token = token
        self.operator = operator
        self.destinations = Destinations()
        """Takes that are under way, for ``take.py``."""
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

    # -- streams (seed 000) ------------------------------------------------------------------------------------

    async def streams(self, stream_type: str | None = None) -> list[Stream]:
        """Live streams, oldest first."""
        body = await self._call("GET", "/streams", query={"stream_type": stream_type})
        return self._decode(body, list[Stream])

    async def stream(self, stream_id: str) -> Stream:
        """One live stream."""
        return self._decode(await self._call("GET", f"/streams/{_part(stream_id)}"), Stream)

    async def types(self) -> list[StreamType]:
        """Stream types, built in and created."""
        return self._decode(await self._call("GET", "/streams/types"), list[StreamType])

    async def create_type(self, definition: Mapping[str, Any]) -> StreamType:
        """Create a stream type: name, display_name, description?, icon?, default_config?, metadata?."""
        return self._decode(await self._call("POST", "/streams/types", body=definition), StreamType)

    async def advertise(self, advertisement: Mapping[str, Any]) -> Stream:
        """Advertise a stream: name, stream_type, publisher_id, protocol, address, port, config?, metadata?, …"""
        return self._decode(await self._call("POST", "/streams/advertise", body=advertisement), Stream)

    async def heartbeat(self, stream_id: str) -> None:
        """Give a stream a fresh TTL."""
        await self._call("POST", f"/streams/{_part(stream_id)}/heartbeat")

    async def withdraw(self, stream_id: str) -> None:
        """Remove a stream; its sessions end with it."""
        await self._call("DELETE", f"/streams/{_part(stream_id)}")

    async def request(
        self,
        stream_id: str,
        *,
        consumer_id: str,
        consumer_address: str,
        consumer_port: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Offer:
        """Negotiate a session with the publisher: an offer, or ``ApiError`` 404, 502 or 504 in its words."""
        body = {
            "consumer_id": consumer_id,
            "consumer_address": consumer_address,
            "consumer_port": consumer_port,
            "config": dict(config or {}),
        }
        path = f"/streams/{_part(stream_id)}/request"
        return self._decode(await self._call("POST", path, body=body, timeout=TAKE_TIMEOUT), Offer)

    async def sessions(self, stream_id: str | None = None) -> list[Session]:
        """Live sessions, oldest first."""
        body = await self._call("GET", "/streams/sessions", query={"stream_id": stream_id})
        return self._decode(body, list[Session])

    async def heartbeat_session(self, session_id: str) -> None:
        """Give a session a fresh TTL."""
        await self._call("POST", f"/streams/sessions/{_part(session_id)}/heartbeat")

    async def stop_session(self, session_id: str) -> None:
        """End a session (kick)."""
        await self._call("DELETE", f"/streams/sessions/{_part(session_id)}")

    # -- the console's own API ---------------------------------------------------------------------------------

    async def hold(self, session_id: str, preset_id: str | None = None) -> HoldRow:
        """Let the broker beat a session on behalf of its consumer."""
        body = {"session_id": session_id, "preset_id": preset_id}
        return self._decode(await self._call("POST", "/console/v1/holds", body=body), HoldRow)

    async def release(self, hold_id: str) -> None:
        """End a hold; the session then lives on its own TTL."""
        await self._call("DELETE", f"/console/v1/holds/{_part(hold_id)}")

    async def presets(self) -> list[PresetRow]:
        """Consumer presets."""
        return self._decode(await self._call("GET", "/console/v1/presets"), list[PresetRow])

    async def save_preset(self, preset: PresetRow) -> PresetRow:
        """Create a preset (``id`` empty) or change it."""
        fields = msgspec.to_builtins(preset)
        preset_id = fields.pop("id")
        if preset_id:
            body = await self._call("PUT", f"/console/v1/presets/{_part(preset_id)}", body=fields)
        else:
            body = await self._call("POST", "/console/v1/presets", body=fields)
        return self._decode(body, PresetRow)

    async def delete_preset(self, preset_id: str) -> None:
        """Remove a preset; what it carries goes on."""
        await self._call("DELETE", f"/console/v1/presets/{_part(preset_id)}")

    async def record_audit(
        self,
        verb: str,
        object: str,
        object_id: str,
        *,
        result: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        detail: str = "",
        milliseconds: float | None = None,
    ) -> None:
        """Write down an act that reached no API, such as a cancelled kick."""
        body = {
            "verb": verb,
            "object": object,
            "object_id": object_id,
            "before": before,
            "after": after,
            "result": result,
            "detail": detail,
            "milliseconds": milliseconds,
        }
        await self._call("POST", "/console/v1/audit", body=body)

    async def audit(
        self,
        *,
        operator: str | None = None,
        verb: str | None = None,
        object_id: str | None = None,
        page: Page | None = None,
    ) -> list[AuditRow]:
        """Acts of operators, newest first."""
        query = {"operator": operator, "verb": verb, "object_id": object_id, **(page or Page()).query()}
        return self._decode(await self._call("GET", "/console/v1/audit", query=query), list[AuditRow])

    async def history(
        self,
        *,
        stream_id: str | None = None,
        publisher_id: str | None = None,
        consumer_id: str | None = None,
        page: Page | None = None,
    ) -> list[HistoryRow]:
        """Sessions of the last 90 days, newest first."""
        query = {
            "stream_id": stream_id,
            "publisher_id": publisher_id,
            "consumer_id": consumer_id,
            **(page or Page()).query(),
        }
        return self._decode(await self._call("GET", "/console/v1/history", query=query), list[HistoryRow])

    async def access(self) -> AccessView:
        """Who may reach this broker."""
        return self._decode(await self._call("GET", "/console/v1/access"), AccessView)

    async def set_access(
        self,
        *,
        allow_networks: Sequence[str] | None = None,
        host: str | None = None,
        allow_plain: bool | None = None,
    ) -> AccessView:
        """Change who may reach this broker: networks apply at once, the host at the next start."""
        wanted: dict[str, Any] = {"host": host, "allow_plain": allow_plain}
        wanted["allow_networks"] = None if allow_networks is None else list(allow_networks)
        body = {key: value for key, value in wanted.items() if value is not None}
        return self._decode(await self._call("PUT", "/console/v1/access", body=body), AccessView)

    async def add_key(self, name: str) -> NewApiKey:
        """Make an API key; the key itself is in this answer and never again."""
        return self._decode(await self._call("POST", "/console/v1/access/keys", body={"name": name}), NewApiKey)

    async def keys(self) -> list[ApiKey]:
        """API keys, without the keys themselves."""
        return (await self.access()).keys

    async def delete_key(self, key_id: str) -> None:
        """Withdraw an API key."""
        await self._call("DELETE", f"/console/v1/access/keys/{_part(key_id)}")

    async def broker(self) -> BrokerView:
        """Name, version, process and addresses of the broker."""
        return self._decode(await self._call("GET", "/console/v1/broker"), BrokerView)

    async def stop_broker(self) -> None:
        """Ask the broker for a clean stop; it answers before it stops."""
        await self._call("POST", "/console/v1/stop")

    async def healthz(self) -> dict[str, Any]:
        """The broker's health, whether it is well (200) or not (503)."""
        status, body, _ = await self._send("GET", "/healthz", None, None, CALL_TIMEOUT)
        if status not in (200, 503):
            raise self._refusal(status, body)
        return self._decode(body, dict[str, Any])

    # -- one call ----------------------------------------------------------------------------------------------

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

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> bytes:
        """Send one request; the body of a 2xx answer, or ``ApiError``."""
        status, answer, code = await self._send(method, path, body, query, timeout)
        if 200 <= status < 300:
            return answer
        raise self._refusal(status, answer, code)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        timeout: float,
    ) -> tuple[int, bytes, str]:
        """Status, body and code of one request; ``ApiError`` with status 0 when no answer came."""
        await self.open()
        import httpx

        http = self._http
        if http is None:
            raise ApiError(0, "closed", "The client was closed.")
        headers = {}
        if self.token:
            if not (self.token.isascii() and self.token.isprintable()):
                raise ApiError(0, "unauthorised", "The token has characters that no token has: copy it once more.")
            headers["Authorization"] = f"Bearer {self.token}"
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        params = {key: value for key, value in (query or {}).items() if value is not None}
        try:
            async with asyncio.timeout(timeout):
                answer = await http.request(
                    method, path, content=content, params=params, headers=headers, timeout=timeout
                )
        except (TimeoutError, httpx.TimeoutException) as error:
            text = f"The broker at {self.base_url} did not answer within {timeout:g} s."
            raise ApiError(0, "timeout", text) from error
        except httpx.HTTPError as error:
            text = f"No broker answers at {self.base_url}: {str(error) or type(error).__name__}"
            raise ApiError(0, "unreachable", text) from error
        return answer.status_code, answer.content, answer.headers.get(CODE_HEADER, "")

    def _refusal(self, status: int, body: bytes, told: str = "") -> ApiError:
        """The error that an answer outside 2xx stands for."""
        text, code = error_text(body)
        code = code or told or CODES.get(status, "failed")
        return ApiError(status, code, text or f"The broker answered {status}.", error_list(body))

    def _decode(self, body: bytes, shape: type[T]) -> T:
        """A body as its shape; a broker that answers something else is an error, not a traceback."""
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.DecodeError as error:
            text = f"The broker at {self.base_url} answered something else than expected: {error}"
            raise ApiError(0, "bad_answer", text) from error


def _part(value: str) -> str:
    """One segment of a path; an id can never become another path."""
    if value in ("", ".", ".."):
        raise ApiError(0, "invalid", f"{value!r} is not an id.")
    return quote(value, safe="")
