"""What a broker asks of an agent beside commands: logs, pictures, programs. Nothing here changes anything.

Owned by ``agent.py``. Each question is a task of its own, of which there is a bounded number; a question that cannot be
answered is answered with the reason. Serves the StreamSpace document (seed 001, "Session Lifecycle": logs) and the
console's tile wall.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

from app.agent.platform import AgentFailure, FailureCode, Platform
from app.agent.thumbnail import Thumbnails
from app.agent_protocol import (
    FRAME_LIMIT,
    LOG_LINES,
    FromAgent,
    LogsCancel,
    LogsData,
    LogsRequest,
    ProgramsReport,
    ProgramsRequest,
    ThumbnailData,
    ThumbnailRequest,
)
from app.logs import get_logger

log = get_logger("agent.questions")

QUESTIONS = 200
DEFAULT_TAIL = 100
PICTURE_LIMIT = FRAME_LIMIT // 2
LINES_BYTES = FRAME_LIMIT // 4
"""Characters of log lines in one message; the frame is bounded, and a character may take several bytes."""

Tell = Callable[[FromAgent], Awaitable[bool]]


class Questions:
    """Questions under way, by request."""

    def __init__(self, platform: Platform, tell: Tell) -> None:
        self._platform = platform
        self._tell = tell
        self._thumbnails = Thumbnails(platform)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers = 0

    def ask(self, question: LogsRequest | LogsCancel | ThumbnailRequest | ProgramsRequest) -> None:
        """Begin to answer."""
        match question:
            case LogsCancel():
                task = self._tasks.get(f"logs {question.request_id}")
                if task is not None:
                    task.cancel()
            case LogsRequest():
                self._begin(f"logs {question.request_id}", self._logs(question))
            case ThumbnailRequest():
                self._begin(f"picture {question.request_id}", self._picture(question))
            case ProgramsRequest():
                self._numbers += 1
                self._begin(f"programs {self._numbers}", self._programs(question))

    def forget(self) -> None:
        """End what is under way: nobody listens any more."""
        for task in list(self._tasks.values()):
            task.cancel()

    async def stop(self) -> None:
        """The same, and wait for it."""
        self.forget()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin(self, name: str, answer: Any) -> None:
        if name in self._tasks or len(self._tasks) >= QUESTIONS:
            answer.close()
            log.warning("a question is left unanswered", question=name, under_way=len(self._tasks))
            return
        task = asyncio.get_running_loop().create_task(self._guard(name, answer), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _guard(self, name: str, answer: Awaitable[None]) -> None:
        try:
            await answer
        except Exception:
            log.exception("a question could not be answered", question=name)

    async def _logs(self, request: LogsRequest) -> None:
        tail = request.data.get("tail", DEFAULT_TAIL)
        tail = tail if isinstance(tail, int) and tail >= 0 else DEFAULT_TAIL
        try:
            if request.data.get("follow"):
                async for lines in self._platform.follow(request.session_id, tail):
                    if not await self._lines(request, lines):
                        return
            else:
                await self._lines(request, await self._platform.logs(request.session_id, tail))
        except AgentFailure as failure:
            await self._tell(LogsData(request_id=request.request_id, eof=True, error=failure.message))
        else:
            await self._tell(LogsData(request_id=request.request_id, eof=True))

    async def _lines(self, request: LogsRequest, lines: list[str]) -> bool:
        """Send lines in messages that fit a frame; False when nobody takes them."""
        part: list[str] = []
        size = 0
        for line in lines:
            if part and (len(part) >= LOG_LINES or size + len(line) > LINES_BYTES):
                if not await self._tell(LogsData(request_id=request.request_id, lines=part)):
                    return False
                part, size = [], 0
            part.append(line)
            size += len(line)
        return not part or await self._tell(LogsData(request_id=request.request_id, lines=part))

    async def _picture(self, request: ThumbnailRequest) -> None:
        answer = ThumbnailData(request_id=request.request_id, session_id=request.session_id)
        try:
            jpeg, answer.width, answer.height = await self._thumbnails.take(request.session_id, request.width)
            if len(jpeg) > PICTURE_LIMIT:
                raise AgentFailure("the picture is too large", FailureCode.INTERNAL)
            answer.jpeg = base64.b64encode(jpeg).decode()
        except AgentFailure as failure:
            answer.error = failure.message
        await self._tell(answer)

    async def _programs(self, request: ProgramsRequest) -> None:
        await self._tell(ProgramsReport(missing=await asyncio.to_thread(self._platform.missing, request.programs)))
