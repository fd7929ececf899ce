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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from app.errors import CallboardError
from app.ui.bulk import STOPPED, Bulk, run_bulk
from app.ui.hold_back import HoldBack, Key
from app.ui.take_back import TakeBack
from app.ui.unsent import UnsentActs
from app.ui.verb import Command, Done, Losses, Pending, Verb

if TYPE_CHECKING:
    from app.models.undo import Step, UndoStack
    from app.ui.context import Context

    Run = Callable[[], Awaitable[Done]]


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
        self._hold = HoldBack(self)
        self._hold.due.connect(self._send)
        self.pending: dict[Key, Pending] = self._hold.waiting
        self.running: dict[Key, float] = {}
        self.bulks: list[Bulk] = []
        """Acts on several objects that are under way, oldest first."""
        self.undo_stack = undo
        self._back = TakeBack(self, undo, lambda: self.context, lambda: self.blocked)
        self.unsent = UnsentActs()
        self.blocked = "NOT LIVE: no broker yet"
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
            if verb.name != other.pair and {verb.key, verb.panel_key} & {other.key, other.panel_key} - {""}:
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
            self._cancel(list(self.pending), reason)
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
        waiting = [(name, one) for one in ids if (name, one) in self.pending]
        if waiting and not panel:
            self._send(waiting)
            return ""
        for key in waiting:
            self._take(key)
        good = [one for one in ids if not verb.applies(self.context, one)]
        if verb.instead is not None and verb.instead(self.context, good):
            return ""
        tier = 2 if panel else self.tier(verb, good)
        if tier == 2:
            self._ask(verb, good)
        elif tier == 1:
            self._hold_back(verb, good)
        else:
            for one in good:
                self._run(verb, one)
        return ""

    def cancel_all(self) -> bool:
        """Esc: cancel everything that waits, and stop what is done to many. True when there was something."""
        keys, bulks = list(self.pending), [bulk for bulk in self.bulks if not bulk.stopped]
        self._cancel(keys, "Esc")
        for bulk in bulks:
            bulk.stop()
        if keys:
            self.changed.emit()
        return bool(keys or bulks)

    def undo(self) -> str:
        """Ctrl+Z: cancel the newest press that waits; if none does, undo the last act. Its label, "" for none."""
        if not self.pending:
            return self._back.newest()
        newest = self.pending[next(reversed(self.pending))]
        label = self._cancel(self._hold.of_press(newest.press), "Ctrl+Z")
        self.changed.emit()
        return label

    def pending_for(self, row_id: str) -> Pending | None:
        """What waits for this row."""
        for (_, one), pending in self.pending.items():
            if one == row_id:
                return pending
        return None

    def cancel(self, pending: Pending) -> None:
        """Cancel a press that waits."""
        self._cancel(self._hold.of_press(pending.press), "its Cancel button")
        self.changed.emit()

    def send_now(self, pending: Pending) -> None:
        """Do not wait any longer for a press."""
        self._send(self._hold.of_press(pending.press))

    # -- the three tiers ---------------------------------------------------------------------------------------

    def _without_bounces(self, verb: Verb, ids: Sequence[str]) -> list[str]:
        now = time.monotonic()
        window = int(self.context.settings.get("bounce_milliseconds")) / 1000
        self._pressed = {key: at for key, at in self._pressed.items() if now - at < window}
        kept = [one for one in dict.fromkeys(ids) if (verb.name, one) not in self._pressed]
        self._pressed.update({(verb.name, one): now for one in ids})  # a chattering key stays one press
        return kept

    def _hold_back(self, verb: Verb, ids: Sequence[str]) -> None:
        seconds = float(self.context.settings.get("hold_back_seconds"))
        self._hold.begin([Pending(verb, one, verb.object(self.context, one), seconds) for one in ids])
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

        def follow() -> None:
            panel.set_blocked(self.blocked)

        panel.confirmed.connect(confirmed)
        panel.closed.connect(closed)
        self.changed.connect(follow)
        panel.closed.connect(lambda: self.changed.disconnect(follow))
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
        self.running[(verb.name, row_id)] = time.monotonic()
        self.changed.emit()
        self.context.spawn(self._act(verb, row_id, act), f"{verb.label.lower()} {row_id}")

    def _run_all(self, verb: Verb, ids: list[str]) -> None:
        """One act on several objects: one after the other, told in one sentence, undone as one."""
        self.start_all(verb.name, {one: partial(verb.run, self.context, one) for one in ids})

    def start_all(self, name: str, acts: Mapping[str, Run]) -> None:
        """Run ``acts``, by id, as one act of ``name``, for a verb that had to ask something first."""
        verb = self.verbs[name]
        ids = [one for one in acts if (name, one) not in self.running]
        for one in ids:
            self.running[(name, one)] = time.monotonic()
        self.changed.emit()
        todo = [acts[one] for one in ids]
        self.context.spawn(self._act_on_all(verb, ids, todo), f"{verb.label.lower()} {len(ids)}")

    async def _act(self, verb: Verb, row_id: str, run: Run) -> None:
        name = verb.object(self.context, row_id)
        done = await self._do(verb, row_id, run)
        if isinstance(done, CallboardError):
            self.context.toast(f"{verb.label} {name}: {done.message}", tone="error")
        else:
            self._back.tell(done.text, done.tone, done.undo_label, done.undo)

    async def _act_on_all(self, verb: Verb, ids: list[str], acts: list[Run]) -> None:
        bulk = Bulk(verb.label, len(ids), self.changed.emit)
        self.bulks.append(bulk)
        try:
            results = await run_bulk(self.context, verb, acts, bulk)
        finally:
            self.bulks.remove(bulk)
            for one in ids:
                self.running.pop((verb.name, one), None)
            self.changed.emit()
        undos: list[Step] = []
        failed: list[str] = []
        left = 0
        for one, done in zip(ids, results, strict=True):
            self.finished.emit(verb.name, one, done)
            if isinstance(done, Done):
                undos.extend([done.undo] if done.undo is not None else [])
            elif done.code == STOPPED:
                left += 1
            else:
                failed.append(f"{verb.object(self.context, one)}: {done.message}")
        good = len(ids) - len(failed) - left
        tail = f", {left} not: stopped" if left else ""
        if good or left:
            label = f"{verb.label.lower()} {good}"
            undo = partial(self._undo_all, verb, label, undos) if undos else None
            self._back.tell(f"{verb.label}: {good} done{tail}", "good", label, undo)
        for words in failed[:3]:
            self.context.toast(f"{verb.label} {words}", tone="error")
        if len(failed) > 3:
            self.context.toast(f"{verb.label}: {len(failed) - 3} more failed, see History", tone="error")

    async def _undo_all(self, verb: Verb, label: str, undos: list[Step]) -> None:
        """Newest first; what could not be taken back stays for the next try."""

        def act(step: Step) -> Run:
            async def run() -> Done:
                await step()
                undos.remove(step)
                return Done()

            return run

        bulk = Bulk(f"Undo {label}", len(undos), self.changed.emit)
        self.bulks.append(bulk)
        try:
            results = await run_bulk(self.context, verb, [act(step) for step in reversed(undos)], bulk)
        finally:
            self.bulks.remove(bulk)
            self.changed.emit()
        for result in results:
            if isinstance(result, CallboardError):
                raise result

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
        self._back.tell(text, "good", label, undo)

    # -- leaving the waiting line ------------------------------------------------------------------------------

    def _send(self, keys: Sequence[Key]) -> None:
        """The time of these is over, or the operator does not want to wait."""
        good: list[str] = []
        verb: Verb | None = None
        for key in keys:
            pending = self._take(key)
            if pending is None:
                continue
            verb = pending.verb
            reason = verb.applies(self.context, pending.id)
            if reason:
                self.context.toast(f"{verb.label} {pending.name}: {reason}")
                self._record_cancelled(verb, pending.id, reason, time.monotonic() - pending.started)
                self.changed.emit()
            else:
                good.append(pending.id)
        if verb is not None and len(good) == 1:
            self._run(verb, good[0])
        elif verb is not None and good:
            self._run_all(verb, good)

    def _cancel(self, keys: Sequence[Key], why: str) -> str:
        """Cancel these; what was cancelled, in words."""
        gone = [pending for key in keys if (pending := self._take(key)) is not None]
        words = ""
        for press in dict.fromkeys(pending.press for pending in gone):
            some = [pending for pending in gone if pending.press == press]
            words = f"{some[0].verb.label} {some[0].name if len(some) == 1 else len(some)}"
            self.context.toast(f"Cancelled: {words[0].lower()}{words[1:]}")
        for pending in gone:
            self._record_cancelled(pending.verb, pending.id, why, time.monotonic() - pending.started)
        return words

    def _take(self, key: Key) -> Pending | None:
        return self._hold.take(key)

    def _record_cancelled(self, verb: Verb, row_id: str, why: str, seconds: float) -> None:
        context = self.context
        before = verb.before(context, row_id) if verb.before else None
        self.unsent.cancelled(context, verb.name, verb.object(context, row_id), row_id, before, why, seconds)
