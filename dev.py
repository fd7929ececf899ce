#!/usr/bin/env python3
"""Set-up, run, test, bench, shots, lint and package: everything a developer or a newcomer types.

Standard library only; Linux, macOS and Windows. The first command makes ``.venv`` with the packages of
``requirements.lock`` and Callboard itself, and on Linux installs the system packages that a command needs; a stamp
in ``.venv`` says that this is done, so later commands start at once. Nothing outside this folder is changed but
for system packages. Everything said here goes to standard error: standard output belongs to the command.
What a machine can do without (desktops of its own) is said when it is missing, and the command goes on.
"""

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "callboard-stamp.json"
GIVEN_UP = VENV / "callboard-without.json"
LOCK = ROOT / "requirements.lock"
OLDEST = (3, 11)
if sys.version_info < OLDEST:  # told before anything that an older Python cannot even read
    sys.exit(f"dev.py: Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}")
SOURCES = ("dev.py", "app", "tests", "packaging")
ROLES = ("serve", "agent", "demo", "take", "kick", "drain")

WIDGET_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
WINDOW_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
VIEWER_LIBRARIES = {
    "libXcomposite.so.1": "libxcomposite1",
    "libXdamage.so.1": "libxdamage1",
    "libXrandr.so.2": "libxrandr2",
    "libXtst.so.6": "libxtst6",
    "libasound.so.2": "libasound2",
    "libnss3.so": "libnss3",
    "libxkbfile.so.1": "libxkbfile1",
}
"""What the PySide6 wheels expect of the system: shared library and the Debian package that holds it. The last table is
what the viewer's web engine wants besides."""
EVERY_LIBRARY = WIDGET_LIBRARIES | WINDOW_LIBRARIES | VIEWER_LIBRARIES
RENAMED = {"libasound2": "libasound2t64"}
"""Packages that newer releases call otherwise and do not find by their old name."""

DESKTOP_TOOLS = {
    "Xvnc": "tigervnc-standalone-server",
    "matchbox-window-manager": "matchbox-window-manager",
    "xterm": "xterm",
    "xauth": "xauth",
    "/usr/share/fonts/X11/misc/*": "xfonts-base",
    "/usr/share/fonts/**/*.ttf": "fonts-dejavu-core",
}
"""What desktops of this machine's own agent are made of: a program, or a pattern of files, and its Debian package."""
TEST_TOOLS = DESKTOP_TOOLS | {
    "Xvfb": "xvfb",
    "xdotool": "xdotool",
    "xwininfo": "x11-utils",
    "xclock": "x11-apps",
    "jq": "jq",
    "curl": "curl",
    "podman": "podman",
    "runc": "runc",
}
"""What the tests drive and run: X clients, the scripts of the StreamSpace document, a container engine."""


class SetupFailed(Exception):
    """Set-up cannot go on; the message tells the reader what to do."""


def say(text: str) -> None:
    """Tell the reader something without touching standard output."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


# --- set-up -------------------------------------------------------------------------------------------


def set_up(
    *,
    libraries: dict[str, str] | None = None,
    tools: dict[str, str] | None = None,
    wished: dict[str, str] | None = None,
) -> None:
    """Make whatever is missing of system packages and virtual environment; nothing if all is there.

    ``wished`` tools are installed where that is possible; where not, that is said and the command goes on.
    """
    install_system_packages(missing_packages(libraries or {}, tools or {}))
    wanted = fingerprint()
    have = read_stamp()
    if have != wanted:
        make_all(wanted, have)
    install_wished(missing_packages({}, wished or {}))


def make_all(wanted: dict[str, str], have: dict[str, str]) -> None:
    """Bring the virtual environment from what the stamp says to what is wanted."""
    started = time.monotonic()
    if not PYTHON.exists() or have.get("python", wanted["python"]) != wanted["python"]:
        make_environment()
    if have.get("packages") != wanted["packages"]:
        install_packages()
    say("installing Callboard itself (editable)")
    pip("install", "--no-deps", "--editable", str(ROOT))
    STAMP.write_text(json.dumps(wanted), encoding="utf-8")
    say(f"set-up done in {time.monotonic() - started:.0f} s")


def fingerprint() -> dict[str, str]:
    """What the virtual environment depends on; equal fingerprints mean that it is up to date."""
    import tomllib

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = {key: pyproject.get(key) for key in ("build-system", "project")} | pyproject["tool"]["hatch"]
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "packages": digest(LOCK.read_bytes()),
        "project": digest(json.dumps(project, sort_keys=True).encode()),
        "folder": str(ROOT),
    }


def digest(data: bytes) -> str:
    """Short name of a content."""
    return hashlib.sha256(data).hexdigest()[:24]


def read_stamp() -> dict[str, str]:
    """The fingerprint of the last finished set-up; empty when there was none, or its environment is broken."""
    if not PYTHON.exists():
        return {}
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and stamp.get("folder") == str(ROOT) else {}


def make_environment() -> None:
    """Create ``.venv`` anew from the Python that runs this file."""
    if importlib.util.find_spec("ensurepip") is None:
        install_system_packages([f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"])
    say("making the virtual environment .venv")
    base = getattr(sys, "_base_executable", None) or sys.executable
    check([base, "-m", "venv", "--clear", str(VENV)], "the virtual environment could not be made")


def install_packages() -> None:
    """Install the locked packages and remove what the lock does not name."""
    say("installing the locked packages (about 1.1 GB on disk; once, and it takes some minutes)")
    pip("install", "--no-deps", "--requirement", str(LOCK))
    keep = {normalise(line) for line in LOCK.read_text(encoding="utf-8").splitlines()} | {"pip", "callboard"}
    listed = subprocess.run(
        [PYTHON, "-m", "pip", "list", "--format=json"], env=pip_environment(), capture_output=True, check=True
    )
    left_over = [entry["name"] for entry in json.loads(listed.stdout) if normalise(entry["name"]) not in keep]
    if left_over:
        pip("uninstall", "--yes", *left_over)


def normalise(requirement: str) -> str:
    """The bare name of a requirement, spelt the one way package names compare."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ =<>!~;\[]", requirement.strip(), maxsplit=1)[0]).lower()


