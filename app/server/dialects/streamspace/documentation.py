"""The dialect's part of ``/docs``: OpenAPI from the declared operations and their models.

Called through ``application.py`` when somebody reads ``/openapi.json``. Components carry the dialect's name, since all
dialects of the port share one document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.server.dialects.streamspace.answers import Problem, TooMany
from app.server.dialects.streamspace.operations import Operation

PREFIX = "StreamSpace"
TEMPLATE = "#/components/schemas/" + PREFIX + "{model}"
SECURITY = f"{PREFIX}Token"
_GOOD = {200: "Done.", 201: "Created.", 202: "Accepted; the work goes on.", 204: "Done; no body."}
_BAD = {
    400: "The request does not fit, or its object's state does not allow it; `details.field` names the place.",
    401: "The token is missing, has expired, was revoked or is none of ours; at a login: wrong name or password.",
    403: "The caller may not do that, or its network, or its browser's origin, may not reach the broker.",
    404: "There is no such object.",
    409: "Its state, or another object, conflicts.",
    413: "The body is larger than 1 MiB.",
    429: "The limit is reached; `Retry-After` and `retry_after` say when to come back.",
    500: "The agent could not do it; `details` has its words.",
    503: "No agent can do it now, or the storage is away; nothing has changed.",
}
_ALWAYS = (400, 401, 403, 413, 429, 503)
_HEADERS = {
    "X-RateLimit-Limit": "Max requests per window",
    "X-RateLimit-Remaining": "Requests remaining in window",
    "X-RateLimit-Reset": "Unix timestamp when limit resets",
    "X-Request-ID": "The request's id, as it was sent or as it was given",
}
_SOCKETS: dict[str, tuple[str, str, tuple[str, ...], tuple[int, ...]]] = {
    "/vnc-viewer/{session_id}": (
        "View a desktop",
        (
            "With an upgrade: RFB both ways, as binary frames. Without: a page that does that. `token` is a login's, or "
            "a ticket's of Callboard's own. `mode=view` is enforced by the broker."
        ),
        ("token", "mode"),
        (400, 401, 403, 404, 409, 429, 503),
    ),
    "/agent/ws": (
        "Agent's connection",
        (
            "Only with an upgrade: JSON messages, one for each text frame. Needs an agent key: `X-Agent-API-Key`, a "
            "bearer's token or `key`."
        ),
        ("agent_id", "platform", "region", "key"),
        (400, 401, 403, 404, 429),
    ),
    "/agent/tunnel/{proxy_id}": (
        "Agent's tunnel for one viewer",
        "Callboard's own, only with an upgrade: an agent dials back with the token of a `vnc_proxy_request`.",
        (),
        (401, 403, 404, 429),
    ),
}
"""WebSockets: summary, description, query parameters, statuses before the upgrade."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of the dialect."""
    models = sorted(set(_models(operations)), key=lambda pair: (pair[0].__name__, pair[1]))
    references, definitions = models_json_schema(models, ref_template=TEMPLATE)
    schemas = {f"{PREFIX}{name}": schema for name, schema in definitions.get("$defs", {}).items()}
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, references)
    paths |= _sockets(references)
    security = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From `POST /auth/login`"}
    headers = {_key(name): {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "StreamSpace API", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {SECURITY: security}, "headers": headers},
    }


def _models(operations: Sequence[Operation]) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    for operation in operations:
        if operation.body is not None:
            yield operation.body, "validation"
        if operation.answer is not None:
            yield operation.answer, "validation"
    yield Problem, "validation"
    yield TooMany, "validation"


def _described(operation: Operation, references: Any) -> dict[str, Any]:
    text = " ".join((operation.endpoint.__doc__ or "").split())
    described: dict[str, Any] = {
        "tags": [f"StreamSpace: {operation.tag}"],
        "summary": operation.endpoint.__name__.replace("_", " ").capitalize(),
        "operationId": f"streamspace_{operation.endpoint.__name__}",
        "description": f"{text} (Callboard's own.)" if operation.own else text,
        "parameters": [*_places(operation.path), *_query(operation)],
        "responses": _responses(operation, references),
    }
    if operation.body is not None:
        schema = references[operation.body, "validation"]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if not operation.open:
        described["security"] = [{SECURITY: []}]
    return described


def _places(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    parameters = []
    for name, found in operation.query.model_json_schema()["properties"].items():
        kinds = [kind for kind in found.get("anyOf", ()) if kind.get("type") != "null"]
        left_out = {"title", "description"} | ({"anyOf", "default"} if kinds else set())  # absent is how one is null
        schema = {key: value for key, value in found.items() if key not in left_out} | (kinds[0] if kinds else {})
        described = {"name": name, "in": "query", "required": False, "schema": schema}
        parameters.append(described | ({"description": found["description"]} if "description" in found else {}))
    return parameters


def _responses(operation: Operation, references: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"description": _GOOD[operation.good], "headers": _headers()}
    if operation.answer is not None:
        schema = references[operation.answer, "validation"]
        good["content"] = {"application/json": {"schema": schema}}
    problems = {str(status): _problem(status, references) for status in sorted({*_ALWAYS, *operation.statuses})}
    return {str(operation.good): good, **problems}


def _problem(status: int, references: Any) -> dict[str, Any]:
    model = TooMany if status == 429 else Problem
    content = {"application/json": {"schema": references[model, "validation"]}}
    return {"description": _BAD[status], "headers": _headers(), "content": content}


def _headers() -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{_key(name)}"} for name in _HEADERS}


def _sockets(references: Any) -> dict[str, Any]:
    """WebSockets, which OpenAPI can only tell in words; each is served under ``/api/v1`` too."""
    paths: dict[str, Any] = {}
    for path, (summary, text, query, statuses) in _SOCKETS.items():
        responses: dict[str, Any] = {"101": {"description": "Upgraded to a WebSocket."}}
        if path.startswith("/vnc-viewer"):
            responses["200"] = {"description": "The viewer's page.", "content": {"text/html": {}}}
        responses |= {str(status): _problem(status, references) for status in statuses}
        parameters = [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in query]
        paths[path] = {
            "get": {
                "tags": ["StreamSpace: WebSockets"],
                "summary": summary,
                "operationId": f"streamspace_{path.strip('/').split('/{')[0].replace('/', '_').replace('-', '_')}",
                "description": text,
                "parameters": [*_places(path), *parameters],
                "responses": responses,
            }
        }
    return paths


def _key(header: str) -> str:
    return PREFIX + header.replace("-", "")
