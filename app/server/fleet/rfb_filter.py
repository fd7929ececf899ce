"""View-only, enforced: what a viewer says to a VNC server (RFB 3.3, 3.7, 3.8), without everything that acts on it.

Used by ``relay.py`` for viewers in mode ``view``; no I/O. noVNC's own view-only lives in the browser and binds nobody,
so the broker reads both sides of the handshake and then passes on, of what the viewer says, only what is needed to
get pictures. Keys, pointer, clipboard, resizing and power commands are dropped, and what is unknown ends the
connection: a message whose length nobody knows cannot be told from a key.

Of a server's security types the viewer is only offered those with a handshake known here, None and VNC
authentication. Where that leaves none, view-only cannot be enforced, and is refused rather than promised.
"""

from __future__ import annotations

import re
import struct

from app.errors import Invalid, Unsupported

REFUSAL = "view-only cannot be enforced here; Shift+V for control"

_NONE, _VNC = 1, 2
KNOWN_TYPES = (_NONE, _VNC)
"""Security types whose handshake is known here."""
_HANDSHAKE = 4096
"""Bytes that one side may say before the other has got that far."""
_ENCODINGS = 1024
_FENCE = 64
_GREETING = re.compile(rb"RFB (\d{3})\.(\d{3})\n")
_VERSIONS = {b"003": 3, b"005": 3, b"007": 7, b"008": 8}

_SET_ENCODINGS, _FENCE_MESSAGE, _CUT_TEXT, _RESIZE, _QEMU = 2, 248, 6, 251, 255
_PASSED = {0: 20, 3: 10, 150: 10}
"""SetPixelFormat, FramebufferUpdateRequest, EnableContinuousUpdates: type → length."""
_DROPPED = {4: 8, 5: 6, 250: 4}
"""KeyEvent, PointerEvent, xvp."""
_REMOVED = frozenset({-316, -305, -259})
"""Encodings that allow longer pointer messages, other input devices (gii) and audio (QEMU)."""
_VMWARE = range(0x574D5600, 0x574D5700)
"""Encodings that allow VMware's own input messages."""


class CannotEnforce(Unsupported):
    """The server's handshake is not known here, so what the viewer says could not be told apart."""

    default_code = "view_only"


class BadInput(Invalid):
    """The viewer said what no viewer says."""


