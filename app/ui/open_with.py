"""Programs that open a stream: which ones the operator has set up, and starting one of them.

The rules of a command (argument lists, checked placeholders, no shell) are ``app/client/connect.py``'s. Here is
what belongs to this console: the lists kept in the settings per protocol, which command has been seen before its
first use, and the start itself, in a thread, so that a slow disk does not stall the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.client.connect import DEFAULT_COMMANDS, OpenCommand, build, check_command, display, launch
from app.errors import CallboardError

if TYPE_CHECKING:
    from app.client.connect import Endpoint
    from app.ui.context import Context
    from app.ui.settings import Settings

NONE = {"title": "", "arguments": []}
"""What the settings hold for a protocol whose last command was removed: an empty list means the default ones."""


def commands_for(settings: Settings, protocol: str) -> list[OpenCommand]:
    """Commands of a protocol, in the order of the settings; entries that may not be kept are left out."""
    stored = settings.get("open_with/", protocol)
    if not stored:
        return [command for command in DEFAULT_COMMANDS if command.protocol == protocol]
    commands = []
    for entry in stored:
        command = _read(entry, protocol)
        if command is not None:
            commands.append(command)
    return commands


def save_commands(settings: Settings, protocol: str, commands: Sequence[OpenCommand]) -> None:
    """Keep the commands of a protocol; ``Invalid`` says which one may not be kept, and nothing is changed then."""
    for command in commands:
        check_command(command)
    entries = [{"title": command.title, "arguments": list(command.arguments)} for command in commands]
    settings.set("open_with/", entries or [NONE], protocol)


def restore_defaults(settings: Settings, protocol: str) -> None:
    """Back to the commands that Callboard comes with."""
    settings.set("open_with/", [], protocol)


def was_seen(settings: Settings, command: OpenCommand) -> bool:
    """Whether this very command was shown to the operator and started once."""
    seen: str = settings.get("open_with_seen/", _seen_name(command))
    return seen == display(command.arguments)


def mark_seen(settings: Settings, command: OpenCommand) -> None:
    """The operator has read this command and started it; a changed one is shown again."""
    settings.set("open_with_seen/", display(command.arguments), _seen_name(command))


async def start(context: Context, command: OpenCommand, endpoint: Endpoint) -> bool:
    """Build the argument list and start it apart from the console; says what came of it."""
    try:
        arguments = build(command, endpoint)
        await asyncio.to_thread(launch, arguments)
    except CallboardError as error:
        context.toast(f"{command.title}: {error.message}", tone="error")
        return False
    mark_seen(context.settings, command)
    context.toast(f"Started {display(arguments)}", tone="good")
    return True


def _seen_name(command: OpenCommand) -> str:
    title = "".join(character if character.isalnum() else "_" for character in command.title)
    return f"{command.protocol}-{title}"


def _read(entry: Any, protocol: str) -> OpenCommand | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("arguments"), list):
        return None
    arguments = tuple(one for one in entry["arguments"] if isinstance(one, str))
    command = OpenCommand(str(entry.get("title") or ""), protocol, arguments)
    if len(arguments) != len(entry["arguments"]):
        return None
    try:
        check_command(command)
    except CallboardError:
        return None
    return command
