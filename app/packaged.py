"""What is different in the packaged application, where one program holds everything and no Python runs the sources.

Every role asks here how to start itself again, where packed files lie, and what programs of others may be told.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

LIBRARY_PATHS = ("LD_LIBRARY_PATH", "LIBPATH")
"""What the packaged program sets for itself; what stood there before is kept under the same name with ``_ORIG``."""
OWN = ("QT_PLUGIN_PATH", "QML2_IMPORT_PATH", "DYLD_LIBRARY_PATH")
"""What it sets for its own Qt, if it points into the packaged application."""


def is_packaged() -> bool:
    """Whether this is the packaged application."""
    return bool(getattr(sys, "frozen", False))


def packed_files() -> Path | None:
    """The folder of the packaged application's files; None when the sources run."""
    folder = getattr(sys, "_MEIPASS", None)
    return None if folder is None else Path(folder)


def own_command() -> list[str]:
    """The command that runs this very program again; a role and its options follow."""
    return [sys.executable] if is_packaged() else [sys.executable, "-m", "app"]


def foreign_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a program that is not ours: a player, a tool of the system.

    The packaged program points the dynamic linker and Qt at its own libraries; another program would load those in
    place of its own and fail, or worse.
    """
    kept = dict(os.environ if environ is None else environ)
    folder = packed_files()
    if folder is None:
        return kept
    for name in LIBRARY_PATHS:
        before = kept.pop(f"{name}_ORIG", None)
        if before is not None:
            kept[name] = before
        else:
            kept.pop(name, None)
    for name in OWN:
        others = [
            path for path in kept.pop(name, "").split(os.pathsep) if path and not Path(path).is_relative_to(folder)
        ]
        if others:
            kept[name] = os.pathsep.join(others)
    return {name: value for name, value in kept.items() if not name.startswith("_PYI_")}
