"""The import law of ARCHITECTURE.md: who may import whom, read from the source, imports for types included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROLES = {"ui", "server", "agent", "demo"}
DOMAINS = {"streams", "fleet", "media", "pipelines"}
LEAVES = {"", "contract", "errors", "packaged", "quantities"}
"""Modules that know nothing of the project (``""`` is the package itself, with its version)."""
SHARED = LEAVES | {"config", "paths", "logs", "novnc", "trust"}
"""What every role may use."""
QT = {"PySide6", "shiboken6", "qasync", "pyqtgraph"}
REACH = {
    "contract": {"contract"},
    "errors": set(),
    "packaged": set(),
    "quantities": {"errors"},
    "novnc": {"errors", "paths"},
    "trust": {"errors", "config"},
    "agent_protocol": {"contract"},
    "config": SHARED,
    "paths": SHARED,
    "logs": SHARED,
    "models": LEAVES | {"models"},
    "client": SHARED | {"client"},
    "agent": SHARED | {"agent", "agent_protocol"},
    "demo": SHARED | {"demo", "client", "agent_protocol"},
    "ui": SHARED | {"ui", "models", "client"},
    "cli": SHARED | {"client"},
    "__main__": {"cli"},
    "": set(),
}
"""Folder or module below ``app`` → what of ``app`` it may import; ``server`` has rules of its own below."""


def imports(source: str, module: str, modules: set[str], *, is_package: bool) -> Iterator[tuple[str, int, bool]]:
    """Every import in ``source``: the module meant, its line, and whether it stands inside a function."""
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in lazy
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield (whole if whole in modules else base), node.lineno, id(node) in lazy
        elif (
            isinstance(node, ast.Call)
            and (getattr(node.func, "attr", "") or getattr(node.func, "id", "")) in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value), node.lineno, id(node) in lazy


def top(module: str) -> str:
    """``app.server.streams.rules`` → ``server``; ``app`` → an empty string."""
    return ([*module.split("."), ""])[1]


def forbidden(importer: str, target: str, *, lazy: bool) -> str | None:
    """Why ``importer`` may not import ``target``; None when it may."""
    if not target.startswith("app"):
        if target.split(".", maxsplit=1)[0] in QT and not importer.startswith(("app.ui", "app.models.tables")):
            return "only app/ui and app/models/tables import Qt"
        return None
    if target != "app" and not target.startswith("app."):
        return None
    if importer == "app.cli" and top(target) in ROLES:
        return roles_from_the_command_line(target, lazy=lazy)
    if top(importer) == "server":
        return forbidden_in_server(importer, target)
    if target.startswith("app.models.tables") and not importer.startswith(("app.ui", "app.models.tables")):
        return "only the window knows the Qt tables"
    if top(target) not in REACH[top(importer)]:
        return f"{top(importer) or 'app'} does not import {top(target) or 'app'}"
    return None


def roles_from_the_command_line(target: str, *, lazy: bool) -> str | None:
    """The command line reaches each role through its main, and only when that role is asked for."""
    if target != f"app.{top(target)}.main":
        return "a role is entered through its main"
    return None if lazy else "a role is imported inside its command"


def forbidden_in_server(importer: str, target: str) -> str | None:
    """dialects → domains → shared floor; main sees everything, bridges see all domains."""
    if top(target) != "server":
        return None if top(target) in SHARED | {"agent_protocol"} else "the broker imports no other role"
    if importer == "app.server.main":
        return None
    mine, theirs = [*importer.split("."), "", ""][2:4], [*target.split("."), "", ""][2:4]
    if theirs[0] == "main":
        return "main is the composition root: nothing imports it"
    if theirs[0] == "dialects" and theirs[1]:
        return None if mine == theirs else "a dialect is imported by main alone"
    if theirs[0] in DOMAINS and not (mine[0] in ("dialects", "bridges") or mine[0] == theirs[0]):
        return "a domain is imported by dialects and bridges alone"
    return None


def modules_of(root: Path) -> dict[str, Path]:
    """Dotted name → file of every module of the application below ``root``."""
    found = {}
    for path in sorted((root / "app").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def violations(module: str, source: str, modules: set[str], *, is_package: bool = False) -> list[str]:
    """Every import of ``source`` that breaks the law, as lines for a person."""
    broken = []
    for target, line, lazy in imports(source, module, modules, is_package=is_package):
        why = forbidden(module, target, lazy=lazy)
        if why:
            broken.append(f"{module}:{line} imports {target}: {why}")
    return broken


def test_the_tree_keeps_the_law() -> None:
    modules = modules_of(ROOT)
    assert "app.contract" in modules
    broken = [
        text
        for module, path in modules.items()
        for text in violations(
            module, path.read_text(encoding="utf-8"), set(modules), is_package=path.name == "__init__.py"
        )
    ]
    assert not broken, "\n".join(broken)


def test_only_known_parts_stand_below_app() -> None:
    unknown = {top(module) for module in modules_of(ROOT)} - REACH.keys() - {"server"}
    assert not unknown, f"give {unknown} a line in REACH, and a reason in ARCHITECTURE.md"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("app.server.feed", "from PySide6 import QtCore"),
        ("app.models.store", "import PySide6.QtCore"),
        ("app.client.feed", "def f():\n    import qasync"),
        ("app.models.store", "from app.models.tables import rows"),
        ("app.models.store", "from app.client.api import BrokerClient"),
        ("app.contract", "from app.errors import Invalid"),
        ("app.errors", "import app.contract"),
        ("app.config", "from app.server.events import EventLog"),
        ("app.client.api", "from app.server.events import EventLog"),
        ("app.client.api", "from app.models import store"),
        ("app.demo.publisher", "from app.server.bus import nats"),
        ("app.ui.main", "from app.server.main import serve"),
        ("app.server.main", "from app.client.api import BrokerClient"),
        ("app.server.streams.registry", "from app.server.media import hosted"),
        ("app.server.streams.registry", "from ..fleet import agents"),
        ("app.server.streams.registry", "from app.server.dialects.maestra import wire"),
        ("app.server.dialects.maestra.routes", "from app.server.dialects.console import routes"),
        ("app.server.dialects.maestra.routes", "from ..console import routes"),
        ("app.server.storage.memory", "from app.server.streams.registry import Streams"),
        ("app.server.feed", "if TYPE_CHECKING:\n    from app.server.streams.registry import Streams"),
        ("app.server.feed", "importlib.import_module('app.server.streams')"),
        ("app.server.listeners", "from app.server.main import serve"),
        ("app.cli", "from app.server.main import serve"),
        ("app.cli", "def f():\n    from app.server.feed import FeedHub"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert violations(module, source, {*modules_of(ROOT), "app.server.media", "app.server.fleet", "app.server.streams"})


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("app.ui.pages.streams", "from PySide6 import QtCore\nfrom app.models.tables.streams import T\nimport app"),
        ("app.models.tables.rows", "from PySide6 import QtCore\nfrom app.models.store import Store"),
        ("app.models.store", "from app import contract\nfrom app.errors import Invalid"),
        ("app.cli", "def f():\n    from app.server.main import serve\n    from app.client.api import X"),
        ("app.server.main", "from app.server.dialects.maestra import routes\nfrom app.server.streams import registry"),
        ("app.server.bridges", "from app.server.streams.registry import Streams"),
        ("app.server.dialects.maestra.routes", "from app.server.dialects import Dialect\nfrom .wire import X"),
        ("app.server.streams.registry", "from app.server.events import EventLog\nfrom . import holds"),
        ("app.demo.main", "from app.client.api import BrokerClient"),
    ],
)
def test_what_the_law_allows(module: str, source: str) -> None:
    assert violations(module, source, set(modules_of(ROOT))) == []


def bare_tasks(source: str) -> list[int]:
    """Lines that begin a task which no tree shows or stops."""
    names = {"create_task", "ensure_future", "TaskGroup"}
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if names & {getattr(call.func, "attr", ""), getattr(call.func, "id", "")}]


def test_the_broker_begins_tasks_in_its_tree_alone() -> None:
    broker = ROOT / "app" / "server"
    found = {path.name: bare_tasks(path.read_text("utf-8")) for path in broker.rglob("*.py")}
    assert {name for name, lines in found.items() if lines} == {"tasks.py"}
    assert bare_tasks("import asyncio\nasyncio.create_task(x())\nensure_future(y())") == [2, 3]
