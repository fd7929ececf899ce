"""``python3 dev.py bench [--quick] [NAME…]``: runs the modules ``bench_NAME.py`` and writes ``build/bench.json``.

Each module has ``run(quick: bool) -> list[Result]``, plain or async. Quick runs are for finding out whether a
bench works, not for judging by.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import sys
import traceback
from pathlib import Path

import msgspec

from tests.bench.harness import ROOT, Result

ROW = "{:<34} {:>12} {:<6} {:>10}  {:<6} {}"
WORDS = {True: "holds", False: "FAILS", None: "-"}


def modules() -> dict[str, str]:
    """Name of each bench → module."""
    files = sorted(Path(__file__).parent.glob("bench_*.py"))
    return {file.stem.removeprefix("bench_"): f"tests.bench.{file.stem}" for file in files}


def measure(module: str, quick: bool) -> list[Result]:
    """Run one bench module."""
    answer = importlib.import_module(module).run(quick)
    results: list[Result] = asyncio.run(answer) if inspect.iscoroutine(answer) else answer
    return results


def main() -> int:
    """Run the chosen benches, print a line for each result as it comes, keep all in build/bench.json."""
    known = modules()
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all when none is given")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that the bench works")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no bench named {', '.join(unknown)}; there are {', '.join(known)}")
    report = ROOT / "build" / "bench.json"
    report.parent.mkdir(exist_ok=True)
    kept = json.loads(report.read_text()) if options.names and report.exists() else {}
    failed = []
    print(ROW.format("benchmark", "value", "unit", "target", "", "how"))
    for name in options.names or known:
        try:
            results = measure(known[name], options.quick)
        except Exception:  # the other benches are still worth running; the failure is shown and counts
            traceback.print_exc()
            failed.append(name)
            continue
        for result in results:
            value = f"{result.value:,.2f}"
            row = ROW.format(result.name, value, result.unit, result.target, WORDS[result.holds], result.note)
            print(row, flush=True)
            kept[result.name] = msgspec.to_builtins(result)
        report.write_text(json.dumps(kept, indent=1) + "\n")
    if failed:
        print(f"did not run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
