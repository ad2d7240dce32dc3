"""All benchmarks, one after the other, with small sizes: one table of ratios.

Run it alone on a quiet machine::

    python tests/benchmarks [--only ranking window ...] [--json FILE] [--against FILE]

A ratio says how many times as much the peer took in the same run, so that more than 1 is saved; below it stand the least and
the most of the rounds, where rounds took turns. Each file also runs by itself, with the sizes its own ``--help`` names. Peers
that are packages of their own are installed at the first run into environments beside the benchmarks (the network is needed
then). A benchmark that cannot run says why, and the exit status is 1. With ``--against``, what an earlier run wrote as JSON is
held against this one, and what changed by more than a third either way is named at the end. Nothing here fails for being slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SMALL = {
    "readers": ["--mb", "5", "--runs", "100", "--rounds", "3"],
    "start": ["--points", "1e6", "--runs", "20", "--rounds", "5"],
    "hold": ["--points", "1e7"],
    "window": ["--points", "1e5", "--rounds", "3"],
    "scaling": ["--sample", "12", "--draws", "1000"],
    "ranking": ["--draws", "300"],
    "compatibility": ["--items", "2000"],
    "calibration": ["--rows", "1e5", "--rounds", "3"],
    "live": ["--runs", "300", "--growing", "50", "--shown", "50", "--minutes", "0.3"],
}
"""Arguments of each benchmark, so that all take a few minutes together."""


def of_readers(everything: dict[str, Any]) -> list[dict[str, Any]]:
    """Give what the readers' benchmark wrote as comparisons of processor seconds, for the same number of points."""
    rows = []
    for name, one in everything.items():
        ours = one["readers"]["runglass"]
        for peer, theirs in one["readers"].items():
            if peer != "runglass":
                ratio = theirs["cpu"] / theirs["points"] * ours["points"] / ours["cpu"]
                rows.append(
                    {"what": f"reading {name}", "peer": peer, "ratio": ratio, "least": None, "most": None}
                    | {"own": 1e3 * ours["cpu"], "unit": "ms"}
                )
    return rows


def comparisons(name: str) -> list[dict[str, Any]]:
    """Run a benchmark and give its comparisons.

    Raises
    ------
    RuntimeError
        When it cannot run; says the last line of why.
    """
    script = HERE / name if (HERE / name).is_dir() else HERE / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "told.json"
        done = subprocess.run(
            [sys.executable, str(script), *SMALL[name], "--json", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={"QT_QPA_PLATFORM": "offscreen", **os.environ},
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
        told = json.loads(file.read_text())
    return of_readers(told) if isinstance(told, dict) else told


def ratios(told: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    """Give the ratio of each comparison of a run, by benchmark, what was done, and peer."""
    return {
        (name, row["what"], row["peer"]): row["ratio"]
        for name, rows in told.items()
        if isinstance(rows, list)
        for row in rows
        if row["ratio"] is not None
    }


def line(row: dict[str, Any], before: float | None) -> str:
    """Write a comparison as a line of the table."""
    ends = "" if row["least"] is None else f"  {row['least']:.2f} to {row['most']:.2f}"
    was = "" if before is None else f"  was {before:,.2f} x"
    own = f"{row['own']:,.1f} {row['unit']}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:11,.2f} x"  # of what has neither peer nor limit
    return f"{row['what'][:62]:63}{row['peer'][:40]:41}{own:>14}{ratio}{ends}{was}"


def changes(before: dict[tuple[str, str, str], float], after: dict[tuple[str, str, str], float]) -> list[str]:
    """Name the comparisons whose ratio changed by more than a third, the greatest loss first."""
    found = sorted((after[key] / before[key], key) for key in after.keys() & before.keys())
    return [
        f"{' · '.join(key)}: {before[key]:,.2f} x, now {after[key]:,.2f} x"
        for change, key in found
        if not 2 / 3 < change < 3 / 2
    ]


def main() -> int:
    """Run the benchmarks and print one table."""
    parser = argparse.ArgumentParser(
        prog="python tests/benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(SMALL), default=list(SMALL))
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--against", type=Path, help="numbers of an earlier run to compare with")
    options = parser.parse_args()
    before = ratios(json.loads(options.against.read_text())) if options.against else {}
    print(f"{'what':63}{'peer':41}{'ours':>14}{'peer / ours':>13}  rounds")
    everything: dict[str, Any] = {}
    failed = False
    for name in options.only:
        try:
            everything[name] = comparisons(name)
        except RuntimeError as error:
            failed = True
            everything[name] = {"error": str(error)}
            print(f"{name}: could not run: {error}", flush=True)
            continue
        for row in everything[name]:
            print(line(row, before.get((name, row["what"], row["peer"]))), flush=True)
    if options.against:
        changed = changes(before, ratios(everything))
        print("\nchanged by more than a third:" if changed else "\nnothing changed by more than a third")
        print(*changed, sep="\n")
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
