"""One connection of an agent, without I/O: what frames and time lead to."""

from __future__ import annotations

from typing import Any

import pytest

from app.agent_protocol import (
    WINDOW,
    Capacity,
    CloseCode,
    Command,
    CommandAck,
    CommandResult,
    FromAgent,
    Heartbeat,
    Register,
    RegisterAck,
    ResultAck,
    encode,
)
from app.server.fleet.link import Acked, AgentLink, Close, Effect, Finished, Heard, Send, Sent, Stray
from app.server.storage.fleet import CommandRow

ACK = RegisterAck(agent_id="a", status="registered")
REGISTER = Register(agent_id="a", platform="local", capacity=Capacity(max_sessions=4))


def row(number: int, session: str | None = None, kind: str = "start_session") -> CommandRow:
    return CommandRow(
        id=f"cmd-{number}", agent_id="a", session_id=session or f"s{number}", command_type=kind, generation=2,
        created_at=float(number), updated_at=0.0,
    )  # fmt: skip


def opened(*rows: CommandRow, now: float = 0.0) -> tuple[AgentLink, list[Effect]]:
    link = AgentLink("a", "local", None, now)
    assert say(link, REGISTER, now) == [Heard(REGISTER)]
    return link, link.accept(ACK, list(rows), now)


def say(link: AgentLink, message: FromAgent, now: float = 0.0) -> list[Effect]:
    return link.receive(encode(message), now)


def done(command_id: str, **fields: Any) -> CommandResult:
    return CommandResult(**{"command_id": command_id, "status": "completed", **fields})


def sent(effects: list[Effect]) -> list[str]:
    return [one.message.command_id for one in effects if isinstance(one, Send) and isinstance(one.message, Command)]


def finish(link: AgentLink, command_id: str, now: float = 0.0) -> list[Effect]:
    assert say(link, done(command_id), now) == [Finished(command_id, done(command_id))]
    return link.settled(command_id, now, answer=True)


def test_the_documents_messages_are_taken() -> None:
    link = AgentLink("k8s-prod-us-east-1", "kubernetes", None, 0.0)
    register = """{"type": "register", "agent_id": "k8s-prod-us-east-1", "platform": "kubernetes", "region": "us-east-1",
      "capacity": {"max_cpu": 100, "max_memory": 256, "max_sessions": 100}, "metadata": {"is_leader": true}}"""
    (heard,) = link.receive(register, 0.0)
    assert isinstance(heard, Heard)
    assert link.accept(ACK, [], 0.0) == [Send(ACK)]
    beat = """{"type": "heartbeat", "agent_id": "k8s-prod-us-east-1", "timestamp": "2025-11-22T10:35:00Z",
      "capacity": {"current_sessions": 12}}"""
    (heard,) = link.receive(beat, 1.0)
    assert isinstance(heard, Heard)
    assert isinstance(heard.message, Heartbeat)


def test_a_field_that_is_null_is_one_that_is_not_there() -> None:
    link = AgentLink("a", "local", None, 0.0)
    register = """{"type": "register", "agent_id": "a", "platform": "local", "region": null, "capacity": null,
      "metadata": null}"""
    assert link.receive(register, 0.0) == [Heard(Register(agent_id="a", platform="local"))]
    link.accept(ACK, [row(1)], 0.0)
    result = """{"type": "command_result", "command_id": "cmd-1", "status": "completed", "result": {"pod_ip": null},
      "error": null, "error_code": null}"""
    assert link.receive(result, 1.0) == [Finished("cmd-1", done("cmd-1", result={"pod_ip": None}))]
    assert link.receive('{"type": "heartbeat", "agent_id": null}', 2.0) == []
    assert link.bad == 1


def test_no_register_within_ten_seconds() -> None:
    link = AgentLink("a", "local", None, 100.0)
    say(link, Heartbeat(agent_id="a"), 105.0)
    assert link.tick(109.9) == []
    assert link.tick(110.0) == [Close(CloseCode.NOT_REGISTERED, "no register within 10 s")]
    assert link.tick(111.0) == []


@pytest.mark.parametrize(
    "message", [Register(agent_id="b", platform="local"), Register(agent_id="a", platform="docker")]
)
def test_a_register_that_differs_from_the_address(message: Register) -> None:
    (close,) = say(AgentLink("a", "local", None, 0.0), message)
    assert isinstance(close, Close)
    assert close.code == CloseCode.BAD_REGISTER


