"""The small process that owns one local session: its display server, window manager and program.

Started by ``app/agent/session.py`` as a script, with the standard library alone and nothing imported before the display
server runs, since its start-up stands in the way of the first frame. It outlives the agent: it adopts every orphan of
its session, keeps the log, ends everything gracefully on SIGTERM, and says in ``state.json`` what it is and how it
ended, so that the next agent finds it. Serves the StreamSpace document (seed 001, "Session Lifecycle").

The folder given holds ``spec`` (``marshal``: read by the same Python a moment after it was written).
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import sys
import time
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
START_WITHIN = 20.0
LINE = 8192
READ = 65536
TERM_TO_KILL = 1.0
"""Seconds that what is left after the program gets between SIGTERM and SIGKILL."""
LOOK_EVERY = 0.05


def stat_of(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` from the state on; raises ``OSError`` when there is no such process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rsplit(b")", 1)[1].decode().split()


def start_of(pid: int) -> str:
    """When a process started, in ticks since boot: with the boot's id it makes a pid unmistakable."""
    return stat_of(pid)[19]


def boot_id() -> str:
    """The id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def descendants(root: int) -> list[int]:
    """Every process below ``root``, parents before children."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = stat_of(int(name))
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(int(fields[1]), []).append(int(name))
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


class Log:
    """``session.log``: stamped lines of everything that the session prints, one older file kept."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._rests: dict[int, bytes] = {}
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size

    def take(self, source: int, data: bytes) -> None:
        """What a process wrote; nothing means that it will write no more."""
        lines = (self._rests.pop(source, b"") + data).split(b"\n")
        rest = lines.pop()
        while len(rest) >= LINE or (rest and not data):
            lines.append(rest[:LINE])
            rest = rest[LINE:]
        if rest:
            self._rests[source] = rest
        self._write(lines)

    def say(self, text: str) -> None:
        """A line of our own."""
        self._write([f"[session] {text}".encode("utf-8", "replace")])

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)).encode() + b".%03dZ " % (now * 1000 % 1000)
        text = b"".join(stamp + line.rstrip(b"\r")[:LINE] + b"\n" for line in lines)
        try:
            if self._size + len(text) > self._limit:
                self._rotate()
            self._size += os.write(self._file, text)
        except OSError:
            return  # a full disk costs log lines, not the session

    def _rotate(self) -> None:
        os.replace(self._path, self._path + ".1")
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = 0


class Supervisor:
    """One session from its start to the end of its last process."""

    def __init__(self, folder: str, spec: dict[str, Any]) -> None:
        self._folder = folder
        self._spec = spec
        self._log = Log(os.path.join(folder, "session.log"), spec["log_limit"])
        self._server = self._manager = self._program = 0
        self._shown = -1
        """Where the display server says which number it has."""
        self._display = b""
        self._told = False
        self._outputs: set[int] = set()
        self._stop_at: float | None = None
        """When the graceful part of the end is over."""
        self._kill_at: float | None = None
        self._code: int | None = None
        self._reason = ""
        self._cause = ""
        """``program``, ``display``, ``asked``: who ended first."""
        self._poll = select.poll()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._asked = False
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for name in ("SIGINT", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def run(self) -> int:
        """Until nothing of the session is left; the exit status."""
        self._shown, shown = os.pipe2(os.O_CLOEXEC)
        os.set_inheritable(shown, True)
        self._server = self._start([*self._spec["server"], "-displayfd", str(shown)], limited=False)
        os.close(shown)
        become_subreaper()  # while the server starts
        self._write_state("starting")
        for source in (self._shown, self._wake):
            self._poll.register(source, select.POLLIN)
        deadline = time.monotonic() + START_WITHIN
        while self._alive():
            for source, _ in self._poll.poll(self._patience(deadline)):
                self._on_readable(source)
            self._reap()
            if not self._told and time.monotonic() > deadline:
                self._end(f"the display server was not ready within {START_WITHIN:.0f} s", grace=0, cause="display")
            if self._asked:
                self._asked = False
                self._end("stopped", grace=self._grace(), cause="asked")
            self._step()
        self._write_state("ended")
        if not self._told:
            self._tell({"error": self._reason or "the session ended before it was ready"})
        return 0

    def _patience(self, deadline: float) -> float:
        """Milliseconds to wait for something to happen."""
        if self._stop_at is not None:
            return LOOK_EVERY * 1000
        return 60_000 if self._told else max(0.0, deadline - time.monotonic()) * 1000 + 1

    def _on_readable(self, source: int) -> None:
        if source == self._wake:
            os.read(source, 512)
            return
        data = os.read(source, READ)
        if source == self._shown:
            self._display += data
            if not data or self._display.endswith(b"\n"):
                self._forget(source)
                self._shown = -1  # the next pipe may get this number
                if data:
                    self._on_display(int(self._display))
            return
        self._log.take(source, data)
        if not data:
            self._outputs.discard(source)
            self._forget(source)

    def _forget(self, source: int) -> None:
        self._poll.unregister(source)
        os.close(source)

    def _on_display(self, number: int) -> None:
        """The server takes clients: start what is to be seen."""
        self._spec["env"]["DISPLAY"] = f":{number}"
        try:
            if self._spec["manager"]:
                self._manager = self._start(self._spec["manager"], limited=True)
            self._program = self._start(self._spec["program"], limited=True)
        except OSError as error:
            self._end(str(error), grace=0, cause="program")
            return
        self._log.say(f"started: {self._spec['program'][0]}")
        self._write_state("running", display=number)
        self._told = True
        self._tell({"display": number})

    def _start(self, command: list[str], *, limited: bool) -> int:
        """One child in a session of its own; ``OSError`` in words when its program cannot be run."""
        output, into = os.pipe2(os.O_CLOEXEC)
        failed, fail = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            become(command, self._spec, into, fail, limited=limited)
        os.close(into)
        os.close(fail)
        said = b""
        while part := os.read(failed, 4096):
            said += part
        os.close(failed)
        if said:
            os.close(output)
            raise OSError(said.decode("utf-8", "replace"))
        self._outputs.add(output)
        self._poll.register(output, select.POLLIN)
        return pid

    def _on_term(self, *_: object) -> None:
        self._asked = True

    def _grace(self) -> float:
        """How long the one who asked for the end wants to wait; written beside the log before the signal."""
        try:
            with open(os.path.join(self._folder, "grace"), encoding="ascii") as file:
                return float(file.read())
        except (OSError, ValueError):
            return float(self._spec["grace"])

    def _end(self, reason: str, *, grace: float, cause: str) -> None:
        """Begin the end, or hasten it."""
        now = time.monotonic()
        lost = cause == "display" and self._cause == "program" and self._kill_at is None
        if self._stop_at is None or lost:  # a program may hear of its display's end before we do
            self._reason, self._cause = reason, cause
            self._log.say(f"ending: {reason}")
            if self._program and self._code is None:
                signal_all([self._program], signal.SIGTERM)
        self._stop_at = min(now + grace, self._stop_at or now + grace)

    def _reap(self) -> None:
        """Take note of every child that ended; a server before its clients, whose end it is the cause of."""
        ended: dict[int, int] = {}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
        if self._server in ended:
            self._end(f"the display server {ended_in_words(ended[self._server])}", grace=0, cause="display")
            self._server = 0
        if self._manager in ended:
            self._log.say(f"the window manager {ended_in_words(ended[self._manager])}")
            self._manager = 0
        if self._program in ended and self._code is None:
            self._code = ended[self._program]
            self._end(ended_in_words(self._code), grace=LOOK_EVERY if self._code else 0, cause="program")

    def _step(self) -> None:
        """One step of the end: after the program went, or its time is over, everything else."""
        if self._stop_at is None:
            return
        now = time.monotonic()
        over = now >= self._stop_at
        if self._kill_at is None:
            waits = self._code is None if self._cause != "program" else bool(self._code)
            if waits and self._program and not over:
                return
            forced = over and self._code is None
            self._kill_at = now if forced else now + TERM_TO_KILL
            signal_all(descendants(os.getpid()), signal.SIGKILL if forced else signal.SIGTERM)
        elif now >= self._kill_at:
            signal_all(descendants(os.getpid()), signal.SIGKILL)

    def _alive(self) -> bool:
        """Whether anything is left to look after."""
        if self._stop_at is None:
            return True
        return bool(descendants(os.getpid()))

    def _write_state(self, state: str, **more: object) -> None:
        import json

        path = os.path.join(self._folder, "state.json")
        if state != "running":
            more = {"exit_code": self._code, "reason": self._reason, "cause": self._cause, **more}
        whole = {"pid": os.getpid(), "start": start_of(os.getpid()), "boot": boot_id(), "state": state, **more}
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(whole, file)
        os.replace(path + ".new", path)

    def _tell(self, answer: dict[str, object]) -> None:
        """The one answer to the agent that started us; it may have gone."""
        import json

        self._told = True
        try:
            os.write(1, json.dumps(answer).encode() + b"\n")
        except OSError:
            pass
        detach(1)


def become(command: list[str], spec: dict[str, Any], into: int, fail: int, *, limited: bool) -> None:
    """In a fresh child: turn into ``command``, or tell why not. Does not return."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        confine(spec, limited=limited)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (into, 1), (into, 2)):
            os.dup2(source, target)
        os.chdir(spec["cwd"])
        os.execvpe(command[0], command, spec["env"])
    except OSError as error:
        os.write(fail, f"{command[0]} cannot be started: {error.strerror or error}".encode())
    except BaseException as error:  # noqa: BLE001 - a forked child must never run on as a second supervisor
        os.write(fail, f"{command[0]} cannot be started: {error!r}".encode())
    finally:
        os._exit(127)


