"""How an act of the operator happens: tiers, hold-back, bounce, panels, undo and audit, for every verb alike.

``verbs.py`` declares each verb once; the key map, the F1 overlay, context menus and buttons derive from that
declaration, and a press of any of them ends in ``Actions.press``. What a press does:

1. the ids it names are bound now: rows may move or vanish, the act stays with its object;
2. a second press of one verb on one row within 400 ms is a bounce and is dropped;
3. a board that is not live acts on nothing, and says so;
4. the tier is that of the worst object, plus one for more than one object: tier 0 runs at once, tier 1 waits 3 s
   and can be cancelled (a second press sends it now), tier 2 asks in place and wants the button held;
5. an act that is cancelled is written to the audit from here, one that is sent is audited by the broker.

No verb knows any of this. Nothing here paints; ``pending.py`` and the delegates show what is in ``pending``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from app.errors import CallboardError
from app.ui.unsent import UnsentActs
from app.ui.verb import Command, Done, Losses, Pending, Verb

if TYPE_CHECKING:
    from app.models.undo import Act, Step, UndoStack
    from app.ui.context import Context

    Run = Callable[[], Awaitable[Done]]

UNDO_SHOWN_AFTER = 300
"""Milliseconds: an undo that negotiates again may take seconds, and a key that shows nothing is pressed twice."""


class Actions(QObject):
    """See the module's docstring. ``pending`` and ``running`` are keyed by (verb name, id)."""

    changed = Signal()
    """Something began to wait, was sent, cancelled or finished."""
    finished = Signal(str, str, object)
    """verb name, id, ``Done`` or the error."""

    def __init__(self, undo: UndoStack) -> None:
        super().__init__()
        self.verbs: dict[str, Verb] = {}
        self.commands: list[Command] = []
        self.pending: dict[tuple[str, str], Pending] = {}
        self.running: dict[tuple[str, str], float] = {}
        self.undo_stack = undo
        self.unsent = UnsentActs()
        self.blocked = "NOT LIVE: no broker yet"
        self._timers: dict[tuple[str, str], QTimer] = {}
        self._pressed: dict[tuple[str, str], float] = {}
        self._context: Context | None = None
        self.confirm_panel: Callable[[Context, str, Losses, str], Any] | None = None

    @property
    def context(self) -> Context:
        """The context it acts in; bound once, right after both exist."""
        if self._context is None:
            raise RuntimeError("Actions.bind was not called")
        return self._context

    def bind(self, context: Context) -> None:
        """Give it what verbs need."""
        self._context = context

    def add_verb(self, verb: Verb) -> None:
        """Declare a verb; a name or a key of the same kind twice is a mistake."""
        if verb.name in self.verbs:
            raise ValueError(f"verb {verb.name} is declared twice")
        for other in self.of_kind(verb.kind):
            if {verb.key, verb.panel_key} & {other.key, other.panel_key} - {""}:
                raise ValueError(f"verbs {verb.name} and {other.name} share a key")
        self.verbs[verb.name] = verb

    def add_command(self, command: Command) -> None:
        """Declare a key that is no act on an object."""
        self.commands.append(command)

    def of_kind(self, kind: str) -> list[Verb]:
        """Verbs on objects of ``kind``, in the order of declaration."""
        return [verb for verb in self.verbs.values() if verb.kind == kind]

    def set_blocked(self, reason: str) -> None:
        """Why nothing can be done now ("" = everything can); acts that wait are cancelled when the board goes blind."""
        if reason == self.blocked:
            return
        self.blocked = reason
        if reason:
            for key in list(self.pending):
                self._cancel(key, reason)
        else:
            self.unsent.send(self.context)
        self.changed.emit()

    def why_not(self, name: str, ids: Sequence[str]) -> str:
        """Why a press would do nothing, in words; "" when it would do something."""
        verb = self.verbs[name]
        if self.blocked:
            return self.blocked
        if not ids:
            return "nothing is selected"
        if len(ids) > 1 and not verb.many:
            return f"{verb.label} takes one row at a time"
        reasons = [verb.applies(self.context, one) for one in ids]
        if all(reasons):
            return reasons[0]
        good = [one for one, reason in zip(ids, reasons, strict=True) if not reason]
        if len(good) > 1 and verb.refuses is not None:
            return verb.refuses(self.context, good)
        return ""

    def tier(self, verb: Verb, ids: Sequence[str]) -> int:
        """The tier of this act on these objects: the worst of them, raised by one for several."""
        worst = max((verb.tier_of(self.context, one) if verb.tier_of else verb.tier) for one in ids)
        return min(2, worst + (1 if len(ids) > 1 else 0))

    def press(self, name: str, ids: Sequence[str], *, panel: bool = False) -> str:
        """The operator wants ``name`` done to ``ids``. Returns why nothing happened, or ""."""
        verb = self.verbs[name]
        fresh = self._without_bounces(verb, ids)
        if ids and not fresh:
            return "bounce"
        ids = fresh
        reason = self.why_not(name, ids)
        if reason:
            self.context.toast(f"{verb.label}: {reason}", tone="info")
            return reason
        waiting = [one for one in ids if (name, one) in self.pending]
        for one in waiting:
            if panel:
                self._take((name, one))
            else:
                self._send((name, one))
        if waiting and not panel:
            return ""
        good = [one for one in ids if not verb.applies(self.context, one)]
        if verb.instead is not None and verb.instead(self.context, good):
            return ""
        tier = 2 if panel else self.tier(verb, good)
        if tier == 2:
            self._ask(verb, good)
        elif tier == 1:
            for one in good:
                self._hold_back(verb, one)
        else:
            for one in good:
                self._run(verb, one)
        return ""

    def cancel_all(self) -> bool:
        """Esc: cancel everything that waits. True when there was something."""
        keys = list(self.pending)
        for key in keys:
            self._cancel(key, "Esc")
        if keys:
            self.changed.emit()
        return bool(keys)

    def undo(self) -> str:
        """Ctrl+Z: cancel what waits; if nothing does, undo the last act. Returns its label, "" when there was none."""
        if self.pending:
            key = next(reversed(self.pending))
            label = f"{self.pending[key].verb.label} {self.pending[key].name}"
            self._cancel(key, "Ctrl+Z")
            self.changed.emit()
            return label
        if self.blocked:
            self.context.toast(f"Undo: {self.blocked}")
            return ""
        entry = self.undo_stack.pop_undo()
        if entry is None:
            self.context.toast("Nothing to undo")
            return ""
        label = entry.label
        self.context.spawn(self._undo(entry), f"undo {label}")
        return label

    def pending_for(self, row_id: str) -> Pending | None:
        """What waits for this row."""
        for (_, one), pending in self.pending.items():
            if one == row_id:
                return pending
        return None

    def cancel(self, pending: Pending) -> None:
        """Cancel one act that waits."""
        self._cancel((pending.verb.name, pending.id), "its Cancel button")
        self.changed.emit()

    def send_now(self, pending: Pending) -> None:
        """Do not wait any longer for one act."""
        self._send((pending.verb.name, pending.id))

    # -- the three tiers ---------------------------------------------------------------------------------------

    def _without_bounces(self, verb: Verb, ids: Sequence[str]) -> list[str]:
        now = time.monotonic()
        window = int(self.context.settings.get("bounce_milliseconds")) / 1000
        self._pressed = {key: at for key, at in self._pressed.items() if now - at < window}
        kept = [one for one in dict.fromkeys(ids) if (verb.name, one) not in self._pressed]
        self._pressed.update({(verb.name, one): now for one in ids})  # a chattering key stays one press
        return kept

    def _hold_back(self, verb: Verb, row_id: str) -> None:
        seconds = float(self.context.settings.get("hold_back_seconds"))
        key = (verb.name, row_id)
        self.pending[key] = Pending(verb, row_id, verb.object(self.context, row_id), seconds)
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(lambda: self._send(key))
        timer.start(int(seconds * 1000))
        self._timers[key] = timer
        self.changed.emit()

    def _ask(self, verb: Verb, ids: list[str]) -> None:
        context = self.context
        losses = verb.losses(context, ids) if verb.losses else [(verb.object(context, one), "") for one in ids]
        title = f"{verb.label} {verb.object(context, ids[0])}" if len(ids) == 1 else f"{verb.label} {len(ids)} at once"
        if self.confirm_panel is None:
            raise RuntimeError("Actions.confirm_panel was not set")
        panel = self.confirm_panel(context, title, losses, f"Hold to {verb.label.lower()}")
        asked = time.monotonic()
        sent: list[bool] = []

        def confirmed() -> None:
            if self.blocked:
                context.toast(f"{verb.label}: {self.blocked}", tone="error")
                return
            sent.append(True)
            alive = [one for one in ids if not verb.applies(context, one)]
            if len(alive) == 1:
                self._run(verb, alive[0])
            elif alive:
                self._run_all(verb, alive)
            else:
                context.toast(f"{verb.label}: {verb.applies(context, ids[0])}")

        def closed() -> None:
            if not sent:
                for one in ids:
                    self._record_cancelled(verb, one, "the panel was closed", time.monotonic() - asked)

        panel.confirmed.connect(confirmed)
        panel.closed.connect(closed)
        context.panels.show(panel)

    def start(self, name: str, row_id: str, run: Run) -> None:
        """Run ``run`` as an act of ``name`` on ``row_id``, for a verb that had to ask something first."""
        if self.blocked:
            self.context.toast(f"{self.verbs[name].label}: {self.blocked}")
        else:
            self._run(self.verbs[name], row_id, run)

    def _run(self, verb: Verb, row_id: str, run: Run | None = None) -> None:
        if (verb.name, row_id) in self.running:
            self.context.toast(f"{verb.label} {verb.object(self.context, row_id)} is under way")
            return
        act = run or (lambda: verb.run(self.context, row_id))
        self._begin(verb, row_id)
        self.context.spawn(self._act(verb, row_id, act), f"{verb.label.lower()} {row_id}")

    def _run_all(self, verb: Verb, ids: list[str]) -> None:
        """One act on several objects: one after the other, told in one sentence, undone as one."""
        ids = [one for one in ids if (verb.name, one) not in self.running]
        for one in ids:
            self._begin(verb, one)
        self.context.spawn(self._act_on_all(verb, ids), f"{verb.label.lower()} {len(ids)}")

    def _begin(self, verb: Verb, row_id: str) -> None:
        self.running[(verb.name, row_id)] = time.monotonic()
        self.changed.emit()

    async def _act(self, verb: Verb, row_id: str, run: Run) -> None:
        name = verb.object(self.context, row_id)
        done = await self._do(verb, row_id, run)
        if isinstance(done, CallboardError):
            self.context.toast(f"{verb.label} {name}: {done.message}", tone="error")
        else:
            self._tell(done.text, done.tone, done.undo_label, done.undo)

    async def _act_on_all(self, verb: Verb, ids: list[str]) -> None:
        undos: list[Step] = []
        failed: list[str] = []
        for one in ids:
            name = verb.object(self.context, one)
            done = await self._do(verb, one, partial(verb.run, self.context, one))
            if isinstance(done, CallboardError):
                failed.append(f"{name}: {done.message}")
            elif done.undo is not None:
                undos.append(done.undo)

        async def undo_all() -> None:
            while undos:
                await undos[-1]()
                undos.pop()

        good = len(ids) - len(failed)
        if good:
            self._tell(
                f"{verb.label}: {good} done", "good", f"{verb.label.lower()} {good}", undo_all if undos else None
            )
        for words in failed[:3]:
            self.context.toast(f"{verb.label} {words}", tone="error")
        if len(failed) > 3:
            self.context.toast(f"{verb.label}: {len(failed) - 3} more failed, see History", tone="error")

    async def _do(self, verb: Verb, row_id: str, run: Run) -> Done | CallboardError:
        result: Done | CallboardError
        try:
            result = await run()
        except CallboardError as error:
            result = error
        finally:
            self.running.pop((verb.name, row_id), None)
            self.changed.emit()
        self.finished.emit(verb.name, row_id, result)
        return result

    def tell(self, text: str, label: str, undo: Step) -> None:
        """Say what a panel or a settings page did, with Undo and Ctrl+Z for it as for any verb."""
        self._tell(text, "good", label, undo)

    def _tell(self, text: str, tone: str, label: str, undo: Step | None) -> None:
        """Say it, and offer to take it back where that is possible."""
        if undo is None:
            if text:
                self.context.toast(text, tone=tone)
            return
        act = self.undo_stack.push(label, undo)
        self.context.toast(text, undo=lambda: self._undo_this(act), tone=tone)

    # -- leaving the waiting line ------------------------------------------------------------------------------

    def _send(self, key: tuple[str, str]) -> None:
        pending = self._take(key)
        if pending is not None:
            reason = pending.verb.applies(self.context, pending.id)
            if reason:
                self.context.toast(f"{pending.verb.label} {pending.name}: {reason}")
                self._record_cancelled(pending.verb, pending.id, reason, time.monotonic() - pending.started)
                self.changed.emit()
            else:
                self._run(pending.verb, pending.id)

    def _cancel(self, key: tuple[str, str], why: str) -> None:
        pending = self._take(key)
        if pending is not None:
            self.context.toast(f"Cancelled: {pending.verb.label.lower()} {pending.name}")
            self._record_cancelled(pending.verb, pending.id, why, time.monotonic() - pending.started)

    def _take(self, key: tuple[str, str]) -> Pending | None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.stop()
            timer.deleteLater()
        return self.pending.pop(key, None)

    def _record_cancelled(self, verb: Verb, row_id: str, why: str, seconds: float) -> None:
        context = self.context
        before = verb.before(context, row_id) if verb.before else None
        self.unsent.cancelled(context, verb.name, verb.object(context, row_id), row_id, before, why, seconds)

    # -- undo --------------------------------------------------------------------------------------------------

    def _undo_this(self, act: Act) -> None:
        """The Undo of a toast: that very act, whatever was done since."""
        if self.blocked:
            self.context.toast(f"Undo: {self.blocked}")
        elif self.undo_stack.take(act):
            self.context.spawn(self._undo(act), f"undo {act.label}")

    async def _undo(self, act: Act) -> None:
        label = act.label
        slow = QTimer(self)
        slow.setSingleShot(True)
        slow.timeout.connect(lambda: self.context.toast(f"Undoing: {label}"))
        slow.start(UNDO_SHOWN_AFTER)
        try:
            await act.run()
        except CallboardError as error:
            if not getattr(error, "status", 1):
                self.undo_stack.put_back(act)
            self.context.toast(f"Undo {label}: {error.message}", tone="error")
        else:
            self.context.toast(f"Undone: {label}", tone="good")
        finally:
            slow.stop()
            slow.deleteLater()
