"""What an act of the operator is, as data: ``Verb``, ``Command``, what waits (``Pending``) and what came of it (``Done``).

Declared in ``verbs.py`` and by the main window, run by ``actions.py``, read by the key map overlay, menus, buttons
and delegates. A leaf: it imports nothing of the console.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.ui.context import Context

Losses = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an act on one object: words for the toast ("" = none) and how to undo it, if that is possible.

    ``result`` is for who listens to ``Actions.finished``, such as the details pane that shows an offer.
    """

    text: str = ""
    undo_label: str = ""
    undo: Callable[[], Awaitable[object]] | None = None
    tone: str = "good"
    result: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing an operator can do to an object of ``kind``.

    ``applies`` answers "" or the reason why not, in words; ``run`` does it to one id and raises ``ApiError`` with
    the broker's words; ``losses`` names who loses what when it is done to these ids.
    """

    name: str
    label: str
    kind: str
    run: Callable[[Context, str], Awaitable[Done]]
    applies: Callable[[Context, str], str]
    object: Callable[[Context, str], str]
    key: str = ""
    panel_key: str = ""
    tier: int = 0
    tier_of: Callable[[Context, str], int] | None = None
    losses: Callable[[Context, Sequence[str]], Losses] | None = None
    before: Callable[[Context, str], dict[str, Any] | None] | None = None
    title: Callable[[Context, Sequence[str]], str] | None = None
    warning: Callable[[Context, str], str] | None = None
    refuses: Callable[[Context, Sequence[str]], str] | None = None
    """Why it cannot be done to these ids together, though each alone would do; "" when it can."""
    instead: Callable[[Context, Sequence[str]], bool] | None = None
    """Opens what has to be asked first, and answers True when it did; the act then does not run."""
    help: str = ""
    many: bool = True
    pair: str = ""
    """Name of the verb that takes this one back (drain, undrain): both share a key and a button, and whichever applies
    to what is selected is meant."""
    shows: bool = False
    """It only shows something: there is nothing to undo."""
    paced: bool = False
    """Counts against the broker's limits for clients: several at once go at the pace of those."""
    button: str = ""
    """``primary``, ``danger`` or ``plain``: a button of the page; "" only in the menu."""


@dataclass(frozen=True, slots=True)
class Command:
    """A key of the console that is no act on an object: navigation, filter, panes. ``scope`` is shown, not enforced."""

    name: str
    label: str
    keys: tuple[str, ...]
    group: str
    run: Callable[[], None] | None = None


@dataclass(slots=True)
class Pending:
    """An act of tier 1 that waits for its time."""

    verb: Verb
    id: str
    name: str
    seconds: float
    started: float = field(default_factory=time.monotonic)
    press: int = 0
    """Number of the press that it came with: what came with one press is sent together."""

    @property
    def left(self) -> float:
        """Seconds until it is sent."""
        return max(0.0, self.seconds - (time.monotonic() - self.started))

    @property
    def fraction(self) -> float:
        """How much of the bar is left, 1 to 0."""
        return self.left / self.seconds if self.seconds > 0 else 0.0
