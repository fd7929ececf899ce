"""Colours of the six states in each theme, as data; ``app/ui/theme.py`` paints with them.

Each set was measured on its own background, and ``tests/unit/models/test_palettes.py`` measures it again: contrast
of at least 4.5 (High contrast: 7) and the smallest CIEDE2000 distance between any two of the six, for normal sight
and for protans, deutans and tritans (Machado 2009, severity 1.0).

| theme | contrast | normal | protan | deutan | tritan |
| --- | --- | --- | --- | --- | --- |
| dark | 4.5 | 22.8 | 20.3 | 18.6 | 18.7 |
| blackout: reds and ambers alone, nothing brighter than a third of white | 4.6 | 19.3 | 10.6 | 9.9 | 10.0 |
| contrast | 7.0 | 24.4 | 17.2 | 16.8 | 17.3 |

Blackout has half the distance of the others because it gives up green and blue on purpose; word and shape carry
what colour cannot.
"""

from __future__ import annotations

from typing import NamedTuple


class Palette(NamedTuple):
    """Hex colours: the background they are for, the six states by key, and the ON AIR badge."""

    background: str
    colors: dict[str, str]
    on_air_text: str
    on_air_background: str


PALETTES = {
    "dark": Palette(
        "#14171B",
        {
            "live": "#0BA778",
            "changing": "#AFD1E6",
            "held": "#FDBA29",
            "stale": "#FBF5CC",
            "fault": "#E6461D",
            "off": "#768190",
        },
        "#FFFFFF",
        "#C8102E",
    ),
    "blackout": Palette(
        "#080302",
        {
            "live": "#8C7B3C",
            "changing": "#BC7E70",
            "held": "#ED8C0E",
            "stale": "#BDAF95",
            "fault": "#F90404",
            "off": "#7B7775",
        },
        "#E0B090",
        "#8C0C18",
    ),
    "contrast": Palette(
        "#000000",
        {
            "live": "#27C1A5",
            "changing": "#CCEDFC",
            "held": "#FBBC00",
            "stale": "#FDFCCF",
            "fault": "#F76662",
            "off": "#8C97C8",
        },
        "#FFFFFF",
        "#C8102E",
    ),
}
