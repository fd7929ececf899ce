"""The web engine behind viewers: one profile that keeps nothing, the page's files, and the line to the page.

Imported by ``desk.py`` when the first viewer opens, never before the first paint: the engine costs 130 ms to load and
some 30 MB. Files come from ``app/novnc.py`` by a scheme of our own (``callboard://viewer/``), so no port is opened for
them and the page is a secure context; it talks to the broker by its WebSocket alone and may go nowhere else. Order of
the end: the page's connection, the view, the page, the profile; another order crashes at exit.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shiboken6
from PySide6.QtCore import QBuffer, QByteArray, QFile, QIODevice, QObject, Qt, QUrl, Slot
from PySide6.QtGui import QColor
from PySide6.QtWebChannel import QWebChannel
from PySide6.QtWebEngineCore import (
    QWebEngineCertificateError,
    QWebEnginePage,
    QWebEngineProfile,
    QWebEngineScript,
    QWebEngineSettings,
    QWebEngineUrlRequestJob,
    QWebEngineUrlScheme,
    QWebEngineUrlSchemeHandler,
)
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QWidget

from app.errors import CallboardError
from app.logs import get_logger
from app.novnc import PAGE, ViewerFiles
from app.trust import vouched_for

SCHEME = b"callboard"
ORIGIN = "callboard://viewer"
HOME = QUrl(f"{ORIGIN}/{PAGE}")
CLOSE_PATIENCE = 0.5
"""Seconds that a page gets to end its connection before it is deleted."""
SECRET = re.compile(r"(token=)[^&'\"\s]+")

_OFF = (
    QWebEngineSettings.WebAttribute.LocalStorageEnabled,
    QWebEngineSettings.WebAttribute.PluginsEnabled,
    QWebEngineSettings.WebAttribute.JavascriptCanOpenWindows,
    QWebEngineSettings.WebAttribute.JavascriptCanAccessClipboard,
    QWebEngineSettings.WebAttribute.ScreenCaptureEnabled,
    QWebEngineSettings.WebAttribute.NavigateOnDropEnabled,
    QWebEngineSettings.WebAttribute.WebGLEnabled,
    QWebEngineSettings.WebAttribute.FocusOnNavigationEnabled,
)

Told = Callable[[str, dict[str, Any]], None]


class Engine:
    """Profile, scheme and files for all viewers of a console. Make one; ``close`` after the last viewer is gone."""

    def __init__(self, novnc_folder: Path | None = None) -> None:
        _register_scheme()
        self.files = ViewerFiles(novnc_folder)
        self._handler = _Files(self.files)
        self.profile = QWebEngineProfile()
        self.profile.installUrlSchemeHandler(SCHEME, self._handler)
        self.profile.scripts().insert(_channel_script())
        settings = self.profile.settings()
        for attribute in _OFF:
            settings.setAttribute(attribute, False)

    def close(self) -> None:
        """Let go of everything; every view is gone by now."""
        shiboken6.delete(self.profile)
        shiboken6.delete(self._handler)
        self.files.close()


class _Files(QWebEngineUrlSchemeHandler):
    """Answers the page's requests."""

    def __init__(self, files: ViewerFiles) -> None:
        super().__init__()
        self._files = files

    def requestStarted(self, job: QWebEngineUrlRequestJob) -> None:
        url = job.requestUrl()
        if url.host() != "viewer" or job.requestMethod().data() != b"GET":
            job.fail(QWebEngineUrlRequestJob.Error.RequestDenied)
            return
        try:
            content, kind = self._files.read(url.path().removeprefix("/"))
        except CallboardError as error:
            get_logger("viewer").warning("no such file", path=url.path(), reason=error.message)
            job.fail(QWebEngineUrlRequestJob.Error.UrlNotFound)
            return
        buffer = QBuffer(job)
        buffer.setData(QByteArray(content))
        buffer.open(QIODevice.OpenModeFlag.ReadOnly)
        job.reply(kind.partition(";")[0].encode(), buffer)


