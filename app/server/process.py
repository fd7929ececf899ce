"""What a broker's process needs besides what it serves: its loop, its memory, signals, and a clean standard output.

Called by ``main.py`` alone. Nothing here knows a domain.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from app.logs import get_logger

log = get_logger("broker")

Ready = Callable[[dict[str, Any]], None]
"""Tells whoever started the broker that it is ready, and where: the readiness line."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; it has no Windows."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def settle_memory() -> None:
    """Take what start-up made out of later garbage collections, whose pauses would be in every heartbeat's way."""
    gc.collect()
    gc.freeze()
    gc.enable()


def listen_to_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """A first signal begins a clean stop, a further one changes nothing; the answer ends the listening."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        before = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop)) for number in STOP_SIGNALS}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

    else:
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, stop)

        def restore() -> None:
            """Until the process has ended a signal may still come; the handlers do no harm."""

    return restore


def alone_on_stdout(ready: Ready) -> Ready:
    """Let ``ready`` write to standard output, and nothing else: stray output of libraries goes to standard error."""
    try:
        own = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a service without standard streams
        return ready

    def tell(line: dict[str, Any]) -> None:
        os.dup2(own, 1)
        try:
            ready(line)
        except BrokenPipeError:
            log.info("nobody reads the readiness line")
        finally:
            os.dup2(2, 1)
            os.close(own)

    return tell
