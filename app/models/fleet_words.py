"""How the fleet is put into words: drains, idle times, loads, who looks, and why a template cannot run.

Called by the tables, the details and the panels. Plain functions of rows; text from the network passes ``plain``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from app.contract import AgentRow, DesktopRow, DrainRow, TemplateRow, ViewerRow
from app.errors import Invalid
from app.models.wording import age_text, natural, plain
from app.quantities import cpu_cores, duration_seconds, memory_bytes

CONTAINER_PLATFORMS = ("docker", "kubernetes")
MOST_NAMED = 3


def clock_minute(at: float) -> str:
    """Hours and minutes on this machine's clock."""
    return time.strftime("%H:%M", time.localtime(at))


def drain_text(drain: DrainRow, now: float) -> str:
    """Progress and end of a drain on one line: ``11 of 12 left - 1 ended in 4 min - next idle time-out 14:32 - …``."""
    if drain.left <= 0:
        since = f" since {clock_minute(drain.done_at)}" if drain.done_at is not None else ""
        return f"empty{since}" + (f" - {drain.initial} ended" if drain.initial else "")
    parts = [f"{drain.left} of {max(drain.initial, drain.left)} left"]
    if drain.stuck:
        parts.insert(0, f"STUCK: {plain(drain.stuck)}")
    ended = max(len(drain.exits), drain.initial - drain.left)
    minutes = max(0.0, now - drain.since) / 60
    span = f"{minutes:.0f} min" if minutes >= 1 else "the last minute"
    parts.append(f"{ended} ended in {span}" if ended else f"none ended in {span}")
    parts.append(drain_end(drain, now))
    parts.append("no forced end")
    return " - ".join(parts)


def drain_end(drain: DrainRow, now: float) -> str:
    """When a drain will be over, as far as that can be known."""
    if drain.eta is not None and drain.eta > now:
        return f"empty at about {clock_minute(drain.eta)}"
    if drain.next_idle is not None:
        return f"next idle time-out {clock_minute(drain.next_idle)}"
    return "no end known"


def drain_share(drain: DrainRow) -> float:
    """How much of a drain is done, 0 to 1."""
    whole = max(drain.initial, drain.left)
    return 1.0 if whole <= 0 else 1.0 - max(0, drain.left) / whole


def memory_text(amount: float | None) -> str:
    """Bytes in at most seven characters: ``412 MiB``, ``1.6 GiB``."""
    if amount is None:
        return ""
    if amount < 1024**3:
        return f"{amount / 1024**2:.0f} MiB"
    return f"{amount / 1024**3:.1f} GiB"


def resource_text(name: str, amount: str) -> str:
    """What a session is given, ``2Gi`` as ``2.0 GiB`` and ``1500m`` as ``1.5 cores``; as it is where that is neither."""
    try:
        if name == "memory":
            return memory_text(memory_bytes(amount))
        if name == "cpu":
            cores = cpu_cores(amount)
            return "1 core" if cores == 1 else f"{cores:g} cores"
    except Invalid:
        return plain(amount)
    return plain(amount)


def load_text(row: DesktopRow) -> str:
    """CPU and memory of a session, as far as its agent tells them."""
    cpu = "" if row.load_cpu is None else f"{row.load_cpu:.0f} %"
    return "  ".join(filter(None, (cpu, memory_text(row.load_memory))))


def idle_limit(row: DesktopRow | TemplateRow) -> int:
    """Seconds of idleness after which a session hibernates; 0: never."""
    if not row.idle_timeout:
        return 0
    try:
        return duration_seconds(row.idle_timeout)
    except Invalid:
        return 0


def time_out_text(row: DesktopRow | TemplateRow) -> str:
    """What idleness does to a session: a time-out of 0 is none."""
    if row.idle_timeout and idle_limit(row):
        return f"hibernates after {plain(row.idle_timeout)} of idleness"
    return "never hibernates by itself"


def idle_seconds(row: DesktopRow, viewers: Iterable[ViewerRow], now: float) -> float | None:
    """How long nobody has worked in a running session; None where that question makes no sense."""
    if row.state != "running":
        return None
    if any(one.open and not one.shadow for one in viewers):
        return 0.0
    since = row.last_activity or row.started_at
    return None if since is None else max(0.0, now - since)


def span_text(seconds: float) -> str:
    """A span without what does not matter of it: ``40 s``, ``12 m``, ``2 h``, ``1 h 10``."""
    text = age_text(seconds)
    return text.rsplit(" ", 1)[0] if " m " in text or text.endswith(" 00") else text


def idle_text(row: DesktopRow, viewers: Iterable[ViewerRow], now: float) -> str:
    """``in use``, ``40 s``, ``12 m`` or ``12 m of 30 m``."""
    idle = idle_seconds(row, viewers, now)
    if idle is None:
        return ""
    if idle == 0.0:
        return "in use"
    limit = idle_limit(row)
    return f"{span_text(idle)} of {span_text(limit)}" if limit else span_text(idle)


def viewer_text(row: ViewerRow) -> str:
    """Who looks and how: ``kim, control``; ``kim, view only, shadow``."""
    mode = "control" if row.mode == "control" else "view only"
    return ", ".join(
        [plain(row.user), mode, *(["shadow"] if row.shadow else []), *([] if row.open else ["connecting"])]
    )


def rate_text(rate: float) -> str:
    """Bytes a second in short: ``84 kB/s``, ``3.1 MB/s``."""
    return f"{rate / 1000:.0f} kB/s" if rate < 999_500 else f"{rate / 1_000_000:.1f} MB/s"


def offered_by(agent: AgentRow) -> list[str]:
    """Templates that an ``attach`` agent offers: each is a desktop that runs there anyway."""
    offered = agent.metadata.get("attached")
    if agent.platform != "attach" or not isinstance(offered, list):
        return []
    return [one["name"] for one in offered if isinstance(one, dict) and isinstance(one.get("name"), str)]


def platforms_of(template: TemplateRow) -> tuple[str, ...]:
    """Platforms for which a template has something to run; ``attach`` is taken only when it is asked for."""
    local = ("local",) if template.command else ()
    return local + (CONTAINER_PLATFORMS if template.base_image else ())


def is_attached(template: TemplateRow, agents: Mapping[str, AgentRow]) -> bool:
    """Whether some agent publishes it, and nothing else can run it."""
    return not platforms_of(template) and any(template.name in offered_by(row) for row in agents.values())


def why_not_runnable(template: TemplateRow, agents: Mapping[str, AgentRow], platform: str | None = None) -> str:
    """Why no agent could run a template now, on any platform or on one; "" when some agent could."""
    here = [row for row in agents.values() if row.status != "offline"]
    if platform == "attach" or (platform is None and is_attached(template, agents)):
        offered = any(template.name in offered_by(row) for row in here)
        return "" if offered else "no connected agent publishes it"
    wanted = [one for one in platforms_of(template) if platform in (None, one)]
    if not wanted:
        return f"it has nothing that {platform} could run" if platform else "it has neither a command nor an image"
    could = [row for row in here if row.platform in wanted]
    if not could:
        return f"no {' or '.join(wanted)} agent is connected"
    lacking = [row for row in could if _lacks(template, row)]
    if len(lacking) < len(could):
        return ""
    names = sorted((plain(row.id) for row in lacking), key=natural)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{plain(template.command[0])} is missing on {', '.join(names[:MOST_NAMED])}{more}"


def _lacks(template: TemplateRow, agent: AgentRow) -> bool:
    """Whether the program that the template needs on a machine is missing there."""
    return agent.platform == "local" and bool(template.command) and template.command[0] in agent.missing_programs
