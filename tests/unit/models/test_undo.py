"""What can be taken back: order, merging, retry, and what is never there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from app.models.undo import MOST_ACTS, UndoStack
from tests.fakes.board import Clock

Log = list[str]


def step(log: Log, word: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        log.append(word)

    return run


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stack(clock: Clock) -> UndoStack:
    return UndoStack(monotonic=clock)


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


async def test_quick_repeats_are_one_act_that_is_undone_backwards(stack: UndoStack, clock: Clock) -> None:
    log: Log = []
    stack.push("kick a", step(log, "a"), merge="kick", ids=("a",))
    clock.now += 3
    stack.push("kick b", step(log, "b"), merge="kick", ids=("b",))
    clock.now += 3.1
    stack.push("kick c", step(log, "c"), merge="kick", ids=("c",))
    stack.push("take d", step(log, "d"), merge="take")
    labels = []
    while (act := stack.pop_undo()) is not None:
        labels.append(act.label)
        await act.run()
    assert labels == ["take d", "kick c", "kick a and 1 more"]
    assert log == ["d", "c", "b", "a"]


async def test_acts_without_a_merge_word_stay_apart(stack: UndoStack) -> None:
    stack.push("one", step([], "one"))
    stack.push("one", step([], "one"))
    stack.pop_undo()
    assert stack.next_undo is not None


async def test_what_worked_is_not_run_again_when_the_rest_is_tried_again(stack: UndoStack) -> None:
    log: Log = []
    answers = iter([False, True])

    async def flaky() -> None:
        if not next(answers):
            raise OSError("no answer")
        log.append("a")

    stack.push("kick a", flaky, merge="kick")
    stack.push("kick b", step(log, "b"), merge="kick")
    act = stack.pop_undo()
    assert act is not None
    with pytest.raises(OSError, match="no answer"):
        await act.run()
    stack.put_back(act)
    again = stack.pop_undo()
    assert again is act
    await again.run()
    assert log == ["b", "a"]


async def test_redo_is_offered_until_the_next_new_act(stack: UndoStack) -> None:
    log: Log = []
    stack.push("take a", step(log, "undo a"), redo=step(log, "redo a"))
    act = stack.pop_undo()
    assert act is not None
    await act.run()
    stack.undone(act)
    assert stack.next_redo is act
    again = stack.pop_redo()
    assert again is not None
    await again.rerun()
    assert log == ["undo a", "redo a"]
    stack.undone(act)
    stack.push("take b", step(log, "undo b"))
    assert stack.next_redo is None


def test_an_act_that_cannot_be_redone_is_not_offered(stack: UndoStack) -> None:
    act = stack.push("kick", step([], "x"))
    assert stack.pop_undo() is act
    stack.undone(act)
    assert stack.next_redo is None


def test_one_act_can_be_taken_out_once(stack: UndoStack) -> None:
    first = stack.push("a", step([], "a"))
    stack.push("b", step([], "b"))
    assert stack.take(first)
    assert not stack.take(first)
    assert stack.next_undo is not None
    assert stack.next_undo.label == "b"


def test_acts_on_an_object_can_be_forgotten(stack: UndoStack) -> None:
    stack.push("a", step([], "a"), ids=("cam",))
    stack.push("b", step([], "b"), ids=("mic",))
    stack.forget("mic")
    assert stack.next_undo is not None
    assert stack.next_undo.label == "a"


def test_the_stack_is_bounded(stack: UndoStack) -> None:
    for number in range(MOST_ACTS + 20):
        stack.push(f"{number}", step([], ""))
    count = 0
    while stack.pop_undo() is not None:
        count += 1
    assert count == MOST_ACTS