@pytest.mark.parametrize("frame", ['{"type": "register"}', '{"type": "register", "agent_id": 7, "platform": "local"}'])
def test_a_register_that_does_not_fit(frame: str) -> None:
    (close,) = AgentLink("a", "local", None, 0.0).receive(frame, 0.0)
    assert isinstance(close, Close)
    assert close.code == CloseCode.BAD_REGISTER


@pytest.mark.parametrize("frame", ["{", "[]", "7", '"register"', "\x00", '{"type": "heartbeat", "agent_id": []}'])
def test_ten_frames_that_are_no_messages(frame: str) -> None:
    link, _ = opened()
    for _ in range(9):
        assert link.receive(frame, 0.0) == []
    (close,) = link.receive(frame, 0.0)
    assert isinstance(close, Close)
    assert link.receive(encode(Heartbeat(agent_id="a")), 0.0) == []


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xfe",
        b'{"type": "heartbeat", "agent_id": "\xff"}',
        '{"type": "vnc_ready", "x": ' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"type": "command_result", "command_id": "c", "status": "completed", "result": {"x": '
        + "[" * 20_000 + "]" * 20_000 + "}}",
    ],
    ids=["no text", "no text within", "too deep", "too deep within"],
)  # fmt: skip
def test_what_no_decoder_reads_is_a_bad_frame(frame: bytes | str) -> None:
    link, _ = opened()
    assert link.receive(frame, 0.0) == []
    assert link.bad == 1
    fresh = AgentLink("a", "local", None, 0.0)
    assert fresh.receive(frame, 0.0) == []


@pytest.mark.parametrize("kind", ['"vnc_ready"', "null", "7", "[]", '{"a": 1}'])
def test_types_that_nobody_knows_are_counted(kind: str) -> None:
    link, _ = opened()
    for _ in range(50):
        assert link.receive(f'{{"type": {kind}, "x": 1}}', 0.0) == []
    assert (link.unknown, link.bad) == (50, 0)


def test_three_missed_heartbeats() -> None:
    link, _ = opened()
    say(link, Heartbeat(agent_id="a"), 10.0)
    assert link.tick(39.9) == []
    assert link.tick(40.0) == [Close(CloseCode.HEARTBEAT_LOST, "no heartbeat for 30 s")]


def test_any_frame_is_a_sign_of_life() -> None:
    link, _ = opened()
    link.receive('{"type": "who knows"}', 20.0)
    link.alive(45.0)
    assert link.tick(74.9) == []
    assert link.tick(75.0) != []


def test_eight_are_under_way_at_once_in_order() -> None:
    rows = [row(number) for number in range(20)]
    link, effects = opened(*rows)
    assert effects[0] == Send(ACK)
    assert sent(effects) == [f"cmd-{number}" for number in range(WINDOW)]
    assert sent(say(link, CommandAck(command_id="cmd-3"))) == []
    assert sent(finish(link, "cmd-3")) == ["cmd-8"]
    assert sent(finish(link, "cmd-0")) == ["cmd-9"]
    assert link.waiting == 18


def test_the_place_is_free_when_the_result_is_durable_and_not_before() -> None:
    link, _ = opened(*(row(number) for number in range(9)))
    assert say(link, done("cmd-0")) == [Finished("cmd-0", done("cmd-0"))]
    assert say(link, done("cmd-0")) == []
    effects = link.settled("cmd-0", 0.0, answer=True)
    assert effects[0] == Send(ResultAck(command_id="cmd-0"))
    assert sent(effects) == ["cmd-8"]


def test_one_of_each_session() -> None:
    link, effects = opened(row(1, "x"), row(2, "x", "hibernate_session"), row(3, "y"))
    assert sent(effects) == ["cmd-1", "cmd-3"]
    assert sent(link.submit(row(4, "x", "stop_session"), 0.0)) == []
    assert sent(finish(link, "cmd-1")) == ["cmd-2"]
    assert sent(finish(link, "cmd-2")) == ["cmd-4"]


