"""Peers of the VNC bench, on plain sockets and threads: a source behind relays, and viewers in front of them.

``python -m tests.bench.vnc_peer source`` listens and says where; it greets like a VNC server, so that an ``attach`` agent
takes it for one, and then pours or echoes as the viewer asks. ``… look JOB`` opens viewers and says what they saw.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

from websockets.utils import apply_mask

GREETING = b"RFB 003.008\n"
CHUNK = os.urandom(64 * 1024)
MESSAGE = 100
READ = 256 * 1024


# --- the source -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer every connection until told to stop."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """One viewer: twelve bytes say whether it wants so many bytes, or its own back."""
    with connection, contextlib.suppress(OSError, EOFError):
        connection.sendall(GREETING)
        wish = exactly(connection, 12)
        if wish.startswith(b"RFB"):
            connection.sendall(b"\x01\x01")
            exactly(connection, 1)
            connection.sendall(bytes(4))
            connection.recv(1)
            return
        if wish.startswith(b"POUR"):
            left = int.from_bytes(wish[4:], "big")
            while left > 0:
                connection.sendall(CHUNK)
                left -= len(CHUNK)
        while data := connection.recv(READ):
            connection.sendall(data)


def exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or ``EOFError``."""
    data = bytearray()
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


# --- viewers ----------------------------------------------------------------------------------------------------------


class Viewer:
    """A WebSocket client without a library, so that its own cost is small and the same for every relay."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: binary", "", "",
        ]  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += exactly(self.socket, 1)
        if b" 101 " not in answer:
            raise RuntimeError(answer.decode("latin-1"))
        self._rest = b""
        if self.payload(12) != GREETING:
            raise RuntimeError("this is not the source")

    def send(self, data: bytes) -> None:
        """One masked frame of less than 126 bytes."""
        mask = os.urandom(4)
        self.socket.sendall(bytes((0x82, 0x80 | len(data))) + mask + apply_mask(data, mask))

    def payload(self, count: int) -> bytes:
        """So many bytes of payload; pings are answered on the way."""
        found = b""
        while len(found) < count:
            first, size = exactly(self.socket, 2)
            if size == 126:
                size = int.from_bytes(exactly(self.socket, 2), "big")
            elif size == 127:
                size = int.from_bytes(exactly(self.socket, 8), "big")
            data = exactly(self.socket, size)
            if first & 15 == 9:
                mask = os.urandom(4)
                self.socket.sendall(bytes((0x8A, 0x80 | size)) + mask + apply_mask(data, mask))
            elif first & 15 == 2:
                found += data
            else:
                raise RuntimeError(f"frame {first & 15}: {data!r}")
        return found

    def pour(self, count: int) -> int:
        """Ask for so many bytes and drain the socket; frames are not looked at."""
        self.send(b"POUR" + struct.pack("!Q", count))
        got, buffer = 0, bytearray(READ)
        while got < count:
            size = self.socket.recv_into(buffer)
            if not size:
                raise RuntimeError(f"the relay closed after {got} of {count} bytes")
            got += size
        return got

    def echo(self, count: int, pause: float = 0.0) -> list[float]:
        """Microseconds of so many round trips."""
        self.send(b"ECHO" + bytes(8))
        message = os.urandom(MESSAGE)
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            self.send(message)
            self.payload(MESSAGE)
            times.append((time.perf_counter() - begun) * 1e6)
            if pause:
                time.sleep(pause)
        return sorted(times)


def look(job: dict[str, Any]) -> dict[str, Any]:
    """One job: ``pour`` bytes at each of ``paths``, or ``echo`` at the first."""
    viewers = [Viewer(job["port"], path) for path in job["paths"]]
    if "echo" in job:
        times = viewers[0].echo(job["echo"], job.get("pause", 0.0))
        return {"p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)]}
    threads = [threading.Thread(target=viewer.pour, args=(job["pour"],)) for viewer in viewers]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"bytes": job["pour"] * len(viewers), "seconds": time.perf_counter() - begun}


def stall(job: dict[str, Any]) -> None:
    """Open viewers that ask for everything and read nothing, until told to end."""
    viewers = [Viewer(job["port"], path) for path in job["paths"]]
    for viewer in viewers:
        viewer.send(b"POUR" + struct.pack("!Q", 1 << 40))
    print(json.dumps({"stalled": len(viewers)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "source":
        serve()
    elif sys.argv[1] == "stall":
        stall(json.loads(sys.argv[2]))
    else:
        print(json.dumps(look(json.loads(sys.argv[2]))), flush=True)
