"""The console's viewer on a desktop of this machine: key press to changed pixel, press of V to the first picture."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import ROOT, OtherLoad, Result, at_most, broker


def run(quick: bool) -> list[Result]:
    """Medians; absolute figures, so they are judged on a quiet machine only."""
    presses, openings = (20, 3) if quick else (200, 12)
    with tempfile.TemporaryDirectory(prefix="callboard-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        with broker(home / "data", "--local-agent", "auto", CALLBOARD_ADMIN_PASSWORD="only for the bench") as running:
            token = (running.data / "console.token").read_text().strip()
            arguments = [str(running.ready["main"]), token, str(home), str(presses), str(openings)]
            with OtherLoad() as others:
                found = probe(arguments)
    keys, warm = found["key_ms"], found["warm_ms"]
    slow = sorted(keys)[int(len(keys) * 0.95)]
    note = f"p95 {slow:.0f} ms, {len(keys)} keys"
    first = f"worst {max(warm):.0f} ms of {len(warm)}, cold {found['cold_ms']:.0f} ms"
    return [
        at_most("viewer key to pixel p50", statistics.median(keys), "ms", 60, other_load=others.cores, note=note),
        at_most("viewer first frame, warm", statistics.median(warm), "ms", 300, other_load=others.cores, note=first),
    ]


def probe(arguments: list[str]) -> dict[str, list[float]]:
    """What ``viewer_probe`` measured, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.viewer_probe", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    if ran.returncode != 0 or not lines:
        raise RuntimeError(f"the viewer's probe ended with {ran.returncode}: {ran.stderr[-2000:]}")
    answer: dict[str, list[float]] = json.loads(lines[-1])
    return answer
