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
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PR_SET_CHILD_SUBREAPER = 36
START_WITHIN = 20.0
LINE, READ = 8192, 65536
TERM_TO_KILL = 1.0
"""Seconds that what is left after the program gets between SIGTERM and SIGKILL."""
LOOK_EVERY = 0.05
SIGKILL, SIGTERM, SIGCONT = 9, 15, 18
"""By number: the module with the names takes long to import."""
IGNORED = (13, 25)
"""SIGPIPE and SIGXFSZ, which Python ignores and what it starts should not."""


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
    """Every process below ``root``, parents before children; below 0, a session that is gone, there is nothing."""
    if root <= 0:
        return []  # where the system keeps the ancestors of all
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


class Waiting:
    """A child that is ready to become a program as soon as it is told the display."""

    def __init__(self, command: list[str], spec: dict[str, Any]) -> None:
        self.name = command[0]
        self.output, into = os.pipe2(os.O_CLOEXEC)
        self._failed, fail = os.pipe2(os.O_CLOEXEC)
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            become(command, spec, into, fail, gate)
        for handle in (into, fail, gate):
            os.close(handle)

    def go(self, display: int) -> str:
        """Let it become its program; why it could not, or nothing."""
        try:
            os.write(self._gate, str(display).encode())
        except OSError:
            pass  # it has ended, and said why
        os.close(self._gate)
        said = b""
        while part := os.read(self._failed, 4096):
            said += part
        os.close(self._failed)
        return said.decode("utf-8", "replace")


class Supervisor:
    """One session from its start to the end of its last process."""

    def __init__(self, folder: str, spec: dict[str, Any], server: int, shown: int, chatter: int) -> None:
        import signal  # only now: its import takes as long as a third of the server's start

        self._folder = folder
        self._spec = spec
        self._log = Log(os.path.join(folder, "session.log"), spec["log_limit"])
        self._server = server
        self._shown = shown
        """Where the display server says which number it has."""
        self._manager = Waiting(spec["manager"], spec) if spec["manager"] else None
        self._program = Waiting(spec["program"], spec)
        self._display = self._said = b""
        self._told = False
        self._chatter = chatter
        """The display server's output, of interest only when it fails."""
        self._children = True  # every orphan becomes ours: without them nothing of the session is left
        self._stop_at: float | None = None
        """When the graceful part of the end is over."""
        self._kill_at: float | None = None
        self._code: int | None = None
        self._reason = self._cause = ""
        """``program``, ``display``, ``asked``: who ended first."""
        self._poll = select.poll()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._asked: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: self._asked.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for name in ("SIGINT", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def run(self) -> int:
        """Until nothing of the session is left; the exit status."""
        become_subreaper()
        self._write_state("starting")
        outputs = [waiting.output for waiting in (self._manager, self._program) if waiting is not None]
        for source in (self._shown, self._chatter, self._wake, *outputs):
            self._poll.register(source, select.POLLIN)
        deadline = time.monotonic() + START_WITHIN
        while self._stop_at is None or self._children:
            for source, _ in self._poll.poll(self._patience(deadline)):
                self._on_readable(source)
            self._reap()
            if not self._told and time.monotonic() > deadline:
                self._end(f"the display server was not ready within {START_WITHIN:.0f} s", grace=0, cause="display")
            if self._asked:
                self._asked.clear()
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
        if source == self._chatter:
            self._said = (self._said + data)[-READ:]
        else:
            self._log.take(source, data)
        if not data:
            self._chatter = -1 if source == self._chatter else self._chatter
            self._forget(source)

    def _forget(self, source: int) -> None:
        self._poll.unregister(source)
        os.close(source)

    def _on_display(self, number: int) -> None:
        """The server takes clients: start what is to be seen."""
        for waiting in (self._manager, self._program):
            failed = waiting.go(number) if waiting is not None else ""
            if failed:
                self._log.say(failed)
            if failed and waiting is self._program:
                self._end(failed, grace=0, cause="program")
                return
        self._log.say(f"started: {self._program.name}")
        self._write_state("running", display=number)
        self._told = True
        self._tell({"display": number})

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
            if cause == "display":
                self._log.take(-1, self._said[-LINE:] + b"\n")
            self._log.say(f"ending: {reason}")
            if self._code is None:
                signal_all([self._program.pid], SIGTERM)
        self._stop_at = min(now + grace, self._stop_at or now + grace)

    def _reap(self) -> None:
        """Take note of every child that ended; a server before its clients, whose end it is the cause of."""
        ended: dict[int, int] = {}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children = False
                break
            if not pid:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
        if self._server in ended:
            self._end(f"the display server {ended_in_words(ended[self._server])}", grace=0, cause="display")
            self._server = 0
        if self._manager is not None and self._manager.pid in ended and self._told:
            self._log.say(f"the window manager {ended_in_words(ended[self._manager.pid])}")
        if self._program.pid in ended and self._code is None:
            self._code = ended[self._program.pid]
            self._end(ended_in_words(self._code), grace=LOOK_EVERY if self._code else 0, cause="program")

    def _step(self) -> None:
        """One step of the end: after the program went, or its time is over, everything else."""
        if self._stop_at is None:
            return
        now = time.monotonic()
        over = now >= self._stop_at
        if self._kill_at is None:
            waits = self._code is None if self._cause != "program" else bool(self._code)
            if waits and not over:
                return
            forced = over and self._code is None
            self._kill_at = now if forced else now + TERM_TO_KILL
            signal_all(descendants(os.getpid()), SIGKILL if forced else SIGTERM)
        elif now >= self._kill_at:
            signal_all(descendants(os.getpid()), SIGKILL)

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
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)