def pip(*arguments: str) -> None:
    """Run pip, quietly but with its errors; once more if the first try fails, since networks do."""
    command = [str(PYTHON), "-m", "pip", arguments[0], "--quiet", *arguments[1:]]
    for attempt in (1, 2):
        if subprocess.run(command, env=pip_environment(), stdout=sys.stderr, check=False).returncode == 0:
            return
        if attempt == 1:
            say("pip failed; trying once more")
            time.sleep(2)
    raise SetupFailed(
        f"pip failed twice, why is said above; mend that (a network?) and repeat:\n  {shlex.join(command)}"
    )


def pip_environment() -> dict[str, str]:
    """The caller's environment, with a pip that asks nothing and leaves nothing outside this folder."""
    return os.environ | {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INPUT": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


# --- system packages ----------------------------------------------------------------------------------


def missing_packages(libraries: dict[str, str], tools: dict[str, str]) -> list[str]:
    """Debian packages of the shared libraries that do not load and the programs that are not there."""
    if not sys.platform.startswith("linux"):
        return []
    return [package for library, package in libraries.items() if not loads(library)] + [
        package for tool, package in tools.items() if not has_tool(tool)
    ]


def has_tool(tool: str) -> bool:
    """Whether a program is on the path, or a file fits the pattern."""
    if tool.startswith("/"):
        return next(Path("/").glob(tool[1:]), None) is not None
    return shutil.which(tool) is not None


def loads(library: str) -> bool:
    """Whether the dynamic linker finds ``library``."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def install_system_packages(packages: list[str]) -> None:
    """Install Debian packages where that is allowed without asking; otherwise say the one command to run."""
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise SetupFailed(f"missing on this system (by their Debian names): {' '.join(packages)}; install them, repeat")
    install = ["apt-get", "install", "--yes", "--no-install-recommends"]
    prefix = root_prefix()
    if prefix is None:
        command = f"sudo apt-get update && sudo {shlex.join([*install, *map(present_name, packages)])}"
        raise SetupFailed(f"system packages are missing; run this once, then repeat:\n  {command}")
    say(f"installing system packages: {' '.join(packages)}")
    apt([*prefix, "apt-get", "update"])
    apt([*prefix, *install, *map(present_name, packages)])


def apt(step: list[str]) -> None:
    """One step of an installation, twice if need be: another process may hold the lock, and networks fail."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (1, 2):
        log = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if log.returncode == 0:
            return
        if attempt == 2:
            raise SetupFailed(f"{shlex.join(step)} failed:\n{log.stdout}{log.stderr}")


def present_name(package: str) -> str:
    """How this release calls a package that has been renamed."""
    newer = RENAMED.get(package)
    if newer is None or shutil.which("apt-cache") is None:
        return package
    known = subprocess.run(["apt-cache", "show", newer], capture_output=True, check=False).returncode == 0
    return newer if known else package


def install_wished(packages: list[str]) -> None:
    """Install what a machine may do without; what could not be installed is not tried at every start."""
    if not packages:
        return
    loss = "no desktops can be run on this machine, all else works"
    try:
        if json.loads(GIVEN_UP.read_text(encoding="utf-8")) == packages:
            say(f"{loss}; missing (tried once, `dev.py test` tries again): {' '.join(packages)}")
            return
    except (OSError, ValueError):
        pass  # not tried yet
    try:
        install_system_packages(packages)
    except SetupFailed as failure:
        say(f"{loss}:\n{failure}")
        GIVEN_UP.write_text(json.dumps(packages), encoding="utf-8")


def root_prefix() -> list[str] | None:
    """What to write before a command that needs root: nothing, a sudo that does not ask, or None."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n", "--preserve-env=DEBIAN_FRONTEND"]
    return None


# --- running things -----------------------------------------------------------------------------------


def check(command: list[str], failure: str) -> None:
    """Run a set-up command; its output goes to standard error."""
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise SetupFailed(f"{failure}: {shlex.join(command)}")


def become(arguments: list[str]) -> int:
    """Hand this process over to the environment's Python: signals, streams and status are the command's."""
    command = [str(PYTHON), *arguments]
    if os.name != "nt":  # where exec keeps the process; on Windows it would end before its successor
        sys.stderr.flush()
        os.execve(command[0], command, dict(os.environ))
    return subprocess.run(command, check=False).returncode


def call(arguments: list[str], **extra: str) -> int:
    """Run the environment's Python in the project folder; a signal that ends dev.py ends it too."""
    with subprocess.Popen([str(PYTHON), *arguments], cwd=ROOT, env=os.environ | extra) as child:
        previous = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            return child.wait()
        except KeyboardInterrupt:
            return child.wait()
        finally:
            signal.signal(signal.SIGTERM, previous)


def qt_environment() -> dict[str, str]:
    """Qt without a screen, and every library told which binding to use."""
    return {
        "QT_QPA_PLATFORM": "offscreen",
        "PYTEST_QT_API": "pyside6",
        "QT_API": "pyside6",
        "PYQTGRAPH_QT_LIB": "PySide6",
    }


def has_display() -> bool:
    """Whether a window can be shown; a platform chosen by hand counts as one."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


# --- the commands -------------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """The console; without a display the headless broker."""
    role = arguments[0] if arguments and arguments[0] in ROLES else None
    window = has_display() and (role is None or (role == "demo" and "--headless" not in arguments))
    set_up(
        libraries=EVERY_LIBRARY if window else None,
        wished=DESKTOP_TOOLS if role in (None, "serve", "agent", "demo") else None,
    )
    if not window and role is None:
        say("no display here: starting the headless broker (callboard serve)")
        arguments = ["serve", *arguments]
    elif not window and role == "demo" and "--headless" not in arguments:
        say("no display here: starting the demo venue without its window")
        arguments = [*arguments, "--headless"]
    return become(["-P", "-m", "app", *arguments])


def test(arguments: list[str]) -> int:
    """All tests, offscreen; exit status is pytest's. Soak tests: -m soak, in SOAK_SECONDS altogether."""
    set_up(libraries=EVERY_LIBRARY, tools=TEST_TOOLS)
    return call(["-m", "pytest", "-n", "2", "--dist", "worksteal", *arguments], **qt_environment())


def bench(arguments: list[str]) -> int:
    """Benchmarks: a table, and build/bench.json."""
    set_up(libraries=EVERY_LIBRARY, tools=TEST_TOOLS)
    return call(["-m", "tests.bench", *arguments], **qt_environment())


def shots(arguments: list[str]) -> int:
    """Every page as a picture in build/shots."""
    set_up(libraries=WIDGET_LIBRARIES | VIEWER_LIBRARIES)
    return call(["-m", "app.ui.shots", *arguments], **qt_environment())


def lint(arguments: list[str]) -> int:
    """Format, lint, types and import law; all of them, also when one fails."""
    set_up()
    sources = [name for name in SOURCES if (ROOT / name).exists()]
    gates = {
        "format": ["-m", "ruff", "format", "--check", *sources],
        "lint": ["-m", "ruff", "check", *sources],
        "types": ["-m", "mypy"],
        "import law": ["-m", "pytest", "-q", "tests/unit/test_import_law.py"],
    }
    failed = [name for name, gate in gates.items() if call(gate, **qt_environment()) != 0]
    say(f"lint: {'failed: ' + ', '.join(failed) if failed else 'all gates passed'}")
    return 1 if failed else 0


def package(arguments: list[str]) -> int:
    """The packaged application into dist/."""
    set_up(libraries=EVERY_LIBRARY, tools={"objdump": "binutils"})
    work = ["--distpath", str(ROOT / "dist"), "--workpath", str(ROOT / "build" / "pyinstaller")]
    cache = {"PYINSTALLER_CONFIG_DIR": str(ROOT / "build" / "pyinstaller" / "cache")}
    spec = str(ROOT / "packaging" / "callboard.spec")
    return call(["-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", *work, *arguments, spec], **cache)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run, "test": test, "bench": bench, "shots": shots, "lint": lint, "package": package,
}  # fmt: skip


def usage() -> str:
    """The commands, each with its first line."""
    words = "\n".join(f"  {name:8} {command.__doc__}" for name, command in COMMANDS.items())
    return f"usage: python3 dev.py COMMAND [ARGUMENTS]   (after -- they are passed on as they are)\n\n{words}"


def main(argv: list[str]) -> int:
    """Hand everything after the command word to the command."""
    if not argv or argv[0] in ("help", "-h", "--help"):
        print(usage())
        return 0
    if argv[0] not in COMMANDS:
        say(f"no such command: {argv[0]}\n{usage()}")
        return 2
    arguments = argv[2:] if argv[1:2] == ["--"] else argv[1:]
    try:
        return COMMANDS[argv[0]](arguments)
    except SetupFailed as failure:
        say(str(failure))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
