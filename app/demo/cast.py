"""The cast of the demonstration venue: who publishes what, who consumes it, and how each of them behaves.

Data alone; ``venue.py`` gives it life. A theatre with a main stage: cameras, sound, sensors, show control, texture
sharing and a lidar whose stream type the house has made itself. Every mood shows the operator one kind of trouble.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Mood = Literal["steady", "slow", "picky", "silent", "deaf", "late", "flaky", "visitor"]
"""steady: accepts · slow: accepts after 3 s · picky: rejects every second one · silent: hears and never answers ·
deaf: nobody listens on NATS · late: beats too seldom · flaky: dies without a word and comes back · visitor: withdraws
and comes back."""

MARK = "callboard-demo"
"""Value of ``metadata.venue`` by which the demo knows its own streams."""

LIDAR = {
    "name": "lidar",
    "display_name": "LiDAR Point Cloud",
    "description": "3D point cloud data from LiDAR sensors",
    "icon": "scan",
    "default_config": {"format": "ply", "rate_hz": 10},
}
"""The stream type that the house has made itself; the seed's own example."""


@dataclass(frozen=True)
class Part:
    """One stream and its publisher's temper."""

    name: str
    stream_type: str
    publisher_id: str
    protocol: str
    address: str
    port: int
    config: dict[str, Any] = field(default_factory=dict)
    offer: dict[str, Any] = field(default_factory=dict)
    place: str = ""
    mood: Mood = "steady"

    def advertisement(self) -> dict[str, Any]:
        """The body of ``POST /streams/advertise``."""
        return {
            "name": self.name,
            "stream_type": self.stream_type,
            "publisher_id": self.publisher_id,
            "protocol": self.protocol,
            "address": self.address,
            "port": self.port,
            "config": self.config,
            "metadata": {"location": self.place, "venue": MARK} if self.place else {"venue": MARK},
        }


@dataclass(frozen=True)
class Guest:
    """One consumer: what it likes, how long it stays, whether it says goodbye."""

    consumer_id: str
    address: str
    port: int
    likes: tuple[str, ...]
    stays: tuple[float, float]
    goodbye: bool = True


def _camera(name: str, number: int, place: str, mood: Mood = "steady", fps: int = 50) -> Part:
    source = f"CAM-{number:02d} ({name})"
    return Part(
        name,
        "ndi",
        f"cam-{number:02d}",
        "ndi",
        f"192.168.50.{10 + number}",
        5960 + number,
        {"codec": "speedhq", "resolution": "1920x1080", "fps": fps},
        {"ndi_name": source, "groups": "stage"},
        place,
        mood,
    )


def _srt(name: str, publisher: str, host: int, port: int, place: str, mood: Mood = "steady") -> Part:
    config = {"codec": "hevc", "resolution": "1920x1080", "fps": 50, "bitrate_kbps": 12000, "latency_ms": 120}
    key = name.lower().replace(" ", "-")
    return Part(
        name,
        "srt",
        publisher,
        "srt",
        f"192.168.50.{host}",
        port,
        config,
        {"streamid": f"read:{key}", "latency_ms": 120},
        place,
        mood,
    )


def _sound(name: str, publisher: str, host: int, port: int, channels: int, mood: Mood = "steady") -> Part:
    config = {"codec": "pcm", "sample_rate": 48000, "channels": channels, "format": "s24"}
    return Part(name, "audio", publisher, "udp", f"192.168.51.{host}", port, config, {"payload": 97}, "foh", mood)


def _control(name: str, kind: str, publisher: str, host: int, port: int, mood: Mood = "steady") -> Part:
    config = {"rate_hz": 60} if kind != "midi" else {"ports": 2}
    return Part(name, kind, publisher, "udp", f"192.168.52.{host}", port, config, {}, "control", mood)


def _sensor(name: str, publisher: str, host: int, port: int, rate: int, mood: Mood = "steady") -> Part:
    config = {"rate_hz": rate, "format": "json"}
    return Part(name, "sensor", publisher, "tcp", f"192.168.53.{host}", port, config, {}, "grid", mood)


def _texture(name: str, protocol: str, publisher: str, host: int, size: str, mood: Mood = "steady") -> Part:
    width, height = size.split("x")
    config = {"format": "rgba8", "width": int(width), "height": int(height), "resolution": size, "fps": 60}
    kind = protocol if protocol in ("spout", "syphon") else "texture"
    sender = {"spout": "sender_name", "syphon": "server_name"}.get(protocol, "segment")
    return Part(name, kind, publisher, protocol, f"192.168.54.{host}", 0, config, {sender: name}, "media", mood)


