"""Questions to agents and their answers, matched by request id: logs and pictures.

Called by ``logs.py`` and ``thumbnails.py``; ``roster.py`` hands in what agents answer and says which connection has ended.
Each question knows how long it waits, and how much of an answer it keeps.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from app.agent_protocol import LogsData, ThumbnailData, ToAgent

if TYPE_CHECKING:
    from app.server.fleet.connection import AgentConnection

Answer = LogsData | ThumbnailData
MOST_WAITING = 1000
"""Answers of one question that nobody has taken; the oldest goes first, and is counted."""


class Question:
    """One question under way; ``next`` gives its answers in order."""

    def __init__(self, connection: AgentConnection) -> None:
        self.id = f"req-{secrets.token_hex(8)}"
        self.connection = connection
        self.dropped = 0
        self._answers: deque[Answer] = deque()
        self._over = False
        self._news = asyncio.Event()

    async def next(self, timeout: float | None) -> Answer | None:
        """The next answer; None when the connection has ended. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while not self._answers:
                if self._over:
                    return None
                self._news.clear()
                await self._news.wait()
        return self._answers.popleft()

    def put(self, answer: Answer) -> None:
        """An answer came."""
        if len(self._answers) >= MOST_WAITING:
            self._answers.popleft()
            self.dropped += 1
        self._answers.append(answer)
        self._news.set()

    def end(self) -> None:
        """No more will come."""
        self._over = True
        self._news.set()


class Questions:
    """All of them."""

    def __init__(self) -> None:
        self._open: dict[str, Question] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, connection: AgentConnection) -> Question:
        """A question to the agent at the other end; to be given to ``close`` when nobody listens any more."""
        question = Question(connection)
        self._open[question.id] = question
        return question

    def close(self, question: Question) -> None:
        """Nobody listens to the answers any more."""
        self._open.pop(question.id, None)

    def answered(self, connection: AgentConnection, message: Answer) -> None:
        """An agent answers; only what it was asked itself counts."""
        question = self._open.get(message.request_id)
        if question is not None and question.connection is connection:
            question.put(message)

    def lost(self, connection: AgentConnection) -> None:
        """The connection has ended, and with it its answers."""
        for question in [each for each in self._open.values() if each.connection is connection]:
            question.end()


def request(kind: Any, question: Question, session_id: str, **fields: Any) -> ToAgent:
    """The message of a question."""
    message: ToAgent = kind(request_id=question.id, session_id=session_id, **fields)
    return message