class _Page(QWebEnginePage):
    """A page that stays where it is, opens nothing, and trusts the brokers that this console trusts."""

    def __init__(self, profile: QWebEngineProfile) -> None:
        super().__init__(profile)
        self.certificateError.connect(self._on_certificate_error)

    def _on_certificate_error(self, error: QWebEngineCertificateError) -> None:
        """A certificate that the system does not know: what ``--ca`` names, or the own broker's, is trusted here too."""
        chain = [bytes(certificate.toDer().data()) for certificate in error.certificateChain()]
        if error.isOverridable() and vouched_for(error.url().toString(), chain):
            error.acceptCertificate()
        else:
            error.rejectCertificate()

    def acceptNavigationRequest(self, url: QUrl | str, type: QWebEnginePage.NavigationType, isMainFrame: bool) -> bool:
        return url == HOME

    def createWindow(self, type: QWebEnginePage.WebWindowType) -> QWebEnginePage | None:  # type: ignore[override]
        return None

    def javaScriptConsoleMessage(
        self, level: QWebEnginePage.JavaScriptConsoleMessageLevel, message: str, lineNumber: int, sourceID: str
    ) -> None:
        text = SECRET.sub(r"\1…", message)
        get_logger("viewer").debug("the page says", level=level.name, text=text[:500], line=lineNumber)


class _Host(QObject):
    """What the page calls over the web channel."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    @Slot(str, str)
    def told(self, name: str, data: str) -> None:
        """The page says something."""
        try:
            said = json.loads(data)
        except ValueError:
            return
        self._told(name, said if isinstance(said, dict) else {})


class WebView(QWebEngineView):
    """The picture of one desktop. ``told`` hears what the page says; ``call`` tells the page what to do."""

    def __init__(self, engine: Engine, parent: QWidget, told: Told, background: QColor) -> None:
        super().__init__(parent)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self._told = told
        self._host = _Host(self._hear)
        self._page = _Page(engine.profile)
        self._page.setBackgroundColor(background)
        self._channel = QWebChannel()
        self._channel.registerObject("host", self._host)
        self._page.setWebChannel(self._channel)
        self._page.renderProcessTerminated.connect(self._crashed)
        self.ready = asyncio.Event()
        """The page is loaded and listens."""
        self.is_broken = False
        self.setPage(self._page)
        self._page.load(HOME)

    def _hear(self, name: str, data: dict[str, Any]) -> None:
        if name == "ready":
            self.ready.set()
        self._told(name, data)

    def _crashed(self, status: QWebEnginePage.RenderProcessTerminationStatus, code: int) -> None:
        if status == QWebEnginePage.RenderProcessTerminationStatus.NormalTerminationStatus:
            return
        get_logger("viewer").error("the page's process ended", status=status.name, code=code)
        self.ready.clear()
        self.is_broken = True
        self._told("crashed", {"code": code})

    def call(self, name: str, *arguments: Any) -> None:
        """Call a method of the page's ``viewer``."""
        self._page.runJavaScript(f"viewer.{name}({', '.join(map(json.dumps, arguments))})")

    async def ask(self, expression: str) -> Any:
        """The value of an expression on the page."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def take(value: Any) -> None:
            if not answer.done():
                answer.set_result(value)

        self._page.runJavaScript(f"JSON.stringify({expression})", 0, take)
        return json.loads(await answer or "null")

    async def dismantle(self) -> None:
        """End the connection and delete everything, in the order that the engine survives."""
        if self.ready.is_set():
            try:
                async with asyncio.timeout(CLOSE_PATIENCE):
                    await self.ask("viewer.close() ?? null")
            except TimeoutError:
                get_logger("viewer").warning("the page did not end its connection in time")
        self.close()
        self._page.setWebChannel(None)  # type: ignore[arg-type]
        shiboken6.delete(self._page)
        shiboken6.delete(self)
        shiboken6.delete(self._channel)
        shiboken6.delete(self._host)


def _register_scheme() -> None:
    """Our scheme, once a process and before the first profile. Its pages are secure contexts."""
    if QWebEngineUrlScheme.schemeByName(SCHEME).name() == SCHEME:
        return
    scheme = QWebEngineUrlScheme(SCHEME)
    scheme.setSyntax(QWebEngineUrlScheme.Syntax.Host)
    flags = QWebEngineUrlScheme.Flag
    scheme.setFlags(flags.SecureScheme | flags.CorsEnabled)
    QWebEngineUrlScheme.registerScheme(scheme)


def _channel_script() -> QWebEngineScript:
    """Qt's own ``qwebchannel.js``, there before the page's scripts, so that the page need not load it from anywhere."""
    file = QFile(":/qtwebchannel/qwebchannel.js")
    file.open(QIODevice.OpenModeFlag.ReadOnly)
    script = QWebEngineScript()
    script.setName("qwebchannel")
    script.setSourceCode(bytes(file.readAll().data()).decode())
    script.setInjectionPoint(QWebEngineScript.InjectionPoint.DocumentCreation)
    script.setWorldId(QWebEngineScript.ScriptWorldId.MainWorld)
    file.close()
    return script
