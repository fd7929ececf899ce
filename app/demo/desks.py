"""The desktops of the demonstration venue: its people, what they work with, and on which of its racks.

Data alone; ``desktops.py`` gives it life. Every program is an ordinary one of a machine that can run desktops at all, so
that what is seen on the board is real and moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mood = Literal["steady", "sleeper", "passing", "leaving"]
"""steady: stays, and comes back when it was ended · sleeper: hibernated most of the time · passing: comes and goes ·
leaving: on the rack that drains; goes after a while and comes back when the rack takes sessions again."""

MEDIA_RACK, GRAPHICS_RACK = "media-rack-01", "graphics-rack-02"
RACKS = (MEDIA_RACK, GRAPHICS_RACK)
PLACES = 6
"""Sessions that one rack takes."""

PEOPLE = ("ada.larsen", "ben.okafor", "carla.ruiz", "noor.haddad")


@dataclass(frozen=True)
class Desk:
    """One session that somebody has again and again."""

    user: str
    template: str
    rack: str
    mood: Mood = "steady"
    tags: tuple[str, ...] = ()


DESKS: tuple[Desk, ...] = (
    Desk("ada.larsen", "demo-cue-list", MEDIA_RACK, tags=("show", "control")),
    Desk("ben.okafor", "demo-foh-meters", MEDIA_RACK, tags=("show", "sound")),
    Desk("carla.ruiz", "demo-light-states", GRAPHICS_RACK, "leaving", ("light",)),
    Desk("ada.larsen", "demo-foh-meters", MEDIA_RACK, "sleeper", ("rehearsal",)),
    Desk("noor.haddad", "demo-cue-list", GRAPHICS_RACK, "leaving", ("control",)),
    Desk("noor.haddad", "demo-light-states", MEDIA_RACK, "passing", ("light", "guest")),
)

_CUES = """
n=0
while :; do
  n=$((n % 10 + 1)); i=0
  printf '\\033[H\\033[2J\\033[1;37m  CUE LIST  Act II            %s\\033[0m\\n\\n' "$(date +%H:%M:%S)"
  for cue in 'House to half' 'Preset out' 'Wash up, blue' 'Gobo left' 'Truck A on' 'Follow spot 1' 'Snow' \\
    'Video wall: clouds' 'Strobe' 'Blackout'; do
    i=$((i + 1))
    if [ $i -eq $n ]; then printf '\\033[30;42m  %3d.0  %-24s GO   \\033[0m\\n' $i "$cue"
    elif [ $i -lt $n ]; then printf '\\033[90m  %3d.0  %-24s done \\033[0m\\n' $i "$cue"
    else printf '  %3d.0  %-24s\\n' $i "$cue"; fi
  done
  sleep 2
done
"""
_METERS = """
full='########################################'; seed=$$
while :; do
  printf '\\033[H\\033[1;37m  FOH METERS                   %s\\033[0m\\n\\n' "$(date +%H:%M:%S)"
  for name in 'Lead vocal' 'Choir L' 'Choir R' 'Kick' 'Snare' 'Bass' 'Keys' 'Playback L' 'Playback R' 'Ambience'; do
    seed=$(((seed * 1103515245 + 12345) & 2147483647)); level=$((seed / 65536 % 34 + 4)); colour=32
    [ $level -gt 30 ] && colour=33; [ $level -gt 36 ] && colour=31
    printf '  %-10s \\033[%dm%-30.*s\\033[0m %3d dB\\n' "$name" $colour $((level * 4 / 5)) "$full" $((level - 40))
  done
  sleep 0.5
done
"""
_LIGHTS = """
seed=$$
while :; do
  printf '\\033[H\\033[1;37m  LIGHT STATES                 %s\\033[0m\\n' "$(date +%H:%M:%S)"
  for bar in 'Front truss' 'Mid truss' 'Back truss' 'Floor left' 'Floor right'; do
    printf '\\n  %-12s ' "$bar"
    for lamp in 1 2 3 4 5 6 7 8; do
      seed=$(((seed * 1103515245 + 12345) & 2147483647))
      printf '\\033[4%dm    \\033[0m ' $((seed / 65536 % 8))
    done
    echo
  done
  sleep 1
done
"""


_WRITES = 'n=0; while sleep 2; do n=$((n + 1)); echo "$0: turn $n"; done & exec "$0" "$@"'
"""Runs its arguments and writes a line into the session's log now and then, for who follows it."""


def _template(name: str, title: str, text: str, script: str) -> dict[str, Any]:
    """A terminal that shows the output of a script, as an administrator would define it."""
    terminal = ["xterm", "-maximized", "-fa", "Monospace", "-fs", "20", "-bg", "#15181c", "-fg", "#e6e6e6"]
    return {
        "name": name,
        "display_name": title,
        "category": "Demo",
        "description": text,
        "command": ["sh", "-c", _WRITES, *terminal, "-T", title, "-e", "sh", "-c", script],
        "default_resources": {"memory": "256Mi", "cpu": "500m"},
        "vnc": {"enabled": True, "port": 5900, "resolution": "960x540", "color_depth": 24},
        "persistent_home": False,
        "idle_timeout": "0",
        "tags": ["demo"],
    }


TEMPLATES: tuple[dict[str, Any], ...] = (
    _template("demo-cue-list", "Cue list", "A cue list that runs by itself", _CUES),
    _template("demo-foh-meters", "FOH meters", "Levels of ten channels, twice a second", _METERS),
    _template("demo-light-states", "Light states", "Forty lamps that change each second", _LIGHTS),
)
SIMULATED_TEMPLATE: dict[str, Any] = {
    "name": "simulated",
    "display_name": "Simulated",
    "category": "Demo",
    "description": "Runs on the demo's simulated agents alone, and nothing runs there",
    "base_image": "localhost/simulated:1",
    "persistent_home": False,
    "idle_timeout": "0",
    "tags": ["demo", "simulated"],
}
"""An image that is nowhere: only simulated agents can start it."""
