"""Generated requests over the broker's own ``/openapi.json``: no 500, no undocumented status, answers as documented.

A real broker process, through its guard. Examples are bounded and the same each time. Bad input must be as
welcome as good: data that contradicts the schema is generated as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fakes.broker import BrokerProcess, Brokers
from tests.fakes.maestra import CAMERA

ELSEWHERE = ("/streams", "/api/v1/", "/vnc-viewer/", "/agent/")
"""The Maestra dialect above, and StreamSpace, whose limits need a broker of its own: ``test_streamspace_docs.py``."""
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for all examples."""
    brokers = Brokers(tmp_path_factory.mktemp("schemathesis") / "data")
    yield brokers.start()
    brokers.end()


@pytest.fixture(scope="module")
def living(process: BrokerProcess) -> str:
    """A stream that is there."""
    answer = httpx.post(f"{process.url}/streams/advertise", json=CAMERA, trust_env=False)
    assert answer.status_code == 201
    return str(answer.json()["id"])


@pytest.fixture(scope="module")
def operations(process: BrokerProcess) -> list[Any]:
    """What the broker says it can, less what would end it."""
    schema = schemathesis.openapi.from_url(f"{process.url}/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    return [operation for operation in found if operation.path != "/console/v1/stop"]


def try_out(operation: Any, process: BrokerProcess, *, stream_type: str = "", **path_parameters: str) -> None:
    """Generate good and bad requests for one operation, with some values that exist, and check every answer."""
    headers = {"Authorization": f"Bearer {process.token}", "X-Callboard-Operator": "schemathesis"}

    def check(case: Any) -> None:
        """One generated request."""
        for name, value in path_parameters.items():
            case.path_parameters[name] = value
        if stream_type and isinstance(case.body, dict):
            case.body["stream_type"] = stream_type
        response = case.call(headers=headers, timeout=10)
        assert response.status_code != 500, f"{case.as_curl_command()}\n{response.text}"
        case.validate_response(response, checks=CHECKS)

    for mode in schemathesis.GenerationMode:
        try:
            generated = given(case=operation.as_strategy(generation_mode=mode))(lambda case: check(case))
            BOUNDED(generated)()
        except Unsatisfiable:  # an operation without parameters has no wrong ones
            assert mode is schemathesis.GenerationMode.NEGATIVE


def test_streams(operations: list[Any], process: BrokerProcess) -> None:
    """The Maestra dialect, ids of nobody."""
    mine = [operation for operation in operations if operation.path.startswith("/streams")]
    assert len(mine) == 13
    for operation in mine:
        try_out(operation, process)


def test_a_known_type(operations: list[Any], process: BrokerProcess) -> None:
    """The same for advertisements of a type that there is, which the description cannot name."""
    [advertise] = [operation for operation in operations if operation.path == "/streams/advertise"]
    try_out(advertise, process, stream_type="ndi")


def test_a_living_stream(operations: list[Any], process: BrokerProcess, living: str) -> None:
    """The same with the id of a stream that is there, so that requests reach its publisher."""
    for operation in operations:
        if operation.path.startswith("/streams/{stream_id}") and operation.method != "delete":
            assert httpx.post(f"{process.url}/streams/{living}/heartbeat", trust_env=False).status_code == 200
            try_out(operation, process, stream_id=living)


def test_the_rest(operations: list[Any], process: BrokerProcess) -> None:
    """The console's own API and what is open without a token."""
    for operation in operations:
        if not operation.path.startswith(ELSEWHERE):
            try_out(operation, process)


def test_the_broker_is_as_well_as_before(process: BrokerProcess) -> None:
    """Runs last: every list answers, nothing is broken, nothing was logged as a failure."""
    for path in ("/healthz", "/streams", "/streams/state", "/streams/sessions", "/streams/sessions/history"):
        assert httpx.get(process.url + path, trust_env=False).status_code == 200, path
    failures = [line for line in process.log if '"level":"error"' in line.replace(" ", "")]
    assert failures == []
