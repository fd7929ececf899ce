"""What can be taken back: order, retry, and what is not there any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from app.models.undo import MOST_ACTS, UndoStack

Log = list[str]


def step(log: Log, word: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        log.append(word)

    return run


@pytest.fixture
def stack() -> UndoStack:
    return UndoStack()


async def test_the_newest_act_is_undone_first(stack: UndoStack) -> None:
    log: Log = []
    stack.push("kick a", step(log, "a"))
    stack.push("kick b", step(log, "b"))
    assert stack.next_undo is not None
    assert stack.next_undo.label == "kick b"
    while (act := stack.pop_undo()) is not None:
        await act.run()
    assert log == ["b", "a"]
    assert stack.pop_undo() is None


async def test_what_could_not_be_taken_back_for_now_is_next_again(stack: UndoStack) -> None:
    first = stack.push("a", step([], "a"))
    stack.push("b", step([], "b"))
    assert stack.take(first)
    stack.put_back(first)
    assert stack.pop_undo() is first


def test_another_broker_has_nothing_to_undo(stack: UndoStack) -> None:
    stack.push("a", step([], "a"))
    stack.clear()
    assert stack.pop_undo() is None


def test_one_act_can_be_taken_out_once(stack: UndoStack) -> None:
    first = stack.push("a", step([], "a"))
    stack.push("b", step([], "b"))
    assert stack.take(first)
    assert not stack.take(first)
    assert stack.next_undo is not None
    assert stack.next_undo.label == "b"


def test_the_stack_is_bounded(stack: UndoStack) -> None:
    for number in range(MOST_ACTS + 20):
        stack.push(f"{number}", step([], ""))
    count = 0
    while stack.pop_undo() is not None:
        count += 1
    assert count == MOST_ACTS
