"""A whole broker that speaks TLS: for browsers and scripts, for consoles and verbs, for agents; and who trusts it."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.asyncio.client import connect

from app.agent.options import AgentOptions
from app.cli import main
from app.client.api import BrokerClient
from app.client.calls import ApiError
from app.client.feed import FeedClient
from app.client.snapshot import read_board
from app.contract import Diff, FeedMessage, Snapshot
from tests.fakes.broker import BrokerProcess, Brokers

AGENT_WITHIN = 40.0


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A certificate for the name by which other machines call the broker, and its authority."""
    ca = trustme.CA()
    issued = ca.issue_cert("show.local")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    ca.cert_pem.write_to_path(str(paths["ca"]))
    paths["cert"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    return paths


@pytest.fixture
def running(brokers: Brokers, files: dict[str, Path]) -> BrokerProcess:
    return brokers.start(f"--tls-cert={files['cert']}", f"--tls-key={files['key']}", "--allow-hosts=show.local")


async def test_every_way_in_is_encrypted_and_tells_so(running: BrokerProcess, files: dict[str, Path]) -> None:
    assert running.url.startswith("https://127.0.0.1:")
    assert (running.data_dir / "broker.json").read_text().count(running.url) == 1
    context = ssl.create_default_context(cafile=str(files["ca"]))
    port = int(running.url.rpartition(":")[2])
    async with httpx.AsyncClient(verify=context, trust_env=False) as browser:
        answer = await browser.get(
            f"{running.url}/healthz", headers={"Host": "show.local"}, extensions={"sni_hostname": "show.local"}
        )
        assert answer.json()["status"] == "ok"
    feed = f"wss://show.local:{port}/console/v1/feed?token={running.token}"
    async with connect(feed, host="127.0.0.1", ssl=context, proxy=None) as socket:
        assert b"hello" in (await socket.recv(decode=False))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"HTTP/1.1" not in await reader.read()
    writer.close()


async def test_programs_of_the_same_account_trust_the_very_certificate(
    running: BrokerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CALLBOARD_CA", raising=False)
    code = await asyncio.to_thread(main, ["--data-dir", str(running.data_dir), "drain", "nobody"])
    assert (code, capsys.readouterr().err) == (1, "callboard: There is no agent 'nobody'.\n")
    monkeypatch.setenv("CALLBOARD_CA", os.environ["CALLBOARD_CA"])
    assert (await read_board(running.url, running.token)).streams == {}


async def test_who_trusts_somebody_else_is_told_and_sends_nothing(
    running: BrokerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("CALLBOARD_CA", str(tmp_path / "other.pem"))
    async with BrokerClient(running.url, running.token) as client:
        with pytest.raises(ApiError, match="certificate"):
            await client.healthz()


async def test_an_agent_reaches_it_with_the_authority_that_it_was_given(
    running: BrokerProcess, files: dict[str, Path]
) -> None:
    options = AgentOptions(broker=running.url, platform="docker", agent_id="rack-1", ca=files["ca"]).checked()
    key = (running.data_dir / "agent.key").read_text().strip()
    headers = {"X-Agent-API-Key": key}
    async with connect(options.control_url(), ssl=options.tls(), additional_headers=headers, proxy=None) as socket:
        await socket.send('{"type":"register","agent_id":"rack-1","platform":"docker","capacity":{"max_sessions":1}}')
        assert b"register_ack" in await socket.recv(decode=False)


async def test_the_machines_own_agent_registers_over_tls(
    brokers: Brokers, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = brokers.start(
        f"--tls-cert={files['cert']}", f"--tls-key={files['key']}", environ={"CALLBOARD_LOCAL_AGENT": "auto"}
    )
    monkeypatch.setenv("CALLBOARD_CA", str(process.data_dir / "broker.crt"))
    registered = asyncio.Event()

    def heard(message: FeedMessage) -> None:
        rows = message.rows.get("agent", []) if isinstance(message, Snapshot) else []
        changes = message.events if isinstance(message, Diff) else []
        if rows or any(event.kind == "agent.changed" for event in changes):
            registered.set()

    feed = asyncio.ensure_future(FeedClient(process.url, process.token, heard, lambda _link: None).run())
    async with asyncio.timeout(AGENT_WITHIN):
        await registered.wait()
    feed.cancel()
    await asyncio.wait({feed})
    (agent,) = (await read_board(process.url, process.token)).agents.values()
    assert (agent.platform, agent.status) == ("local", "online")
    assert await asyncio.to_thread(process.terminate) == 0


@pytest.mark.parametrize("wrong", ["missing", "mismatch"])
def test_a_certificate_that_cannot_serve_is_one_line_and_exit_2(
    brokers: Brokers, files: dict[str, Path], tmp_path: Path, wrong: str
) -> None:
    key = tmp_path / "other.pem"
    if wrong == "mismatch":
        trustme.CA().issue_cert("show.local").private_key_pem.write_to_path(str(key))
    process = brokers.make(f"--tls-cert={files['cert']}", f"--tls-key={key}")
    process.launch()
    assert process.wait() == 2
    assert process.read_line(1) == ""
    (line,) = process.log
    assert ("cannot be read" if wrong == "missing" else "is not the key of the certificate") in line
