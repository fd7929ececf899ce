"""The dialect's part of ``/openapi.json``: complete, merged with the others', and true under generated requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import TypeAdapter
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.server.dialects.streamspace import answers
from app.server.dialects.streamspace.services import Limits
from tests.contract.streamspace_venue import CONSOLE_TOKEN, SEED, Venue, open_venue
from tests.fakes.streamspace import ScriptedAgent, connected

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
DOCUMENTED = {
    ("post", "/auth/login"), ("post", "/auth/logout"),
    ("get", "/agents"), ("get", "/agents/stats"), ("get", "/agents/{agent_id}"), ("patch", "/agents/{agent_id}"),
    ("get", "/sessions"), ("post", "/sessions"), ("get", "/sessions/{session_id}"),
    ("patch", "/sessions/{session_id}"), ("delete", "/sessions/{session_id}"), ("get", "/sessions/{session_id}/logs"),
    ("get", "/templates"), ("get", "/templates/{template_name}"),
    ("get", "/users"), ("post", "/users"),
}  # fmt: skip
"""What seed 001 has."""
OWN = {
    ("post", "/templates"), ("put", "/templates/{template_name}"), ("delete", "/templates/{template_name}"),
    ("patch", "/users/{user_id}"), ("delete", "/users/{user_id}"),
    ("get", "/agent-keys"), ("post", "/agent-keys"), ("delete", "/agent-keys/{key_id}"),
    ("post", "/agent-keys/{key_id}/rotate"),
}  # fmt: skip


async def test_every_operation_is_described(streamspace: Venue) -> None:
    document = streamspace.dialect.openapi()
    found = {(method, path) for path, methods in document["paths"].items() for method in methods}
    here = {(method, f"/api/v1{path}") for method, path in DOCUMENTED | OWN}
    sockets = {("get", "/vnc-viewer/{session_id}"), ("get", "/agent/ws"), ("get", "/agent/tunnel/{proxy_id}")}
    assert found == here | sockets
    own = {
        (m, p) for p, methods in document["paths"].items() for m in methods if "Callboard's own.)" in str(methods[m])
    }
    assert own == {(method, f"/api/v1{path}") for method, path in OWN}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], path
            assert "422" not in operation["responses"]
            if path.startswith("/api/v1"):
                assert {"400", "401", "403", "429", "503"} <= set(operation["responses"]), (method, path)
                assert ("security" in operation) == (path != "/api/v1/auth/login"), path


async def test_components_carry_the_dialects_name_and_are_all_there(streamspace: Venue) -> None:
    document = streamspace.dialect.openapi()
    for kind, entries in document["components"].items():
        assert all(name.startswith("StreamSpace") for name in entries), kind
    text = str(document)
    for name in document["components"]["schemas"]:
        assert f"'#/components/schemas/{name}'" in text, name
    for reference in set(text.split("'$ref': '#/components/")[1:]):
        kind, name = reference.split("'")[0].split("/")
        assert name in document["components"][kind], reference


def test_the_documents_examples_fit_the_described_shapes() -> None:
    for name, model in (
        ("login", answers.LoggedIn),
        ("logout", answers.Done),
        ("agents", answers.AgentList),
        ("agent", answers.AgentDetails),
        ("agent_changed", answers.AgentChanged),
        ("agent_stats", answers.AgentStats),
        ("session_created", answers.SessionCreated),
        ("sessions", answers.SessionList),
        ("session", answers.SessionDetails),
        ("session_changed", answers.SessionChanged),
        ("logs", answers.Logs),
        ("templates", answers.TemplateList),
        ("template", answers.TemplateDetails),
        ("users", answers.UserList),
        ("user_created", answers.UserCreated),
        ("error", answers.Problem),
    ):
        shown = TypeAdapter(model).validate_python(SEED[name], strict=True)
        assert shown.model_dump(exclude_unset=True) == SEED[name]


# Generated requests -----------------------------------------------------------------------------------------------


class Served:
    """A venue with an agent and a session, behind a real listener, on a loop in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready: Future[dict[str, Any]] = Future()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> dict[str, Any]:
        """Its address, its document and ids of what is there."""
        self._thread.start()
        return self._ready.result(30)

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve(), debug=True)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with (
            open_venue(self._folder, Limits(10**6, 10**6, 10**6, 10**6)) as venue,
            connected(venue.fleet, ScriptedAgent()) as agent,
            venue.listening() as address,
        ):
            agent.logs = ["2025-11-22T10:45:15Z one"]
            made = await venue.running(agent)
            kim = venue.users.get("kim")
            assert kim is not None
            ids = {"session_id": made["id"], "agent_id": agent.agent_id, "user_id": kim.id}
            ids |= {"template_name": "firefox-browser", "key_id": "machine"}
            url = address.replace("ws", "http", 1)
            self._ready.set_result({"url": url, "document": venue.dialect.openapi(), "ids": ids})
            await self._over.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One for all generated requests."""
    served = Served(tmp_path_factory.mktemp("served") / "data")
    yield served.start()
    served.stop()


def try_out(operation: Any, url: str, **ids: str) -> None:
    """Generate good and bad requests for one operation and check every answer."""

    def check(case: Any) -> None:
        case.path_parameters.update({name: text for name, text in ids.items() if name in case.path_parameters})
        headers = {"Authorization": f"Bearer {CONSOLE_TOKEN}", "X-Callboard-Operator": "schemathesis"}
        response = case.call(base_url=url, headers=headers, timeout=20)
        assert response.status_code != 500, f"{case.as_curl_command()}\n{response.text}"
        case.validate_response(response, checks=CHECKS)

    for mode in schemathesis.GenerationMode:
        try:
            BOUNDED(given(case=operation.as_strategy(generation_mode=mode))(lambda case: check(case)))()
        except Unsatisfiable:  # an operation without parameters has no wrong ones
            assert mode is schemathesis.GenerationMode.NEGATIVE


def test_generated_requests(served: dict[str, Any]) -> None:
    """Ids of nobody, then of what is there; what would end the agent's session comes last."""
    schema = schemathesis.openapi.from_dict(served["document"])
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == len(DOCUMENTED | OWN) + 3
    for operation in operations:
        try_out(operation, served["url"])
    for operation in sorted(operations, key=lambda each: each.method == "delete"):
        if "{" in operation.path and operation.path.startswith("/api/v1"):
            try_out(operation, served["url"], **served["ids"])
    headers = {"Authorization": f"Bearer {CONSOLE_TOKEN}"}
    for path in ("agents", "agents/stats", "sessions", "templates", "users", "agent-keys"):
        answer = httpx.get(f"{served['url']}/api/v1/{path}", headers=headers, trust_env=False)
        assert answer.status_code == 200, path
