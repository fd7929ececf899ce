"""The thirteen operations of the Maestra Streams API (seed 000), in the order in which their paths must match.

Built by ``main.py`` for the main port. A route translates and nothing else: path and body in, one call of the
registry, wire shape out. ``/streams/{stream_id}`` comes last, because it matches every word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import fastapi
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.server.access import Access
from app.server.access.requests import successor
from app.server.audit import Audit
from app.server.dialects.maestra import wire
from app.server.dialects.maestra.acts import Acts
from app.server.dialects.maestra.errors import Json
from app.server.dialects.maestra.listing import Listing
from app.server.dialects.maestra.operations import Operation, Query, StreamsApi
from app.server.dialects.maestra.wire import Id
from app.server.storage.database import HistoryQuery
from app.server.streams.negotiation import ConsumerRequest
from app.server.streams.registry import Streams

Endpoint = Callable[..., Awaitable[Response]]

_DESCRIPTIONS = {
    400: "The request is not proper HTTP, or its URL not UTF-8.",
    403: "This client's network, or its browser's origin, may not.",
    404: "Unknown, expired or withdrawn.",
    409: "A stream type of this name exists.",
    413: "The body is larger than 1 MiB.",
    422: "The request does not fit; each error with its place.",
    502: "The publisher rejected the request or answered rubbish, nobody listens for it, or NATS is away.",
    503: "The storage is away; nothing has changed.",
    504: "The publisher did not respond within 5 seconds.",
}
_GUARDED = (400, 403, 413)
_NEGOTIATED = (201, 404, 422, 502, 503, 504)


def _route(
    kind: type[APIRoute], method: str, path: str, endpoint: Endpoint, model: Any, tag: str, statuses: tuple[int, ...]
) -> APIRoute:
    """A route with everything that its documentation says; 201 among the statuses makes it the good one."""
    problems: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*_GUARDED, *statuses} - {201}):
        problems[status] = {"description": _DESCRIPTIONS[status]}
        if status != 422:
            problems[status]["model"] = wire.Problem
    return kind(
        path,
        endpoint,
        methods=[method],
        response_model=model,
        status_code=201 if 201 in statuses else 200,
        responses=problems,
        tags=[tag],
    )


def _get(path: str, endpoint: Endpoint, model: Any, tag: str, *statuses: int) -> APIRoute:
    return _route(Operation, "GET", path, endpoint, model, tag, statuses)


def _query(path: str, endpoint: Endpoint, model: Any, tag: str, *statuses: int) -> APIRoute:
    return _route(Query, "GET", path, endpoint, model, tag, statuses)


def _post(path: str, endpoint: Endpoint, model: Any, tag: str, *statuses: int) -> APIRoute:
    return _route(Operation, "POST", path, endpoint, model, tag, statuses)


def _delete(path: str, endpoint: Endpoint, model: Any, tag: str, *statuses: int) -> APIRoute:
    return _route(Operation, "DELETE", path, endpoint, model, tag, statuses)


def build(streams: Streams, access: Access, audit: Audit) -> FastAPI:
    """The dialect's application."""
    app = StreamsApi(title="Maestra Streams API", version="1")
    endpoints = Endpoints(streams, Acts(access, audit))
    for route in endpoints.routes():
        app.router.routes.append(route)
        if isinstance(route, Operation):
            route.validate_with(streams.types)
            if route.methods == {"POST"} and "types" not in route.path:
                app.hasten(route)
    return app


