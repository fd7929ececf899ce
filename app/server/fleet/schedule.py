"""Which agent gets a session.

Pure; called by ``sessions.py`` and ``failover.py``. Serves the StreamSpace document (seed 001, "Create Session"): of the
connected agents that do not drain, can run the template and have a free slot, the one used least (current / max), then
by its id. ``attach`` agents publish what somebody runs anyway, so they are taken only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.contract import PLATFORMS, AgentRow, TemplateRow
from app.errors import CallboardError, Invalid, NotFound, Unavailable

ATTACH = "attach"
IMAGE_PLATFORMS = ("kubernetes", "docker")
COMMAND_PLATFORMS = ("local",)


def platforms_of(template: TemplateRow) -> tuple[str, ...]:
    """Where a template may be run without being asked."""
    images = IMAGE_PLATFORMS if template.base_image else ()
    return (*images, *(COMMAND_PLATFORMS if template.command else ()))


def attached_names(agent: AgentRow) -> list[str]:
    """The targets that an ``attach`` agent offers."""
    targets = agent.metadata.get("attached")
    if agent.platform != ATTACH or not isinstance(targets, list):
        return []
    return [target["name"] for target in targets if isinstance(target, dict) and isinstance(target.get("name"), str)]


def wanted_platforms(template: TemplateRow, platform: str | None) -> tuple[str, ...]:
    """The platforms to look at; raises ``Invalid`` when the template has nothing to run there."""
    if platform is None:
        found = platforms_of(template)
        if not found:
            raise Invalid(f"Template '{template.name}' has nothing that can be run", code="template_invalid")
        return found
    if platform not in PLATFORMS:
        known = ", ".join(PLATFORMS)
        raise Invalid(f"'{platform}' is not a platform; platforms are {known}", code="validation_failed")
    if platform != ATTACH and platform not in platforms_of(template):
        lacks = "command" if platform in COMMAND_PLATFORMS else "image"
        raise Invalid(f"Template '{template.name}' has no {lacks} for platform '{platform}'", code="template_invalid")
    return (platform,)


def lacks(agent: AgentRow, template: TemplateRow) -> str:
    """Why this agent cannot run the template; empty when it can."""
    if agent.platform in COMMAND_PLATFORMS:
        program = template.command[0] if template.command else ""
        return f"{program} is not installed" if program in agent.missing_programs else ""
    if agent.platform == ATTACH and template.name not in attached_names(agent):
        return f"it offers no '{template.name}'"
    return ""


def choose(
    agents: Iterable[AgentRow],
    used: Mapping[str, int],
    template: TemplateRow,
    platforms: tuple[str, ...],
    *,
    region: str | None = None,
    slots: int = 1,
) -> AgentRow:
    """The agent for one more session; ``region`` goes first where it is given, and ``slots`` 0 asks for no free one.

    Raises ``Unavailable``: ``no_agents_available``, ``agent_draining`` (some drain, and no other has room),
    ``agent_capacity_exceeded``.
    """
    online = [agent for agent in agents if agent.status != "offline" and agent.platform in platforms]
    able = [agent for agent in online if not lacks(agent, template)]
    if not able:
        raise _nobody(online, template, platforms)
    ready = [agent for agent in able if agent.status == "online"]
    free = [agent for agent in ready if used.get(agent.id, 0) + slots <= agent.max_sessions]
    if free:
        return min(
            free, key=lambda agent: (region is not None and agent.region != region, _ratio(agent, used), agent.id)
        )
    if len(ready) < len(able):
        raise Unavailable("Every agent with room is draining", code="agent_draining")
    raise Unavailable("Every online agent is full", code="agent_capacity_exceeded")


def check(
    agent: AgentRow | None, agent_id: str, used: int, template: TemplateRow, platforms: tuple[str, ...]
) -> AgentRow:
    """The agent that was asked for by name. Raises as ``choose``, and ``agent_not_found``, ``agent_offline``."""
    if agent is None:
        raise NotFound(f"No agent with ID '{agent_id}' exists", code="agent_not_found")
    if agent.platform not in platforms:
        raise Invalid(f"Agent '{agent_id}' is of platform '{agent.platform}'", code="validation_failed")
    if agent.status == "offline":
        raise offline(agent_id)
    reason = lacks(agent, template)
    if reason:
        raise Invalid(f"Agent '{agent_id}' cannot run '{template.name}': {reason}", code="template_invalid")
    if agent.status == "draining":
        raise Unavailable(f"Agent '{agent_id}' is draining", code="agent_draining")
    if used >= agent.max_sessions:
        raise full(agent_id)
    return agent


def offline(agent_id: str | None) -> Unavailable:
    """What acts on sessions of an agent that is away are told."""
    return Unavailable(f"Agent '{agent_id}' is offline", code="agent_offline")


def full(agent_id: str) -> Unavailable:
    """What acts that need a slot of a full agent are told."""
    return Unavailable(f"Agent '{agent_id}' is full", code="agent_capacity_exceeded")


def _ratio(agent: AgentRow, used: Mapping[str, int]) -> float:
    return used.get(agent.id, 0) / agent.max_sessions if agent.max_sessions else 1.0


def _nobody(online: list[AgentRow], template: TemplateRow, platforms: tuple[str, ...]) -> CallboardError:
    names = " or ".join(f"'{platform}'" for platform in platforms)
    if online:
        reasons = "; ".join(f"{agent.id}: {lacks(agent, template)}" for agent in online[:3])
        text = f"No agent of platform {names} can run '{template.name}' ({reasons})"
    else:
        text = f"No online agents available for platform {names}"
    return Unavailable(text, code="no_agents_available")
