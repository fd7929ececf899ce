from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.server.dialects import Dialect, Port


def dialect(name: str, *prefixes: str, schemas: dict[str, Any] | None = None, path: str = "/x") -> Dialect:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["served_by"] = name

    document = {"paths": {path: {"get": {"tags": [name]}}}, "components": {"schemas": schemas or {}}}
    return Dialect(name, app, lambda code, message: Response(f"{name} {code} {message}"), prefixes, lambda: document)


async def served_by(port: Port, path: str) -> str:
    scope: dict[str, Any] = {"type": "http", "path": path}

    async def nothing(*_: Any) -> Any: ...

    await port(scope, nothing, nothing)
    return str(scope["served_by"])


async def test_the_first_prefix_that_fits_wins_and_what_is_left_over_comes_last() -> None:
    port = Port([dialect("streams", "/streams", ""), dialect("console", "/console/", "/healthz")])
    paths = {
        "/streams/x": "streams",
        "/console/v1": "console",
        "/healthz": "console",
        "/nope": "streams",
        "": "streams",
    }
    for path, name in paths.items():
        assert await served_by(port, path) == name
        assert bytes(port.refuse({"type": "http", "path": path}, "c", "m").body) == f"{name} c m".encode()


def test_one_document_for_all() -> None:
    same = {"Problem": {"type": "object"}}
    port = Port([dialect("a", "/a", schemas=same, path="/a"), dialect("b", "", schemas=same | {"B": {}}, path="/b")])
    document = port.openapi("Title", "1")
    assert set(document["paths"]) == {"/a", "/b"}
    assert set(document["components"]["schemas"]) == {"Problem", "B"}


def test_two_schemas_of_one_name_are_an_error() -> None:
    port = Port([dialect("a", "/a", schemas={"X": {"type": "object"}}), dialect("b", "", schemas={"X": {}})])
    with pytest.raises(ValueError, match="schemas/X"):
        port.openapi("Title", "1")


def test_a_refusal_may_need_the_request_and_paths_with_a_login_are_known() -> None:
    plain = dialect("streams", "/streams", "")
    own = replace(
        dialect("desktops", "/api/v1/", "/agent/"),
        refuse_request=lambda scope, code, message: Response(f"{scope['path']} {code} {message}"),
        login=True,
    )
    port = Port([plain, own])
    assert port.logins == ("/api/v1/", "/agent/")
    assert bytes(port.refuse({"type": "http", "path": "/agent/ws"}, "c", "m").body) == b"/agent/ws c m"
    assert bytes(port.refuse({"type": "http", "path": "/streams"}, "c", "m").body) == b"streams c m"
