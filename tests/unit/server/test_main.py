"""The broker as a process: start, readiness line, errors, stop, kill."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from app.contract import NEGOTIATION_TIMEOUT
from app.paths import BrokerInfo, DataFolder
from tests.fakes.broker import ROOT, BrokerProcess, Brokers
from tests.fakes.ports import free_ports

STREAM = {
    "name": "Camera A", "stream_type": "ndi", "publisher_id": "td-01", "protocol": "ndi",
    "address": "192.168.1.50", "port": 5960,
}  # fmt: skip


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=10)


def post(url: str, **body: Any) -> httpx.Response:
    return httpx.post(url, json=body or None, trust_env=False, timeout=10)


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def last_line(process: BrokerProcess) -> str:
    return process.log[-1].strip() if process.log else ""


def test_one_line_on_standard_output_and_nothing_else_ever(brokers: Brokers) -> None:
    process = brokers.start("--log-level", "debug")
    assert process.line["ready"] is True
    assert process.line["pid"] == process.pid
    assert list(process.line) == ["ready", "pid", "main", "nats"]
    assert get(f"{process.url}/healthz").status_code == 200
    assert process.terminate() == 0
    assert process.read_line(1) == ""
    for line in process.log:
        json.loads(line)


def test_what_the_data_folder_tells_while_it_runs(broker_process: BrokerProcess) -> None:
    folder = DataFolder(broker_process.data_dir)
    info = msgspec.json.decode(folder.broker.read_bytes(), type=BrokerInfo)
    assert info.pid == broker_process.pid
    assert info.started_at == psutil.Process(info.pid).create_time()
    assert info.urls == {name: broker_process.line[name] for name in ("main", "nats")}
    for file in (folder.broker, folder.token, folder.nats / "nats-server.conf", folder.journal, folder.database):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert broker_process.terminate() == 0
    assert not folder.broker.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_its_children(broker_process: BrokerProcess, number: int) -> None:
    family = children_of(broker_process.pid)
    assert [process.name() for process in family] == ["nats-server"]
    stream = post(f"{broker_process.url}/streams/advertise", **STREAM).json()
    begun = time.monotonic()
    broker_process.process.send_signal(number)
    broker_process.process.send_signal(number)
    assert broker_process.wait() == 0
    assert time.monotonic() - begun < 10
    psutil.wait_procs(family, 2)
    assert [process for process in family if process.is_running()] == []
    assert not any('"level":"error"' in line for line in broker_process.log)
    again = BrokerProcess(broker_process.data_dir).start()
    try:
        assert get(f"{again.url}/streams/{stream['id']}").json()["id"] == stream["id"]
    finally:
        again.end()


def test_a_console_may_stop_it(broker_process: BrokerProcess) -> None:
    headers = {"Authorization": f"Bearer {broker_process.token}"}
    answer = httpx.post(f"{broker_process.url}/console/v1/stop", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()) == (202, {"stopping": True})
    assert broker_process.wait() == 0


def test_killed_on_fixed_ports_it_is_ready_again_in_one_try(brokers: Brokers) -> None:
    port, nats_port = free_ports(2)
    options = (f"--port={port}", f"--nats-port={nats_port}")
    first = brokers.start(*options)
    stream = post(f"{first.url}/streams/advertise", **STREAM).json()
    family = children_of(first.pid)
    with httpx.Client(base_url=first.url, trust_env=False) as kept:
        kept.get("/streams")
        first.kill()
        second = brokers.start(*options)
    assert (second.url, second.nats_url) == (first.url, first.nats_url)
    assert get(f"{second.url}/streams/{stream['id']}").status_code == 200
    psutil.wait_procs(family, 5)
    assert [process for process in family if process.is_running()] == []
    assert second.terminate() == 0


def test_a_second_broker_on_the_folder_is_refused(broker_process: BrokerProcess, brokers: Brokers) -> None:
    second = brokers.make()
    second.launch()
    assert second.wait() == 3
    assert second.read_line(1) == ""
    assert f"process {broker_process.pid}" in last_line(second)
    assert get(f"{broker_process.url}/healthz").status_code == 200


@pytest.mark.parametrize("setting", ["port", "nats-port"])
def test_a_port_in_use_is_told_with_its_setting(brokers: Brokers, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = brokers.make(f"--{setting}={port}")
        process.launch()
        assert process.wait() == 3
    assert last_line(process) == f"callboard: Port {port} is in use on 127.0.0.1; --{setting} chooses another."
    assert not (process.data_dir / "broker.json").exists()
    assert brokers.start().terminate() == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--port=none",), "'none' is not a port number"),
        (("--redis-url=redis://x",), "not part of this version yet"),
        (("--tls-cert=x.pem",), "TLS needs tls_key as well"),
        (("--tls-cert=x.pem", "--tls-key=x.pem"), "x.pem cannot be read"),
        (("--host=0.0.0.0",), "--allow-networks"),
        (("--host=203.0.113.7", "--allow-networks=10.0.0.0/8"), "cannot listen"),
        (("--log-level=loud",), "is not one of"),
    ],
)
def test_a_configuration_error_is_one_line_and_exit_2(brokers: Brokers, options: tuple[str, ...], says: str) -> None:
    process = brokers.make(*options)
    process.launch()
    assert process.wait() == 2
    assert process.read_line(1) == ""
    assert len(process.log) == 1
    assert says in process.log[0]


def test_the_data_folder_of_a_newer_version_is_refused(brokers: Brokers) -> None:
    process = brokers.make()
    process.data_dir.mkdir()
    (process.data_dir / "layout.json").write_text('{"layout": 99, "version": "9.9.9"}')
    process.launch()
    assert process.wait() == 2
    assert "9.9.9" in last_line(process)
    assert sorted(path.name for path in process.data_dir.iterdir()) == ["broker.lock", "layout.json", "logs", "nats"]


def test_the_token_may_come_on_standard_input(brokers: Brokers) -> None:
    token = "from-the-console-0123456789"
    process = brokers.start(environ={"CALLBOARD_TOKEN_STDIN": "1"}, stdin=f"{token}\n".encode())
    assert process.token == token
    assert token not in "".join(process.log)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{process.url}/console/v1/broker", headers=headers, trust_env=False).status_code == 200


def test_a_console_that_sends_no_token_is_told(brokers: Brokers) -> None:
    process = brokers.make(environ={"CALLBOARD_TOKEN_STDIN": "1"}, stdin=b"\n")
    process.launch()
    assert process.wait() == 2
    assert "is not a token" in last_line(process)


def test_settings_of_the_environment_and_of_a_file_hold(brokers: Brokers, tmp_path: Path) -> None:
    file = tmp_path / "callboard.toml"
    file.write_text('name = "Studio 4"\n')
    process = brokers.start(f"--config={file}", environ={"CALLBOARD_LOG_LEVEL": "debug"})
    headers = {"Authorization": f"Bearer {process.token}"}
    about = httpx.get(f"{process.url}/console/v1/broker", headers=headers, trust_env=False).json()
    assert about["name"] == "Studio 4"
    assert (about["pid"], about["data_dir"], about["urls"]["main"]) == (process.pid, str(process.data_dir), process.url)


def test_a_foreign_nats_server_that_is_away_does_not_keep_it_from_starting(brokers: Brokers) -> None:
    process = brokers.start(f"--nats-url=nats://me:s3cret@127.0.0.1:{free_ports(1)[0]}")
    assert "s3cret" not in json.dumps(process.line)
    assert children_of(process.pid) == []
    answer = get(f"{process.url}/healthz")
    assert answer.status_code == 503
    assert answer.json()["broken"] == ["nats"]
    stream = post(f"{process.url}/streams/advertise", **STREAM).json()
    begun = time.monotonic()
    asked = post(f"{process.url}/streams/{stream['id']}/request", consumer_id="c", consumer_address="a")
    assert asked.status_code == 502, "".join(process.log)
    assert time.monotonic() - begun < NEGOTIATION_TIMEOUT, "it waits for nobody"
    assert process.terminate() == 0
    assert "s3cret" not in "".join(process.log)


def test_it_lives_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "serve", "--port=0", "--nats-port=0", f"--data-dir={tmp_path / 'data'}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        url = json.loads(process.stdout.readline())["main"]
        process.stdout.close()
        process.stderr.close()
        refused = httpx.get(f"{url}/streams", headers={"Host": "evil.example"}, trust_env=False)
        healthy = get(f"{url}/healthz")
        process.terminate()
    assert refused.status_code == 403  # which it logs, to nobody
    assert healthy.status_code == 200
    assert process.returncode == 0


def test_the_broker_loads_no_window_toolkit(broker_process: BrokerProcess) -> None:
    files = [mapped.path for mapped in psutil.Process(broker_process.pid).memory_maps()]
    assert any("pydantic_core" in file for file in files)
    assert not any("PySide6" in file for file in files)
