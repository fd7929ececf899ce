"""The document's two shell scripts against a real broker process, and what the dialect is within a whole broker.

The scripts stand in ``seed_001`` word for word; base address, password and token are all that is put into them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.server.fleet.state import Edit
from tests.fakes.broker import BrokerProcess, Brokers, RunningBroker, running_broker
from tests.fakes.streamspace import ScriptedAgent, dialled

SCRIPTS = Path(__file__).parent / "seed_001"
BASE = "https://streamspace.example.com"
PASSWORD = "correct-horse"
WITHIN = 120.0


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker without an agent of its own, with the user of the document's examples."""
    brokers = Brokers(tmp_path_factory.mktemp("scripts") / "data")
    try:
        broker = brokers.start("--local-agent=off", environ={"CALLBOARD_ADMIN_PASSWORD": PASSWORD})
        add_john(broker)
        yield broker
        assert broker.terminate() == 0
    finally:
        brokers.end()


def add_john(broker: BrokerProcess) -> None:
    """The user of the document's examples."""
    wanted = {"username": "john.doe", "email": "john.doe@example.com", "password": PASSWORD, "role": "user"}
    headers = {"Authorization": f"Bearer {broker.token}"}
    answer = httpx.post(f"{broker.url}/api/v1/users", json=wanted, headers=headers, trust_env=False)
    assert answer.status_code == 201


async def login(broker: BrokerProcess) -> str:
    """An administrator's token."""
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as client:
        answer = await client.post("/api/v1/auth/login", json={"username": "admin", "password": PASSWORD})
        return str(answer.json()["token"])


