"""What does it cost, and compared with what? Runs the rows of `table.py`, and writes `RESULTS.md` and the plots.

make bench                              # all of it; some 10 minutes
make bench ROWS="scope export"          # those whose command names one of these; prints, and writes nothing
python benches/run.py --quick           # a few loops of each, to see that they run; prints, and writes nothing
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import results
from readings import Readings
from table import ROWS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few loops of each; writes nothing")
    parser.add_argument("--without-rust", action="store_true", help="leave out what `cargo test` goes through")
    parser.add_argument("rows", nargs="*", help="words of the commands of those that are wanted; all")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.rows or any(word in row.command for word in options.rows)]
    if options.without_rust:
        rows = [row for row in rows if not row.command.startswith("cargo")]
    began, load = time.monotonic(), os.getloadavg()[0]
    every = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        readings = Readings(options.quick, Path(folder))
        for row in rows:
            found = readings.of(row)
            every.append((row, found))
            print(f"{row.name}{': ' + results.why(found) if not found.figures else ''}", flush=True)
            for figure in found.figures:
                print(results.one_line(figure), flush=True)
    if not (options.quick or options.rows or options.without_rust):
        results.write(every, time.monotonic() - began, load)
    failed = [row.name for row, found in every if found.failed]
    for row, found in every:
        if found.failed:
            print(f"bench: {row.name} failed:\n{found.failed}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