class ViewOnly:
    """One viewer's filter. ``CannotEnforce`` and ``BadInput`` are the end of it: nothing more goes either way."""

    def __init__(self) -> None:
        self.dropped = 0
        """Messages that were not passed on."""
        self._server = bytearray()
        self._viewer = bytearray()
        self._server_stage = self._greeting
        self._viewer_stage = self._version
        self._newest = 0
        """Version that the server greets with, 3, 7 or 8; 0 before."""
        self._agreed = 0
        self._offered: tuple[int, ...] = ()
        self._chosen = 0
        self._open = False
        self._failed = False
        self._skip = 0
        """Bytes of a dropped message that are still to come."""

    @property
    def offers(self) -> tuple[int, ...]:
        """Security types that the viewer may choose from; empty before the server has told them."""
        return self._offered

    @property
    def settled(self) -> bool:
        """The server has said all that matters here; its bytes may pass by."""
        return self._open or self._failed

    @property
    def greeted(self) -> bool:
        """Whether the server has said its version."""
        return bool(self._newest)

    @property
    def agreed(self) -> bool:
        """Whether the viewer has said its own."""
        return bool(self._agreed)

    def passes(self, down: bytes, up: bytes) -> tuple[bytes, bytes]:
        """What of the bytes from the server and from the viewer goes on to the other."""
        if self.settled:
            return down, self._from_viewer(up)
        to_viewer, to_server = self._from_server(down), self._from_viewer(up)
        while True:  # what one side said may set free what waits on the other
            over = self._open or self._failed
            more_down = b"" if over else self._from_server(b"")
            more_up = self._from_viewer(b"")
            to_viewer += more_down
            to_server += more_up
            if not more_down and not more_up and over == (self._open or self._failed):
                return to_viewer, to_server

    def _from_server(self, data: bytes) -> bytes:
        self._server += data
        out = bytearray()
        while self._server_stage(out):
            pass
        if self.settled:
            out += self._server
            self._server.clear()
        elif len(self._server) > _HANDSHAKE:
            raise CannotEnforce(REFUSAL)
        return bytes(out)

    def _from_viewer(self, data: bytes) -> bytes:
        if self._failed:
            return b""
        self._viewer += data
        out = bytearray()
        while self._viewer_stage(out):
            pass
        if len(self._viewer) > _HANDSHAKE + 4 * _ENCODINGS:
            raise BadInput("The viewer says more than a viewer has to say")
        return bytes(out)

    # --- the server's side: each stage says whether it got on -----------------------------------------------------

    def _greeting(self, out: bytearray) -> bool:
        if len(self._server) < 12:
            return False
        match = _GREETING.fullmatch(self._server[:12])
        if match is None or match[1] < b"003":
            raise CannotEnforce(REFUSAL)
        self._newest = 8 if match[1] > b"003" or match[2] >= b"008" else 7 if match[2] == b"007" else 3
        self._server_stage = self._security
        return self._pass(12, out)

    def _security(self, out: bytearray) -> bool:
        if not self._agreed:
            return False
        return self._type_given(out) if self._agreed == 3 else self._types_offered(out)

    def _type_given(self, out: bytearray) -> bool:
        """RFB 3.3: the server chooses."""
        if len(self._server) < 4:
            return False
        chosen = int.from_bytes(self._server[:4], "big")
        if chosen == 0:
            return self._end_handshake(failed=True)
        if chosen not in KNOWN_TYPES:
            raise CannotEnforce(REFUSAL)
        self._offered, self._chosen = (chosen,), chosen
        self._server_stage = self._answered
        return self._pass(4, out)

    def _types_offered(self, out: bytearray) -> bool:
        """RFB 3.7 and 3.8: the viewer chooses, of those that are known here."""
        if not self._server or len(self._server) < 1 + self._server[0]:
            return False
        count = self._server[0]
        if count == 0:
            return self._end_handshake(failed=True)
        offered = tuple(kind for kind in self._server[1 : 1 + count] if kind in KNOWN_TYPES)
        if not offered:
            raise CannotEnforce(REFUSAL)
        self._offered = offered
        out += bytes((len(offered), *offered))
        del self._server[: 1 + count]
        self._server_stage = self._answered
        return True

    def _answered(self, out: bytearray) -> bool:
        """The type is chosen."""
        if not self._chosen:
            return False
        if self._chosen == _VNC:
            self._server_stage = self._challenge
        elif self._agreed == 8:
            self._server_stage = self._result
        else:
            return self._end_handshake(failed=False)
        return True

    def _challenge(self, out: bytearray) -> bool:
        if len(self._server) < 16:
            return False
        self._server_stage = self._result
        return self._pass(16, out)

    def _result(self, out: bytearray) -> bool:
        if len(self._server) < 4:
            return False
        failed = any(self._server[:4])
        self._pass(4, out)
        return self._end_handshake(failed=failed)

    def _end_handshake(self, *, failed: bool) -> bool:
        self._open, self._failed = not failed, failed
        return False

    def _pass(self, count: int, out: bytearray) -> bool:
        out += self._server[:count]
        del self._server[:count]
        return True

    # --- the viewer's side ----------------------------------------------------------------------------------------

    def _version(self, out: bytearray) -> bool:
        if not self._newest or len(self._viewer) < 12:
            return False
        match = _GREETING.fullmatch(self._viewer[:12])
        version = _VERSIONS.get(match[2]) if match is not None and match[1] == b"003" else None
        if version is None:
            raise CannotEnforce(REFUSAL)
        self._agreed = min(version, self._newest)
        self._viewer_stage = self._choice
        return self._take(12, out)

    def _choice(self, out: bytearray) -> bool:
        if not self._offered or (self._agreed != 3 and not self._viewer):
            return False
        if self._agreed != 3:
            if self._viewer[0] not in self._offered:
                raise BadInput("The viewer chose a security type that was not offered")
            self._chosen = self._viewer[0]
            self._take(1, out)
        self._viewer_stage = self._response if self._chosen == _VNC else self._init
        return True

    def _response(self, out: bytearray) -> bool:
        if len(self._viewer) < 16:
            return False
        self._viewer_stage = self._init
        return self._take(16, out)

    def _init(self, out: bytearray) -> bool:
        """ClientInit: always shared, so that a look never throws the desktop's user out."""
        if not self._open or not self._viewer:
            return False
        del self._viewer[:1]
        out += b"\x01"
        self._viewer_stage = self._messages
        return True

    def _take(self, count: int, out: bytearray) -> bool:
        out += self._viewer[:count]
        del self._viewer[:count]
        return True

    def _messages(self, out: bytearray) -> bool:
        """Every whole message that is there; what is left waits for its rest."""
        said = self._viewer
        at = 0
        while at < len(said):
            if self._skip:
                step = min(self._skip, len(said) - at)
                self._skip -= step
                at += step
                continue
            length = self._length(said, at)
            kind = said[at]
            if not length:
                break
            if kind in _PASSED or kind in (_SET_ENCODINGS, _FENCE_MESSAGE):
                if len(said) - at < length:
                    break
                out += _encodings(said[at : at + length]) if kind == _SET_ENCODINGS else said[at : at + length]
                at += length
            else:
                self.dropped += 1
                self._skip = length
        del said[:at]
        return False

    @staticmethod
    def _length(said: bytearray, at: int) -> int:
        """Of the message that begins at ``at``; 0 while that cannot be told."""
        kind, there = said[at], len(said) - at
        known = _PASSED.get(kind) or _DROPPED.get(kind)
        if known is not None:
            return known
        if kind == _SET_ENCODINGS:
            return 4 + 4 * _count(said, at) if there >= 4 else 0
        if kind == _CUT_TEXT:  # a negative length is that of an extended clipboard message
            return 8 + abs(struct.unpack_from(">i", said, at + 4)[0]) if there >= 8 else 0
        if kind == _FENCE_MESSAGE:
            return 9 + _fence(said[at + 8]) if there >= 9 else 0
        if kind == _RESIZE:
            return 8 + 16 * said[at + 6] if there >= 8 else 0
        if kind == _QEMU:
            return _qemu(said, at, there)
        raise BadInput(f"The viewer sent a message of unknown type {kind}")