def become(command: list[str], spec: dict[str, Any], into: int, fail: int, gate: int) -> None:
    """In a fresh child: get ready, and once the display is known turn into ``command``. Does not return."""
    import signal

    try:
        os.setsid()
        for number in (SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, *IGNORED):
            signal.signal(number, signal.SIG_DFL)
        confine(0, spec)
        limit(spec)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (into, 1), (into, 2)):
            os.dup2(source, target)
        os.chdir(spec["cwd"])
        display = os.read(gate, 16).decode()
        if display:  # nothing: the supervisor gave up
            os.execvpe(command[0], command, {**spec["env"], "DISPLAY": f":{display}"})
    except OSError as error:
        os.write(fail, f"{command[0]} cannot be started: {error.strerror or error}".encode())
    except BaseException as error:  # noqa: BLE001 - a forked child must never run on as a second supervisor
        os.write(fail, f"{command[0]} cannot be started: {error!r}".encode())
    finally:
        os._exit(127)


def start_server(spec: dict[str, Any]) -> tuple[int, int, int]:
    """The display server, first of all: its pid, where it tells its number, and what it prints."""
    shown, tells = os.pipe2(os.O_CLOEXEC)
    output, into = os.pipe2(os.O_CLOEXEC)
    os.set_inheritable(tells, True)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    command = [*spec["server"], "-displayfd", str(tells)]
    actions = [(os.POSIX_SPAWN_DUP2, source, at) for at, source in enumerate((nothing, into, into))]
    pid = os.posix_spawn(
        command[0], command, spec["env"], file_actions=actions, setsid=True, setsigmask=[], setsigdef=IGNORED
    )
    for handle in (tells, into, nothing):
        os.close(handle)
    confine(pid, spec)  # from here, beside its start: the first move into a group may take ten milliseconds
    return pid, shown, output


def confine(pid: int, spec: dict[str, Any]) -> None:
    """Put a process, 0 is this one, into the session's groups and onto its CPUs."""
    for path in spec["joins"]:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(pid))
    if spec["affinity"]:
        os.sched_setaffinity(pid, spec["affinity"])


def limit(spec: dict[str, Any]) -> None:
    """What stands in for groups where there are none; the display server is spared it."""
    if spec["data_limit"]:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (spec["data_limit"], spec["data_limit"]))
    if spec["nice"]:
        os.nice(spec["nice"])


def become_subreaper() -> None:
    """Orphans of the session become our children, so that none escapes."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def signal_all(pids: list[int], number: int) -> None:
    """Signal each; what was stopped goes on, since it could not end otherwise. No number of a group, nor of init."""
    for pid in (one for one in pids if one > 1):
        for each in (number, SIGCONT):
            try:
                os.kill(pid, each)
            except OSError:
                continue


def ended_in_words(code: int) -> str:
    """``ended with status 3``, or by which signal."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        import signal

        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


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
        return Supervisor(folder, spec, *start_server(spec)).run()
    except OSError as error:
        import json

        os.write(1, json.dumps({"error": str(error)}).encode() + b"\n")
        signal_all(descendants(os.getpid()), SIGKILL)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