class Endpoints:
    """One method per operation."""

    def __init__(self, streams: Streams, acts: Acts) -> None:
        self._streams = streams
        self._acts = acts
        self._listing = Listing(streams)

    def routes(self) -> list[APIRoute]:
        """Every route, in matching order."""
        busy, types, found, sessions = "heartbeats", "types", "streams", "sessions"
        return [
            _post("/streams/{stream_id}/heartbeat", self.beat_stream, wire.StreamBeat, busy, 404, 422, 503),
            _post("/streams/sessions/{session_id}/heartbeat", self.beat_session, wire.SessionBeat, busy, 404, 422, 503),
            _get("/streams/types", self.list_types, list[wire.StreamType], types, 503),
            _post("/streams/types", self.create_type, wire.StreamType, types, 201, 409, 422, 503),
            _get("/streams/state", self.state, wire.RegistryState, found, 503),
            _post("/streams/advertise", self.advertise, wire.Stream, found, 201, 422, 503),
            _query("/streams/sessions/history", self.history, list[wire.HistoricSession], sessions, 422, 503),
            _query("/streams/sessions", self.list_sessions, list[wire.Session], sessions, 422, 503),
            _delete("/streams/sessions/{session_id}", self.stop, wire.Stopped, sessions, 404, 422, 503),
            _query("/streams", self.list_streams, list[wire.Stream], found, 422, 503),
            _post("/streams/{stream_id}/request", self.request, wire.Offer, sessions, *_NEGOTIATED),
            _get("/streams/{stream_id}", self.get_stream, wire.Stream, found, 404, 422, 503),
            _delete("/streams/{stream_id}", self.withdraw, wire.Withdrawn, found, 404, 422, 503),
        ]

    async def beat_stream(self, stream_id: Id) -> Response:
        """Refresh a stream's 30 s TTL; call it every 10 s or so. A body is ignored."""
        await self._streams.heartbeat(stream_id)
        return Json(b'{"status":"ok","stream_id":"%b"}' % stream_id.encode())

    async def beat_session(self, session_id: Id) -> Response:
        """Refresh a session's 30 s TTL; publisher and consumer should both call it every 10 s or so."""
        await self._streams.heartbeat_session(session_id)
        return Json(b'{"status":"ok","session_id":"%b"}' % session_id.encode())

    async def list_types(self) -> Response:
        """Stream types, built in and created, by name."""
        await self._streams.types.load()
        return Json(self._listing.types())

    async def create_type(self, request: Request, body: wire.CreateType) -> Response:
        """Create a stream type; streams of it can be advertised at once."""
        operator = self._acts.operator(request.scope)
        async with self._acts.act(operator, "create_type", "type") as act:
            row = await self._streams.types.create(**body.model_dump())
            act.object_id = row.id
            act.after = row
        return Json(wire.type_json(row), 201)

    async def state(self) -> Response:
        """All streams, sessions and stream types, as of one moment."""
        await self._streams.types.load()
        return Json(self._listing.state())

    async def advertise(self, request: Request, body: wire.Advertise) -> Response:
        """Advertise a stream. It lives for 30 s after its last heartbeat."""
        operator = self._acts.operator(request.scope)
        async with self._acts.act(operator, "advertise", "stream") as act:
            row = await self._streams.advertise(
                name=body.name,
                stream_type=body.stream_type,
                publisher_id=body.publisher_id,
                protocol=body.protocol.value,
                address=body.address,
                port=body.port,
                entity_id=body.entity_id,
                device_id=body.device_id,
                config=body.config,
                metadata=body.metadata,
            )
            act.object_id = row.id
            act.after = row
        return Json(wire.stream_json(row, 0), 201)

    async def list_streams(
        self,
        stream_type: Annotated[str | None, fastapi.Query(description="Only streams of this type.")] = None,
    ) -> Response:
        """Live streams, oldest first."""
        return Json(self._listing.streams(stream_type))

    async def get_stream(self, stream_id: Id) -> Response:
        """One live stream."""
        return Json(self._listing.stream(stream_id))

    async def withdraw(self, request: Request, stream_id: Id) -> Response:
        """Remove a stream at once, with its sessions."""
        operator = self._acts.operator(request.scope)
        async with self._acts.act(operator, "withdraw", "stream", stream_id) as act:
            removed = await self._streams.withdraw(stream_id, by=operator)
            act.before = removed.stream
        return Json(b'{"status":"withdrawn","stream_id":"%b"}' % stream_id.encode())

    async def request(self, request: Request, stream_id: Id, body: wire.RequestStream) -> Response:
        """Ask the stream's publisher, over NATS, to serve a consumer; opens a session with a 30 s TTL."""
        wanted = ConsumerRequest(body.consumer_id, body.consumer_address, body.consumer_port, body.config)
        operator = self._acts.operator(request.scope)
        async with self._acts.act(operator, "take", "stream", stream_id) as act:
            row = await self._streams.request(stream_id, wanted)
            act.after = row
        return Json(wire.offer_json(row), 201)

    async def list_sessions(
        self,
        stream_id: Annotated[Id | None, fastapi.Query(description="Only sessions of this stream.")] = None,
    ) -> Response:
        """Live sessions, oldest first."""
        return Json(self._listing.sessions(stream_id))

    async def history(
        self,
        stream_id: Annotated[Id | None, fastapi.Query()] = None,
        publisher_id: Annotated[str | None, fastapi.Query()] = None,
        consumer_id: Annotated[str | None, fastapi.Query()] = None,
        limit: Annotated[int, fastapi.Query(ge=1, le=500)] = 50,
    ) -> Response:
        """Sessions of the last 90 days, newest first; the filters are exact and all must match."""
        # An empty text filters nothing, as with ``stream_type``: forms send their empty fields too.
        query = HistoryQuery(
            stream_id=stream_id, publisher_id=publisher_id or None, consumer_id=consumer_id or None, limit=limit
        )
        rows = await self._streams.history(query)
        return Json(wire.array([wire.historic_json(row) for row in rows]))

    async def stop(self, request: Request, session_id: Id) -> Response:
        """Stop a session."""
        operator = self._acts.operator(request.scope)
        next_id = successor(request.scope) if operator else ""
        heir = self._streams.state.sessions.get(next_id) if next_id != session_id else None
        async with self._acts.act(operator, "replace" if heir else "kick", "session", session_id) as act:
            act.after = heir
            row = await self._streams.stop_session(session_id, by=operator, replaced=heir is not None)
            act.before = row
        return Json(b'{"status":"stopped","session_id":"%b"}' % session_id.encode())