def _count(said: bytearray, at: int) -> int:
    count: int = struct.unpack_from(">H", said, at + 2)[0]
    if count > _ENCODINGS:
        raise BadInput("The viewer named too many encodings")
    return count


def _fence(length: int) -> int:
    if length > _FENCE:
        raise BadInput("The viewer sent a fence that is too long")
    return length


def _qemu(said: bytearray, at: int, there: int) -> int:
    """A key with its scan code, or audio: on, off, and the format wanted."""
    if there < 2:
        return 0
    if said[at + 1] == 0:
        return 12
    if said[at + 1] != 1:
        raise BadInput(f"The viewer sent a QEMU message of unknown type {said[at + 1]}")
    if there < 4:
        return 0
    wish: int = struct.unpack_from(">H", said, at + 2)[0]
    if wish > 2:
        raise BadInput(f"The viewer sent a QEMU audio message of unknown type {wish}")
    return 10 if wish == 2 else 4


def _encodings(message: bytearray) -> bytes:
    """SetEncodings without those that would change what the viewer may say."""
    named = struct.unpack_from(f">{(len(message) - 4) // 4}i", message, 4)
    kept = [one for one in named if one not in _REMOVED and one not in _VMWARE]
    return struct.pack(f">BxH{len(kept)}i", _SET_ENCODINGS, len(kept), *kept)
