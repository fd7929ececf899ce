"""What every page, panel and action of the console is given; nothing else is shared.

Made once by ``main.py`` (tests: ``tests/ui/conftest.py``) and passed to every constructor. How to use it:

* read rows from ``context.store`` (and listen to its changes), never from the network;
* talk to the broker with ``context.client`` inside a coroutine started by ``context.spawn(coro, "what it does")``;
  an ``ApiError`` that you do not catch is shown as a toast with the broker's own words, anything else is logged
  and named on the strip, so no coroutine can die silently. ``client`` is None until a broker is known;
* act only through ``context.actions`` (``press("kick", [id])``): it owns keys, tiers, hold-back, bounce, undo, audit;
* say things with ``context.toast("…")``; with ``undo=`` a callable the toast offers Undo for 10 s, with
  ``tone="error"`` it stays until dismissed;
* ask things with a panel **in place** (``panel.py``): ``context.panels.show(MyPanel(context))``, which slides in at
  the right of the table; never a dialog, never ``exec()``.

The shell itself opens these panels of ``app/ui/dialogs`` and connects their signals (all take the context first):
``choose_preset.ChoosePreset(context, stream_id)`` with ``chosen(str preset_id)``; ``preset_editor.PresetEditor(context,
preset_id=None)`` with ``saved(str preset_id)``; ``confirm.ConfirmPanel(context, title, losses, verb_text)`` with
``confirmed()``, where ``losses`` is a list of ``(who, what)`` pairs and the button is a ``HoldButton``;
``quit_panel.QuitPanel(context, on_leave, on_stop, on_cancel)``; ``add_stream.AddStream(context)``;
``create_type.CreateType(context)``; and, inside the details pane, ``offer_panel.OfferView(context)``: a plain
``QWidget`` with ``show_offer(offer, session_row)`` for the connection string, Copy and "open with…".

After the theme changed, ``context.theme`` is another object: look it up when painting, do not keep its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from app.errors import Unavailable

if TYPE_CHECKING:
    import asyncio

    from app.client.api import BrokerClient
    from app.client.process import EmbeddedBroker
    from app.models.store import Store
    from app.ui.actions import Actions
    from app.ui.panel import Panel
    from app.ui.settings import Settings
    from app.ui.theme import Theme


class Spawn(Protocol):
    """Start a coroutine that belongs to the window; cancelled at exit, failures shown."""

    def __call__(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]: ...


class Toast(Protocol):
    """Say one sentence at the bottom of the window. ``tone``: ``info``, ``good`` or ``error``."""

    def __call__(self, text: str, *, undo: Callable[[], None] | None = None, tone: str = "info") -> None: ...


class Panels(Protocol):
    """The place at the right of the table where panels appear; one at a time, the newest wins."""

    def show(self, panel: Panel) -> None:
        """Show ``panel`` and give it the keyboard; one that was there is cancelled first."""

    def close(self, panel: Panel | None = None) -> None:
        """Remove ``panel`` (None: whichever is there) and give the keyboard back to the table."""

    @property
    def current(self) -> Panel | None:
        """The panel that is shown."""


@dataclass(slots=True)
class Context:
    """See the module's docstring. ``switch_theme`` and ``connect_to`` are what the settings page calls."""

    store: Store
    client: BrokerClient | None
    actions: Actions
    settings: Settings
    theme: Theme
    operator: str
    spawn: Spawn
    toast: Toast
    panels: Panels
    switch_theme: Callable[[str], None]
    """Give every window another theme by name and remember it."""
    connect_to: Callable[[str | None], None]
    """Point this console at the broker with that URL; None: back to the embedded one."""
    embedded: EmbeddedBroker | None = None
    """The broker that this console starts and watches; None with ``--broker``. Settings restarts and stops it."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Tokens of remote brokers by base URL, for this run: what the keyring could not keep, asked before it."""
    passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    """The same for passwords, by base URL and user."""
    notices: dict[str, str] = field(default_factory=dict)
    """Sentences that stand on the strip until they are taken back, by what they are about: a login that failed."""
    log_words: str = ""
    """Where this console's log is, as a sentence."""

    @property
    def connected(self) -> BrokerClient:
        """The client, for whoever acts; raises ``Unavailable`` in words where there is none."""
        if self.client is None:
            raise Unavailable("No broker is connected, so nothing was sent.")
        return self.client

    def notice(self, about: str, text: str) -> None:
        """Put a sentence on the strip, or take it back with ""."""
        if text:
            self.notices[about] = text
        else:
            self.notices.pop(about, None)