@asynccontextmanager
async def script(name: str, broker: BrokerProcess, token: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    """One of the scripts, running in bash; nothing of it is left after the block."""
    text = (SCRIPTS / name).read_text().replace(BASE, broker.url)
    text = text.replace('"password":"password"', f'"password":"{PASSWORD}"').replace("your-jwt-token", token)
    environ = {**os.environ, "TERM": "dumb", "NO_PROXY": "*", "no_proxy": "*"}
    child = await asyncio.create_subprocess_exec(
        "bash", "-c", text, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
        await child.communicate()


def objects(text: str) -> list[dict[str, object]]:
    """The JSON objects within a script's output."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


async def run_lifecycle(broker: BrokerProcess) -> str:
    """What the whole script writes, which must be what the document promises."""
    async with script("lifecycle.sh", broker) as child, asyncio.timeout(WITHIN):
        out, err = await child.communicate()
    text = out.decode()
    assert child.returncode == 0, (text, err)
    assert "Logged in. Token: eyJ" in text
    assert {"name": "firefox-browser", "display_name": "Firefox Web Browser", "category": "Web Browsers"} in objects(
        text
    )
    session_id = text.split("Session created: ")[1].splitlines()[0]
    assert "Session is running!" in text
    assert f"VNC URL: {broker.url}/vnc-viewer/{session_id}\n" in text
    hibernated, woken, goodbye = objects(text)[-3:]
    assert hibernated["state"] == "hibernated"
    assert hibernated["status"] == {"phase": "Hibernated", "message": "Session hibernated successfully"}
    assert woken["state"] == "running"
    assert goodbye == {"message": "Logout successful"}
    assert "Session terminated\n" in text
    assert text.endswith("\\nLogged out\n")
    assert '"error"' not in text
    return session_id


async def test_ss_43_the_lifecycle_script(process: BrokerProcess) -> None:
    key = (process.data_dir / "agent.key").read_text().strip()
    async with dialled(process.url, key, ScriptedAgent()) as agent:
        session_id = await run_lifecycle(process)
        stop = await agent.until_command("stop_session")
    kinds = [command["command_type"] for command in agent.commands]
    assert kinds == ["start_session", "hibernate_session", "wake_session", "stop_session"]
    assert {command["session_id"] for command in agent.commands} == {session_id}
    assert stop["data"]["graceful"] is True


async def test_ss_43_the_lifecycle_script_on_a_desktop_that_really_runs(brokers: Brokers, tmp_path: Path) -> None:
    """The broker's own agent with Xvnc; a terminal stands in for the browser, which few test machines have."""
    firefox = tmp_path / "bin" / "firefox"
    firefox.parent.mkdir()
    firefox.write_text("#!/bin/sh\nexec xterm\n")
    firefox.chmod(firefox.stat().st_mode | stat.S_IXUSR)
    environ = {"CALLBOARD_ADMIN_PASSWORD": PASSWORD, "PATH": f"{firefox.parent}{os.pathsep}{os.environ['PATH']}"}
    broker = brokers.start("--local-agent=auto", environ=environ)
    add_john(broker)
    headers = {"Authorization": f"Bearer {broker.token}"}
    async with httpx.AsyncClient(base_url=broker.url, headers=headers, trust_env=False) as client:
        async with asyncio.timeout(40):
            while (await client.get("/api/v1/agents/stats")).json()["online_agents"] == 0:
                await asyncio.sleep(0.7)  # within the limit of 100 a minute
        session_id = await run_lifecycle(broker)
        async with asyncio.timeout(40):
            while (body := (await client.get(f"/api/v1/sessions/{session_id}")).json())["state"] != "terminated":
                await asyncio.sleep(0.7)
    assert (body["platform"], body["status"]["phase"]) == ("local", "Terminated")
    assert broker.terminate() == 0


async def test_ss_43_the_monitor_script(process: BrokerProcess) -> None:
    key, token = (process.data_dir / "agent.key").read_text().strip(), await login(process)
    async with (
        dialled(process.url, key, ScriptedAgent(capacity={"max_sessions": 100})) as agent,
        script("monitor.sh", process, token) as child,
        asyncio.timeout(60),
        httpx.AsyncClient(
            base_url=process.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as client,
    ):
        first = await dashboard(child)
        changed = await client.patch(f"/api/v1/agents/{agent.agent_id}", json={"status": "draining"})
        assert changed.status_code == 200
        second = await dashboard(child)
    assert first[:9] == [
        "StreamSpace Agent Health Dashboard",
        "==================================",
        "",
        "Total Agents: 1",
        "Online: 1",
        "Offline: 0",
        "Draining: 0",
        "",
        "Utilization: 0%",
    ]
    assert first[9] == "Sessions: 0 / 100"
    assert first[-1] == "k8s-prod-us-east-1 (kubernetes) - online - Sessions: 0/100"
    assert second[4:7] == ["Online: 0", "Offline: 0", "Draining: 1"]
    assert second[-1] == "k8s-prod-us-east-1 (kubernetes) - draining - Sessions: 0/100"


async def dashboard(child: asyncio.subprocess.Process) -> list[str]:
    """The lines of the monitor's next picture."""
    lines: list[str] = []
    stream = child.stdout
    assert stream is not None
    while not lines or " - Sessions: " not in lines[-1]:
        text = (await stream.readline()).decode().rstrip("\n")
        if lines or "StreamSpace Agent Health Dashboard" in text:
            lines.append(text[-34:] if not lines else text)
    return lines


async def test_whoami(broker: RunningBroker) -> None:
    users, tokens = broker.broker.logins.users, broker.broker.logins.tokens
    admin = users.get("admin")
    kim = await users.create("kim", "kim@example.com", PASSWORD, "user")
    assert admin is not None
    for token, expected in (
        (broker.token, {"kind": "console", "username": "Ada", "role": "admin"}),
        (tokens.issue(admin)[0], {"kind": "user", "username": "admin", "role": "admin"}),
    ):
        headers = {"Authorization": f"Bearer {token}", "X-Callboard-Operator": "Ada"}
        async with broker.client(console=False) as client:
            answer = await client.get("/console/v1/whoami", headers=headers)
            assert (answer.status_code, answer.json()) == (200, expected)
    async with broker.client(console=False) as client:
        headers = {"Authorization": f"Bearer {tokens.issue(kim)[0]}"}
        assert (await client.get("/console/v1/whoami", headers=headers)).status_code == 401
        assert (await client.get("/console/v1/whoami")).status_code == 401


async def test_ended_sessions_are_kept_as_long_as_the_setting_says(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "data", purge_after="1m30s") as broker, broker.client() as client:
        fleet, key = broker.broker.fleet, (tmp_path / "data" / "agent.key").read_text().strip()

        async def ended(ago: float) -> str:
            wanted = {"user": "admin", "template": "firefox-browser", "state": "hibernated"}
            made = (await client.post("/api/v1/sessions", json={**wanted, "persistent_home": False})).json()
            session_id = str(made["id"])
            assert (await client.delete(f"/api/v1/sessions/{session_id}")).status_code == 204
            at = fleet.desktops[session_id].ended_at
            assert at is not None
            await fleet._state.change_desktop(session_id, lambda _row: Edit({"ended_at": at - ago}))
            return session_id

        async with dialled(broker.url, key, ScriptedAgent()):
            ids = [await ended(95.0), await ended(60.0)]
        fleet._next_purge = 0.0
        await fleet.upkeep()
        answers = [(await client.get(f"/api/v1/sessions/{one}")).status_code for one in ids]
        assert answers == [404, 200]


async def test_all_dialects_of_the_port_are_one_document(broker: RunningBroker) -> None:
    async with broker.client(console=False) as client:
        document = (await client.get("/openapi.json")).json()
    assert {"/streams", "/api/v1/sessions", "/vnc-viewer/{session_id}", "/console/v1/whoami"} <= set(document["paths"])
    assert {"Stream", "StreamSpaceSession"} <= set(document["components"]["schemas"])
    assert "StreamSpaceToken" in document["components"]["securitySchemes"]
