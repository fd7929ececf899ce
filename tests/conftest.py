"""What holds for every test: a home of its own, Qt without a screen, and no skipping where it counts.

The environment is set before anything imports Qt. With ``CI=true`` a skipped or expected-to-fail test fails
the run, since the gate must have run everything it lists.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from app.logs import LibraryHandler

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYTEST_QT_API", "pyside6")
os.environ.setdefault("QT_API", "pyside6")
os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
for name in [name for name in os.environ if name.startswith("CALLBOARD_")]:
    del os.environ[name]
os.environ["CALLBOARD_LOCAL_AGENT"] = "off"  # a test that wants an agent starts one

for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):  # known before a server first sets their levels
    logging.getLogger(name)

pytest_plugins = ("tests.soak",)

IN_CI = os.environ.get("CI", "").lower() == "true"

hypothesis.settings.register_profile("desk", deadline=None, print_blob=True)
hypothesis.settings.register_profile("gate", parent=hypothesis.settings.get_profile("desk"), derandomize=True)
hypothesis.settings.load_profile("gate" if IN_CI else "desk")
"""No deadlines, since machines are shared; the gate tries the same examples each time, a desk new ones."""

A_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
    "APPDATA": "AppData/Roaming",
    "LOCALAPPDATA": "AppData/Local",
}
"""Where programs look for a person's folders, below the home of one test."""


def pytest_configure(config: pytest.Config) -> None:
    """One runtime folder for the run, readable by us alone, as Qt and D-Bus demand."""
    runtime = tempfile.TemporaryDirectory(prefix="callboard-run-", ignore_cleanup_errors=True)
    os.environ["XDG_RUNTIME_DIR"] = runtime.name
    config.add_cleanup(runtime.cleanup)
    config.pluginmanager.register(NothingLeftOut(), "nothing-left-out")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Random ids do not get into the names of tests: parallel workers must agree on those."""
    return A_UUID.sub("{id}", val) if isinstance(val, str) and A_UUID.search(val) else None


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for this test; the settings of a person at this machine neither matter nor change."""
    folder = tmp_path_factory.mktemp("home")
    for name, below in FOLDERS.items():
        monkeypatch.setenv(name, str(folder / below))
    core = sys.modules.get("PySide6.QtCore")
    if core is not None:  # Qt caches the folder of its settings at first use
        for layout in (core.QSettings.Format.NativeFormat, core.QSettings.Format.IniFormat):
            core.QSettings.setPath(layout, core.QSettings.Scope.UserScope, str(folder / ".config"))
    return folder


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Logging as it was: a server started in a test sets levels for the process, a console where all lines go to."""
    root = logging.getLogger()
    known = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    before = [(one, one.level, one.propagate, one.disabled) for one in (root, *known)]
    carriers, lines = _carriers(), structlog.get_config() if structlog.is_configured() else None
    yield
    for one, level, one.propagate, one.disabled in before:
        one.setLevel(level)
    for handler in _carriers() - carriers:
        root.removeHandler(handler)
    structlog.reset_defaults()
    if lines is not None:
        structlog.configure(**lines)


def _carriers() -> set[logging.Handler]:
    """What carries the libraries' complaints, such as asyncio's about a slow step, into our own lines."""
    return {handler for handler in logging.getLogger().handlers if isinstance(handler, LibraryHandler)}


class NothingLeftOut:
    """Counts tests that did not really run and, in CI, fails the run for them."""

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A skipped or expected-to-fail test."""
        if report.skipped or hasattr(report, "wasxfail"):
            self.left_out[report.nodeid] = getattr(report, "wasxfail", "") or str(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole module that was skipped."""
        if report.skipped:
            self.left_out[report.nodeid] = str(report.longrepr)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green run with gaps red; workers of a parallel run leave that to the one that collects."""
        counts = IN_CI and not hasattr(session.config, "workerinput")
        if counts and self.left_out and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which tests did not run."""
        if self.left_out and IN_CI:
            terminalreporter.section("not run, which CI takes for a failure")
            for test, reason in self.left_out.items():
                terminalreporter.line(f"{test}: {reason}")
