"""From the data of a start to what a supervisor has to run: server, window manager, program, environment.

Used by ``session.py``. Everything here is checked before a process exists. Commands are argument lists and never meet
a shell; programs are found on the agent's own PATH; a template's environment cannot replace what the session needs or
change how programs are loaded. Serves the StreamSpace document (seed 001, "Template Management": vnc, environment).
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import struct
from pathlib import Path
from typing import Any

from app.agent.platform import AgentFailure, FailureCode
from app.agent.session import MARKER, Session
from app.logs import get_logger

log = get_logger("agent.local")

SERVER = "Xvnc"
A_SIZE = re.compile(r"([0-9]{2,5})x([0-9]{2,5})")
DEFAULT_SIZE = "1920x1080"
SMALLEST, LARGEST = (64, 64), (7680, 4320)
DEPTHS = (16, 24)
PATIENCE = 1_000_000_000
"""Viewers that may leave before they are in. All come from one address, so shutting it out, as the server does after five,
would shut out the desktop's own user; and who gets as far as this socket has been let in."""
ARGUMENTS, ARGUMENT = 256, 16_384
A_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLES, VALUE = 256, 32_768
OURS = frozenset(
    {"PATH", "HOME", "DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "USER", "LOGNAME", "SHELL", "GCONV_PATH", "PYTHONHOME"}
)
"""What a template may not set: the session would not be its user's own, or programs would not be the machine's."""
LOADERS = ("LD_", "DYLD_", "CALLBOARD_", "GLIBC_TUNABLES", "MALLOC_")
INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ")
CHROMIUMS = ("chromium", "chrome", "google-chrome", "brave", "microsoft-edge", "vivaldi", "opera")
WILD_FAMILY = 0xFFFF
COOKIE = b"MIT-MAGIC-COOKIE-1"


def specification(session: Session, program: list[str], home: Path, manager: tuple[str, ...]) -> dict[str, Any]:
    """What the supervisor of a session is to run, and the secret of its display beside it. Raises ``AgentFailure``."""
    data = session.record.data
    authority = session.authority
    server = server_command(
        data.get("vnc"), Path(session.record.socket), authority, str(data.get("name") or session.id)
    )
    write_authority(authority)
    runtime = session.folder / "run"
    said = data.get("environment")
    return {
        "server": server,
        "manager": window_manager(manager),
        "program": program,
        "env": environment(said, home=home, runtime=runtime, authority=authority, marker=session.marker),
        "cwd": str(home),
    }


def server_command(vnc: Any, socket: Path, authority: Path, name: str) -> list[str]:
    """Xvnc on a socket file that only we can open, and on no port. Raises ``AgentFailure``."""
    said = vnc if isinstance(vnc, dict) else {}
    width, height = size_of(said.get("resolution"))
    depth = said.get("color_depth") or 24
    if depth not in DEPTHS:
        raise AgentFailure(f"a colour depth of {depth} is not one of {DEPTHS}", FailureCode.TEMPLATE)
    program = shutil.which(SERVER)
    if program is None:
        raise AgentFailure(f"{SERVER} is not installed on this machine", FailureCode.PROGRAM)
    return [
        program, "-geometry", f"{width}x{height}", "-depth", str(depth), "-rfbunixpath", str(socket),
        "-rfbunixmode", "0600", "-rfbport", "-1", "-SecurityTypes", "None", "-AlwaysShared", "-nolisten", "tcp",
        "-BlacklistThreshold", str(PATIENCE), "-auth", str(authority), "-desktop", name[:100] or "desktop",
        "-Log", "*:stderr:0",
    ]  # fmt: skip


def size_of(text: Any) -> tuple[int, int]:
    """``1920x1080``. Raises ``AgentFailure``."""
    match = A_SIZE.fullmatch(str(text or DEFAULT_SIZE))
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(low <= value <= high for low, value, high in zip(SMALLEST, size, LARGEST, strict=True)):
        raise AgentFailure(f"{text!r} is not a resolution like 1920x1080", FailureCode.TEMPLATE)
    return size


def program_command(said: Any) -> list[str]:
    """The template's argument list with its program found. Raises ``AgentFailure`` with the reason."""
    if not isinstance(said, list) or not said or not all(isinstance(part, str) for part in said) or not said[0]:
        raise AgentFailure("this template has no command that a local agent could run", FailureCode.TEMPLATE)
    if len(said) > ARGUMENTS or any(len(part) > ARGUMENT or "\0" in part for part in said):
        raise AgentFailure("the template's command is too long or holds a zero", FailureCode.TEMPLATE)
    program = find(said[0])
    if program is None:
        raise AgentFailure(f"{said[0]} is not installed on this machine", FailureCode.PROGRAM)
    refuse_root(program, said)
    return [program, *said[1:]]


def find(program: str) -> str | None:
    """Where a program is: a bare name on our PATH, or an absolute path; nothing relative."""
    if "/" in program and not program.startswith("/"):
        return None
    return shutil.which(program)


def refuse_root(program: str, command: list[str]) -> None:
    """Chromium does not run as root inside its sandbox; say so instead of showing an empty desktop."""
    name = Path(program).name
    if os.geteuid() == 0 and name.startswith(CHROMIUMS) and "--no-sandbox" not in command:
        raise AgentFailure(
            f"{name} does not run as root with its sandbox: run this agent as an ordinary user, or put --no-sandbox "
            "into the template's command if its pages can be trusted",
            FailureCode.TEMPLATE,
        )


def window_manager(wanted: tuple[str, ...]) -> list[str]:
    """The window manager, or none where it is not installed."""
    program = shutil.which(wanted[0]) if wanted else None
    return [program, *wanted[1:]] if program else []


def environment(said: Any, *, home: Path, runtime: Path, authority: Path, marker: str) -> dict[str, str]:
    """What the session's processes see: little of ours, what the template says, and what the session needs."""
    account = account_name()
    whole = {name: os.environ[name] for name in INHERITED if name in os.environ}
    whole |= {name: value for name, value in os.environ.items() if name.startswith("LC_")}
    whole.setdefault("PATH", os.defpath)
    whole.setdefault("LANG", "C.UTF-8")
    whole |= allowed(said)
    return whole | {
        "HOME": str(home),
        "USER": account,
        "LOGNAME": account,
        "SHELL": "/bin/sh",
        "XAUTHORITY": str(authority),
        "XDG_RUNTIME_DIR": str(runtime),
        MARKER: marker,
    }


def allowed(said: Any) -> dict[str, str]:
    """The template's variables without those that it may not set; what is left out is logged."""
    given = said if isinstance(said, dict) else {}
    taken: dict[str, str] = {}
    for name, value in list(given.items())[:VARIABLES]:
        text = str(value)
        fits = isinstance(name, str) and A_VARIABLE.fullmatch(name) and len(text) <= VALUE and "\0" not in text
        if not fits or name in OURS or name.startswith(LOADERS):
            log.warning("a variable of the template was left out", variable=str(name)[:100])
        else:
            taken[name] = text
    return taken


def account_name() -> str:
    """Who we are to the system."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without an entry
        return str(os.geteuid())


def write_authority(path: Path) -> None:
    """A fresh secret for the display, good for any number, since the server chooses that itself."""
    fields = (b"", b"", COOKIE, secrets.token_bytes(16))
    data = struct.pack(">H", WILD_FAMILY) + b"".join(struct.pack(">H", len(field)) + field for field in fields)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