def confine(spec: dict[str, Any], *, limited: bool) -> None:
    """Put this process under the session's limits; the display server counts too, but keeps its priority."""
    for path in spec["joins"]:
        with open(path, "w", encoding="ascii") as file:
            file.write("0")
    if spec["affinity"]:
        os.sched_setaffinity(0, spec["affinity"])
    if limited and spec["data_limit"]:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (spec["data_limit"], spec["data_limit"]))
    if limited and spec["nice"]:
        os.nice(spec["nice"])


def become_subreaper() -> None:
    """Orphans of the session become our children, so that none escapes."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def signal_all(pids: list[int], number: int) -> None:
    """Signal each; what was stopped goes on, since it could not end otherwise."""
    for pid in pids:
        for each in (number, signal.SIGCONT):
            try:
                os.kill(pid, each)
            except OSError:
                continue


def ended_in_words(code: int) -> str:
    """``ended with status 3``, or by which signal."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def detach(number: int) -> None:
    """Point a standard stream at nothing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, number)
    os.close(nothing)


def hold(path: str) -> bool:
    """Take the lock of a home for as long as this process lives; children do not inherit it."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    return True


def main(folder: str) -> int:
    """Run the session of ``folder``; standard output takes one line of JSON: ready, or why not."""
    os.umask(0o077)
    with open(os.path.join(folder, "spec"), "rb") as file:
        spec = marshal.loads(file.read())  # noqa: S302 - a private file that our own agent just wrote
    if spec["home_lock"] and not hold(spec["home_lock"]):
        os.write(1, b'{"error": "the home folder is in use by another session", "code": "HOME_IN_USE"}\n')
        return 1
    try:
        return Supervisor(folder, spec).run()
    except OSError as error:
        import json

        os.write(1, json.dumps({"error": str(error)}).encode() + b"\n")
        signal_all(descendants(os.getpid()), signal.SIGKILL)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
