"""The agent's process: settings in, one exit status out.

Entered by ``app/cli.py``. Serves the StreamSpace document (seed 001, "Agent Management").
"""

from __future__ import annotations

from app.agent.options import AgentOptions

__all__ = ["AgentOptions", "run"]


def run(options: AgentOptions) -> int:
    """Be an agent until SIGTERM or SIGINT; the exit status."""
    options.checked()
    return 0
