"""Rows against the document's own examples: the same fields in the same order, with the same kinds of values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from app.contract import AgentRow, DesktopRow, TemplateRow, UserRow
from app.server.dialects.streamspace import answers, rows
from app.server.storage.people import AgentKeyRow

FILE = Path(__file__).resolve().parents[4] / "contract" / "seed_001" / "examples.json"
SEED: dict[str, Any] = json.loads(FILE.read_text())
NOW = 1763808300.5
SESSION = "770e8400-e29b-41d4-a716-446655440002"


def shape(value: Any) -> Any:
    """Keys in order and kinds of values."""
    if isinstance(value, dict):
        return [(key, shape(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def agent(**fields: Any) -> AgentRow:
    values: dict[str, Any] = {
        "id": "k8s-prod-us-east-1",
        "uuid": "550e8400-e29b-41d4-a716-446655440000",
        "platform": "kubernetes",
        "region": "us-east-1",
        "status": "online",
        "max_cpu": 100.0,
        "max_memory": 256.0,
        "max_sessions": 100,
        "sessions": 12,
        "metadata": SEED["agents"]["agents"][0]["metadata"],
        "connection_id": "conn-abc123",
        "last_heartbeat": NOW,
        "registered_at": NOW,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return AgentRow(**values | fields)


def desktop(**fields: Any) -> DesktopRow:
    values: dict[str, Any] = {
        "id": SESSION,
        "name": "john-doe-firefox-browser-abc123",
        "user": "john.doe",
        "template": "firefox-browser",
        "platform": "kubernetes",
        "agent_id": "k8s-prod-us-east-1",
        "state": "running",
        "phase": "Running",
        "message": "Session is running",
        "resources": {"memory": "2Gi", "cpu": "1000m"},
        "idle_timeout": "30m",
        "tags": ["project-alpha"],
        "pod_ip": "10.42.1.5",
        "pod_name": "john-doe-firefox-browser-abc123-7c8f9d6b5",
        "container_id": "abc123def456",
        "platform_metadata": SEED["session"]["platform_metadata"],
        "started_at": NOW,
        "created_at": NOW,
        "updated_at": NOW,
        "last_activity": NOW,
    }
    return DesktopRow(**values | fields)


def template(**fields: Any) -> TemplateRow:
    seed = {key: value for key, value in SEED["template"].items() if key not in ("created_at", "updated_at")}
    return TemplateRow(**{**seed, "created_at": NOW, "updated_at": NOW} | fields)


def user(**fields: Any) -> UserRow:
    values: dict[str, Any] = {"id": "u", "username": "admin", "email": "a@example.com", "role": "admin"}
    return UserRow(**values | {"created_at": NOW, "last_login": NOW} | fields)


@pytest.mark.parametrize(
    ("shown", "example", "model"),
    [
        (rows.agent(agent()), SEED["agents"]["agents"][0], answers.Agent),
        (
            rows.agent(agent(max_cpu=None, max_memory=None, metadata=SEED["agents"]["agents"][1]["metadata"])),
            SEED["agents"]["agents"][1],
            answers.Agent,
        ),
        (
            rows.agent_details(agent(metadata=SEED["agent"]["metadata"]), [desktop()]),
            SEED["agent"],
            answers.AgentDetails,
        ),
        (rows.agent_changed(agent(status="draining")), SEED["agent_changed"], answers.AgentChanged),
        (
            rows.session_created(desktop(state="pending", phase="Pending", pod_ip=None, tags=["a"])),
            SEED["session_created"],
            answers.SessionCreated,
        ),
        (rows.session(desktop()), SEED["sessions"]["sessions"][0], answers.Session),
        (rows.session_details(desktop()), SEED["session"], answers.SessionDetails),
        (rows.session_changed(desktop(state="hibernated")), SEED["session_changed"], answers.SessionChanged),
        (rows.template(template()), SEED["templates"]["templates"][0], answers.Template),
        (rows.template_details(template()), SEED["template"], answers.TemplateDetails),
        (rows.login_user(user()), SEED["login"]["user"], answers.LoginUser),
        (rows.user(user()), SEED["users"]["users"][0], answers.User),
        (rows.user_created(user()), SEED["user_created"], answers.UserCreated),
    ],
)
def test_the_documents_examples(shown: Any, example: Any, model: type[BaseModel]) -> None:
    told = msgspec.json.decode(msgspec.json.encode(shown))
    assert shape(told) == shape(example)
    model.model_validate(told, strict=True)


@pytest.mark.parametrize(
    ("shown", "model"),
    [
        (rows.agent(agent(region=None, connection_id=None, last_heartbeat=None, max_cpu=1.5)), answers.Agent),
        (rows.session_details(DesktopRow(
            id="i", name="n", user="u", template="t", platform="local", agent_id=None, state="terminated",
            phase="Failed", message="no", error_code="NO", created_at=NOW, updated_at=NOW,
        )), answers.SessionDetails),
        (rows.template_saved(template(vnc={}, default_resources={}, environment={})), answers.TemplateSaved),
        (rows.user(user(last_login=None)), answers.User),
        (rows.agent_key(AgentKeyRow(id="k", name="n", key_hash="secret", created_at=NOW)), answers.AgentKey),
    ],
)  # fmt: skip
def test_rows_with_gaps_fit_their_models_too(shown: Any, model: type[BaseModel]) -> None:
    told = msgspec.json.decode(msgspec.json.encode(shown))
    checked = model.model_validate(told, strict=True)
    assert set(told) <= set(type(checked).model_fields)
    assert "secret" not in str(told)


def test_ss_8_a_whole_number_stays_one() -> None:
    assert rows.agent(agent())["capacity"] == {
        "max_cpu": 100,
        "max_memory": 256,
        "max_sessions": 100,
        "current_sessions": 12,
    }


def test_a_15_the_larger_count_is_shown() -> None:
    assert rows.agent(agent(sessions=3, reported_sessions=5))["capacity"]["current_sessions"] == 5
    assert rows.agent(agent(sessions=3, reported_sessions=1))["capacity"]["current_sessions"] == 3


def test_a_36_uptime_counts_from_the_registration_and_is_0_offline() -> None:
    assert rows.agent_details(agent(), [])["uptime_seconds"] > 0
    assert rows.agent_details(agent(status="offline"), [])["uptime_seconds"] == 0
    assert rows.agent_details(agent(registered_at=2e10), [])["uptime_seconds"] == 0


def test_ss_17_the_viewers_address_is_there_only_while_it_runs() -> None:
    assert rows.session(desktop())["status"]["vnc_url"] == f"/vnc-viewer/{SESSION}"
    for state in ("pending", "hibernated", "terminating", "terminated"):
        assert rows.session(desktop(state=state))["status"]["vnc_url"] is None


def test_a_9_a_failure_has_its_code_in_the_status() -> None:
    assert rows.session(desktop(error_code="NO_SPACE"))["status"]["error_code"] == "NO_SPACE"
    assert "error_code" not in rows.session(desktop())["status"]


def test_a_37_platforms_without_pods_have_the_fields_all_the_same() -> None:
    told = rows.session_details(desktop(platform_metadata={"display": ":7"}, pod_name=None))
    assert told["platform_metadata"] == {
        "namespace": "streamspace",
        "deployment_name": None,
        "service_name": None,
        "pvc_name": None,
        "display": ":7",
    }