def test_what_is_taken_back_makes_room_for_what_waits_behind() -> None:
    link, _ = opened(row(1, "x"), row(2, "x"), row(3, "x"))
    assert sent(link.settled("cmd-2", 0.0, answer=False)) == []
    assert sent(finish(link, "cmd-1")) == ["cmd-3"]
    assert link.settled("cmd-never", 0.0, answer=False) == []


def test_an_acknowledgement_that_does_not_come() -> None:
    link, _ = opened(row(1))
    for attempt in (2, 3, 4):
        now = (attempt - 1) * 10.0
        link.alive(now)
        assert link.tick(now - 0.1) == []
        effects = link.tick(now)
        assert effects[0] == Sent("cmd-1", attempt)
        assert sent(effects) == ["cmd-1"]
    link.alive(40.0)
    (ended,) = link.tick(40.0)
    assert isinstance(ended, Finished)
    assert (ended.result, ended.code) == (None, "NO_ACK")
    assert link.tick(41.0) == []
    assert link.settled("cmd-1", 41.0, answer=False) == []
    assert link.waiting == 0


@pytest.mark.parametrize(
    ("kind", "within"),
    [("start_session", 180), ("wake_session", 180), ("hibernate_session", 60), ("stop_session", 60)],
)
def test_a_result_that_does_not_come(kind: str, within: int) -> None:
    link, _ = opened(row(1, kind=kind))
    assert say(link, CommandAck(command_id="cmd-1"), 5.0) == [Acked("cmd-1")]
    assert say(link, CommandAck(command_id="cmd-1"), 6.0) == []
    link.alive(5.0 + within)
    assert link.tick(4.9 + within) == []
    (ended,) = link.tick(5.0 + within)
    assert isinstance(ended, Finished)
    assert (ended.result, ended.code) == (None, "NO_RESULT")


def test_a_result_stands_for_its_acknowledgement() -> None:
    link, _ = opened(row(1))
    assert say(link, done("cmd-1")) == [Finished("cmd-1", done("cmd-1"))]


def test_results_and_acknowledgements_of_commands_that_nobody_sent() -> None:
    link, _ = opened()
    assert say(link, done("cmd-x")) == [Stray(done("cmd-x"))]
    assert link.settled("cmd-x", 0.0, answer=True) == [Send(ResultAck(command_id="cmd-x"))]
    assert say(link, CommandAck(command_id="cmd-x")) == []


def test_a_result_from_before_this_connection_counts_before_its_command_went_out_again() -> None:
    link, effects = opened(*(row(number) for number in range(10)))
    assert "cmd-9" not in sent(effects)
    assert say(link, done("cmd-9")) == [Finished("cmd-9", done("cmd-9"))]
    link.settled("cmd-9", 0.0, answer=True)
    for number in range(9):
        assert "cmd-9" not in sent(finish(link, f"cmd-{number}"))


def test_a_standby_gets_nothing_until_it_is_taken() -> None:
    link = AgentLink("a", "local", None, 0.0)
    say(link, REGISTER)
    ack = RegisterAck(agent_id="a", status="standby")
    assert link.park(ack) == [Send(ack)]
    assert link.submit(row(1), 0.0) == []
    assert link.tick(29.0) == []
    assert sent(link.accept(ACK, [row(1)], 29.0)) == ["cmd-1"]


def test_registering_again_sends_only_what_is_new() -> None:
    link, _ = opened(row(1))
    assert say(link, REGISTER) == [Heard(REGISTER)]
    assert sent(link.accept(ACK, [row(1), row(2)], 0.0)) == ["cmd-2"]


def test_a_command_says_how_often_and_of_which_generation() -> None:
    _link, effects = opened(row(1))
    command = next(one.message for one in effects if isinstance(one, Send) and isinstance(one.message, Command))
    assert (command.attempt, command.generation, command.session_id) == (1, 2, "s1")


def test_after_the_close_nothing_happens() -> None:
    link, _ = opened(row(1))
    assert link.close(CloseCode.REPLACED, "x") == [Close(CloseCode.REPLACED, "x")]
    assert link.close(CloseCode.REPLACED, "x") == []
    assert say(link, done("cmd-1")) == []
    assert link.submit(row(2), 0.0) == []
    assert link.tick(1000.0) == []
    assert link.settled("cmd-1", 0.0, answer=True) == []
