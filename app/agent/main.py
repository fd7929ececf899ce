"""The agent's process: options in, one exit status out.

Entered by ``app/cli.py``. SIGTERM and SIGINT end the agent, and leave its sessions for the next one. Serves the
StreamSpace document (seed 001, "Agent Management").
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from app import logs
from app.agent.agent import Agent, platform_for
from app.agent.config import load_agent_config
from app.agent.folder import StateFolder
from app.agent.options import AgentOptions
from app.agent.platform import AgentFailure
from app.errors import ConfigError

__all__ = ["AgentOptions", "run"]

log = logs.get_logger("agent")


def run(options: AgentOptions) -> int:
    """Be an agent until SIGTERM or SIGINT; the exit status. Raises ``ConfigError`` and ``PortInUse``."""
    options = options.checked()
    options = replace(options, tunnel_hosts=load_agent_config(options.config).tunnel_hosts)
    logs.configure(options.log_level)
    os.umask(0o077)
    if options.bares_key:
        log.warning("the agent's key crosses the network without TLS", broker=options.broker)
    with StateFolder(options.folder) as folder, asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(options, folder))


async def _serve(options: AgentOptions, folder: StateFolder) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.parent is not None:
        _end_with(options.parent, ended.set)
    agent = Agent(options, platform_for(options, folder), folder.journal)
    try:
        await agent.start()
        await ended.wait()
    except AgentFailure as failure:
        raise ConfigError(failure.message) from failure
    finally:
        await agent.stop()
    return 0


def _end_with(parent: int, end: Callable[[], None]) -> None:
    """End when the process that started us does, however it does."""
    from app.agent.processes import when_ended

    try:
        when_ended(parent, end)
    except ProcessLookupError:
        end()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: a third less delay in each tunnel."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