CAST: tuple[Part, ...] = (
    _camera("Main Stage Camera A", 1, "stage-left"),
    _camera("Main Stage Camera B", 2, "stage-right"),
    _srt("Programme Feed", "enc-ob-01", 40, 9001, "ob-van"),
    _sound("FOH Mix LR", "console-foh", 11, 5004, 2),
    _control("Show Control OSC", "osc", "qlab-main", 11, 53000),
    _sensor("Revolve Encoder", "plc-revolve", 21, 7001, 100),
    _texture("Backdrop Left", "spout", "td-workstation-01", 11, "3840x2160"),
    Part(
        "Stage LiDAR",
        "lidar",
        "lidar-grid-01",
        "udp",
        "192.168.53.40",
        2368,
        {"format": "ply", "rate_hz": 10},
        {},
        "grid",
    ),
    _camera("Handheld Camera", 3, "floor", "picky"),
    _srt("Foyer Uplink", "enc-foyer", 41, 9002, "foyer", "silent"),
    _camera("Conductor Camera", 4, "pit", "slow"),
    _sound("Stage Ambience", "rio-stage-left", 12, 5006, 8),
    _sound("Wireless Microphones", "rio-stage-right", 13, 5008, 32, "picky"),
    _control("Fader Bank", "midi", "fader-bank-01", 12, 5100),
    _control("Timecode MTC", "midi", "timecode-master", 13, 5102),
    _sensor("Flybar Positions", "plc-flys", 22, 7002, 50, "late"),
    _sensor("Floor Pressure", "floor-dsp", 23, 7003, 60, "flaky"),
    _texture("Backdrop Right", "spout", "td-workstation-02", 12, "3840x2160"),
    _texture("Projection Mask", "syphon", "mac-media-01", 13, "1920x1200"),
    _texture("Generative Layer", "shared_memory", "td-workstation-01", 11, "2048x2048", "deaf"),
    Part(
        "Lobby Web Cam",
        "video",
        "kiosk-lobby",
        "webrtc",
        "192.168.55.20",
        8443,
        {"codec": "h264", "resolution": "1280x720", "fps": 30},
        {"whep_url": "https://192.168.55.20:8443/whep/lobby"},
        "lobby",
        "visitor",
    ),
    _camera("Balcony Wide", 5, "balcony", fps=25),
    _camera("Crane Camera", 6, "stalls", "flaky"),
    _srt("Remote Guest", "enc-remote-01", 42, 9003, "remote", "visitor"),
    Part(
        "Tracking Skeletons",
        "data",
        "mocap-01",
        "tcp",
        "192.168.53.60",
        7100,
        {"format": "json", "rate_hz": 120},
        {},
        "grid",
    ),
    Part(
        "Cue Lights",
        "data",
        "cue-light-hub",
        "udp",
        "192.168.52.40",
        6454,
        {"format": "artnet", "universes": 2},
        {},
        "control",
    ),
    _sound("Interpreter English", "booth-en", 14, 5010, 1),
    _sound("Interpreter Deutsch", "booth-de", 15, 5012, 1),
)
"""The most telling ones first, so that a small venue still shows every kind of stream and trouble."""

GUESTS: tuple[Guest, ...] = (
    Guest("multiviewer-control", "192.168.60.11", 6001, ("ndi", "srt"), (90.0, 240.0)),
    Guest("multiviewer-control", "192.168.60.11", 6002, ("ndi",), (60.0, 180.0)),
    Guest("recorder-01", "192.168.60.21", 6100, ("ndi", "srt", "video"), (120.0, 300.0)),
    Guest("recorder-audio", "192.168.60.22", 6110, ("audio",), (120.0, 300.0)),
    Guest("lighting-console", "192.168.60.31", 6200, ("osc", "sensor", "midi"), (45.0, 120.0)),
    Guest("media-server-01", "192.168.60.41", 6300, ("spout", "syphon", "texture", "ndi"), (60.0, 150.0)),
    Guest("safety-plc", "192.168.60.51", 6400, ("sensor", "lidar"), (180.0, 400.0)),
    Guest("visitor-tablet", "192.168.60.71", 6500, ("audio", "video", "srt"), (20.0, 45.0), goodbye=False),
)

PRESETS: tuple[dict[str, Any], ...] = (
    {
        "name": "LED wall",
        "consumer_id": "led-processor-01",
        "consumer_address": "192.168.60.81",
        "consumer_port": 5961,
        "config": {"preferred_codec": "h264", "resolution": "1920x1080"},
        "mode": "replace",
        "held_by": "console",
        "default": True,
    },
    {
        "name": "Confidence monitor",
        "consumer_id": "monitor-stage-left",
        "consumer_address": "192.168.60.82",
        "consumer_port": 5962,
        "mode": "replace",
        "held_by": "console",
    },
    {
        "name": "Archive recorder",
        "consumer_id": "recorder-02",
        "consumer_address": "192.168.60.83",
        "consumer_port": 6120,
        "config": {"container": "mov"},
        "mode": "add",
        "held_by": "console",
    },
)
"""Where an operator may take streams to; the first is the default, so that R works at once."""
