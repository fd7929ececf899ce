"""A real container engine for tests: Podman on a socket, a storage of its own, and a small image with Xvnc.

The image is made of this machine's own files, so that nothing is fetched. As root the engine runs with runc and plain
cgroups, which works in a container of a CI too; otherwise with its own defaults. Nothing here makes networks: those would outlive a test that is killed.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = "localhost/callboard-desktop:1"
PROGRAMS = ("Xvnc", "xkbcomp", "xterm", "sh", "cat", "sleep", "mkdir", "touch", "ls", "head", "tail")
FOLDERS = ("/usr/share/X11/xkb", "/usr/share/fonts/X11/misc", "/etc/fonts")
SESSION = """#!/bin/sh
trap 'exit 143' TERM
echo "size $CALLBOARD_GEOMETRY home $HOME"
case "$TEST" in
  fail) echo "cannot go on" >&2; exit 5 ;;
  idle) while :; do sleep 1; done ;;
  stubborn) trap '' TERM ;;
esac
mkdir -p "$HOME"
touch "$HOME/started-by-$TEST_USER"
Xvnc :1 -geometry $CALLBOARD_GEOMETRY -depth $CALLBOARD_DEPTH -rfbunixpath $CALLBOARD_RFB_SOCKET -rfbunixmode 0666 \\
  -rfbport -1 -SecurityTypes None -AlwaysShared -nolisten tcp &
case "$TEST" in
  leave) sleep 0.3; while [ ! -e "$HOME/leave" ]; do sleep 0.05; done; echo "leaving now"; exit 3 ;;
  hog) sleep 0.3; while [ ! -e "$HOME/leave" ]; do sleep 0.05; done; exec tail /dev/zero ;;
  talk) n=0; while :; do n=$((n+1)); echo "line $n"; sleep 0.1; done ;;
esac
turns=3000; while [ $turns -gt 0 ]; do turns=$((turns - 1)); sleep 0.1; done
"""
"""Ends by itself after some minutes: a test run that is killed leaves nothing for long."""
IDLE = 120
"""Seconds without a call after which the engine's service ends, for the same reason."""
STARTS_WITHIN = 20.0


class Podman:
    """One engine below ``folder``; ``start`` serves it on ``socket``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "p.sock"
        self._options = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._options += ["--tmpdir", str(folder / "tmp")]
        if os.geteuid() == 0:
            self._options += ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        self._service: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What an agent is told."""
        return f"unix://{self.socket}"

    def __call__(self, *arguments: str) -> str:
        """Run the command line; its output."""
        ran = subprocess.run(
            ["podman", *self._options, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=self.folder,
        )
        assert ran.returncode == 0, f"podman {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout.strip()

    def let_go(self, container: str) -> None:
        """Tell a test image's program to end; its container may be gone before the engine knows how the telling went."""
        command = ["podman", *self._options, "exec", container, "touch", "/home/session/leave"]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=self.folder)
        assert told.returncode == 0 or not told.stderr, told.stderr

    def start(self) -> None:
        """Serve the API."""
        self.socket.unlink(missing_ok=True)
        with (self.folder / "service.log").open("ab") as log:
            command = ["podman", *self._options, "system", "service", f"--time={IDLE}", self.url]
            self._service = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)  # conmon leaves files
        end = time.monotonic() + STARTS_WITHIN
        while not self.socket.is_socket():
            assert self._service.poll() is None, (self.folder / "service.log").read_text()
            assert time.monotonic() < end, "the engine did not serve its socket"
            time.sleep(0.02)

    def stop(self) -> None:
        """Serve no more; containers go on."""
        service, self._service = self._service, None
        if service is not None:
            service.terminate()
            try:
                service.wait(10)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait(10)

    def containers(self) -> list[str]:
        """Names of all containers, also stopped ones; asked of the service, which is quicker than the command line."""
        listed = json.loads(self._api("GET", "/containers/json?all=true"))
        return [str(one["Names"][0]).removeprefix("/") for one in listed]

    def remove(self, *names: str) -> None:
        """Remove containers, whatever they do."""
        for name in names:
            self._api("DELETE", f"/containers/{name}?force=true")

    def _api(self, method: str, path: str) -> bytes:
        connection = _Line(self.socket)
        try:
            connection.request(method, f"/v1.41{path}")
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status < 300, f"{method} {path}: {answer.status} {body!r}"
            return body
        finally:
            connection.close()


class _Line(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _needed(program: str) -> set[str]:
    """A program and every library that it loads."""
    path = shutil.which(program)
    assert path is not None, f"{program} is not installed: python3 dev.py test does so"
    linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    return {path} | {word for word in linked.split() if word.startswith("/")}


def _root_of_image(file: Path) -> None:
    """Write the image's files as a tar archive."""
    session = file.with_name("session")
    session.write_text(SESSION)
    session.chmod(0o755)
    passwd = file.with_name("passwd")
    passwd.write_text("root:x:0:0:root:/root:/bin/sh\nseat:x:1000:1000::/home/seat:/bin/sh\n")
    with tarfile.open(file, "w") as archive:
        for folder in ("tmp", "proc", "sys", "dev", "run", "root", "home", "usr/bin", "etc", "var"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for link in ("bin", "lib", "lib64"):
            if os.path.islink(f"/{link}"):
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
                archive.addfile(entry)
        for path in sorted(set().union(*map(_needed, PROGRAMS))):
            inside = next((f"usr{path}" for link in ("/lib/", "/lib64/", "/bin/") if path.startswith(link)), path[1:])
            archive.add(os.path.realpath(path), inside if os.path.islink(f"/{path.split('/')[1]}") else path[1:])
        for folder in filter(os.path.isdir, FOLDERS):
            archive.add(folder, folder[1:])
        archive.add(session, "usr/bin/session")
        archive.add(passwd, "etc/passwd")


@contextmanager
def podman() -> Iterator[Podman]:
    """An engine with the image; everything of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="cb-"))  # short, for the sake of socket paths
    engine = Podman(folder)
    try:
        _root_of_image(folder / "root.tar")
        command = ["--change", 'CMD ["/usr/bin/session"]']
        labels = ["--change", "LABEL org.callboard.read-only=true", "--change", "LABEL org.callboard.rfb=socket"]
        engine("import", *command, *labels, str(folder / "root.tar"), IMAGE)
        engine.start()
        yield engine
    finally:
        try:
            engine("rm", "--force", "--all", "--time", "0")
        finally:
            engine.stop()
            subprocess.run(["umount", "-l", str(folder / "root" / "overlay")], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)
